"""What a study's directory says of its lock, and in what the study deviates from what was locked."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polyphony.bundled import reference_trees
from polyphony.checksums import digest_of, sha256
from polyphony.errors import MetricsError
from polyphony.metrics.studies.populations import missing_arms
from polyphony.metrics.studies.study import Study
from polyphony.printable import QUOTE_LIMIT, code_span, code_spans, printable
from polyphony.source_code import package_digest

LOCK_FILE = "lock.json"
MOST_BYTES = 64 << 20


def read_lock(directory: Path) -> dict[str, Any] | None:
    """What `simulate study` recorded of a study's lock; None where it has none.

    Raises:
        MetricsError: It is not one of ours, or was edited after it was written.
    """
    path = directory / LOCK_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"over {MOST_BYTES:,} bytes")
        recorded: dict[str, Any] = json.loads(content)
        locked = recorded["lock"]["locked"]
        parts = (locked["plan"], locked["settings"], locked["code"], locked["populations"])
        if not all(isinstance(part, dict) for part in parts) or not isinstance(recorded["lock"]["date"], str):
            raise TypeError("its parts")
        for deviation in recorded["deviations"]:
            _ = deviation["date"], [str(change) for change in deviation["changes"]]
        _ = [str(file) for file in recorded["begun_before"]]
        is_sealed = recorded["lock"]["sha256"] == digest_of({"date": recorded["lock"]["date"], "locked": locked})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:QUOTE_LIMIT]
        raise MetricsError(f"{path}: not a study's lock ({reason}); restore it, or take it away") from error
    if not is_sealed:
        raise MetricsError(f"{path}: the lock was edited after it was written; restore it")
    return recorded


def lock_paragraphs(study: Study) -> list[str]:
    """What a report says of the lock: when, before what, and every deviation; nothing where there is no lock.

    Raises:
        MetricsError: As `read_lock`.
    """
    recorded = read_lock(study.directory)
    if recorded is None:
        return []
    date, before = printable(recorded["lock"]["date"]), recorded["begun_before"]
    when = f"after {len(before)} of its runs had begun" if before else "before its first run"
    deviations = list(_deviations(study, recorded))
    head = f"The plan was locked on {date}, {when}, as `{LOCK_FILE}` in the study's directory records."
    if not deviations:
        return [f"{head} Nothing deviates from what was locked."]
    return [f"{head} Deviations:", "\n".join(f"- {deviation}" for deviation in deviations)]


def _deviations(study: Study, recorded: Mapping[str, Any]) -> Iterator[str]:
    """Every deviation, a clause each."""
    locked = recorded["lock"]["locked"]
    for deviation in recorded["deviations"]:
        changes = "; ".join(map(code_span, deviation["changes"]))
        yield f"runs were begun on {printable(str(deviation['date']))} although these differed: {changes}"
    if recorded["begun_before"]:
        yield f"begun before the lock: {code_spans(recorded['begun_before'])}"
    source = locked["code"].get("source")
    if source != package_digest():
        yield "this report was measured by code that is not the locked code"
    plan = {name: value for name, value in study.plan.items() if name != "cells"}
    if plan != locked["plan"]:
        yield "`plan.json` is not the locked plan"
    for name in study.populations:
        yield from _people(study, name, locked["populations"])
    files = _of_other_settings(study, locked["settings"])
    if files:
        yield f"runs of other settings than were locked: {code_spans(files)}"
    files = _of_other_compute_type(study, locked.get("compute_type"))
    if files:
        yield f"runs of another compute type than was locked: {code_spans(files)}"
    if locked.get("reference_data") not in (None, sha256(reference_trees())):
        yield "this report measures against other reference data than were locked"
    if study.unfinished:
        yield f"cut off or never begun: {code_spans(study.unfinished)}"
    yield from (f"arm missing: {arm}" for arm in missing_arms(study, of_plan=True))


def _of_other_settings(study: Study, settings: Mapping[str, str]) -> list[str]:
    """Finished runs whose files record other settings than the lock has for their arm."""
    return [
        f"runs/{Path(run.source).name}" for run in study.runs
        if digest_of({name: value for name, value in run.config.items() if name != "base_hash"})
        != settings.get(run.arm)
    ]  # fmt: skip


def _of_other_compute_type(study: Study, locked: str | None) -> list[str]:
    """Finished runs that computed in another type than was locked; none where the lock holds no type."""
    return [
        f"runs/{Path(run.source).name}" for run in study.runs
        if locked is not None and run.versions.get("dtype") not in (None, locked)
    ]  # fmt: skip


def _people(study: Study, name: str, populations: Mapping[str, Any]) -> Iterator[str]:
    """Whether a population's runs are of the people that were locked; its facts are name, digest and number."""
    facts = populations.get(name) if name else next(iter(populations.values()), None)
    digest = facts[1] if isinstance(facts, list) and len(facts) > 1 else None
    runs = [run for run in study.runs if not name or run.population == name]
    if any(run.population_digest != digest for run in runs):
        yield f"population{f' {code_span(name)}' if name else ''}: runs of other people or acts than were locked"


def question_paragraphs(plan: Mapping[str, Any], primary: tuple[str, ...]) -> list[str]:
    """What the plan says is to be looked for first; nothing where it names no contrast, outcome or effect.

    Args:
        plan: A recorded plan.
        primary: Outcomes where the plan names none.
    """
    contrast, effects = plan.get("contrast"), plan.get("smallest_effects", {})
    if not contrast and not effects and not plan.get("outcomes"):
        return []
    lines = [f"Primary contrast: {code_span(contrast[0])} − {code_span(contrast[1])}."] if contrast else []
    lines.append("Primary outcomes: " + ", ".join(map(code_span, plan.get("outcomes") or primary)) + ".")
    if effects:
        sizes = ", ".join(f"{code_span(name)} {printable(str(effect))}" for name, effect in effects.items())
        lines.append(f"Smallest effects of interest: {sizes}; a share is one of the mean of the reference.")
    return [" ".join(lines)]
