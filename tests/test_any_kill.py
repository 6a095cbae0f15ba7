"""kill -9 at any moment: the same command, or `--resume`, ends as if nothing had been, and no scratch file stays.

`kill_server.py` kills before the n-th change of a file or a database, or after some time. `make soak` does the long
form, at 200 moments of each command that takes milliseconds and fewer of those that train or convert a model.
"""

import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from kill_server import __file__ as server_file
from test_bank import factors, revision
from training_factory import tiny_model

from polyphony.adapters.bank.archive import write_archive
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.verification import verify
from polyphony.metrics.runfile.digest import run_digest
from polyphony.scratch import is_scratch

BETTER = {"nll": {"own": 1.0, "pooled": 2.0}}
PEOPLE = 4
NULL = "--policy null --population posts.jsonl --agents 4 --steps 3"


def bank_content(folder: Path) -> str:
    """All that a bank holds but times: its rows, its weights, and the names of its files."""
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as catalog:
        rows = [
            catalog.execute(query).fetchall()
            for query in (
                "SELECT * FROM adapter ORDER BY 1",
                "SELECT adapter_id, number, parent, config, losses, evaluation, training_digest, status, object "
                "FROM revision ORDER BY 1, 2",
                "SELECT adapter_id, number, before, after, forced FROM transition ORDER BY transition_id",
                "SELECT object FROM packed ORDER BY 1",
                "SELECT name FROM migration ORDER BY 1",
            )
        ]
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return json.dumps([rows, [name for name in names if not name.startswith("catalog")]], default=bytes.hex)


def study_content(folder: Path) -> str:
    plan = json.loads((folder / "plan.json").read_text())
    parts = ("study.json", "report.md", "tables/primary.md", "figures/within.svg")
    parts = tuple(part for part in parts if (folder / part).exists())
    runs = [run_digest(folder / cell["file"]) for cell in plan["cells"]]
    return json.dumps([runs, [hashlib.sha256((folder / part).read_bytes()).hexdigest() for part in parts]])


def file_content(path: Path) -> str:
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return json.dumps([(file.relative_to(path).as_posix(), file_content(file)) for file in files])


@dataclass(frozen=True)
class Command:
    """A command, and how its result is seen.

    Attributes:
        words: What follows `simulate`.
        result: What it makes, below its folder.
        content: The content of the result, or a digest of it.
        done: What the same command says with exit code 2 where the killed one had done everything.
        resumes: Whether it needs `--resume` where its result exists.
        moments: Of the short form, and of the long one.
    """

    words: str
    result: str
    content: Callable[[Path], str]
    done: str | None = None
    resumes: bool = False
    moments: tuple[int, int] = (2, 20)


COMMANDS = {
    "run": Command(f"run {NULL} --seed 3 --out new/run.db", "new/run.db", run_digest, resumes=True, moments=(5, 40)),
    "fork": Command(
        "fork source.db --population posts.jsonl --at 1 --out new.db",
        "new.db",
        run_digest,
        resumes=True,
        moments=(2, 20),
    ),
    "study": Command(
        "study --out study --agents 4 --arms base --seeds 2 --set population=posts.jsonl --set policy=null "
        "--set steps=2 --at-once 1",
        "study",
        study_content,
        moments=(1, 10),
    ),
    "export": Command("export source.db --out data", "data", file_content, "exists already", moments=(2, 20)),
    "metrics": Command("metrics source.db --json", "source.db", run_digest, moments=(1, 5)),
    "bank forget": Command("bank forget p1 --bank bank", "bank", bank_content, "no adapter of 'p1'", moments=(6, 40)),
    "bank import": Command("bank import bank.tar --bank new", "new", bank_content, moments=(3, 20)),
    "bank promote": Command("bank promote p0 --bank bank", "bank", bank_content, moments=(2, 10)),
    "bank retire": Command("bank retire p0 1 --bank bank", "bank", bank_content, moments=(2, 10)),
    "bank rollback": Command("bank rollback p3 --bank bank", "bank", bank_content, moments=(2, 10)),
    "bank gc": Command("bank gc --bank bank", "bank", bank_content, moments=(2, 15)),
    "bank pack": Command("bank pack --bank bank", "bank", bank_content, moments=(2, 15)),
    "bank compact": Command("bank compact new --rank 1 --bank bank", "new", bank_content, moments=(3, 20)),
    "bank archive": Command(
        "bank archive new.tar --bank bank", "new.tar", file_content, "exists already", moments=(2, 10)
    ),
    "bank export": Command(
        "bank export --all --out new --bank bank", "new", file_content, "exists already", moments=(2, 10)
    ),
}
SLOW_COMMANDS = {
    "train": Command(
        "train --population posts.jsonl --users 2 --base-model ../tiny --device cpu --dtype fp32 --bank new",
        "new",
        bank_content,
        moments=(0, 20),
    ),
    "conversion": Command("conversion", "cache", file_content, moments=(0, 3)),
}


def posts() -> list[dict[str, str]]:
    """A few posts of a few people."""
    return [
        {"author": f"p{person}", "id": f"{person}-{number}", "created_at": f"2024-05-{1 + number:02d}T0{person}:00:00Z",
         "text": f"post {number} of {person}"}
        for person in range(PEOPLE) for number in range(12)
    ]  # fmt: skip


