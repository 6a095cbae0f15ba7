"""A study's report: tables, figures, methods; everything is computed from the run files."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from polyphony.errors import MetricsError
from polyphony.metrics.core.labels import arm_sentence, number, span
from polyphony.metrics.core.registry import PRIMARY, plugin_measurements, title_of
from polyphony.metrics.measure import RunMeasurements
from polyphony.metrics.runfile.engine import ENGINE, engine_cautions, engine_facts
from polyphony.metrics.studies.compare import Comparison, compare_measured
from polyphony.metrics.studies.comparison_table import comparison_rows, headers, notes, rendered
from polyphony.metrics.studies.lock import lock_paragraphs, question_paragraphs
from polyphony.metrics.studies.plan import outcomes_of
from polyphony.metrics.studies.populations import Tables, missing_arms, shown_name, tables_of_each
from polyphony.metrics.studies.power import STUDIES, power_table
from polyphony.metrics.studies.reported import reported_lines
from polyphony.metrics.studies.study import Study
from polyphony.printable import code_span, code_spans
from polyphony.scratch import scratch_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SUFFIXES = {"markdown": "md", "latex": "tex"}
_PARTS = ("study.json", "results.parquet", "report.md", "tables", "figures")
# Okabe & Ito's colours, told apart by people with any colour vision.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#999933")
_INCHES = (8.0, 6.0)
_LEGEND_LETTERS = 100


def write_report(study: Study) -> str:
    """Write the report into the study's directory, and return its text."""
    contents = tables(study)
    text = report_text(study, contents)
    with scratch_folder(study.directory) as new:
        (new / "tables").mkdir()
        (new / "figures").mkdir()
        (new / "study.json").write_text(json.dumps(study.to_json(), indent=1) + "\n", encoding="utf-8")
        _write_tidy(study, new / "results.parquet")
        for style, suffix in _SUFFIXES.items():
            for name, (headers, rows) in contents.items():
                table = rendered(headers, rows, style) + "\n"
                (new / "tables" / f"{name}.{suffix}").write_text(table, encoding="utf-8")
        _draw(study, new / "figures")
        (new / "report.md").write_text(text, encoding="utf-8")
        for part in _PARTS:
            old = study.directory / part
            if old.is_dir():
                shutil.rmtree(old)
            os.replace(new / part, old)
    return text


def tables(study: Study) -> Tables:
    """Headers and rows: ``primary`` in the paper's form, ``measurements`` with everything, ``differences``, ``power``.

    ``contrast`` has the outcomes of the plan's contrast, where that is not among the differences from the reference.
    Where several populations are crossed, the first three of each population follow, ``…_by_population``.
    """
    whole = _tables(study)
    contrast = _primary_contrast(study)
    if study.comparison is not None:
        whole["power"] = power_table(contrast or study.comparison, study.plan)
        if contrast is not None and contrast.reference != study.comparison.reference:
            whole["contrast"] = (headers(), _outcome_rows(study, comparison_rows(contrast)))
    if len(study.populations) > 1:
        whole |= {f"{name}_by_population": table for name, table in tables_of_each(study, _tables).items()}
    return whole


def _tables(study: Study) -> dict[str, tuple[Sequence[str], Sequence[Sequence[str]]]]:
    contents: dict[str, tuple[Sequence[str], Sequence[Sequence[str]]]] = {
        "primary": (["arm", *(f"{title_of(name)}, {size}" for name in PRIMARY for size in study.sizes)], _rows(study)),
        "measurements": (
            ["measurement", "arm", *map(str, study.sizes)],
            [
                [title_of(name), arm, *(_cell(study, name, arm, size) for size in study.sizes)]
                for name in study.measurements for arm in study.arms
            ],
        ),
    }  # fmt: skip
    if study.comparison is not None:
        contents["differences"] = (headers(), comparison_rows(study.comparison))
    return contents


def report_text(study: Study, contents: Tables) -> str:
    """The report as Markdown, with the tables that `tables` gives."""
    parts = [
        "# Study report",
        "Written by `simulate study`; every number is computed from the run files. "
        + (_CELLS if len(study.populations) == 1 else _CELLS_OF_POPULATIONS),
        *question_paragraphs(study.plan, PRIMARY),
        *lock_paragraphs(study),
        *_absent(study),
        *engine_cautions([run.versions for run in study.runs]),
        "## What the arms did, by population size",
        rendered(*contents["primary"], "markdown"),
        *(f"![{title_of(name)}](figures/{name}.svg)" for name in PRIMARY),
        "## Arms",
        "\n".join(f"- `{arm}`: {_arm_text(study, arm)}" for arm in study.arms),
    ]
    if study.comparison is not None:
        parts += ["## Differences", notes(study.comparison), _primary(study, contents["differences"])]
        if "contrast" in contents:
            parts += [_contrast_line(study), rendered(*contents["contrast"], "markdown")]
        reported = [f"- {line}" for line in reported_lines(study.comparison.differences)]
        parts += ["\n".join(reported)] if reported else []
        parts += ["## What the full study needs", _POWER, rendered(*contents["power"], "markdown")]
    else:
        parts += ["## Differences", f"None: {study.not_compared}."]
    parts += _each_population(study, contents)
    parts += ["## All measurements", rendered(*contents["measurements"], "markdown"), *_plugins(study), _methods(study)]
    return "\n\n".join(parts) + "\n"


