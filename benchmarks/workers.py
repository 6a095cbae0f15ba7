"""What worker processes cost: a timestep by 2 workers of one thread beside the same by one of two threads.

`python -m benchmarks.workers --agents 512 --repeats 3` prints one JSON object. Each side is a process of its own, and
the sides take turns. `python -m benchmarks.workers --scale RESULT.json` simulates more workers from what was measured.
`python -m benchmarks.workers --digests` prints the digests of runs by 1, 2 and 4 workers as a table.
"""

import argparse
import heapq
import json
import os
import pickle
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.results import machine, versions
from polyphony.adapters.bank.archive import read_archive
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import PERSONAL, adapter_id
from polyphony.bundled import bundled
from polyphony.metrics.runfile.digest import run_digest
from polyphony.personas.population import Population, load_population
from polyphony.simulation.policies.null_policy import NullPolicy
from polyphony.simulation.policies.policy import Decision, Observation
from polyphony.simulation.policies.registry import PolicyContext, policy
from polyphony.simulation.runs.blocks import BLOCK
from polyphony.simulation.runs.runner import Runner
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.workers import Workers, in_blocks

# Workers and threads of each.
SIDES = {"1 worker, 2 threads": (1, 2), "2 workers, 1 thread": (2, 1), "1 worker, 1 thread": (1, 1)}
STEPS = 2
# Workers whose digests are compared, agents, and agents of a block: several blocks for each worker.
DIGESTED, DIGESTED_AGENTS, DIGESTED_BLOCK = (1, 2, 4), 24, 3
# Of the simulation: a plain network between nodes.
BYTES_A_SECOND, LATENCY_SECONDS = 125e6, 5e-4
NODES = (1, 2, 4, 8, 16, 32, 64)


def main() -> None:
    """Measure, or simulate from what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=Path, help="simulate more workers from this result")
    parser.add_argument("--digests", action="store_true", help="print digests of runs by 1, 2 and 4 workers")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.scale is not None:
        print(json.dumps(scaled(json.loads(given.scale.read_text())), indent=1))
    elif given.digests:
        print(digests_table(DIGESTED))
    elif given.side is not None:
        print(json.dumps(side(Path(given.side[0]), int(given.side[1]), given.agents)))
    else:
        print(json.dumps(measured(given.agents, given.repeats), indent=1))


def measured(agents: int, repeats: int) -> dict[str, Any]:
    """Run all sides in turn; medians over the repeats."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        bank = Path(folder) / "bank"
        fill(bank, load_population("town"), agents)
        for _ in range(repeats):
            for name, (count, threads) in SIDES.items():
                command = [
                    sys.executable,
                    "-m",
                    __spec__.name,
                    "--agents",
                    str(agents),
                    "--side",
                    str(bank),
                    str(count),
                ]
                environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                runs[name].append(json.loads(done.stdout))
                print(f"{name}: {runs[name][-1]}", file=sys.stderr, flush=True)
    seconds = {name: statistics.median(run["policy_seconds"] for run in some) for name, some in runs.items()}
    one, two = seconds["1 worker, 2 threads"], seconds["2 workers, 1 thread"]
    return {
        "machine": machine(), "versions": versions(), "agents": agents, "block": BLOCK, "repeats": repeats,
        "seconds_of_deciding": seconds, "overhead": two / one - 1,
        "block_bytes": block_bytes(agents), "runs": runs,
    }  # fmt: skip


