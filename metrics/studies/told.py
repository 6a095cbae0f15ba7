"""What a report tells of runs and of studies."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from polyphony.errors import MetricsError
from polyphony.metrics.measure import RunMeasurements, measure_run
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData
from polyphony.metrics.studies.compare import Comparison, compare_measured
from polyphony.metrics.studies.comparison_table import notes
from polyphony.metrics.studies.evidence import Evidence, evidence_of_comparison, evidence_of_runs
from polyphony.metrics.studies.html_report import MOST_ARMS, Told
from polyphony.metrics.studies.labels import labelled_by_difference, settings_by_path
from polyphony.metrics.studies.report import made_with
from polyphony.metrics.studies.sample_texts import of_one_seed
from polyphony.metrics.studies.study import read_study


def told_of_runs(sources: Sequence[str]) -> Told:
    """Measure runs, group them by whatever they differ in, and tell what came of them.

    Args:
        sources: Files, or URLs.

    Raises:
        MetricsError: A run cannot be read.
    """
    runs = labelled_by_difference([measure_run(source) for source in sources])
    try:
        comparison = compare_measured(runs)
    except MetricsError:
        comparison = None
    evidence = evidence_of_runs(runs) if comparison is None else evidence_of_comparison(comparison)
    return Told(_title(evidence), evidence, _texts(runs, sources, evidence), _methods(comparison), _facts(runs))


def told_of_study(directory: Path) -> Told:
    """Measure what a study lacks, and tell what came of it.

    Raises:
        MetricsError: It is no study, none of its runs is finished, or one cannot be read.
    """
    study = read_study(directory)
    if not study.runs:
        raise MetricsError(f"{directory}: no run of the study is finished; run it again")
    comparison = study.comparison
    evidence = evidence_of_runs(study.runs) if comparison is None else evidence_of_comparison(comparison)
    methods = _methods(comparison)
    if study.unfinished:
        methods.append(f"{len(study.unfinished)} runs of the plan are not finished and in no figure.")
    sources = [run.source for run in study.runs]
    return Told(_title(evidence), evidence, _texts(study.runs, sources, evidence), methods, _facts(study.runs))


def _title(evidence: Evidence) -> str:
    sizes = ", ".join(f"{size:,}" for size in evidence.sizes)
    return f"{', '.join(evidence.arms)}: {sizes} agents"


def _texts(runs: Sequence[RunMeasurements], sources: Sequence[str], evidence: Evidence) -> dict[str, RunData]:
    shown = of_one_seed(runs, sources, evidence.arms, MOST_ARMS)
    return {arm: load_run(source, history=False, exposures=False) for arm, source in shown.items()}


def _methods(comparison: Comparison | None) -> list[str]:
    lead = "Every figure is computed from the run files alone. `simulate digest RUN` prints the digest of a run."
    return [lead] if comparison is None else [lead, notes(comparison)]


def _facts(runs: Sequence[RunMeasurements]) -> list[tuple[str, str]]:
    digests = [(f"digest of {run.arm}, {run.agents:,} agents, seed {run.seed}", run.digest) for run in runs]
    return [("population", runs[0].population), *_versions(runs), *digests, *_settings(runs)]


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
