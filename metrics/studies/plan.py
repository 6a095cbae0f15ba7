"""What a study planned, and how far it is; nothing is measured here."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polyphony.errors import MetricsError
from polyphony.printable import QUOTE_LIMIT

PLAN_FILE = "plan.json"
STUDY_FILE = "study.json"


def read_plan(directory: Path) -> dict[str, Any]:
    """What `simulate study` wrote down before its first run.

    Raises:
        MetricsError: There is none, or it is not one of ours.
    """
    path = directory / PLAN_FILE
    if not path.is_file():
        raise MetricsError(f"{directory}: not a study, it has no {PLAN_FILE}; give the --out of `simulate study`")
    try:
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for cell in plan["cells"]:
            if not isinstance(cell["label"], str) or Path(cell["file"]).is_absolute() or ".." in cell["file"]:
                raise ValueError(f"cell {cell!r}")
            if not isinstance(cell.get("population", ""), str):
                raise ValueError(f"cell {cell!r}")
            if type(cell["agents"]) is not int or type(cell["seed"]) is not int:
                raise ValueError(f"cell {cell!r}")
        if not isinstance(plan["reference"], str) or not isinstance(plan["options"], dict):
            raise ValueError("its reference or options")
        _check_question(plan)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:QUOTE_LIMIT]
        raise MetricsError(f"{path}: not a study's plan ({reason}); give the --out of `simulate study`") from error
    return plan


def _check_question(plan: Mapping[str, Any]) -> None:
    """Refuse a contrast, outcomes and smallest effects that are not as `simulate study` writes them.

    Raises:
        ValueError: They are not.
    """
    contrast, outcomes, effects = (plan.get(name) for name in ("contrast", "outcomes", "smallest_effects"))
    names = [*(contrast or []), *(outcomes or [])]
    if not all(isinstance(name, str) for name in names) or len(contrast or ()) not in (0, 2):
        raise ValueError("its contrast or outcomes")
    if effects is not None and not all(isinstance(effect, int | float | str) for effect in effects.values()):
        raise ValueError("its smallest effects")


def populations_of(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """The populations that a plan crosses, in its order; one empty name where all runs have the same people."""
    return tuple(dict.fromkeys(cell.get("population", "") for cell in plan["cells"])) or ("",)


def outcomes_of(plan: Mapping[str, Any], usual: Sequence[str]) -> tuple[str, ...]:
    """The primary outcomes that a plan names; the usual ones where it names none."""
    return tuple(dict.fromkeys(plan.get("outcomes") or usual))


class StudyProgress(NamedTuple):
    """How many runs of a study are there, of how many that were planned; its arms and sizes."""

    there: int
    planned: int
    arms: tuple[str, ...]
    sizes: tuple[int, ...]
    seeds: int
    has_report: bool


def study_progress(directory: Path) -> StudyProgress:
    """How far a study is, by its run files.

    Raises:
        MetricsError: It is no study.
    """
    cells = read_plan(directory)["cells"]
    return StudyProgress(
        sum((directory / cell["file"]).is_file() for cell in cells), len(cells),
        tuple(dict.fromkeys(cell["label"] for cell in cells)), tuple(sorted({cell["agents"] for cell in cells})),
        len({cell["seed"] for cell in cells}), (directory / STUDY_FILE).is_file(),
    )  # fmt: skip
