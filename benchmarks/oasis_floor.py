"""A timestep of 512 agents without a model, beside OASIS's in its own environment.

OASIS pins an older camel-ai, so that it needs a virtual environment of its own:

    python3 -m venv oasis && oasis/bin/pip install camel-oasis==0.2.5 'mcp<2'
    python -m benchmarks.oasis_floor oasis/bin/python [AGENTS [TIMESTEPS]]
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks import results
from benchmarks.platform import null_seconds

AGENTS = int(sys.argv[2]) if len(sys.argv) > 2 else 512
STEPS = int(sys.argv[3]) if len(sys.argv) > 3 else 7


def main() -> None:
    """Time OASIS, ours and OASIS again, and print the ratio of the medians."""
    theirs = [_oasis(sys.argv[1])]
    ours, active = null_seconds(AGENTS, activation=20.0, steps=STEPS)
    theirs.append(_oasis(sys.argv[1]))
    seconds = median(second for run in theirs for second in run["seconds"][1:])
    print(results.machine())
    print(f"camel-oasis {theirs[0]['version']}: {seconds:.3f} s a timestep, {AGENTS} agents, recommendations renewed")
    print(f"polyphony, null policy: {ours:.3f} s a timestep, {active:.0f} agents active; ratio {seconds / ours:.1f}")


def _oasis(python: str) -> dict[str, object]:
    script = Path(__file__).with_name("oasis_side.py")
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-P", str(script), str(AGENTS), str(STEPS)], capture_output=True, text=True, check=True, env=clean
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
