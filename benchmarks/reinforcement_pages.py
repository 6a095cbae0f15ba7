"""docs/stability.md and docs/vote.md from committed results: ``python -m benchmarks.reinforcement_pages``."""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from polyphony.adapters.reinforcement.sweep.plan import CHOICE, FINAL
from polyphony.metrics.sweeps import report as sweeps
from polyphony.metrics.sweeps.results import read_sweep
from polyphony.metrics.votes import report as votes
from polyphony.metrics.votes.curves import curves

ROOT = Path(__file__).resolve().parent.parent
STUDIES, DOCS = ROOT / "data" / "studies", ROOT / "docs"
SWEEP, VOTE = "stability", "vote"


def main() -> None:
    """Take over what a sweep or a vote wrote, where it is given, and write the pages of what is committed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweep", type=Path, help="directory of `simulate sweep data/studies/stability.toml`")
    parser.add_argument("--vote", type=Path, help="directory of `simulate vote`")
    given = parser.parse_args()
    if given.sweep:
        take_sweep(given.sweep, STUDIES / SWEEP)
    if given.vote:
        take_vote(given.vote, STUDIES / VOTE)
    if is_there(SWEEP):
        (DOCS / f"{SWEEP}.md").write_text(sweep_page())
        sweeps.draw(read_sweep(STUDIES / SWEEP), DOCS / f"{SWEEP}.svg")
    if is_there(VOTE):
        results = votes.read_vote(STUDIES / VOTE)
        points = _curves(results)
        (DOCS / f"{VOTE}.md").write_text(votes.report_text(results, points, f"{VOTE}.svg"))
        votes.draw(points, DOCS / f"{VOTE}.svg")


def is_there(name: str) -> bool:
    """Whether a page's results are committed; of a sweep at least one part that reports seeds."""
    return any((STUDIES / name).glob(f"*-{FINAL}.json" if name == SWEEP else "*.parquet"))


def sweep_page() -> str:
    """The text of docs/stability.md."""
    return sweeps.report_text(read_sweep(STUDIES / SWEEP), f"{SWEEP}.svg")


def vote_page() -> str:
    """The text of docs/vote.md."""
    results = votes.read_vote(STUDIES / VOTE)
    return votes.report_text(results, _curves(results), f"{VOTE}.svg")


def take_sweep(source: Path, target: Path) -> None:
    """Copy the outcomes of a sweep's finished parts; the curves of its adapters, which are large, stay behind.

    Of the parts that choose a rate the last validation success stays, by which they chose: a copy of the target goes on
    where the sweep stood.
    """
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "plan.json", target / "plan.json")
    for path in sorted([*source.glob(f"*-{CHOICE}.json"), *source.glob(f"*-{FINAL}.json")]):
        content = json.loads(path.read_text())
        for adapter in content["adapters"].values():
            curve = adapter.pop("curve", None)
            if curve is not None and path.stem.endswith(CHOICE):
                adapter["curve"] = {
                    "updates": [], "stopped": curve["stopped"],
                    "success": {"validation": curve["success"]["validation"][-1:]},
                }  # fmt: skip
        (target / path.name).write_text(json.dumps(content, indent=1) + "\n")


def take_vote(source: Path, target: Path) -> None:
    """Copy the answers of a vote, and what is known of it."""
    target.mkdir(parents=True, exist_ok=True)
    for path in [source / "vote.json", *sorted(source.glob("*.parquet"))]:
        shutil.copy(path, target / path.name)


def _curves(results: votes.VoteResults) -> dict[str, list]:
    return curves(results.sources, np.random.default_rng(0))


if __name__ == "__main__":
    main()