def block_bytes(agents: int) -> float:
    """Mean size of a whole block's observations and decisions, as workers get and give them, without a model."""
    sizes: list[int] = []

    @policy("message-sizes")
    class MessageSizes(NullPolicy):
        """Decides as the null policy, and weighs what it is told and what it answers."""

        def __init__(self, context: PolicyContext) -> None:
            super().__init__(context.personas, seed=context.seed)

        def decide(self, observations: Sequence[Observation]) -> list[Decision]:
            decisions = super().decide(observations)
            for start in range(0, len(observations) - BLOCK + 1, BLOCK):
                part = slice(start, start + BLOCK)
                sizes.append(len(pickle.dumps(list(observations[part]))) + len(pickle.dumps(decisions[part])))
            return decisions

    settings = RunSettings(
        population="town", agents=agents, timesteps=STEPS, activation=10.0, policy="message-sizes"
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Runner(settings, bank=Path(folder)).run(settings, Path(folder) / "run.db", resume=False)
    return statistics.mean(sizes) if sizes else 0.0


def fill(directory: Path, town: Population, agents: int) -> None:
    """A bank in which the first agents of the town have copies of the ready bank's adapters."""
    with closing(Bank(directory, create=True)) as bank:
        read_archive(bank, bundled("banks", "town.tar.gz", remedy="run this in a checkout"))
        ready = [revision for revision in bank.revisions() if revision.kind == PERSONAL]
        known = {revision.person for revision in ready}
        for number, persona in enumerate(town.choose(agents)):
            if persona.handle in known:
                continue
            source = ready[number % len(ready)]
            identity = adapter_id(source.base_hash, town.name, PERSONAL, persona.handle)
            copy = replace(
                source, adapter_id=identity, person=persona.handle, number=0, parent=None,
                training_digest=f"copy for {persona.handle}",
            )  # fmt: skip
            added = bank.add(copy, bank.factors(source.object))
            bank.promote(identity, added.number, force=True)


def side(bank: Path, count: int, agents: int) -> dict[str, Any]:
    """One run of two timesteps in which nearly everybody acts; figures are of the second, when all is warm."""
    settings = in_blocks(
        RunSettings(population="town", agents=agents, timesteps=STEPS, activation=10.0, weights="serving")
    )
    runner = Runner(settings, bank=bank, dtype="bf16" if "avx512_bf16" in machine()["flags"] else "fp32")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.db"
        runner.run(settings, out, resume=False, workers=Workers(count))
        with closing(sqlite3.connect(out)) as connection:
            spent = dict(
                connection.execute("SELECT stage, seconds FROM timing WHERE timestep = ?", (STEPS - 1,)).fetchall()
            )
            ((activations,),) = connection.execute(
                "SELECT activations FROM checkpoint WHERE timestep = ?", (STEPS - 1,)
            ).fetchall()
        return {
            "policy_seconds": spent["policy"], "other_seconds": spent["timestep"] - spent["policy"],
            "activations": activations, "start_seconds": runner.stages.get("starting workers", 0.0),
            "population_bytes": len(pickle.dumps(runner.population)), "digest": run_digest(out),
        }  # fmt: skip


def digests_table(counts: Sequence[int]) -> str:
    """The digests of the same runs by different numbers of workers, without a model and with the ready bank."""
    kinds = {
        "without a model": {"policy": "null", "agents": 200},
        "SmolLM2-135M, ready bank": {
            "weights": "serving", "agents": DIGESTED_AGENTS, "block": DIGESTED_BLOCK,
        },
    }  # fmt: skip
    lines = [f"| workers | {' | '.join(kinds)} |", "|---|" + "---|" * len(kinds)]
    with tempfile.TemporaryDirectory() as folder:
        bank = Path(folder) / "bank"
        with closing(Bank(bank, create=True)) as opened:
            read_archive(opened, bundled("banks", "town.tar.gz", remedy="run this in a checkout"))
        for count in counts:
            digests = []
            for number, kind in enumerate(kinds.values()):
                settings = RunSettings(**{"population": "town", "timesteps": STEPS, "activation": 6.0} | kind)
                out = Path(folder) / f"{number}-{count}.db"
                dtype = "bf16" if "avx512_bf16" in machine()["flags"] else "fp32"
                Runner(settings, bank=bank, dtype=dtype).run(settings, out, resume=False, workers=Workers(count))
                digests.append(run_digest(out)[:16])
                print(f"{count} workers: {digests}", file=sys.stderr, flush=True)
            lines.append(f"| {count} | {' | '.join(digests)} |")
    return "\n".join(lines)


class Inputs(NamedTuple):
    """What the simulation of more workers starts from.

    Attributes:
        block_seconds: What one worker of one thread takes for a block; measured.
        other_seconds: What the owner does alone in a timestep, for each activation; measured.
        block_bytes: Observations and decisions of a block; measured.
        bytes_a_second: Of the owner's network; assumed.
        latency_seconds: Of one message; assumed.
    """

    block_seconds: float
    other_seconds: float
    block_bytes: float
    bytes_a_second: float = BYTES_A_SECOND
    latency_seconds: float = LATENCY_SECONDS


def timestep_seconds(inputs: Inputs, activations: int, workers: int) -> float:
    """A timestep by list scheduling: the owner sends block after block, each to the worker that is free first."""
    blocks = -(-activations // BLOCK)
    free = [0.0] * workers
    heapq.heapify(free)
    sent = 0.0
    for _ in range(blocks):
        sent += inputs.block_bytes / inputs.bytes_a_second
        begun = max(heapq.heappop(free), sent + inputs.latency_seconds)
        heapq.heappush(free, begun + inputs.block_seconds + inputs.latency_seconds)
    return max(free) + inputs.other_seconds * activations


def scaled(result: Mapping[str, Any], sizes: Sequence[int] = (512, 8192, 131072)) -> dict[str, Any]:
    """Seconds of a timestep by activations and workers, from a measured result."""
    if not result["block_bytes"]:
        raise SystemExit(f"benchmarks: no whole block of {BLOCK} agents was measured; measure with more --agents")
    runs = result["runs"]["1 worker, 1 thread"]
    activations = statistics.median(run["activations"] for run in runs)
    inputs = Inputs(
        statistics.median(run["policy_seconds"] for run in runs) / -(-activations // BLOCK),
        statistics.median(run["other_seconds"] for run in runs) / activations,
        result["block_bytes"],
    )
    table = {
        str(size): {str(count): round(timestep_seconds(inputs, size, count), 2) for count in NODES} for size in sizes
    }
    return {"inputs": inputs._asdict(), "seconds_of_a_timestep": table}


if __name__ == "__main__":
    main()
