"""The dashboard: runs side by side. Streamlit runs this file as a script; `app.launch` starts it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from app.agent_view import agent_section
from app.charts import act_chart, network_chart, texts_chart
from app.escape import markup
from app.figures_view import all_measurements, headline_cards, outcomes, shown_arms
from app.page_parts import arm_name, block, heading, notice
from app.runs import FoundRun, find_runs, first_choice, run_data, run_measurements
from app.style import SHEET, arm_colours
from metrics.compare import Comparison, compare_measured
from metrics.errors import MetricsError
from metrics.labels import arm_sentence, null_note, number
from metrics.measure import RunMeasurements
from metrics.rundata import RunData

_PLAIN_CHART = {"displayModeBar": False}
_NETWORK = {"displayModeBar": False, "scrollZoom": True}


def page(path: Path) -> None:
    """Draw the whole page for a run or a folder with runs."""
    st.set_page_config(page_title="Polyphony", page_icon="🎼", layout="wide")
    st.html(SHEET)
    chosen = _choose(path)
    if not chosen:
        return
    try:
        measured = [run_measurements(run.path) for run in chosen]
        comparison, trouble = _compare(measured)
        shown = _one_of_each_arm(measured)
        data = {arm: run_data(Path(run.source)) for arm, run in shown.items()}
    except MetricsError as error:
        notice(str(error))
        return
    _draw(shown, data, comparison, trouble)


def _draw(
    shown: Mapping[str, RunMeasurements], data: Mapping[str, RunData], comparison: Comparison | None, trouble: str
) -> None:
    colours = arm_colours(list(shown))
    _introduction(shown, comparison, colours)
    if trouble:
        notice(trouble)
    headline_cards(shown, comparison, colours)
    left, right = st.columns(2, gap="large")
    with left:
        heading("What agents choose to do", "Share of each act among activations that were carried out.")
        st.plotly_chart(act_chart(data, colours), config=_PLAIN_CHART, key="acts")
    with right:
        heading("Who writes", "Agents by the number of posts, quotes and comments they wrote.")
        st.plotly_chart(texts_chart(data, colours), config=_PLAIN_CHART, key="texts")
    heading(
        "Who interacts with whom",
        "Replies, quotes, reposts, likes and new follows; one colour for each Louvain community of three or more. "
        "Colours go by size and do not match between arms.",
    )
    _networks(shown, data, colours)
    heading("One agent at a time", "The same person in each arm: its acts with their texts, and what its feed showed.")
    agent_section(data, colours)
    heading("What went wrong", "Activations that the platform refused, or whose policy failed, are recorded as such.")
    outcomes(data, colours)
    with st.expander("All measurements"):
        all_measurements(shown, comparison)


def _choose(path: Path) -> list[FoundRun]:
    """The runs the reader picked in the sidebar."""
    runs, problems = find_runs(path)
    if not runs:
        block('<div class="brand">Polyphony</div><h1>No runs here yet</h1>')
        notice(f"{path} holds no run. Make one with `simulate run --arm lora --out {path / 'lora.db'}`.")
    with st.sidebar:
        picked = (
            st.multiselect("Runs to compare", runs, default=first_choice(runs), format_func=lambda run: run.label)
            if runs
            else []
        )
        for problem in problems:
            notice(problem)
    if runs and not picked:
        block('<div class="brand">Polyphony</div><h1>Choose runs to compare</h1>')
        notice("Pick one or more runs in the sidebar; two arms of the same population make a comparison.")
    return picked


def _compare(measured: Sequence[RunMeasurements]) -> tuple[Comparison | None, str]:
    if len(measured) < 2:
        return None, "This is one run alone. Choose a run of another arm in the sidebar to compare them."
    try:
        return compare_measured(measured), ""
    except MetricsError as error:
        return None, f"These runs are shown side by side but not compared: {error}"


def _one_of_each_arm(measured: Sequence[RunMeasurements]) -> dict[str, RunMeasurements]:
    """The run of each arm that is drawn in detail: the reader's seed where several were chosen."""
    seeds = sorted({run.seed for run in measured})
    seed = st.sidebar.selectbox("Seed shown in detail", seeds) if len(seeds) > 1 else seeds[0]
    preferred = sorted(measured, key=lambda run: run.seed != seed)
    return {arm: next(run for run in preferred if run.arm == arm) for arm in shown_arms(measured)}


def _introduction(
    shown: Mapping[str, RunMeasurements], comparison: Comparison | None, colours: Mapping[str, str]
) -> None:
    first = next(iter(shown.values()))
    title = " and ".join(f"<bdi>{markup(arm)}</bdi>" for arm in shown) if len(shown) < 4 else f"{len(shown)} arms"
    arms = "".join(f"<li>{arm_name(arm, colours[arm])} &nbsp;{arm_sentence(arm)}</li>" for arm in shown)
    seeds = {run.seed for run in comparison.runs} if comparison else {first.seed}
    seed = f"seed {first.seed}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    who = f"{first.agents:,} agents from the population “{markup(Path(first.population).name)}”"
    block(
        f'<div class="brand">Polyphony</div><h1>{title}{", side by side" if len(shown) > 1 else ""}</h1>'
        f'<p class="lead">{who}, {first.timesteps} timesteps, {seed}.</p><ul class="arms">{arms}</ul>'
    )


def _networks(shown: Mapping[str, RunMeasurements], data: Mapping[str, RunData], colours: Mapping[str, str]) -> None:
    for (arm, run), column in zip(data.items(), st.columns(len(data), gap="large"), strict=True):
        figures = shown[arm].measurements
        communities, modularity = figures["communities"], figures["modularity"]
        with column:
            chart = network_chart(run)
            if chart is None:
                block(f'<p>{arm_name(arm, colours[arm])}</p><p class="note">Nobody interacted in this run.</p>')
                continue
            block(
                f"<p>{arm_name(arm, colours[arm])} &nbsp; <b>{number(communities.value)}</b> communities, "
                f"modularity <b>{number(modularity.value)}</b> <small>({markup(null_note(modularity) or 'no null')})"
                "</small></p>"
            )
            st.plotly_chart(chart, config=_NETWORK, key=f"network {arm}")


if __name__ == "__main__":
    page(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
