"""What is there: runs, studies, and how far those in progress are."""

import time
from pathlib import Path

import streamlit as st

from polyphony.app.parts.escape import markup
from polyphony.app.parts.library import FoundRun, Library, files_of
from polyphony.app.parts.page_parts import DEMONSTRATION, block, heading, note, notice, table, title
from polyphony.errors import MetricsError
from polyphony.metrics.runfile.live import read_progress

_SECONDS_BETWEEN_LOOKS = 2.0
_STILL_SECONDS = 600


def draw(library: Library, _: FoundRun | None) -> None:
    """Draw the page."""
    if not library.runs and not library.studies:
        _first_visit(library)
        return
    count = len(library.runs)
    runs = "1 run" if count == 1 else f"{count:,} runs"
    studies = f" and {len(library.studies)} {'study' if len(library.studies) == 1 else 'studies'}"
    title("Polyphony", f"{runs}{studies if library.studies else ''} in <code>{markup(library.path.name)}</code>.")
    running = [run for run in library.runs if run.header.status == "running"]
    if running:
        heading("In progress", "Looks again every two seconds; a run's file is only read.")
        for run in running:
            _progress(run)
    if library.studies:
        heading("Studies", "Sizes × arms × seeds. A study with a report is compared at once on the Compare page.")
        table([_study_row(library, directory) for directory in library.studies], "studies")
    if library.runs:
        heading("Runs", "The sidebar chooses the run that the Network, Agent and Timeline pages show.")
        table([_run_row(library, run) for run in library.runs], "runs")
    for problem in library.problems:
        notice(problem)


def _first_visit(library: Library) -> None:
    title(
        "Polyphony", "What do per-person adapters change in a simulated society? This page shows runs that answer it."
    )
    block('<h2>No runs here yet</h2><p class="note">This folder holds no run. Two arms make a comparison:</p>')
    out = library.path if library.path.is_dir() else library.path.parent
    st.code(
        "\n".join(f"simulate run --arm {arm} --out {out / f'{arm}.db'}" for arm in ("base", "lora")), language="bash"
    )
    note("The page finds them when it is loaded again. Until then, look at what comes with Polyphony:")
    if st.button("Open the demonstration study", type="primary"):
        st.session_state[DEMONSTRATION] = True
        st.rerun()
    for problem in library.problems:
        notice(problem)


def _run_row(library: Library, run: FoundRun) -> dict[str, object]:
    header = run.header
    return {
        "arm": run.arm, "agents": header.agents, "seed": header.seed, "timesteps": header.timesteps,
        "status": header.status, "population": Path(header.population).name, "file": library.name_of(run.path),
    }  # fmt: skip


def _study_row(library: Library, directory: Path) -> dict[str, object]:
    found = library.studies[directory]
    return {
        "study": library.name_of(directory), "arms": ", ".join(found.arms),
        "agents": ", ".join(f"{size:,}" for size in found.sizes), "seeds": found.seeds,
        "runs": f"{found.there} of {found.planned}", "report": "yes" if found.has_report else "not yet",
    }  # fmt: skip


@st.fragment(run_every=_SECONDS_BETWEEN_LOOKS)
def _progress(run: FoundRun) -> None:
    try:
        found = read_progress(run.path)
    except MetricsError as error:
        notice(str(error))
        return
    rate = "" if found.seconds_per_timestep is None else f", {found.seconds_per_timestep:.1f} s a timestep"
    left = "" if found.seconds_left is None else f", about {_span(found.seconds_left)} left"
    still = time.time() - max(each.stat().st_mtime for each in files_of(run.path))
    idle = f" · nothing was written for {_span(still)}" if found.status == "running" and still > _STILL_SECONDS else ""
    block(f'<p style="margin:.4rem 0 0"><b>{markup(run.label)}</b></p>')
    st.progress(min(found.completed / max(found.timesteps, 1), 1.0))
    note(
        markup(
            f"{found.status}: {found.completed} of {found.timesteps} timesteps, {found.activations:,} activations"
            f"{rate}{left}{idle}"
        )
    )
    acts = "".join(
        f'<div class="item"><div class="head">timestep {markup(str(act.timestep))} · <bdi>@{markup(act.handle)}</bdi> '
        f'<b>{markup(act.act)}</b></div><div class="words">{markup(act.text)}</div></div>'
        for act in found.latest
    )
    if acts:
        with st.container(height=260, border=True):
            block(acts)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
