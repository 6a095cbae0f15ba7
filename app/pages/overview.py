"""The Overview page: what the studies and runs of a folder found, and the progress of runs that are not finished."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from polyphony.app.pages.compare import CHOSEN_EVIDENCE, CHOSEN_RUNS, RUNS
from polyphony.app.parts.cards import counted, next_command, open_page, sample_post, sparkline
from polyphony.app.parts.escape import markup
from polyphony.app.parts.library import (
    FoundRun,
    Library,
    files_of,
    first_choice,
    run_summary,
    study_evidence,
)
from polyphony.app.parts.page_parts import DEMONSTRATION, arm_name, block, heading, note, notice, table, title
from polyphony.app.parts.style import arm_colours
from polyphony.errors import MetricsError
from polyphony.metrics.core.labels import arm_sentence
from polyphony.metrics.runfile.engine import engine_cautions, engine_facts
from polyphony.metrics.runfile.live import read_progress
from polyphony.metrics.runfile.loading import recorded_settings, recorded_versions
from polyphony.metrics.runfile.summary import RunSummary
from polyphony.metrics.studies.findings import findings

_SECONDS_BETWEEN_UPDATES = 2.0
_SILENT_SECONDS = 600
_MOST_RUN_CARDS = 8
_MOST_STUDY_CARDS = 6
_MOST_ARMS = 4
_OPENS = ("Feed", "Network", "Agent", "Compare")
_NO_MODEL = (
    "No model acted: each act was drawn by how often the person did it before the run, its target by lot, and its text "
    "is one of the person’s earlier posts."
)

Colours = Mapping[str, str]


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
            _buttons(library, run, ("Feed", "Network", "Agent"))
    colours = arm_colours(list(dict.fromkeys(run.arm for run in library.runs)))
    _studies(library, colours)
    _runs(library, [run for run in library.runs if run not in running], colours)
    _tables(library)
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


def _studies(library: Library, colours: Colours) -> None:
    if not library.studies:
        return
    heading("Studies", "A study is a grid of population sizes, arms and seeds.")
    for directory in list(library.studies)[:_MOST_STUDY_CARDS]:
        with st.container(border=True):
            _study_card(library, directory, colours)
    _rest(len(library.studies) - _MOST_STUDY_CARDS, "studies")


def _study_card(library: Library, directory: Path, colours: Colours) -> None:
    """Draw a study's finding and, of one seed and size, what happened in each arm."""
    progress = library.studies[directory]
    sizes = ", ".join(f"{size:,}" for size in progress.sizes)
    facts = (
        f"{counted(len(progress.arms), 'arm')} · {sizes} agents · {counted(progress.seeds, 'seed')} · "
        f"{progress.there} of {progress.planned} runs"
    )
    block(
        f'<div class="card-head"><h3><bdi>{markup(library.name_of(directory))}</bdi></h3>'
        f'<span class="note">{facts}</span></div><p class="said"><bdi>{markup(_study_finding(library, directory))}'
        "</bdi></p>"
    )
    runs_here = tuple(run for run in library.runs if run.path.is_relative_to(directory))
    shown = first_choice(runs_here)[:_MOST_ARMS]
    if shown:
        header = shown[0].header
        note(f"With seed {header.seed} and {header.agents:,} agents: acts in each timestep, and a post drawn by lot.")
        for run, column in zip(shown, st.columns(len(shown)), strict=True):
            with column:
                _arm_of_study(run, colours[run.arm])
    with st.container(horizontal=True):
        if progress.has_report:
            st.button("Compare", key=f"study {directory}", type="primary", on_click=_compare, args=(str(directory),))
        if shown:
            first = library.name_of(shown[0].path)
            for page in ("Feed", "Network"):
                st.button(page, key=f"study {page} {directory}", on_click=open_page, args=(page, first))
    if progress.has_report:
        next_command("one HTML file to share", "simulate", "report", directory, "--out", "report.html")
    elif progress.there == progress.planned:
        next_command("measure the runs and write the report", "simulate", "study", "--report", directory)


def _study_finding(library: Library, directory: Path) -> str:
    if not library.studies[directory].has_report:
        return "This study has no report yet. The command that started it also continues it, and writes the report."
    try:
        return next(iter(findings(study_evidence(directory))), "The report holds no finding.")
    except MetricsError as error:
        return str(error)


def _arm_of_study(run: FoundRun, colour: str) -> None:
    summary = _summary_or_notice(run)
    if summary is None:
        return
    name = arm_name(run.arm, colour)
    counts = f"{counted(summary.acts['post'], 'post')}, {counted(summary.acts['reply'], 'reply', 'replies')}"
    block(
        f'<div class="card">{name} <span class="note">{counts}</span>{_activity(summary, colour)}'
        f"{''.join(sample_post(*sample) for sample in summary.samples[:1])}</div>"
    )


def _runs(library: Library, runs: Sequence[FoundRun], colours: Colours) -> None:
    if not runs:
        return
    heading("Runs", "The newest run comes first, runs of studies last. Bars are acts carried out in each timestep.")
    shown = _newest_first(library, runs)[:_MOST_RUN_CARDS]
    for place in range(0, len(shown), 2):
        for run, column in zip(shown[place : place + 2], st.columns(2), strict=False):
            with column, st.container(border=True, height="stretch"):
                _run_card(library, run, colours[run.arm])
    _rest(len(runs) - len(shown), "runs")


