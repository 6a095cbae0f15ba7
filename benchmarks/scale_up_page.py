"""docs/scale_up.md, from committed studies: ``python -m benchmarks.scale_up_page [DIR…]``."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from polyphony.metrics.core.inference import holm
from polyphony.metrics.core.labels import signed, span
from polyphony.metrics.core.paired import paired_comparison
from polyphony.metrics.studies.comparison_table import rendered
from polyphony.metrics.sweeps.comparisons import Mean, mean_of

ROOT = Path(__file__).resolve().parent.parent
STUDIES, PAGE = ROOT / "data" / "studies" / "scale_up", ROOT / "docs" / "scale_up.md"
LEVEL = 0.05
Study = Mapping[str, Any]
Floats = npt.NDArray[np.float64]
# What is compared, the mean difference, and its p after Holm's correction; None where all seeds differ alike.
Compared = tuple[str, Mean, float | None]


def main() -> None:
    """Take over the studies of some directories of `benchmarks.scale_up`, and write the page of what is committed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="*", type=Path)
    for directory in parser.parse_args().directories:
        study = json.loads((directory / "study.json").read_text())
        STUDIES.mkdir(parents=True, exist_ok=True)
        (STUDIES / f"{study['base_model']}.json").write_text(json.dumps(study, indent=1) + "\n")
    PAGE.write_text(page([json.loads(path.read_text()) for path in sorted(STUDIES.glob("*.json"))]))


def page(studies: Sequence[Study]) -> str:
    """The whole text."""
    parts = [_HEAD, *(_answer(study) for study in studies), _MEANING]
    for study in studies:
        parts.append(f"## {study['base_model']}\n\n{_starts(study)}\n\n{_cells(study)}\n\n{_differences(study)}")
    return "\n".join([*parts, _made_with(studies)])


_HEAD = """# Does a stronger start gain more, or do more trained numbers?

Written by `python -m benchmarks.scale_up_page` from `data/studies/scale_up/`.
"""

_MEANING = """A start is the base model, taught with right answers until its success on validation items first
reached 0.02, 0.1 or 0.3. From each, adapters of two ranks and whole layers (*full*: every linear weight of the last
ten blocks) learn by reinforcement, on equal items, samples and updates. Each method chose its rate for each start by
validation success, on seeds of their own. **Normalised gain** is the gain in test success as a share of what was
missing at the start, after the last update; test items chose nothing. Means over seeds, 95% intervals by Student's t.
All starts stem from one teaching, and all seeds are asked the same test items: the intervals say nothing of other
teachings, items, bases or tasks.
"""


def _answer(study: Study) -> str:
    """What came out, in two sentences."""
    by_method, by_start = _told(_method_differences(study)), _told(_start_differences(study))
    return (
        f"**{study['base_model']}, {study['design']['task']}:** between methods of one start {by_method}; "
        f"between starts of one method {by_start}.\n"
    )


def _told(differences: Sequence[Compared]) -> str:
    clear = [f"{what} {signed(mean.value)}" for what, mean, p in differences if p is not None and p < LEVEL]
    return (
        f"{len(clear)} of {len(differences)} differences in normalised gain are told from 0 after Holm's correction"
        + (f" ({'; '.join(clear)})" if clear else "")
    )


def _starts(study: Study) -> str:
    rows = [
        (f"{point['level']:g}", str(point["updates"]), f"{point['validation']:.3f}", f"{point['test']:.3f}")
        for point in study["starts"]
    ]
    return rendered(["start", "supervised updates", "validation success", "test success"], rows, "markdown")


def _cells(study: Study) -> str:
    rows = [
        (
            f"{cell['level']:g}", cell["method"], f"{cell['parameters']:,}", _rate(cell),
            _mean(mean_of(cell["start"])), _mean(mean_of(cell["last"])), _mean(mean_of(normalised_gain(cell))),
            f"{float(np.mean(gain(cell))) / cell['parameters'] * 1e6:+.3f}",
        )
        for cell in study["cells"]
    ]  # fmt: skip
    header = [
        "start", "method", "trained numbers", "rate", "success at the start", "at the end", "normalised gain",
        "gain a million numbers",
    ]  # fmt: skip
    return rendered(header, rows, "markdown")


def _rate(cell: Mapping[str, Any]) -> str:
    """The rate, with a mark where it is the least or the largest of those tried."""
    tried = [float(rate) for rate in cell["rates"]]
    edge = " (edge of those tried)" if tried and cell["rate"] in (min(tried), max(tried)) else ""
    return f"{cell['rate']:g}{edge}"


def _differences(study: Study) -> str:
    rows = [
        (what, _mean(mean), "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}")
        for what, mean, p in [*_method_differences(study), *_start_differences(study)]
    ]
    header = ["difference in normalised gain, paired by seed", "mean", "p (Holm)"]
    return rendered(header, rows, "markdown")


def gain(cell: Mapping[str, Any]) -> Floats:
    """Test success after the last update less that at the start, of each seed."""
    return np.subtract(cell["last"], cell["start"], dtype=np.float64)


def normalised_gain(cell: Mapping[str, Any]) -> Floats:
    """`gain` as a share of what was missing at the start."""
    missing: Floats = 1 - np.asarray(cell["start"], dtype=np.float64)
    return gain(cell) / missing


def _method_differences(study: Study) -> list[Compared]:
    """Methods with more trained numbers less those with fewer, at one start."""
    levels = dict.fromkeys(cell["level"] for cell in study["cells"])
    pairs = [
        (f"start {level:g}: {more['method']} − {fewer['method']}", more, fewer)
        for level in levels
        for fewer, more in combinations([cell for cell in study["cells"] if cell["level"] == level], 2)
    ]
    return _compared(pairs)


def _start_differences(study: Study) -> list[Compared]:
    """Stronger starts less the next weaker ones, with one method."""
    methods = dict.fromkeys(cell["method"] for cell in study["cells"])
    pairs = [
        (f"{method}: start {strong['level']:g} − {weak['level']:g}", strong, weak)
        for method in methods
        for weak, strong in pairwise([cell for cell in study["cells"] if cell["method"] == method])
    ]
    return _compared(pairs)


def _compared(pairs: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> list[Compared]:
    """Each difference with its p by a paired t test, corrected over all of them (Holm 1979)."""
    found = [(what, paired_comparison(normalised_gain(one) - normalised_gain(other))) for what, one, other in pairs]
    corrected = iter(holm([difference.p for _, difference in found if difference.p is not None]))
    return [
        (what, Mean(each.mean, each.interval, each.n), None if each.p is None else next(corrected))
        for what, each in found
    ]


def _made_with(studies: Sequence[Study]) -> str:
    return "## Made with\n\n" + "".join(_lines(studies))


def _lines(studies: Sequence[Study]) -> Iterator[str]:
    for study in studies:
        machine, design = study["machine"], study["design"]
        versions = ", ".join(f"{key} {value}" for key, value in study["versions"].items())
        ranks = " ".join(map(str, design["ranks"]))
        yield (
            f"- {study['base_model']}: `python -m benchmarks.scale_up --out DIR --task {design['task']} "
            f"--ranks {ranks} --seeds {design['seeds']} --choosing-seeds {design['choosing_seeds']} "
            f"--updates {design['updates']} --prompts {design['prompts']}`; {machine['processor']}, "
            f"{', '.join(machine['flags'])}, {study['dtype']}; {versions}.\n"
        )


def _mean(mean: Mean) -> str:
    return f"{mean.value:.3f}" + (f" [{span(mean.interval)}]" if mean.interval else "")


if __name__ == "__main__":
    main()
