"""The Topics page: what agents write about, and the stances of their texts, over time and by community."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import streamlit as st

from polyphony.app.parts.communities import Communities, communities_of
from polyphony.app.parts.escape import markup
from polyphony.app.parts.library import FoundRun, Library, run_data
from polyphony.app.parts.page_parts import block, chart, heading, note, table, title
from polyphony.app.parts.run_texts import run_stances, run_topics
from polyphony.app.parts.topic_charts import TOPIC_COLOURS, stance_over_time, topics_by_community, topics_over_time
from polyphony.metrics.figures.communities import interaction_communities
from polyphony.metrics.figures.stance import stance_by_timestep
from polyphony.metrics.figures.timing import moments_of_run
from polyphony.metrics.figures.topics import Topics
from polyphony.metrics.runfile.rundata import RunData
from polyphony.sqlite_file import FileState, file_state

_TOPICS = 8
_ALL = "all agents"


def draw(_: Library, run: FoundRun | None) -> None:
    """Draw the page."""
    if run is None:
        title("Topics and stance", "This folder holds no run.")
        return
    title("Topics and stance", "What agents write about, and which side their texts take: over time and by community.")
    data = run_data(run.path)
    if data.config.get("policy") == "null":
        note(
            "No model wrote in this run. Its policy is <code>null</code>: every text is an old public post of the same "
            "person, drawn at random. Topics and stances are therefore those of the histories."
        )
    communities = _communities(os.fsencode(run.path), file_state(run.path))
    _topics(run.path, data, communities)
    _stance(run.path, data, communities)


@st.cache_resource(show_spinner=False, max_entries=32)
def _communities(path: bytes, state: FileState) -> Communities:
    data = run_data(Path(os.fsdecode(path)))
    return communities_of(data, interaction_communities(data))


def _topics(path: Path, data: RunData, communities: Communities) -> None:
    number = st.slider("Number of topics", 2, len(TOPIC_COLOURS), _TOPICS, key="topics", width=320)
    topics = run_topics(path, number)
    if isinstance(topics, str):
        heading("Topics", "")
        note(topics)
        return
    learned = f" and {topics.history_texts:,} texts of the people's histories" if topics.history_texts else ""
    unplaced = int((topics.weights.sum(axis=1) == 0).sum())
    apart = f" {unplaced:,} belong to none." if unplaced else ""
    heading(
        "Topics over time",
        f"Topics are found by non-negative matrix factorisation of word weights (TF-IDF, English stop words) in the "
        f"run's {len(topics.texts):,} texts{learned}. A text may belong to several topics in part.{apart}",
    )
    steps = Counter(text.timestep for text in topics.texts)
    counts = [steps[step] for step in range(data.completed_timesteps)]
    shares = topics.shares_by_timestep(data.completed_timesteps)
    figure = topics_over_time(topics.names, shares, counts, moments_of_run(data))
    chart(figure, "topics over time", "Share of each topic in the texts of each timestep")
    _by_community(topics, communities)
    _samples(topics, data)


def _by_community(topics: Topics, communities: Communities) -> None:
    heading(
        "Topics by community",
        "Share of each topic in the texts of each large community of the interaction graph. Its name is the "
        "words that members use more often than other users do, as on the Network page; users are in brackets.",
    )
    if not communities.names:
        note("No community has three members.")
        return
    names = [f"{name} ({communities.sizes[label]:,})" for label, name in communities.names.items()]
    shares = np.array([topics.shares_of(communities.members(label)) for label in communities.names])
    chart(topics_by_community(topics.names, names, shares), "topics by community", "Topics by community, as shares")
    legend = (
        f'<span style="white-space:nowrap;margin-right:1.4rem">{number} <span class="dot" '
        f'style="background:{communities.colours[label]}"></span>{markup(name)}</span> '
        for number, (label, name) in enumerate(zip(communities.names, names, strict=True), 1)
    )
    block(f'<p class="note">{"".join(legend)}</p>')


def _samples(topics: Topics, data: RunData) -> None:
    heading("Texts of each topic", "The texts that belong most to the topic and to no other topic more.")
    for first in range(0, len(topics.words), 2):
        columns = st.columns(2, gap="large")
        for topic, column in zip(range(first, len(topics.words)), columns, strict=False):
            with column:
                block(_topic(topics, topic, data))
    main = topics.weights.argmax(axis=1)[topics.weights.sum(axis=1) > 0]
    rows = [
        {
            "topic": topic + 1, "words": ", ".join(words), "share": float(topics.shares[topic]),
            "texts mainly of it": int((main == topic).sum()),
        }
        for topic, words in enumerate(topics.words)
    ]  # fmt: skip
    with st.expander("All topics as a table"):
        table(rows, "topics")


def _topic(topics: Topics, topic: int, data: RunData) -> str:
    """Return a topic's words and sample texts as HTML."""
    items = "".join(
        f'<div class="item"><div class="head"><bdi>@{markup(data.users.get(text.user_id, "?"))}</bdi> · timestep '
        f'{text.timestep}</div><div class="words">{markup(text.text)}</div></div>'
        for text in topics.samples(topic)
    )
    return (
        f'<p style="margin:.6rem 0 0"><span class="dot" style="background:{TOPIC_COLOURS[topic]}"></span>'
        f"<b>{markup(topics.names[topic])}</b> · {topics.shares[topic]:.0%}</p>"
        f'<p class="note">{markup(", ".join(topics.words[topic]))}</p>'
        f"{items or '<p class=note>No text belongs to this topic more than to others.</p>'}"
    )


def _stance(path: Path, data: RunData, communities: Communities) -> None:
    scored = run_stances(path)
    if isinstance(scored, str):
        heading("Stance over time", f"There are no stances: {markup(scored)}.")
        return
    heading(
        "Stance over time",
        f"Mean stance of the {len(scored):,} texts by timestep. A text's stance is its place on the axis that best "
        "tells the planted communities apart (Fisher's discriminant, learned from histories), in standard "
        "deviations. Zero is the mean of the histories; which side is positive is arbitrary. A larger dot stands for "
        "more texts.",
    )
    names = {label: f"{label + 1}. {name}" for label, name in communities.names.items()}
    authors = {_ALL: None} | {names[label]: communities.members(label) for label in names}
    means = {name: stance_by_timestep(scored, data.completed_timesteps, users) for name, users in authors.items()}
    colours = {names[label]: communities.colours[label] for label in names}
    figure = stance_over_time(means, colours, moments_of_run(data))
    chart(figure, "stance over time", "Mean stance by timestep, for all agents and by community")
    rows = [
        {"group": name, "timestep": step, "mean stance": mean.mean, "texts": mean.texts}
        for name, steps in means.items() for step, mean in enumerate(steps)
    ]  # fmt: skip
    with st.expander("Stances as a table"):
        table(rows, "stances", 300)