def _primary(study: Study, differences: tuple[Sequence[str], Sequence[Sequence[str]]]) -> str:
    """The rows of the primary outcomes in Markdown."""
    columns, rows = differences
    return rendered(columns, _outcome_rows(study, rows, columns.index("measurement")), "markdown")


def _outcome_rows(study: Study, rows: Sequence[Sequence[str]], place: int = 0) -> list[Sequence[str]]:
    """The rows of the primary outcomes; `place` is the column of the measurement's title."""
    titles = {title_of(name) for name in outcomes_of(study.plan, PRIMARY)}
    return [row for row in rows if row[place] in titles]


def _contrast_line(study: Study) -> str:
    arm, against = map(code_span, study.plan["contrast"])
    return f"The primary contrast, {arm} − {against}, by the same test; the reference of these rows is {against}:"


def _each_population(study: Study, contents: Tables) -> list[str]:
    """The populations one by one; nothing where there is one."""
    if "primary_by_population" not in contents:
        return []
    parts = ["## Each population by itself", _CELLS, rendered(*contents["primary_by_population"], "markdown")]
    if "differences_by_population" in contents:
        parts += [_OF_SEEDS, _primary(study, contents["differences_by_population"])]
    return parts


_CELLS = "Cells hold the mean over seeds, its 95% interval over seeds (Student's t), and the number of seeds."
_CELLS_OF_POPULATIONS = (
    "Cells hold the mean over populations, its 95% interval over populations (Student's t on the means of their seeds) "
    "and the number of runs."
)
_OF_SEEDS = "The differences within each population, by Student's t over its seeds; they speak of its people alone."
_POWER = (
    f"Of {STUDIES:,} simulated studies with the standard deviations that the differences have here, this share finds "
    "the effect of interest: the plan's, else 25% of the reference's mean. The test is that of the differences, at "
    "0.05 divided by the number of primary measurements: Holm's correction cannot take the effect away then. The last "
    "columns say how many populations or seeds give a power of 80%; in brackets with variances at their upper 80% "
    "limits, for a small pilot knows them only roughly. Seeds of one population find effects on these people, however "
    "many they are."
)


def _primary_contrast(study: Study) -> Comparison | None:
    """The two arms of the plan's contrast compared; None where it names none, or their runs are not there yet."""
    contrast = list(study.plan.get("contrast") or [])
    runs = [run for run in study.runs if run.arm in contrast]
    if len({run.arm for run in runs}) < 2:
        return None
    try:
        return compare_measured(
            runs, contrast[1], same_settings=False, one_population=len(study.populations) == 1,
            outcomes=outcomes_of(study.plan, PRIMARY),
        )  # fmt: skip
    except MetricsError:
        return None


def _absent(study: Study) -> list[str]:
    """A paragraph where runs of the plan are not in the figures, and one where a population lacks an arm."""
    files = code_spans(study.unfinished)
    lines = [f"Not finished, and in no figure: {files}. The same `simulate study` runs them."] if files else []
    arms = "; ".join(missing_arms(study))
    return lines + ([f"No finished run of {arms}: no mean over populations holds these arms there."] if arms else [])


def _arm_text(study: Study, label: str) -> str:
    name, _, changes = label.partition(":")
    configs = [run.config for run in study.runs if run.arm == label]
    sentence = arm_sentence(name)
    if configs and all(config.get("base_hash") is None and "policy" in config for config in configs):
        sentence = f"the policy `{configs[0]['policy']}` decides, without a model"
    return sentence + (f"; {changes.replace('+', ', ')}" if changes else "")


def _rows(study: Study) -> list[list[str]]:
    return [[arm, *(_cell(study, name, arm, size) for name in PRIMARY for size in study.sizes)] for arm in study.arms]


def _cell(study: Study, name: str, arm: str, agents: int) -> str:
    summary = study.summary(name, arm, agents)
    if summary is None:
        return "–"
    return f"{number(summary.mean)} [{span(summary.interval) or '–'}] ({len(summary.values)})"


def _plugins(study: Study) -> list[str]:
    """What plug-ins' measurements are; nothing where there are none."""
    named = [definition for definition in plugin_measurements() if definition.name in study.measurements]
    lines = [f"- {entry.title} (`{entry.name}`, {entry.unit}): {entry.definition}" for entry in named]
    return ["## Measurements of plug-ins", "\n".join(lines)] if lines else []