class Server:
    """The process that runs and kills commands."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(
            [sys.executable, server_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout.readline() == "ready\n"
        descriptor, self._output = tempfile.mkstemp(suffix=".out")
        os.close(descriptor)

    def __call__(self, folder: Path, words: str, **how) -> dict:
        request = {"folder": str(folder), "arguments": words.split(), "output": self._output, **how}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        Path(self._output).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def server():
    started = Server()
    yield started
    started.close()


@pytest.fixture(scope="module")
def before(server, tmp_path_factory):
    """What is there before each command: a finished run, a bank with all kinds of revisions, an archive of it."""
    folder = tmp_path_factory.mktemp("any-kill") / "before"
    folder.mkdir()
    (folder / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts()))
    code = server(folder, f"run {NULL} --out source.db")["code"]
    assert code == 0
    with closing(Bank(folder / "bank", create=True)) as bank:
        for number in range(PEOPLE):
            stored = bank.add(revision(f"p{number}", f"first {number}"), factors(number))
            bank.set_evaluation(stored, BETTER)
        bank.pack()
        for number in range(PEOPLE):
            stored = bank.add(replace(revision(f"p{number}", f"second {number}"), parent=1), factors(10 + number))
            bank.set_evaluation(stored, BETTER)
        for number in (1, 2):
            bank.promote(stored.adapter_id, number)
        bank.retire(bank.revisions(person="p2")[1].adapter_id, 2)
        bank.evaluations.mkdir()
        (bank.evaluations / "pass.json").write_text("1.0")
        write_archive(bank, folder / "bank.tar")
    return folder


class Trial:
    """One folder in which a command is killed and given again."""

    def __init__(self, server: Server, before: Path, command: Command) -> None:
        self._server, self._before, self._command = server, before, command
        self._folder = before.parent / "trial"

    def begin(self, **how) -> dict:
        """Run the command in a fresh folder, and perhaps kill it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._before, self._folder)
        return self._server(self._folder, self._command.words, **how)

    def content(self) -> str:
        return self._command.content(self._folder / self._command.result)

    def again(self, expected: str) -> str | None:
        """Give the command again; says what is wrong afterwards, None where all is right."""
        command = self._command
        exists = (self._folder / command.result).exists()
        if command.words.startswith("bank rollback") and self.content() == expected:
            return self._left_over()
        resume = " --resume" if command.resumes and exists else ""
        answer = self._server(self._folder, command.words + resume)
        is_done = answer["code"] == 2 and command.done is not None and command.done in answer["output"]
        if answer["code"] != 0 and not is_done:
            return f"exit code {answer['code']}: {answer['output'][-300:]}"
        if self.content() != expected:
            return f"another result: {self.content()[:3000]}"
        return self._left_over()

    def _left_over(self) -> str | None:
        scratch = [path.name for path in self._folder.rglob("*") if is_scratch(path.name)]
        if scratch:
            return f"left over: {scratch}"
        for catalog in self._folder.rglob("catalog.sqlite"):
            with closing(Bank(catalog.parent)) as bank:
                report = verify(bank)
            if report.problems or report.unfinished or (report.orphans and catalog.parent.name == "new"):
                return str(report)
        return None


def kill_all_over(server: Server, before: Path, command: Command, count: int) -> tuple[int, list[str]]:
    """Kill a command at moments spread over all its changes, half of them in the long form at random times.

    Returns:
        How often the kill came before the end, and what was wrong.
    """
    trial = Trial(server, before, command)
    whole = trial.begin()
    assert whole["code"] == 0, whole["output"]
    expected, wrong, kills = trial.content(), [], 0
    draw = random.Random(31)
    changes = count if count < 10 else count // 2
    by_change = sorted(draw.sample(range(1, whole["moments"] + 1), min(changes, whole["moments"])))
    ways = [{"moment": number} for number in by_change]
    ways += [{"seconds": whole["seconds"] * draw.random()} for _ in range(count - len(ways))]
    for way in ways:
        killed = trial.begin(**way)
        kills += killed["code"] is None
        problem = trial.again(expected)
        if problem is not None:
            wrong.append(f"{command.words} killed at {way} of {whole['moments']}: {problem}")
    return kills, wrong


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_ends_as_if_nothing_had_been(server, before, name):
    command = COMMANDS[name]
    kills, wrong = kill_all_over(server, before, command, command.moments[0])
    assert not wrong, "\n".join(wrong)
    assert kills == command.moments[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*COMMANDS, *SLOW_COMMANDS])
def test_more_than_two_hundred_kills_over_all_commands(server, before, tiny, name):
    """Prints, for each command, how many kills of how many ended right."""
    command = (COMMANDS | SLOW_COMMANDS)[name]
    kills, wrong = kill_all_over(server, before, command, command.moments[1])
    print(f"\n{name}: {command.moments[1] - len(wrong)} of {command.moments[1]} right, {kills} before the end")
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def tiny(base, before):
    return tiny_model(base, before.parent / "tiny")


@pytest.mark.slow
def test_the_processes_of_a_killed_study_end_with_it(before, tmp_path):
    """Killed when its processes have begun their runs; the same command at once goes on with all of them."""
    shutil.copy(before / "posts.jsonl", tmp_path)
    line = [
        sys.executable, "-m", "polyphony", "study", "--out", "study", "--agents", "4", "--arms", "base", "--seeds", "2",
        "--set", "population=posts.jsonl", "--set", "policy=null", "--set", "steps=3000", "--at-once", "2",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(list((tmp_path / "study").glob("runs/*.db"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    children = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.wait()
    assert len(children) >= 2 and not psutil.wait_procs(children, timeout=20)[1]
    again = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "2 of 2 runs to do" in again.stderr
    assert not [path for path in tmp_path.rglob("*") if is_scratch(path.name)]
