"""A run of very many agents under the null policy, stage by stage, in a file or in a database.

python -m benchmarks.scale 100000 6
python -m benchmarks.scale 100000 6 postgresql+psycopg://USER@HOST/NAME
"""

import sys
import tempfile
import time
from pathlib import Path

from benchmarks import results
from benchmarks.platform import null_simulation, random_people
from polyphony.garbage import cycles_left
from polyphony.simulation.runs.loop import decide_apart, run_in_step
from polyphony.simulation.runs.store import run_target


class _Stages:
    """Prints what each stage took, in this process alone: a database server's own time counts in the wall clock."""

    def __init__(self) -> None:
        self._began = time.process_time(), time.perf_counter()

    def end(self, name: str) -> None:
        """Say what the stage took that ends now."""
        now = time.process_time(), time.perf_counter()
        processor, wall = (end - start for start, end in zip(self._began, now, strict=True))
        peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20
        print(f"{name:<28} {processor:9.2f} s of processor {wall:9.2f} s {peak:7.2f} GiB at most", flush=True)
        self._began = now


def main() -> None:
    """Make people, write the beginning, and simulate the timesteps."""
    agents, steps = int(sys.argv[1]), int(sys.argv[2])
    print(results.machine())
    stages, whole = _Stages(), _Stages()
    personas = random_people(agents)
    stages.end(f"{agents:,} people")
    with tempfile.TemporaryDirectory() as folder:
        out = run_target(sys.argv[3]) if len(sys.argv) > 3 else Path(folder) / "run.db"
        store, simulation = null_simulation(out, personas, activation=0.5)
        stages.end("beginning")
        with cycles_left():  # as a run without a model does
            for step in range(steps):
                run_in_step([simulation], step + 1, decide_apart, lambda done, total, activations: None)
                stages.end(f"timestep {step}, {simulation.activations:,} acts")
        store.close()
    whole.end("all")


if __name__ == "__main__":
    main()
