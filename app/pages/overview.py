"""The Overview page: runs, studies, and the progress of runs that are not finished."""

import time
from pathlib import Path

import streamlit as st

from polyphony.app.parts.escape import markup
from polyphony.app.parts.library import FoundRun, Library, files_of
from polyphony.app.parts.page_parts import DEMONSTRATION, block, heading, note, notice, table, title
from polyphony.errors import MetricsError
from polyphony.metrics.runfile.live import read_progress

_SECONDS_BETWEEN_UPDATES = 2.0
_SILENT_SECONDS = 600


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
        heading("In progress", "Updated every two seconds. The dashboard only reads a run's file.")
        for run in running:
            _progress(run)
    if library.studies:
        heading(
            "Studies",
            "A study is a grid of population sizes, arms and seeds. The Compare page shows those that have a report.",
        )
        table([_study_row(library, directory) for directory in library.studies], "studies")
    if library.runs:
        heading("Runs", "Choose in the sidebar which run the Network, Agent and Timeline pages show.")
        table([_run_row(library, run) for run in library.runs], "runs")
    for problem in library.problems:
        notice(problem)


def _first_visit(library: Library) -> None:
    title(
        "Polyphony",
        "What do per-person adapters change in a simulated society? This dashboard shows the runs that answer this.",
    )
    block('<h2>No runs here yet</h2><p class="note">These commands make two arms to compare:</p>')
    out = library.path if library.path.is_dir() else library.path.parent
    st.code(
        "\n".join(f"simulate run --arm {arm} --out {out / f'{arm}.db'}" for arm in ("base", "lora")), language="bash"
    )
    note("Reload the page when they have started. Until then, look at the study that comes with Polyphony:")
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
    progress = library.studies[directory]
    return {
        "study": library.name_of(directory), "arms": ", ".join(progress.arms),
        "agents": ", ".join(f"{size:,}" for size in progress.sizes), "seeds": progress.seeds,
        "runs": f"{progress.there} of {progress.planned}", "report": "yes" if progress.has_report else "not yet",
    }  # fmt: skip


@st.fragment(run_every=_SECONDS_BETWEEN_UPDATES)
def _progress(run: FoundRun) -> None:
    try:
        progress = read_progress(run.path)
        silence = time.time() - max(file.stat().st_mtime for file in files_of(run.path))
    except MetricsError as error:
        notice(str(error))
        return
    except OSError as error:
        notice(f"{run.path.name}: cannot be read ({error.strerror})")
        return
    seconds = progress.seconds_per_timestep
    rate = "" if seconds is None else f", {seconds:.1f} s a timestep"
    left = "" if progress.seconds_left is None else f", about {_span(progress.seconds_left)} left"
    is_silent = progress.status == "running" and silence > _SILENT_SECONDS
    idle = f" · nothing was written for {_span(silence)}" if is_silent else ""
    block(f'<p style="margin:.4rem 0 0"><b>{markup(run.label)}</b></p>')
    st.progress(min(progress.completed / max(progress.timesteps, 1), 1.0))
    note(
        markup(
            f"{progress.status}: {progress.completed} of {progress.timesteps} timesteps, "
            f"{progress.activations:,} activations{rate}{left}{idle}"
        )
    )
    acts = "".join(
        f'<div class="item"><div class="head">timestep {markup(str(act.timestep))} · <bdi>@{markup(act.handle)}</bdi> '
        f'<b>{markup(act.act)}</b></div><div class="words">{markup(act.text)}</div></div>'
        for act in progress.latest
    )
    if acts:
        with st.container(height=260, border=True):
            block(acts)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
