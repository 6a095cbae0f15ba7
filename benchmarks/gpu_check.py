"""Every command that takes `--device`, once, on few people; then what a GPU is bought for. One table, within a time.

`python -m benchmarks.gpu_check` on a machine with a GPU; with `--device cpu --base-model DIR --population FILE --agent
NAME --brief` elsewhere, to see that the script itself works. Exit code 1 where a command failed. Commands run one after
another, each under a time limit, and use what the ones before them have made.
"""

import argparse
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from polyphony.adapters.engine.decoding_graph import TURN_ON

LIMIT, WHOLE = 120.0, 540.0
"""Most seconds of one command, and of all together where `--seconds` says nothing else."""
AGENT = "d_oven"
"""One of the first three people of the town."""
CONTEXT = 191
"""Tokens before the one that a measured pass feeds."""
SHOWN = ("passes", "activation")
"""Measurements, whose outcome is what they print."""
ARMS = "lora,base,pooled,shuffled,lora-noprompt,fewshot,act-matched"
SWEEP = """
updates = 2
samples = 2
evaluate_every = 1
test_answers = 4
rates = [1e-3]
equal_rate = 1e-3
choosing_seeds = 1
seeds = 3
[[blocks]]
tasks = ["products"]
inits = ["standard"]
ranks = [1]
prompts = [2]
"""


@dataclass(frozen=True)
class Outcome:
    """How one command ended.

    Attributes:
        name: The command.
        code: Its exit code; None where it ran past its time.
        seconds: How long it ran.
        line: The last line that it printed on stderr where it failed; of a measurement what it came to.
    """

    name: str
    code: int | None
    seconds: float
    line: str


def commands(folder: Path, machine: Sequence[str], population: str, agent: str) -> dict[str, list[str]]:
    """The arguments of each command, by name, in an order in which each finds what it needs.

    Args:
        folder: Where everything is written.
        machine: Options of the base model and the device, for all.
        population: Whose people act.
        agent: One of its first three people.
    """
    (folder / "sweep.toml").write_text(SWEEP)
    bank, run = ["--bank", str(folder / "bank")], str(folder / "run.db")
    people = ["--population", population]
    again = people if Path(population).is_file() else []  # a run does not hold the people of a file
    few = [*people, "--examples", "3", "--prior-examples", "16"]
    learned = [
        "--updates",
        "2",
        "--samples",
        "2",
        "--seeds",
        "2",
        "--evaluate-every",
        "1",
        "--prompts",
        "2",
        "--warm-start",
        "1",
    ]
    lines = {
        "train": ["train", "--users", "3", *few, *bank],
        "run": ["run", "--agents", "3", "--steps", "2", "--activation", "1", "--out", run, *few, *bank],
        "fork": ["fork", run, "--at", "1", "--out", str(folder / "fork.db"), *again, *bank],
        "interview": ["interview", run, agent, "What do you think of the bridge?", *again, *bank],
        "study": ["study", "--agents", "3", "--arms", ARMS, "--seeds", "1", "--set", "steps=1", "--together", "1",
                  "--out", str(folder / "study"), *few, *bank],
        "bank evaluate": ["bank", "evaluate", "--users", "3", *few, *bank],
        "bank verify": ["bank", "verify", "--probe", *bank],
        "reinforce": ["reinforce", "--task", "products", "--out", str(folder / "products"), *learned, *bank],
        "reinforce next-act": ["reinforce", "--task", "next-act", *people, "--users", "3",
                               "--out", str(folder / "acts"), *learned, *bank],
        "sweep": ["sweep", str(folder / "sweep.toml"), "--out", str(folder / "sweep")],
        "vote": ["vote", "--adapters", "3", "--same-data", "3", "--asked", "1", "--draws", "3", "--runs", "1",
                 "--items", "4", "--updates", "7", "--prompts", "2", "--warm-start", "1",
                 "--out", str(folder / "vote")],
        "calibrate": ["calibrate", population, "--policy", "engine", "--agents", "8", "--most-steps", "24",
                      "--evaluations", "1", "--fit-seeds", "1", "--seeds", "2", "--out", str(folder / "calibrated"),
                      "--examples", "3", *bank],
    }  # fmt: skip
    return {name: [*line, *machine] for name, line in lines.items()}


