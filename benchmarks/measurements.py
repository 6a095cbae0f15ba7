"""All measurements of a run of 512 agents and 24 timesteps, and of one of 10,000 agents, by the null policy."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import Result
from benchmarks.timing import run_apart
from polyphony.personas.town.generate import generate_town, write_town

STEPS = 24
# In a process of its own: its peak memory and its time are those of one measurement and of nothing before it.
MEASURE = """
import sys, time
from polyphony.metrics.measure import measure_run
began = time.perf_counter()
measure_run(sys.argv[1])
print(time.perf_counter() - began)
"""


RUN = """
import sys
from pathlib import Path
from polyphony.simulation.runs.runner import Hooks, Runner
from polyphony.simulation.runs.settings import RunSettings
population, agents, steps, out = sys.argv[1:]
settings = RunSettings(
    population=population, policy="null", arm="base", agents=int(agents), timesteps=int(steps), minutes=120
)
runner = Runner(settings, bank=Path("unused"), base_model=None, device="auto", dtype="auto", hooks=Hooks())
runner.run(settings, Path(out), resume=False)
"""


def measurement_results() -> list[Result]:
    """Seconds and peak memory, the nulls included."""
    with tempfile.TemporaryDirectory() as folder:
        run = null_run(Path(folder) / "town.db", "town", 512)
        seconds, memory = _measured(run)
        posts, *_ = write_town(generate_town(7, 10_000), Path(folder))
        crowd_seconds, crowd_memory = _measured(null_run(Path(folder) / "crowd.db", str(posts), 10_000))
    return [
        Result(f"all measurements of 512 agents, {STEPS} timesteps", seconds, "s", "≤ 60", 1),
        Result("peak memory of that", memory, "GiB", "≤ 1", 1),
        Result(f"all measurements of 10,000 agents, {STEPS} timesteps", crowd_seconds, "s", "≤ 600", 1),
        Result("peak memory of that", crowd_memory, "GiB", "", 1),
    ]


def null_run(out: Path, population: str, agents: int) -> Path:
    """Run the null policy for `STEPS` timesteps without measuring it, and return the run's file."""
    subprocess.run([sys.executable, "-c", RUN, population, str(agents), str(STEPS), str(out)], check=True)
    return out


def _measured(run: Path) -> tuple[float, float]:
    seconds, memory = run_apart([sys.executable, "-c", MEASURE, str(run)])
    return float(seconds), memory
