"""What a run of the engine spends outside the model, and how far two readers of its file slow it."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from sqlalchemy import create_engine, text

from benchmarks.results import Result

AGENTS, STEPS, PAIRS = 64, 6, 3
MANY = 512
# A dashboard that looks every two seconds, and a notebook beside it.
READERS = """
import sys, threading, time
from pathlib import Path
from polyphony.metrics.runfile.loading import load_run
def read():
    while True:
        if Path(sys.argv[1]).exists():
            try:
                load_run(sys.argv[1])
            except Exception as error:
                if "no run" not in str(error) and "not a run" not in str(error):
                    print(type(error).__name__, error, flush=True)
        time.sleep(2)
for _ in range(2):
    threading.Thread(target=read).start()
"""


def reader_results() -> list[Result]:
    """The same run alone and with readers, taking turns; then the share of everything but the model."""
    spent: dict[bool, list[float]] = {False: [], True: []}
    complaints = 0
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(PAIRS):
            for read in (False, True):
                seconds, lines = _run(Path(folder) / f"{turn}{read}.db", AGENTS, STEPS, read)
                spent[read].append(seconds)
                complaints += lines
        large = Path(folder) / "large.db"
        _run(large, MANY, 2, False)
        share = _share_outside_the_model(large)
    slowed = median(spent[True]) / median(spent[False])
    return [
        Result(f"run of {AGENTS} agents with two readers ÷ alone", slowed, "×", "≤ 1.05", PAIRS),
        Result("errors those readers met", complaints, "", "0", PAIRS),
        Result(f"run of {MANY} agents, everything but the model", share, "", "≤ 0.05", 1),
    ]


def _run(out: Path, agents: int, steps: int, read: bool) -> tuple[float, int]:
    """Seconds of the timesteps, and the errors that readers met."""
    readers = subprocess.Popen([sys.executable, "-c", READERS, str(out)], stdout=subprocess.PIPE, text=True)
    if not read:
        readers.kill()
    try:
        subprocess.run(
            [sys.executable, "-m", "polyphony", "run", "--arm", "base", "--agents", str(agents), "--steps", str(steps),
             "--minutes-per-step", "120", "--out", str(out)],
            check=True, capture_output=True,
        )  # fmt: skip
        time.sleep(0.1)
    finally:
        readers.kill()
        said, _ = readers.communicate()
    return sum(_seconds(out, "timestep")), len(said.splitlines())


def _seconds(out: Path, stage: str) -> list[float]:
    engine = create_engine(f"sqlite:///{out}")
    with engine.connect() as connection:
        query = text("SELECT seconds FROM timing WHERE stage = :stage AND timestep IS NOT NULL")
        found = [float(seconds) for seconds in connection.scalars(query, {"stage": stage})]
    engine.dispose()
    return found


def _share_outside_the_model(out: Path) -> float:
    return 1 - sum(_seconds(out, "policy")) / sum(_seconds(out, "timestep"))
