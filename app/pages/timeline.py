"""The Timeline page: activity over time, the growth of cascades, and single threads."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from polyphony.app.parts.activity_chart import NO_ACT, activity_chart
from polyphony.app.parts.charts import lines_chart, tree_chart
from polyphony.app.parts.escape import markup, plain, plot_label
from polyphony.app.parts.library import FoundRun, Library, run_data
from polyphony.app.parts.page_parts import block, chart, facts, heading, note, table, title
from polyphony.app.parts.style import COMMUNITY_COLOURS, OTHER_COLOUR
from polyphony.metrics.core.labels import number
from polyphony.metrics.figures.acts import VERBS
from polyphony.metrics.figures.cascades import (
    CascadeNode,
    cascade_growth,
    cascade_nodes,
    distances_of,
    levels_of,
    structural_virality,
    virality_growth,
)
from polyphony.metrics.figures.scenario_events import ScenarioEvent, scenario_events
from polyphony.metrics.figures.timing import hours_of_history, hours_of_run, moments_of_run
from polyphony.metrics.runfile.rundata import Activation, RunData

_MOST_THREADS = 200
_MOST_DRAWN = 400
_MOST_GROWTH_LINES = len(COMMUNITY_COLOURS)
_BLUE = "#0F7FCC"


def draw(_: Library, run: FoundRun) -> None:
    """Draw the page."""
    data = run_data(run.path)
    title("Timeline and cascades", "How much agents act over time, how cascades grow, and single threads.")
    _activity(data)
    _hours(run, data)
    _warnings(data)
    trees = sorted(cascade_nodes(data), key=lambda nodes: (-len(nodes), nodes[0].id))
    heading(
        "Cascades",
        "A cascade is a post with all replies, reposts and quotes that follow from it, directly or indirectly.",
    )
    if not trees:
        note("No post has a reply, a repost or a quote.")
        return
    _growth(data, trees)
    _threads(data, trees)
    heading(
        "All cascades", "Depth and breadth are of the tree; virality is the mean distance between two of its nodes."
    )
    table([_cascade_row(data, nodes) for nodes in trees], "cascades", 300)


def _warnings(data: RunData) -> None:
    """What was wrong with the file of posts."""
    if not data.warnings:
        return
    heading(
        "Warnings about the posts", "What the reader left out, changed or doubted in the file that the people are from."
    )
    table(
        [
            {
                "kind": warning.kind, "rows": warning.rows, "first": warning.first_row, "what": warning.message,
                "for example": "; ".join(warning.examples),
            }
            for warning in data.warnings
        ],
        "warnings",
    )  # fmt: skip


def _activity(data: RunData) -> None:
    moments = moments_of_run(data)
    clock = "at the simulated moment at which it begins (UTC)" if moments else "in order"
    heading(
        "Activity",
        f"Acts carried out in each timestep, {clock}, by kind. Grey is an activation that ended without an act.",
    )
    span = range(data.completed_timesteps)
    kinds = Counter((_kind(activation), activation.timestep) for activation in data.activations)
    counts = {kind: [kinds[kind, step] for step in span] for kind in (*dict.fromkeys((*VERBS, *_kinds(data))), NO_ACT)}
    shown = {kind: numbers for kind, numbers in counts.items() if any(numbers)}
    events = scenario_events(data)
    figure = activity_chart(shown, moments, events)
    chart(figure, "activity", "Acts by kind and timestep; scenario events as dotted lines")
    if events:
        _scenario(data, events, moments)


def _kind(activation: Activation) -> str:
    is_act = activation.outcome == "ok" and activation.act not in (None, "nothing")
    return str(activation.act) if is_act else NO_ACT


def _kinds(data: RunData) -> list[str]:
    return sorted({_kind(activation) for activation in data.activations} - {NO_ACT})


def _scenario(data: RunData, events: Sequence[ScenarioEvent], moments: Sequence[datetime] | None) -> None:
    heading(
        "Scenario events",
        "What the run's scenario did, as its settings record it; each happens at the beginning of its timestep.",
    )
    table(
        [
            {
                "timestep": event.timestep, "moment": moments[event.timestep] if moments else None,
                "kind": event.kind, "user": event.user, "what": event.detail,
            }
            for event in events
        ],
        "scenario events",
    )  # fmt: skip


def _hours(run: FoundRun, data: RunData) -> None:
    before, during = hours_of_history(run.path), hours_of_run(data)
    if not before or not during:
        return
    covered = [hour for hour in range(24) if hour in during]
    total = sum(before.get(hour, 0.0) for hour in covered) or 1.0
    heading("Hours of the day", "Share of acts by simulated hour (UTC), in the hours that the run covers.")
    lines: dict[str, list[float | None]] = {
        "run": [during.get(hour) for hour in range(24)],
        "history": [before.get(hour, 0.0) / total if hour in during else None for hour in range(24)],
    }
    figure = lines_chart(lines, {"run": _BLUE, "history": OTHER_COLOUR}, "hour", "share of acts")
    chart(figure, "hours", "Share of acts by hour, run and history")


def _growth(data: RunData, trees: Sequence[Sequence[CascadeNode]]) -> None:
    left, right = st.columns(2, gap="large")
    lines = {
        f"{place}. @{data.users.get(nodes[0].user_id, '?')}": cascade_growth(nodes, data.completed_timesteps)
        for place, nodes in enumerate(trees[:_MOST_GROWTH_LINES], 1)
    }
    colours = dict(zip(lines, COMMUNITY_COLOURS, strict=False))
    with left:
        note(f"Size of the {len(lines)} largest cascades at the end of each timestep")
        figure = lines_chart(lines, colours, "timestep", "posts and replies").update_layout(showlegend=False)
        chart(figure, "growth", "Cascade sizes over time")
    with right:
        note("Mean structural virality (Goel et al. 2016) of all cascades at the end of each timestep")
        virality = {"virality": virality_growth(data)}
        chart(
            lines_chart(virality, {"virality": _BLUE}, "timestep", "mean"), "virality", "Structural virality over time"
        )


def _cascade_row(data: RunData, nodes: Sequence[CascadeNode]) -> dict[str, object]:
    parents = [node.parent for node in nodes]
    levels = levels_of(parents)
    kinds = Counter(node.kind for node in nodes[1:])
    return {
        "first post": _words(data, nodes[0])[:120], "by": "@" + data.users.get(nodes[0].user_id, "?"),
        "timestep": nodes[0].timestep, "size": len(nodes), "depth": len(levels) - 1, "breadth": max(levels),
        "virality": structural_virality(parents), "replies": kinds["reply"], "reposts": kinds["repost"],
        "quotes": kinds["quote"],
    }  # fmt: skip


def _threads(data: RunData, trees: Sequence[Sequence[CascadeNode]]) -> None:
    """Draw a list of cascades beside the one that is open."""
    heading(
        "Threads",
        "Choose a row to open its thread, as a reader of the platform sees it. A repost has no text of its own.",
    )
    listed = trees[:_MOST_THREADS]
    labels = {
        nodes[0].id: plain(f"{len(nodes)} · @{data.users.get(nodes[0].user_id, '?')}: {_words(data, nodes[0])}", 90)
        for nodes in listed
    }
    chosen = f"thread {data.name}"
    left, right = st.columns([2, 3], gap="large")
    with left:
        key = f"threads {data.name}"
        rows = [
            {
                "size": len(nodes), "by": plain("@" + data.users.get(nodes[0].user_id, "?")),
                "first post": plain(_words(data, nodes[0]), 120),
            }
            for nodes in listed
        ]  # fmt: skip
        st.dataframe(
            pd.DataFrame(rows), hide_index=True, height=520, key=key, selection_mode="single-row",
            on_select=lambda: _open_thread(key, chosen, list(labels)),
            column_config={"size": st.column_config.NumberColumn(width=50), "by": st.column_config.Column(width=110)},
        )  # fmt: skip
    with right:
        first = st.selectbox("Thread", list(labels), format_func=lambda post: labels[post], key=chosen)
        nodes = next((tree for tree in listed if tree[0].id == first), trees[0])
        with st.container(height=440, border=True):
            block(_threaded(data, nodes[:_MOST_DRAWN], 0))
            if len(nodes) > _MOST_DRAWN:
                note(f"{len(nodes) - _MOST_DRAWN:,} more.")
    _tree(data, nodes)


def _open_thread(key: str, chosen: str, posts: Sequence[int]) -> None:
    """Open the thread of the row that was selected."""
    for row in st.session_state[key]["selection"]["rows"]:
        if row < len(posts):
            st.session_state[chosen] = posts[row]


def _tree(data: RunData, nodes: Sequence[CascadeNode]) -> None:
    parents = [node.parent for node in nodes]
    levels = levels_of(parents)
    facts([
        ("posts and replies", f"{len(nodes):,}"), ("depth", str(len(levels) - 1)),
        ("greatest breadth", str(max(levels))),
        ("structural virality", number(structural_virality(parents))),
    ])  # fmt: skip
    if len(nodes) <= _MOST_DRAWN:
        names = [
            plot_label(f"{node.kind}, @{data.users.get(node.user_id, '?')}, timestep {node.timestep}") for node in nodes
        ]
        chart(tree_chart(distances_of(parents), parents, names, _BLUE), "tree", "The cascade as a tree")


def _threaded(data: RunData, nodes: Sequence[CascadeNode], root: int) -> str:
    """Return a node and its descendants as nested HTML; without recursion, because a chain may be long."""
    below: dict[int, list[int]] = {}
    for place in range(1, len(nodes)):
        below.setdefault(nodes[place].parent, []).append(place)
    parts: list[str] = []
    waiting: list[int | str] = [root]
    while waiting:
        step = waiting.pop()
        if isinstance(step, str):
            parts.append(step)
            continue
        node = nodes[step]
        parts.append(
            f'<div class="thread"><div class="item" style="border:0"><div class="head"><bdi>'
            f"@{markup(data.users.get(node.user_id, '?'))}</bdi> · {markup(f'{node.kind} · timestep {node.timestep}')}"
            "</div>"
            f'<div class="words">{markup(_words(data, node))}</div></div>'
        )
        waiting.append("</div>")
        waiting += reversed(below.get(step, []))
    return "".join(parts)


def _words(data: RunData, node: CascadeNode) -> str:
    if node.kind == "reply":
        return data.comment_by_id[node.id].content
    return data.post_by_id[node.id].own_text
