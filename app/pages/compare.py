"""The Compare page: arms side by side over population sizes, and what the data support in plain words."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from polyphony.app.parts.charts import evidence_chart, shares_chart
from polyphony.app.parts.escape import markup, plain
from polyphony.app.parts.forest import AXIS_END, effects, forest_chart, without_effect
from polyphony.app.parts.glossary import about, about_all, explained, glossary_expander
from polyphony.app.parts.library import FoundRun, Library, first_choice, run_data, run_measurements, study_evidence
from polyphony.app.parts.page_parts import arm_name, block, chart, facts, heading, note, notice, table, title
from polyphony.app.parts.same_moment import same_moment
from polyphony.app.parts.style import LINE, arm_colours
from polyphony.errors import MetricsError
from polyphony.metrics.core.labels import arm_sentence, number, probability, signed, span
from polyphony.metrics.core.registry import HEADLINES, PRIMARY, family_of
from polyphony.metrics.figures.activity import outcome_counts
from polyphony.metrics.figures.acts import act_distribution
from polyphony.metrics.runfile.rundata import RunData
from polyphony.metrics.studies.compare import Difference
from polyphony.metrics.studies.comparison_table import corrected_p, counted_seeds
from polyphony.metrics.studies.evidence import Evidence, evidence_of_runs
from polyphony.metrics.studies.findings import findings
from polyphony.metrics.studies.labels import labelled_by_difference
from polyphony.metrics.studies.reported import reported_lines

CHOSEN_RUNS = "runs to compare"
CHOSEN_EVIDENCE = "what to compare"
RUNS = "Runs of this folder"

_SECONDS_TO_MEASURE = 20
_MOST_ARMS_DRAWN = 8
_MOST_PLUGIN_CHARTS = 12
_FOREST = (
    "d = m / s, where m is the mean and s the standard deviation of the differences between the arm and the reference, "
    "one difference for each seed (Cohen's d of paired data). The 95% interval is that of the difference divided by s: "
    "d ± t(0.975; n − 1) / √n for n seeds (across populations, for n populations and the means of their seeds). It "
    "takes s as known, so with few seeds it says less than it seems to. d "
    "tells how steady a difference is from seed to seed, not how large it is: the charts below show that."
)
_ACTS = (
    "The number of activations with this act that the platform carried out, divided by all activations that it carried "
    "out. Doing nothing is an act, too. An act that the platform refused, or whose policy failed, is in none of them."
)


def draw(library: Library, _: FoundRun | None) -> None:
    """Draw the page."""
    if not library.runs and not library.studies:
        title("Compare", "Nothing to compare: this folder holds no run and no study.")
        return
    try:
        evidence, runs = _chosen(library)
    except MetricsError as error:
        title("Compare", "These cannot be compared.")
        notice(str(error))
        return
    if evidence is None:
        title("Compare", "Choose one or more runs. A comparison needs two arms with the same people.")
        return
    if not evidence.arms:
        title("Compare", "Nothing to compare yet.")
        notice(evidence.not_compared or "no run is finished")
        return
    colours = arm_colours(evidence.arms)
    _introduction(evidence, colours)
    drawn = _drawn_measurements(evidence)
    _forest(evidence, drawn, colours)
    same_moment(runs, colours)
    _charts(evidence, drawn, colours)
    _acts(runs, colours)
    _effects(evidence)
    with st.expander("All figures of all runs"):
        table([row._asdict() for row in evidence.figures], "figures", 460)
    glossary_expander()
    if runs:
        _outcomes(runs, colours)


def _chosen(library: Library) -> tuple[Evidence | None, dict[str, RunData]]:
    """Return the evidence that the reader chose, and one run of each arm."""
    reports = [directory for directory, progress in library.studies.items() if progress.has_report]
    names = {str(directory): f"Study {plain(directory.name)}" for directory in reports}
    choices = [*names, *([RUNS] if library.runs else [])]
    if st.session_state.get(CHOSEN_EVIDENCE) not in choices:
        st.session_state.pop(CHOSEN_EVIDENCE, None)
    choice = RUNS
    if names:
        choice = st.selectbox(
            "What to compare", choices, format_func=lambda name: names.get(name, name), key=CHOSEN_EVIDENCE
        )
    if choice != RUNS:
        directory = Path(choice)
        runs_here = tuple(run for run in library.runs if run.path.is_relative_to(directory))
        evidence = study_evidence(directory)
        return evidence, {
            arm: run
            for arm, run in _one_of_each(runs_here, [run.arm for run in runs_here]).items()
            if arm in evidence.arms
        }
    labels = {str(run.path): run.label for run in library.runs}
    default = [str(run.path) for run in first_choice(library.runs)]
    paths = st.multiselect("Runs", list(labels), default, format_func=lambda path: labels[path], key=CHOSEN_RUNS)
    if not paths:
        return None, {}
    chosen = tuple(run for run in library.runs if str(run.path) in paths)
    everything = st.toggle(
        f"Measure everything (about {_SECONDS_TO_MEASURE} s for a run of 512 agents, once)", value=False
    )
    intact, measured = [], []
    for run in chosen:
        try:
            measured.append(run_measurements(run.path, everything))
            intact.append(run)
        except MetricsError as error:
            notice(str(error))
    labels_of = [run.arm for run in labelled_by_difference(measured)]
    return (evidence_of_runs(measured), _one_of_each(intact, labels_of)) if measured else (None, {})


def _one_of_each(runs: Sequence[FoundRun], arms: Sequence[str]) -> dict[str, RunData]:
    """Return the largest run of each arm, of the first seed; `base` comes first. Arms are given run by run."""
    pairs = list(zip(arms, runs, strict=True))
    ordered = sorted(
        pairs, key=lambda pair: (pair[0].split(", ")[0] != "base", -pair[1].header.agents, pair[1].header.seed)
    )
    largest = list({arm: (arm, run) for arm, run in reversed(ordered)}.values())[-_MOST_ARMS_DRAWN:]
    return {arm: run_data(run.path) for arm, run in reversed(largest)}


def _introduction(evidence: Evidence, colours: Mapping[str, str]) -> None:
    named = [f"<bdi>{markup(arm)}</bdi>" for arm in evidence.arms]
    names = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    heading_text = names if len(evidence.arms) < 4 else f"{len(evidence.arms)} arms"
    title(f"{heading_text}{', side by side' if len(evidence.arms) > 1 else ''}", "What the intervals support:")
    others = [arm for arm in evidence.arms if arm != evidence.reference]
    sentences = findings(evidence)
    borders = [colours[arm] for arm in others] if len(sentences) == len(others) else [LINE] * len(sentences)
    block("".join(
        f'<div class="finding words" style="border-color:{border}">{markup(sentence)}</div>'
        for sentence, border in zip(sentences, borders, strict=True)
    ))  # fmt: skip
    arms = "".join(f"<li>{arm_name(arm, colours[arm])} &nbsp;{arm_sentence(arm)}</li>" for arm in evidence.arms)
    block(f'<ul class="plain">{arms}</ul>')


def _drawn_measurements(evidence: Evidence) -> list[str]:
    """The headline measurements and a few of plug-ins, in the order of the charts."""
    measured = dict.fromkeys(row.measurement for row in evidence.figures)
    plugins = [name for name in measured if family_of(name) == "plug-in"]
    return [*(name for name in HEADLINES if name in measured), *plugins[:_MOST_PLUGIN_CHARTS]]


def _forest(evidence: Evidence, measurements: Sequence[str], colours: Mapping[str, str]) -> None:
    if evidence.reference is None:
        return
    heading(
        f"Effects against {markup(evidence.reference)}",
        "A mark is the effect size d: the mean paired difference in standard deviations of the paired differences. Its "
        "line is the 95% interval, not corrected for the number of measurements. Left of zero an arm is lower than "
        f"{markup(evidence.reference)}, right of zero higher. The axis ends at {AXIS_END:g} at most: a line is cut "
        "there, and an arrow stands for a mark beyond, with its d.",
    )
    shown = list(dict.fromkeys(effect.difference.measurement for effect in effects(evidence, measurements)))
    if shown:
        block(explained(_FOREST + about_all(shown)))
        chart(
            forest_chart(evidence, measurements, colours), "effect sizes",
            f"Effect size of {len(shown)} measurements against {plain(evidence.reference)}, with 95% intervals",
        )  # fmt: skip
    for reason, names in without_effect(evidence, measurements).items():
        note(f"Not drawn ({markup(reason)}): {markup(', '.join(names))}.")


def _charts(evidence: Evidence, shown: Sequence[str], colours: Mapping[str, str]) -> None:
    heading(
        "Headline figures",
        "A mark is the mean of the seeds with its 95% interval, a small point one seed; with one seed the interval is "
        "over agents. A grey band is what chance gives: the central 95% of the figure's null model.",
    )
    columns = st.columns(2, gap="large")
    for place, name in enumerate(shown):
        words = evidence.title(name)
        with columns[place % 2]:
            block(f'<p style="margin:.8rem 0 0"><b>{markup(words)}</b></p>{about(name)}')
            reasons = {row.reason for row in evidence.figures if row.measurement == name and row.value is None}
            figures = [evidence.figure(name, arm, size) for arm in evidence.arms for size in evidence.sizes]
            if any(figure.value is not None for figure in figures):
                chart(evidence_chart(evidence, name, colours), name, f"{words} of each arm by population size")
            for reason in sorted(filter(None, reasons)):
                note(f"Without a value in some runs: {markup(reason)}.")


def _acts(runs: Mapping[str, RunData], colours: Mapping[str, str]) -> None:
    if not runs:
        return
    size = max(len(run.agents) for run in runs.values())
    heading(
        "What agents choose to do",
        f"Share of each act among activations that were carried out, in one run of each arm ({size:,} agents at most).",
    )
    block(explained(_ACTS))
    shares = {arm: act_distribution(run) for arm, run in runs.items()}
    chart(shares_chart(shares, colours), "acts", "Share of each act by arm")


def _effects(evidence: Evidence) -> None:
    if not evidence.differences:
        return
    heading(
        "Table of effects",
        f"Each arm against {markup(evidence.reference or '')}, paired by seed. Interval, p and verdict are of one t "
        "test. Holm's correction is for the four primary measurements of an arm at one size; the other rows are "
        "exploratory. With so many seeds such an effect would be found with 80% power.",
    )
    shown = [
        difference for difference in evidence.differences
        if difference.measurement in (*PRIMARY, "original_post_rate", "comments_per_agent")
        or family_of(difference.measurement) == "plug-in"
    ]  # fmt: skip
    rows = [_effect_row(evidence, difference) for difference in shown]
    table(rows, "effects", 320, [_effect_figures(evidence, difference) for difference in shown])
    for line in reported_lines(evidence.differences):
        note(markup(line))


def _effect_row(evidence: Evidence, difference: Difference) -> dict[str, object]:
    """A difference as the page shows it."""
    return {
        "measurement": evidence.title(difference.measurement), "arm": difference.arm, "agents": difference.agents,
        "difference": None if difference.difference is None else signed(difference.difference),
        "95% interval": span(difference.interval), "verdict": difference.verdict or "",
        "effect size d": number(difference.effect_size), "p": probability(difference.p),
        "p (Holm)": corrected_p(difference), "seeds": counted_seeds(difference),
        "seeds for 80% power": difference.seeds_needed, "remark": difference.reason or "",
    }  # fmt: skip


def _effect_figures(evidence: Evidence, difference: Difference) -> dict[str, object]:
    """A difference as files hold it: every figure a number in a column of its own."""
    low, high = difference.interval or (None, None)
    d_low, d_high = difference.effect_interval or (None, None)
    ratio_low, ratio_high = difference.ratio_interval or (None, None)
    return {
        "measurement": evidence.title(difference.measurement), "arm": difference.arm, "against": difference.against,
        "agents": difference.agents, "difference": difference.difference, "low": low, "high": high,
        "effect_size": difference.effect_size, "effect_size_low": d_low, "effect_size_high": d_high,
        "p": difference.p, "p_holm": difference.p_holm, "verdict": difference.verdict or "",
        "ratio": difference.ratio, "ratio_low": ratio_low, "ratio_high": ratio_high, "seeds": difference.seeds,
        "populations": difference.populations, "seeds_needed": difference.seeds_needed,
        "remark": difference.reason or "",
    }  # fmt: skip


def _outcomes(runs: Mapping[str, RunData], colours: Mapping[str, str]) -> None:
    heading("What went wrong", "Activations that the platform refused, or whose policy failed, are recorded as such.")
    rows = []
    for arm, run in runs.items():
        counts = outcome_counts(run)
        totals = dict.fromkeys(("ok", "refused", "failed"), 0)
        for (outcome, _), n in counts.items():
            totals[outcome] = totals.get(outcome, 0) + n
        block(f'<p style="margin:.5rem 0 0">{arm_name(arm, colours[arm])}</p>')
        facts((kind, f"{totals[kind]:,}") for kind in totals)
        rows += [
            {"arm": arm, "outcome": outcome, "reason": reason, "activations": n}
            for (outcome, reason), n in counts.most_common() if outcome != "ok"
        ]  # fmt: skip
    if rows:
        table(rows, "outcomes")
