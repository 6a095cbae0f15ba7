"""A study that was run in parts, on several days or machines, put together from what its reports hold."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyphony.errors import MetricsError
from polyphony.metrics.measure import RunMeasurements
from polyphony.metrics.runfile.engine import ENGINE
from polyphony.metrics.studies.measurement_cache import figure_from_json
from polyphony.metrics.studies.plan import STUDY_FILE
from polyphony.metrics.studies.study import Study, check_alike, compared


def read_report(directory: Path) -> Study:
    """A study as its report tells, without its run files; its arms are compared anew.

    Raises:
        MetricsError: There is no report, or not one of ours.
    """
    path = directory / STUDY_FILE
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        runs = tuple(_run(plain) for plain in report["runs"])
        return compared(directory, report["plan"], runs, tuple(report["unfinished"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetricsError(f"{path}: not a study's report ({error!r}); write it with `simulate study`") from error


def united(parts: Sequence[Study], directory: Path) -> Study:
    """One study from its parts; where two hold the same cell, the later one's run counts.

    Args:
        parts: At least one.
        directory: Where the whole is to lie.

    Raises:
        MetricsError: They differ in an option, in the reference arm, in the question that their plans ask or in what is
            measured, or at one size in people, base model, compute type or an arm's adapters.
    """
    first = parts[0].plan
    for part in parts[1:]:
        for name in sorted({*first["options"], *part.plan["options"]}):
            one, other = first["options"].get(name), part.plan["options"].get(name)
            if one != other:
                raise MetricsError(
                    f"{part.directory}: {name} is {other!r}, in {parts[0].directory} {one!r}; parts of one study have "
                    "the same options"
                )
        if part.plan["reference"] != first["reference"]:
            raise MetricsError(
                f"{part.directory}: the reference is {part.plan['reference']!r}, not {first['reference']!r}"
            )
        for name in ("contrast", "outcomes", "smallest_effects"):
            if (part.plan.get(name) or None) != (first.get(name) or None):
                raise MetricsError(
                    f"{part.directory}: {name} of the plan is not as in {parts[0].directory}; parts of one study ask "
                    "the same question"
                )
    several = any(cell.get("population") for part in parts for cell in part.plan["cells"])
    check_alike([run for part in parts for run in part.runs], several=several)
    cells = {
        (cell["label"], cell["agents"], cell["seed"], cell.get("population", "")): cell
        for part in parts for cell in part.plan["cells"]
    }  # fmt: skip
    place = {population: number for number, population in enumerate(dict.fromkeys(key[3] for key in cells))}
    order = sorted(cells, key=lambda key: (key[1], place[key[3]], key[2]))
    done = {
        (run.arm, run.agents, run.seed, run.population if several else ""): run for part in parts for run in part.runs
    }
    blocks = list(
        {json.dumps(block, sort_keys=True): block for part in parts for block in part.plan["blocks"]}.values()
    )
    plan = {**first, "blocks": blocks, "cells": [cells[key] for key in order]}
    return compared(
        directory, plan, tuple(done[key] for key in order if key in done),
        tuple(cells[key]["file"] for key in order if key not in done),
    )  # fmt: skip


def _run(plain: Mapping[str, Any]) -> RunMeasurements:
    # What is told of the engine is read from the versions.
    facts = {name: value for name, value in plain["run"].items() if name != ENGINE}
    return RunMeasurements(
        **{**facts, "arm": plain["label"]},
        source=plain["file"],
        completed_timesteps=plain["completed_timesteps"],
        population=plain["population"],
        population_digest=plain["population_digest"],
        config=plain["settings"],
        bank_digest=plain["bank_digest"],
        versions=plain["versions"],
        text_encoder=plain["methods"]["text_encoder"],
        second_text_encoder=plain["methods"].get("second_text_encoder"),
        measurements={name: figure_from_json(figure) for name, figure in plain["measurements"].items()},
    )
