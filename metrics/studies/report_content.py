"""What a report tells of runs and of studies."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from polyphony.errors import MetricsError
from polyphony.metrics.measure import RunMeasurements, measure_run
from polyphony.metrics.runfile.engine import engine_cautions
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData
from polyphony.metrics.studies.compare import compare_measured
from polyphony.metrics.studies.comparison_table import notes
from polyphony.metrics.studies.evidence import (
    Evidence,
    evidence_of_comparison,
    evidence_of_runs,
    evidence_without_comparison,
)
from polyphony.metrics.studies.html_report import MOST_ARMS, ReportContent
from polyphony.metrics.studies.labels import labelled_by_difference, settings_by_path
from polyphony.metrics.studies.populations import shown_name
from polyphony.metrics.studies.report import made_with
from polyphony.metrics.studies.sample_texts import of_one_seed
from polyphony.metrics.studies.study import read_study

_LEAD = "Every figure is computed from the run files alone. `simulate digest RUN` prints the digest of a run."


def content_of_runs(sources: Sequence[str]) -> ReportContent:
    """Measure runs, group them by whatever they differ in, and tell what came of them.

    Args:
        sources: Files, or URLs.

    Raises:
        MetricsError: A run cannot be read, or the runs do not belong into one table.
    """
    runs = labelled_by_difference([measure_run(source) for source in sources])
    if len({run.arm for run in runs}) == 1:
        return _content(runs, sources, evidence_of_runs(runs), [_LEAD])
    comparison = compare_measured(runs)
    return _content(runs, sources, evidence_of_comparison(comparison), [_LEAD, notes(comparison)])


def content_of_study(directory: Path, plugins: Sequence[str] = ()) -> ReportContent:
    """Measure what a study lacks, and tell what came of it.

    Raises:
        MetricsError: It is no study, none of its runs is finished, or one cannot be read.
    """
    study = read_study(directory, plugins=plugins)
    if not study.runs:
        raise MetricsError(f"{directory}: no run of the study is finished; run it again")
    sources = [run.source for run in study.runs]
    methods = [_LEAD]
    if study.comparison is None:
        reason = (study.not_compared or "its arms cannot be compared").replace(f"{directory}/", "")
        evidence = evidence_without_comparison(study.runs, reason)
    else:
        evidence = evidence_of_comparison(study.comparison)
        methods.append(notes(study.comparison))
    if study.unfinished:
        methods.append(f"{len(study.unfinished)} runs of the plan are not finished and in no figure.")
    return _content(study.runs, sources, evidence, methods)


def _content(
    runs: Sequence[RunMeasurements], sources: Sequence[str], evidence: Evidence, methods: Sequence[str]
) -> ReportContent:
    cautions = [line for line in engine_cautions([run.versions for run in runs]) if line not in " ".join(methods)]
    notes = [*methods, *cautions]
    return ReportContent(_title(evidence), evidence, _texts(runs, sources, evidence), notes, _facts(runs))


def _title(evidence: Evidence) -> str:
    sizes = ", ".join(f"{size:,}" for size in evidence.sizes)
    return f"{', '.join(evidence.arms)}: {sizes} agents"


def _texts(runs: Sequence[RunMeasurements], sources: Sequence[str], evidence: Evidence) -> dict[str, RunData]:
    people = runs[0].population_digest
    pairs = [(run, source) for run, source in zip(runs, sources, strict=True) if run.population_digest == people]
    shown = of_one_seed([run for run, _ in pairs], [source for _, source in pairs], evidence.arms, MOST_ARMS)
    return {arm: load_run(source, history=False, exposures=False) for arm, source in shown.items()}


def _facts(runs: Sequence[RunMeasurements]) -> list[tuple[str, str]]:
    lengths = dict.fromkeys(
        f"{run.completed_timesteps}" if run.completed_timesteps == run.timesteps
        else f"{run.completed_timesteps} ({run.status}) of {run.timesteps}"
        for run in runs
    )  # fmt: skip
    encoders = dict.fromkeys(run.text_encoder for run in runs if run.text_encoder)
    populations = dict.fromkeys(shown_name(run.population) for run in runs)
    of_people = {run.population: f" of {shown_name(run.population)}" * (len(populations) > 1) for run in runs}
    digests = [
        (f"digest of {run.arm}, {run.agents:,} agents{of_people[run.population]}, seed {run.seed}", run.digest)
        for run in runs
    ]
    return [
        ("timesteps", "; ".join(lengths)), ("people", "; ".join(populations)), ("text encoder", "; ".join(encoders)),
        *_versions(runs), *digests, *_settings(runs),
    ]  # fmt: skip


def _versions(runs: Sequence[RunMeasurements]) -> Iterator[tuple[str, str]]:
    for line in made_with(runs):
        name, _, value = line.partition(" ")
        yield name, value.replace("`", "")


def _settings(runs: Sequence[RunMeasurements]) -> Iterator[tuple[str, str]]:
    """The settings that all runs share."""
    flat = [settings_by_path(run.config) for run in runs]
    for path, value in flat[0].items():
        if all(path in own and own[path] == value for own in flat):
            yield path, str(value)
