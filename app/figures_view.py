"""The figures of the comparison: cards for the headlines, a table of all, and what went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.escape import markup
from app.page_parts import arm_name, block
from metrics.activity import outcome_counts
from metrics.compare import Comparison, Difference
from metrics.labels import HEADLINES, TITLES, chance, null_note, number, signed, span
from metrics.measure import MEASUREMENTS, RunMeasurements
from metrics.rundata import RunData


def headline_cards(
    runs: Mapping[str, RunMeasurements], comparison: Comparison | None, colours: Mapping[str, str]
) -> None:
    """One card for each headline figure: every arm's value and its difference to the reference."""
    cards = [
        f'<div class="card"><div class="title">{title}</div><div class="what">{what}</div>'
        f"{_values(name, runs, comparison, colours)}{_changes(name, runs, comparison)}</div>"
        for name, (title, what) in HEADLINES.items()
    ]
    note = '<p class="note">Small figures: 95% interval, and what chance alone gives under the null model.</p>'
    block(f'<div class="cards">{"".join(cards)}</div>{note}')


def all_measurements(runs: Mapping[str, RunMeasurements], comparison: Comparison | None) -> None:
    """Every measurement as a table: values, intervals and nulls of the runs shown, then the differences."""
    rows: list[dict[str, Any]] = []
    for name in MEASUREMENTS:
        for arm, run in runs.items():
            figure = run.measurements[name]
            change = _difference(comparison, name, run)
            rows.append(
                {
                    "measurement": TITLES[name],
                    "arm": arm,
                    "value": number(figure.value),
                    "95% interval": span(figure.interval),
                    "n": figure.n,
                    "against chance": null_note(figure),
                    "difference": "" if change is None or change.difference is None else signed(change.difference),
                    "95% interval of the difference": "" if change is None else span(change.interval),
                    "p (Holm)": "" if change is None or change.p_holm is None else number(change.p_holm),
                    "remark": figure.reason or (change.reason if change else None) or "",
                }
            )
    st.dataframe(rows, hide_index=True, height=520)


def outcomes(runs: Mapping[str, RunData], colours: Mapping[str, str]) -> None:
    """Per arm: how many activations ended well, were refused or failed, and why."""
    for (arm, run), column in zip(runs.items(), st.columns(len(runs), gap="large"), strict=True):
        counts = outcome_counts(run)
        totals = {
            kind: sum(n for (each, _), n in counts.items() if each == kind) for kind in ("ok", "refused", "failed")
        }
        with column:
            block(
                f"<p>{arm_name(arm, colours[arm])} &nbsp; {len(run.activations):,} activations: "
                f"<b>{totals['ok']:,}</b> carried out, <b>{totals['refused']:,}</b> refused, "
                f"<b>{totals['failed']:,}</b> failed</p>"
            )
            reasons = [
                {"outcome": outcome, "reason": reason, "activations": n}
                for (outcome, reason), n in counts.most_common()
                if outcome != "ok"
            ]
            if reasons:
                st.dataframe(reasons, hide_index=True)


def _values(
    name: str, runs: Mapping[str, RunMeasurements], comparison: Comparison | None, colours: Mapping[str, str]
) -> str:
    rows = []
    for arm, run in runs.items():
        figure = run.measurements[name]
        value = figure.value
        note = "\n".join(filter(None, (span(figure.interval), chance(figure))))
        seeds = 0 if comparison is None else sum((r.arm, r.agents) == (arm, run.agents) for r in comparison.runs)
        if comparison is not None and seeds > 1:
            value, note = comparison.mean_value(name, arm, run.agents), f"mean of {seeds} seeds"
        if value is None:
            note = figure.reason or ""
        rows.append(f"{arm_name(arm, colours[arm])}<b>{number(value)}</b><small>{markup(note)}</small>")
    return f'<div class="row">{"".join(rows)}</div>'


def _changes(name: str, runs: Mapping[str, RunMeasurements], comparison: Comparison | None) -> str:
    lines = []
    for arm, run in runs.items():
        change = _difference(comparison, name, run)
        if change is not None:
            lines.append(f'<div class="change">{_change(arm, change, len(runs) > 2)}</div>')
    return "".join(lines)


def _change(arm: str, change: Difference, name_arm: bool) -> str:
    who = f"{markup(arm)} " if name_arm else ""
    if change.difference is None:
        return f"<span>{who}no difference can be given</span>"
    if change.interval is None:
        return f"{who}<b>{signed(change.difference)}</b> <span>one seed, no interval</span>"
    unit = "agents" if change.seeds == 1 else f"{change.seeds} seeds"
    return f"{who}<b>{signed(change.difference)}</b> <span>95% {span(change.interval)}, over {unit}</span>"


def _difference(comparison: Comparison | None, name: str, run: RunMeasurements) -> Difference | None:
    if comparison is None:
        return None
    key = (name, run.arm, run.agents)
    return next((each for each in comparison.differences if (each.measurement, each.arm, each.agents) == key), None)


def shown_arms(measured: Sequence[RunMeasurements]) -> list[str]:
    """Arms in the order the page shows them: ``base`` first where it is there."""
    arms = list(dict.fromkeys(run.arm for run in measured))
    return sorted(arms, key=lambda arm: arm != "base")