def timed_commands(folder: Path, machine: Sequence[str]) -> dict[str, list[str]]:
    """What a GPU is bought for: 512 adapters trained, 512 agents in a run of 12 timesteps."""
    bank = ["--bank", str(folder / "many")]
    lines = {
        "train --users 512": ["train", "--users", "512", *bank],
        "run --agents 512 --steps 12": ["run", "--agents", "512", "--steps", "12", "--out", str(folder / "many.db"),
                                        *bank],
    }  # fmt: skip
    return {name: [*line, *machine] for name, line in lines.items()}


def finished(name: str, program: Sequence[str], limit: float) -> Outcome:
    """Run a program to its end, or to its limit in seconds."""
    began = time.monotonic()
    try:
        done = subprocess.run(program, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(name, None, time.monotonic() - began, f"not done within {limit:.0f} s")
    last = (done.stderr.strip() or "-").splitlines()[-1] if done.returncode else ""
    said = done.stdout.strip() if name in SHOWN else last
    return Outcome(name, done.returncode, time.monotonic() - began, said)


def served(program: Sequence[str], agent: str, limit: float) -> Outcome:
    """Start a server, ask one of its people for a few tokens, and end it."""
    began = time.monotonic()
    server = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    code, line = None, f"no answer within {limit:.0f} s"
    try:
        address = _address(server, limit)
        if address is not None:
            body = {
                "model": agent,
                "messages": [{"role": "user", "content": "Hello"}],
                "max_tokens": 8,
                "logprobs": True,
            }
            with httpx.Client(trust_env=False, timeout=limit) as client:
                answer = client.post(f"{address}/chat/completions", json=body)
            code, line = (0, "") if answer.status_code == 200 else (1, answer.text[:300])
    except httpx.HTTPError as error:
        line = str(error)
    finally:
        server.send_signal(signal.SIGINT)
        try:
            _, errors = server.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            _, errors = server.communicate()
    last = (errors.strip() or "-").splitlines()[-1]
    return Outcome("serve", code, time.monotonic() - began, line if code is not None else f"{line}: {last}")


def _address(server: subprocess.Popen[str], limit: float) -> str | None:
    """Where a server that has just been started listens; None where it has not said so in time."""
    assert server.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(server.stdout, selectors.EVENT_READ)
        if not waiting.select(limit):
            return None
    words = server.stdout.readline().split()
    return words[0] if words and words[0].startswith("http") else None


def passes(machine: argparse.Namespace) -> None:
    """Print the milliseconds of a decoding pass with and without a graph, with an adapter a row and with none."""
    import torch

    from benchmarks.engine import random_stack
    from benchmarks.timing import medians
    from polyphony.adapters.engine.model_runner import ModelRunner
    from polyphony.adapters.model.base_model import load_base_model
    from polyphony.adapters.model.lora import AdaptedModel
    from polyphony.adapters.model.lora_shape import LoraShape
    from polyphony.adapters.model.memory import budget_on
    from polyphony.adapters.model.routing import route_of

    base = load_base_model(machine.base_model, device=machine.device, dtype=machine.dtype)
    shape = LoraShape()
    for rows in (8,) if machine.brief else (256, 512):
        with AdaptedModel(base, shape) as adapted, torch.no_grad():
            adapted.set_stack(random_stack(adapted, rows), shape.scale)
            recorded, plain = (ModelRunner(base, adapted, budget_on(base.device)) for _ in range(2))
            plain.graphs = None
            prompts = torch.randint(5, 40_000, (rows, CONTEXT), generator=torch.Generator().manual_seed(0)).tolist()
            routes = {"adapters": route_of(list(range(rows))), "base": None}
            for runner in (recorded, plain):
                runner.store.reserve(rows, CONTEXT + 1)
                runner.read(prompts, list(range(rows)), slice(0, rows))
            sides = {
                f"{engine}, {kind}": partial(
                    runner.append, [7] * rows, [0] * rows, [CONTEXT] * rows, route
                )
                for engine, runner in (("graph", recorded), ("eager", plain)) for kind, route in routes.items()
            }  # fmt: skip
            for _ in range(2):
                for call in sides.values():
                    call()
            spent = medians(sides, repeats=3 if machine.brief else 30)
        has_graph = recorded.graphs is not None and recorded.graphs.is_recording
        told = ", ".join(f"{name} {1000 * seconds:.2f} ms" for name, seconds in spent.items())
        ratio = spent["graph, adapters"] / spent["graph, base"]
        print(f"{rows} rows after {CONTEXT} tokens, recorded {has_graph}: {told}; graph, adapters ÷ base {ratio:.2f}")


def activated(machine: argparse.Namespace) -> None:
    """Print how long 512 agents take that are activated once."""
    from benchmarks.activation import activation_results
    from polyphony.adapters.model.base_model import load_base_model
    from polyphony.personas.population import load_population

    base = load_base_model(machine.base_model, device=machine.device, dtype=machine.dtype)
    for result in activation_results(base, load_population("town")):
        print(f"{result.name}: {result.value:.2f} {result.unit}")


def outcomes(machine: argparse.Namespace, folder: Path) -> Iterator[Outcome]:
    """Run everything, the checks before the times, until the time is spent."""
    began, simulate = time.monotonic(), [sys.executable, "-m", "polyphony"]
    options = ["--device", machine.device, "--dtype", machine.dtype]
    options += [] if machine.base_model is None else ["--base-model", str(machine.base_model)]

    def left(most: float) -> float:
        return max(1.0, min(most, machine.seconds - (time.monotonic() - began)))

    for name, line in commands(folder, options, machine.population, machine.agent).items():
        yield finished(name, [*simulate, *line], left(LIMIT))
    serve = ["serve", "--port", "0", "--bank", str(folder / "bank"), *options]
    yield served([*simulate, *serve], machine.agent, left(LIMIT))
    itself = [sys.executable, "-m", "benchmarks.gpu_check", *options, *(["--brief"] if machine.brief else [])]
    yield finished("passes", [*itself, "--only", "passes"], left(LIMIT))
    if not machine.brief:
        yield finished("activation", [*itself, "--only", "activation"], left(LIMIT))
        for name, line in timed_commands(folder, options).items():
            yield finished(name, [*simulate, *line], left(machine.seconds))


def main() -> None:
    """Print the table; with `--only` one of the measurements, in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--base-model", type=Path)
    parser.add_argument("--population", default="town")
    parser.add_argument("--agent", default=AGENT)
    parser.add_argument("--seconds", type=float, default=WHOLE)
    parser.add_argument("--brief", action="store_true")
    parser.add_argument("--only", choices=SHOWN)
    machine = parser.parse_args()
    os.environ.setdefault(TURN_ON, "1")  # for the commands too
    if machine.only is not None:
        {"passes": passes, "activation": activated}[machine.only](machine)
        return
    table, failed = Table("command", "exit code", "seconds", "last line"), False
    with tempfile.TemporaryDirectory() as folder:
        for outcome in outcomes(machine, Path(folder)):
            print(outcome, flush=True)  # what is cut off has told its first part
            failed = failed or outcome.code != 0
            code = "-" if outcome.code is None else str(outcome.code)
            table.add_row(outcome.name, code, f"{outcome.seconds:.1f}", outcome.line)
    Console().print(table)
    sys.exit(failed)


if __name__ == "__main__":
    main()
