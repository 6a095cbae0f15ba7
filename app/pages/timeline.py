"""The Timeline page: activity over time, the growth of cascades, and single threads."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from polyphony.app.parts.charts import lines_chart, tree_chart
from polyphony.app.parts.escape import markup, plain, plot_label
from polyphony.app.parts.library import FoundRun, Library, run_data
from polyphony.app.parts.page_parts import block, chart, facts, heading, note, table, title
from polyphony.app.parts.style import COMMUNITY_COLOURS, OTHER_COLOUR
from polyphony.metrics.core.labels import number
from polyphony.metrics.figures.cascades import (
    CascadeNode,
    cascade_growth,
    cascade_nodes,
    distances_of,
    levels_of,
    structural_virality,
    virality_growth,
)
from polyphony.metrics.figures.timing import hours_of_history, hours_of_run
from polyphony.metrics.runfile.rundata import RunData

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
    table([_cascade_row(data, nodes) for nodes in trees], "cascades", 300)
    _thread(data, trees)


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
    heading("Activity", "Acts carried out in each timestep. An activation may also end without an act.")
    acts = Counter(
        activation.timestep
        for activation in data.activations
        if activation.outcome == "ok" and activation.act not in (None, "nothing")
    )
    activations = Counter(activation.timestep for activation in data.activations)
    span = range(data.completed_timesteps)
    lines = {"acts": [acts[step] for step in span], "activations": [activations[step] for step in span]}
    chart(lines_chart(lines, {"acts": _BLUE}, "timestep", "number"), "activity", "Acts and activations by timestep")


def _hours(run: FoundRun, data: RunData) -> None:
    before, during = hours_of_history(run.path), hours_of_run(data)
    if not before or not during:
        return
    covered = [hour for hour in range(24) if hour in during]
    known = sum(before.get(hour, 0.0) for hour in covered) or 1.0
    heading("Hours of the day", "Share of acts by simulated hour (UTC), in the hours that the run covers.")
    lines: dict[str, list[float | None]] = {
        "run": [during.get(hour) for hour in range(24)],
        "history": [before.get(hour, 0.0) / known if hour in during else None for hour in range(24)],
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


def _thread(data: RunData, trees: Sequence[Sequence[CascadeNode]]) -> None:
    heading("One thread", "Posts and replies as a reader of the platform sees them; a repost has no text of its own.")
    labels = {
        nodes[0].id: plain(f"{len(nodes)} · @{data.users.get(nodes[0].user_id, '?')}: {_words(data, nodes[0])}", 90)
        for nodes in trees[:_MOST_THREADS]
    }
    first = st.selectbox("Thread", list(labels), format_func=lambda post: labels[post], key=f"thread {data.name}")
    nodes = next((tree for tree in trees if tree[0].id == first), trees[0])
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
    with st.container(height=460, border=True):
        block(_threaded(data, nodes[:_MOST_DRAWN], 0))
        if len(nodes) > _MOST_DRAWN:
            note(f"{len(nodes) - _MOST_DRAWN:,} more.")


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
