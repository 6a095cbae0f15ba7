"""OASIS, unchanged, over a bank: every agent of a world of OASIS speaks to the adapter of a person (`make oasis-demo`).

Serves the bank, runs the world twice, all agents `base` and one adapter each, and shows both. OASIS needs an
environment of its own, because it pins an older camel-ai.
"""

import argparse
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from polyphony.printable import printable

SIMULATE = str(Path(sys.executable).with_name("simulate"))
PEOPLE = {"reddit": "user_data_36.json", "twitter": "False_Business_0.csv"}
BUNDLED = Path(__file__).parent.parent / "data" / "oasis"
# Longer than OASIS's posts are, and a bound to what the bare base model goes on writing.
NEW_TOKENS = 64
COMPARED, MEASURED = 5, 24
DAY = 86_400


def main() -> None:
    """Run both worlds and show what came of them."""
    asked = _asked()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the server ends with the demonstration
    people = people_file(asked.platform, asked.data)
    asked.out.mkdir(parents=True, exist_ok=True)
    files = {arm: (asked.out / f"{asked.platform}-{arm}.db").resolve() for arm in ("own", "base")}
    with _server(asked.bank) as url:
        for arm, file in files.items():
            print(f"\nOASIS with {_ARMS[arm]} …", flush=True)
            _print_figures(_world(asked, people, url, file, is_base=arm == "base"))
    _print_measurements(files["own"])
    _print_side_by_side(files["base"], files["own"])
    print(f"\nThe dashboard: simulate app {shlex.quote(os.path.relpath(asked.out))}")


_ARMS = {"own": "an adapter for each agent", "base": "all agents on the bare base model"}


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="Python of an environment with camel-oasis 0.2.5")
    parser.add_argument("--platform", choices=list(PEOPLE), default="reddit")
    parser.add_argument("--data", help="a folder with OASIS's files of people")
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--agents", type=int, help="only the first agents act")
    return parser.parse_args()


def people_file(platform: str, data: str | None) -> Path:
    """OASIS's file of people, from a checkout of OASIS or from what comes with Polyphony.

    Raises:
        SystemExit: It is not there; says where it can be had.
    """
    name = PEOPLE[platform]
    for place in sorted(Path(data).rglob(name)) if data else [BUNDLED / name]:
        if place.is_file():
            return place.resolve()
    raise SystemExit(
        f"{name}: not under {data or BUNDLED}. It holds profiles of real accounts, so it does not come with Polyphony: "
        "git clone https://github.com/camel-ai/oasis and give OASIS_DATA=oasis/data"
    )


@contextmanager
def _server(bank: Path) -> Iterator[str]:
    """Serve a bank; yields the address."""
    command = [SIMULATE, "serve", "--port", "0", "--bank", bank, "--new-tokens", NEW_TOKENS, "--time-limit", DAY]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().split()
            if not address:
                raise SystemExit("the server did not start")
            yield address[0]
        finally:
            server.terminate()


def _world(asked: argparse.Namespace, people: Path, url: str, file: Path, *, is_base: bool) -> dict[str, Any]:
    """One world in OASIS's environment; its logs come to lie in a folder beside its database."""
    file.unlink(missing_ok=True)
    work = file.with_suffix(".logs")
    work.mkdir(exist_ok=True)
    script = Path(__file__).with_name("oasis_agents.py")
    options = {"url": url, "platform": asked.platform, "people": people, "database": file, "steps": asked.steps}
    command = [asked.python.absolute(), "-P", script, *(f"--{name}={value}" for name, value in options.items())]
    command += ["--base"] * is_base + ([f"--agents={asked.agents}"] if asked.agents else [])
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    lines = [""]
    with (
        (work / "errors.txt").open("w") as errors,
        subprocess.Popen(
            [*map(str, command)], cwd=work, env={**clean, "NO_PROXY": "127.0.0.1"}, stdout=subprocess.PIPE,
            stderr=errors, text=True,
        ) as world,
    ):  # fmt: skip
        try:
            for line in world.stdout or ():
                lines.append(line)
                if line.startswith("timestep"):
                    print(f"  {line.strip()}", flush=True)
        except BaseException:
            world.kill()
            raise
    if world.returncode:
        raise SystemExit(f"OASIS failed; {work / 'errors.txt'} has its words")
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def _print_figures(figures: dict[str, Any]) -> None:
    total = sum(figures["outcomes"].values())
    print(f"{figures['agents']} agents, {figures['models']} models, {total} requests; seconds {figures['seconds']}")
    for outcome, count in sorted(figures["outcomes"].items(), key=lambda item: -item[1]):
        print(f"  {count:>4} {printable(outcome)}")


def _print_measurements(file: Path) -> None:
    """The first measurements of those that a world of OASIS allows."""
    print(f"\n$ simulate metrics {shlex.quote(os.path.relpath(file))}   # the first that have a value", flush=True)
    output = subprocess.run([SIMULATE, "metrics", file], check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [line for line in output.splitlines() if line.strip() and " – " not in line]
    print("\n".join(lines[:MEASURED]))


def _print_side_by_side(base: Path, own: Path) -> None:
    """What the same agents did after the same posts: of each its first words, or else its first act."""
    with closing(sqlite3.connect(own)) as connection:
        names = dict(connection.execute("SELECT user_id, coalesce(user_name, name) FROM user"))
        print("\nThe same first posts for both:")
        seeds = connection.execute("SELECT user_id, content FROM post ORDER BY post_id LIMIT 3").fetchall()
    for user, text in seeds:
        print(f"  {printable(names[user])}: {printable(text)}")
    acts = {"base": _first_acts(base, len(seeds)), "own": _first_acts(own, len(seeds))}
    shared = sorted(set(acts["base"]) & set(acts["own"]), key=lambda user: -sum(acts[arm][user][0] for arm in acts))
    for user in shared[:COMPARED]:
        print(f"\n{printable(names[user])}")
        for arm in acts:
            print(f"  {arm:<5}{printable(acts[arm][user][1])[:300]}")


def _first_acts(file: Path, seeds: int) -> dict[int, tuple[bool, str]]:
    """By user: whether the act has words, and the act."""
    chosen: dict[int, tuple[bool, str]] = {}
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute(
            "SELECT user_id, action, info FROM trace WHERE action NOT IN ('sign_up', 'refresh') ORDER BY rowid"
        ).fetchall()
    for user, action, info in rows[seeds:]:
        values = json.loads(info)
        words = values.get("content") or values.get("quote_content")
        if user not in chosen or (words and not chosen[user][0]):
            shown = words or ", ".join(f"{name} {value}" for name, value in values.items())
            chosen[user] = (bool(words), f"{action}: {shown}" if shown else action)
    return chosen


if __name__ == "__main__":
    main()
