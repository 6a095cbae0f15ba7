"""The dashboard's frame: Streamlit runs this file as a script, `app.server.launch` starts it."""

import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import streamlit as st

from polyphony.app.parts.address import read_address, write_address
from polyphony.app.parts.escape import markup, plain
from polyphony.app.parts.library import FoundRun, Library, find_library, first_choice
from polyphony.app.parts.page_parts import CHOSEN_RUN, DEMONSTRATION, PAGE, PICTURE, note, notice, title
from polyphony.app.parts.style import SHEET
from polyphony.bundled import bundled
from polyphony.errors import InputError, MetricsError

PAGES = ("Overview", "Feed", "Compare", "Network", "Agent", "Timeline", "Topics", "Bank")


def main(path: Path, bank_path: Path | None = None) -> None:
    """Draw the page that the reader is on."""
    st.set_page_config(page_title="Polyphony", page_icon="🎼", layout="wide")
    st.html(SHEET)
    demonstration = _demonstration()
    if st.session_state.get(DEMONSTRATION) and demonstration is not None:
        path, bank_path = demonstration, None
    library = find_library(path, bank_path)
    # One address for all pages, with the page in its query: a link to any of them can be passed on.
    page = st.segmented_control(
        "Page",
        PAGES,
        default=None if PAGE in st.session_state else PAGES[0],
        required=True,
        key=PAGE,
        bind="query-params",
        label_visibility="collapsed",
    )
    read_address()
    run = _sidebar(library)
    try:
        _draw(str(page), library, run)
    except MetricsError as error:
        title(str(page), "This page cannot be shown.")
        notice(str(error))
    # The tests wait for this mark, which says that the page is complete.
    st.html(f'<div class="pp-end" data-page="{page}"></div>')


def _draw(page: str, library: Library, run: FoundRun | None) -> None:
    """Draw one page; `app.server.server` has loaded its module before the first visitor comes."""
    if page in ("Feed", "Network", "Agent", "Timeline") and run is None:
        title(page, "This folder holds no run.")
        return
    import_module(f"polyphony.app.pages.{page.lower()}").draw(library, run)


def _sidebar(library: Library) -> FoundRun | None:
    """Draw the choices that hold on every page, and return the run to show in detail."""
    with st.sidebar:
        selected = None
        if library.runs:
            names = [library.name_of(run.path) for run in library.runs]
            first = library.name_of(_first(library).path)
            if st.session_state.get(CHOSEN_RUN) not in names:
                st.session_state[CHOSEN_RUN] = first
            # By its file's name, which an address can carry and no other run of the folder has.
            name = st.selectbox("Run in detail", names, format_func=plain, key=CHOSEN_RUN)
            write_address(CHOSEN_RUN, name)
            selected = library.run_named(name)
            if selected is not None:
                note(markup(selected.description))
        st.segmented_control("Save figures as", ["SVG", "PNG"], default="SVG", required=True, key=PICTURE)
        if st.session_state.get(DEMONSTRATION) and st.button("Leave the demonstration"):
            st.session_state[DEMONSTRATION] = False
            st.rerun()
    return selected


def _first(library: Library) -> FoundRun:
    """Return the run to show first: the `lora` arm of the largest comparison, or its last arm."""
    group = first_choice(library.runs)
    return next((run for run in group if run.arm == "lora"), group[-1])


def _demonstration() -> Path | None:
    """The study that comes with Polyphony."""
    with suppress(InputError):
        return bundled("demo", remedy="reinstall Polyphony")
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
