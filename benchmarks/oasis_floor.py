"""A timestep of 512 agents without a model, beside OASIS's in its own environment.

OASIS pins an older camel-ai, so that it needs a virtual environment of its own:

    python3 -m venv oasis && oasis/bin/pip install camel-oasis==0.2.5 'mcp<2'
    python -m benchmarks.oasis_floor oasis/bin/python [AGENTS [TIMESTEPS [LIMIT]]]

OASIS is timed before ours and after it. With a LIMIT in seconds it is timed once, and stopped when its timesteps have
taken that long on the wall clock: if not even the first one has ended by then, the limit is a lower bound of what it
takes, and so is the ratio. Seconds of the processor leave out what either waits for the disk, and for other processes.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from threading import Timer
from typing import NamedTuple

import psutil

from benchmarks import results
from benchmarks.platform import null_seconds

AGENTS = int(sys.argv[2]) if len(sys.argv) > 2 else 512
STEPS = int(sys.argv[3]) if len(sys.argv) > 3 else 7
LIMIT = float(sys.argv[4]) if len(sys.argv) > 4 else None
CLOCKS = {"on the wall clock": time.perf_counter, "of the processor": time.process_time}


class _Timed(NamedTuple):
    """Seconds of complete timesteps by both clocks, and how long the one had run that the limit stopped, if any."""

    version: str
    complete: list[list[float]]
    stopped: list[float]


def main() -> None:
    """Time OASIS, ours and OASIS again, and print the ratios of the medians."""
    theirs = [_oasis(sys.argv[1])]
    ours = [null_seconds(AGENTS, activation=20.0, steps=STEPS, clock=clock) for clock in CLOCKS.values()]
    if LIMIT is None:
        theirs.append(_oasis(sys.argv[1]))
    complete = [timestep for run in theirs for timestep in (run.complete[1:] or run.complete)]
    bound = "" if complete else "≥ "
    print(results.machine())
    print(f"camel-oasis {theirs[0].version} and polyphony with the null policy, {AGENTS} agents")
    print(f"{ours[0][1]:.0f} of ours act in a timestep, all of OASIS's; its recommendations are renewed")
    for place, (clock, (own, _)) in enumerate(zip(CLOCKS, ours, strict=True)):
        seconds = median(timestep[place] for timestep in complete or [theirs[0].stopped])
        print(f"a timestep {clock}: {bound}{seconds:.3f} s and {own:.3f} s; ratio {bound}{seconds / own:.1f}")


def _oasis(python: str) -> _Timed:
    """Run OASIS's side, and stop it when its timesteps have taken the limit."""
    script = Path(__file__).with_name("oasis_side.py")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-P", str(script), str(AGENTS), str(STEPS)]
    run, began, before = _Timed("", [], []), 0.0, 0.0

    def stop() -> None:
        run.stopped.extend((time.perf_counter() - began, _processor(process.pid) - before))
        process.kill()

    timer = Timer(LIMIT or 0.0, stop)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean) as process:
        for line in process.stdout or ():
            told = json.loads(line) if line.startswith("{") else {}
            if told.get("seconds"):
                run.complete.append(told["seconds"])
            elif told:
                began, before, run = time.perf_counter(), _processor(process.pid), run._replace(version=told["version"])
                if LIMIT and not run.complete:
                    timer.start()
    timer.cancel()
    if process.returncode and not run.stopped:
        raise SystemExit(f"{script.name} ended with {process.returncode}")
    return run


def _processor(process: int) -> float:
    return sum(psutil.Process(process).cpu_times()[:2])


if __name__ == "__main__":
    main()