def _methods(study: Study) -> str:
    options = {name: value for name, value in study.plan["options"].items() if value not in (None, "")}
    counts = Counter(run.arm for run in study.runs)
    populations = ", ".join(code_span(shown_name(name)) for name in study.populations if name)
    lines = [
        "## Methods",
        *([f"Populations: {populations}."] if populations else []),
        "Options of all runs: " + ", ".join(f"`{name}` {value}" for name, value in options.items()) + ".",
        f"{len(study.runs)} finished runs of {len(study.plan['cells'])}: "
        + ", ".join(f"{arm} {count}" for arm, count in counts.items()) + ".",
        "Runs made with " + "; ".join(made_with(study.runs)) + ".",
        "Measured with " + ", ".join(f"{name} {_version(name)}" for name in _PACKAGES) + ".",
        _digests(study, bool(populations)),
    ]  # fmt: skip
    encoders = dict.fromkeys(run.text_encoder for run in study.runs if run.text_encoder)
    if encoders:
        lines.insert(-3, "Text encoder: " + "; ".join(encoders) + ".")
    return "\n\n".join(lines)


def _digests(study: Study, several: bool) -> str:
    """The table of the runs' digests, with the population where several are crossed."""
    head = ["| population "] if several else []
    rows = [
        (f"| {code_span(shown_name(run.population))} " if several else "")
        + f"| {run.arm} | {run.agents} | {run.seed} | `{run.digest}` |"
        for run in study.runs
    ]
    titles = "".join((*head, "| arm | agents | seed | digest |"))
    return "\n".join((titles, "| --- " * (titles.count("|") - 1) + "|", *rows))


def made_with(runs: Sequence[RunMeasurements]) -> Iterator[str]:
    """Every version and fingerprint that decided the runs, with all its values."""
    engines = {facts.sentence for run in runs if (facts := engine_facts(run.versions)) is not None}
    if engines:
        yield f"{ENGINE} {' or '.join(sorted(engines))}"
    for name in sorted({name for run in runs for name in run.versions} - {ENGINE}):
        yield f"{name} {' or '.join(sorted({str(run.versions[name]) for run in runs if name in run.versions}))}"
    for title, digests in (
        ("population", {run.population_digest for run in runs}),
        ("base model", {run.config.get("base_hash") for run in runs}),
        ("adapters", {run.bank_digest for run in runs}),
    ):
        known = sorted(digest for digest in digests if digest)
        if known:
            yield f"{title} " + " or ".join(f"`{digest}`" for digest in known)


_PACKAGES = ("numpy", "scipy", "scikit-learn", "networkx", "python-louvain")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _write_tidy(study: Study, path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(list(study.tidy()))
    numbers = [
        name for name in ("value", "low", "high", "null_mean", "null_sd", "null_z", "null_draws") if name in frame
    ]
    frame[numbers] = frame[numbers].astype(float)
    frame.to_parquet(path, index=False)


def _draw(study: Study, folder: Path) -> None:
    """One figure for each primary measurement: seeds as points, mean and interval beside them."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "polyphony", "font.size": 9, "svg.fonttype": "none"}):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        for name in PRIMARY:
            figure = Figure(_INCHES, layout="constrained")
            FigureCanvasAgg(figure)
            _draw_arms(study, name, figure.subplots())
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=120, metadata={"Software": None})


def _draw_arms(study: Study, name: str, axes: "Axes") -> None:
    arms = [arm for arm in study.arms if any(run.arm == arm for run in study.runs)]
    columns = [
        (part, size, ", ".join(filter(None, (shown_name(population), f"{size} agents"))))
        for population, part in study.by_population.items() for size in part.sizes
        if any(run.agents == size for run in part.runs)
    ]  # fmt: skip
    width = 0.8 / max(1, len(arms))
    for place, arm in enumerate(arms):
        colour = COLOURS[study.arms.index(arm) % len(COLOURS)]
        shift = (place - (len(arms) - 1) / 2) * width
        shown = False
        for column, (part, size, _) in enumerate(columns):
            summary = part.summary(name, arm, size)
            if summary is None:
                continue
            low, high = summary.interval or (summary.mean, summary.mean)
            axes.errorbar(
                column + shift, summary.mean, [[summary.mean - low], [high - summary.mean]], fmt="o", color=colour,
                capsize=3, label=None if shown else arm,
            )  # fmt: skip
            axes.scatter(
                [column + shift + width / 4] * len(summary.values), summary.values, s=8, color=colour, alpha=0.5
            )
            shown = True
    axes.set_xticks(range(len(columns)), [label for _, _, label in columns], parse_math=False)
    axes.set_xlim(-0.5, max(1, len(columns)) - 0.5)
    axes.set_title(title_of(name))
    axes.grid(axis="y", alpha=0.3)
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        abreast = max(1, min(4, _LEGEND_LETTERS // max(map(len, labels))))  # arms with many options have long names
        axes.legend(ncols=abreast, loc="upper center", bbox_to_anchor=(0.5, -0.06), frameon=False)
