"""Runs read with the people's histories, for pages about texts; cached as `library` caches."""

import os
from pathlib import Path

import streamlit as st

from polyphony.metrics.figures.texts import OwnText
from polyphony.metrics.figures.topics import Topics
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData
from polyphony.sqlite_file import FileState, file_state

ScoredTexts = list[tuple[OwnText, float]]


def run_topics(path: Path, number: int) -> Topics | str:
    """So many topics of a run, or why there are none."""
    return _topics(os.fsencode(path), file_state(path), number)


def run_stances(path: Path) -> ScoredTexts | str:
    """Every text of a run with its stance, or why there is none."""
    return _stances(os.fsencode(path), file_state(path))


# Histories are half of a file, so that few runs are kept with them.
@st.cache_resource(show_spinner="Reading the texts …", max_entries=2)
def _data(path: bytes, state: FileState) -> RunData:
    return load_run(Path(os.fsdecode(path)), exposures=False)


@st.cache_resource(show_spinner="Finding topics …", max_entries=32)
def _topics(path: bytes, state: FileState, number: int) -> Topics | str:
    from polyphony.metrics.figures.topics import find_topics

    return find_topics(_data(path, state), number)


@st.cache_resource(show_spinner="Measuring stances …", max_entries=16)
def _stances(path: bytes, state: FileState) -> ScoredTexts | str:
    from polyphony.metrics.figures.stance import text_stances

    return text_stances(_data(path, state))