def _newest_first(library: Library, runs: Sequence[FoundRun]) -> list[FoundRun]:
    def age(run: FoundRun) -> float:
        return -max((file.stat().st_mtime for file in files_of(run.path)), default=0.0)

    in_study = {run: any(run.path.is_relative_to(study) for study in library.studies) for run in runs}
    return sorted(runs, key=lambda run: (in_study[run], 0.0 if in_study[run] else age(run)))


def _run_card(library: Library, run: FoundRun, colour: str) -> None:
    """Draw what happened in a run, three of its posts, and where to go on."""
    head = (
        f'<div class="card-head">{arm_name(run.arm, colour)}<span class="note">seed {run.header.seed} · '
        f"<bdi>{markup(library.name_of(run.path))}</bdi></span></div>"
    )
    summary = _summary_or_notice(run)
    if summary is None:
        block(head)
        return
    posts = "".join(sample_post(*sample) for sample in summary.samples) or '<p class="note">Nobody wrote a post.</p>'
    block(
        f'<div class="card">{head}<p class="said">{markup(_sentence(run, summary))}</p>'
        f'<p class="note">{markup(_how_agents_acted(run))}</p>{_figures(run, summary)}'
        f"{_activity(summary, colour)}{posts}</div>"
    )
    _buttons(library, run, _OPENS)
    siblings = library.siblings(run)
    if siblings:
        files = [run.path, *(sibling.path for sibling in siblings)]
        next_command("what differs between the arms", "simulate", "compare", *files)
    else:
        next_command("all figures", "simulate", "metrics", run.path)


def _summary_or_notice(run: FoundRun) -> RunSummary | None:
    """Return what happened in a run; None after a notice where its file is damaged inside."""
    try:
        return run_summary(run.path)
    except MetricsError as error:
        notice(str(error))
    except OSError as error:
        notice(f"{run.path.name}: cannot be read ({error.strerror})")
    return None


def _sentence(run: FoundRun, summary: RunSummary) -> str:
    header = run.header
    is_whole = summary.completed == header.timesteps
    length = counted(header.timesteps, "timestep")
    length = length if is_whole else f"{summary.completed:,} of {length} ({header.status})"
    posts, replies = summary.acts["post"], summary.acts["reply"]
    return (
        f"{counted(header.agents, 'agent')} made {counted(posts, 'post')} and "
        f"{counted(replies, 'reply', 'replies')} in {length}."
    )


def _how_agents_acted(run: FoundRun) -> str:
    """Say what decided the acts; nothing where a plug-in's policy did, or the file does not tell."""
    try:
        policy = recorded_settings(run.header, run.path.name).get("policy")
        versions = recorded_versions(run.header, run.path.name)
    except MetricsError as error:
        return str(error)
    if policy == "null":
        return _NO_MODEL
    meaning = arm_sentence(run.arm)
    sentences = [f"{meaning[0].upper()}{meaning[1:]}."] if meaning else []
    facts = engine_facts(versions)
    if facts is not None:
        sentences += [f"Engine: {facts.sentence}.", *engine_cautions([versions])]
    return " ".join(sentences)


def _figures(run: FoundRun, summary: RunSummary) -> str:
    acts = summary.acts
    cells = (
        ("posts", f"{acts['post']:,}"), ("replies", f"{acts['reply']:,}"),
        ("reposts, quotes", f"{acts['repost'] + acts['quote']:,}"), ("likes", f"{acts['like']:,}"),
        ("agents who acted", f"{summary.actors:,} of {run.header.agents:,}"),
    )  # fmt: skip
    return (
        f'<div class="facts">{"".join(f"<div><span>{name}</span><b>{value}</b></div>" for name, value in cells)}</div>'
    )


def _activity(summary: RunSummary, colour: str) -> str:
    return sparkline(summary.acts_by_timestep, colour, "Acts by timestep")


def _buttons(library: Library, run: FoundRun, pages: Sequence[str]) -> None:
    """Draw buttons that open pages for a run."""
    name = library.name_of(run.path)
    with st.container(horizontal=True, gap="small"):
        for page in pages:
            st.button(page, key=f"open {page} {name}", on_click=_open, args=(library, run, page))


def _open(library: Library, run: FoundRun, page: str) -> None:
    """Open a page for a run; the Compare page for the run and its siblings."""
    if page == "Compare":
        st.session_state[CHOSEN_RUNS] = [str(sibling.path) for sibling in (run, *library.siblings(run))]
        st.session_state[CHOSEN_EVIDENCE] = RUNS
    open_page(page, library.name_of(run.path))


def _compare(directory: str) -> None:
    """Open the Compare page for a study."""
    st.session_state[CHOSEN_EVIDENCE] = directory
    open_page("Compare")


def _rest(count: int, what: str) -> None:
    if count > 0:
        note(f"{count:,} more {what}: see the tables below.")


def _tables(library: Library) -> None:
    with st.expander("All runs and studies as tables"):
        if library.studies:
            table([_study_row(library, directory) for directory in library.studies], "studies")
        if library.runs:
            table([_run_row(library, run) for run in library.runs], "runs")


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
    remaining = "" if progress.seconds_left is None else f", about {_span(progress.seconds_left)} left"
    is_silent = progress.status == "running" and silence > _SILENT_SECONDS
    idle = f" · nothing was written for {_span(silence)}" if is_silent else ""
    block(f'<p style="margin:.4rem 0 0"><b>{markup(run.label)}</b></p>')
    st.progress(min(progress.completed / max(progress.timesteps, 1), 1.0))
    note(
        markup(
            f"{progress.status}: {progress.completed} of {progress.timesteps} timesteps, "
            f"{progress.activations:,} activations{rate}{remaining}{idle}"
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
