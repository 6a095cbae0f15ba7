"""Every command that takes `--device`, once, on few people; then what a GPU is bought for. One table, within a time.

`python -m benchmarks.gpu_check` on a machine with a GPU; `--device cpu --base-model DIR --no-times` elsewhere, to see
that the script itself works. Exit code 1 where a command failed. Commands run one after another, each under a time
limit, and use what the ones before them have made.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

LIMIT, WHOLE = 120.0, 540.0
"""Most seconds of one command, and of all together."""
AGENT = "d_oven"
"""One of the first three people of the town."""
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
        line: The last line that it printed on stderr where it failed.
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
    few = [*people, "--examples", "3", "--prior-examples", "16"]
    learned = ["--updates", "2", "--samples", "2", "--seeds", "2", "--evaluate-every", "1", "--prompts", "2", "--warm-start", "1"]
    lines = {
        "train": ["train", "--users", "3", *few, *bank],
        "run": ["run", "--agents", "3", "--steps", "2", "--activation", "1", "--out", run, *few, *bank],
        "fork": ["fork", run, "--at", "1", "--out", str(folder / "fork.db"), *(people if Path(population).is_file() else []), *bank],
        "interview": ["interview", run, agent, "What do you think of the bridge?", *bank],
        "study": ["study", "--agents", "3", "--arms", ARMS, "--seeds", "1", "--set", "steps=1", "--together", "1",
                  "--out", str(folder / "study"), *few, *bank],
        "bank evaluate": ["bank", "evaluate", "--users", "3", *few, *bank],
        "bank verify": ["bank", "verify", "--probe", *bank],
        "reinforce": ["reinforce", "--task", "products", "--out", str(folder / "products"), *learned, *bank],
        "reinforce next-act": ["reinforce", "--task", "next-act", *people, "--users", "3",
                               "--out", str(folder / "acts"), *learned, *bank],
        "sweep": ["sweep", str(folder / "sweep.toml"), "--out", str(folder / "sweep")],
        "vote": ["vote", "--adapters", "3", "--same-data", "3", "--asked", "1", "--draws", "3", "--runs", "1",
                 "--items", "4", "--updates", "7", "--prompts", "2", "--warm-start", "1", "--out", str(folder / "vote")],
        "calibrate": ["calibrate", population, "--policy", "engine", "--agents", "8", "--most-steps", "24",
                      "--evaluations", "1", "--fit-seeds", "1", "--seeds", "2", "--out", str(folder / "calibrated"),
                      "--examples", "3", *bank],
    }  # fmt: skip
    return {name: [*line, *machine] for name, line in lines.items()}
