"""The Network page: ties between users over time, in fixed places; a click opens the agent."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import streamlit as st

from polyphony.app.parts.communities import Communities, communities_of
from polyphony.app.parts.escape import markup, plain
from polyphony.app.parts.layout import INSIDE_PULL, MOST_BY_FORCES, places_of
from polyphony.app.parts.library import FoundRun, Library, run_data
from polyphony.app.parts.network_chart import MOST_DRAWN_TIES, Colouring, Network, network_chart
from polyphony.app.parts.page_parts import AGENT, PAGE, block, chart, heading, note, table, title
from polyphony.app.parts.run_texts import run_stances
from polyphony.metrics.core.labels import number
from polyphony.metrics.dataset.graphml import ties_graphml
from polyphony.metrics.figures.communities import louvain, modularity
from polyphony.metrics.figures.stance import mean_by_author
from polyphony.metrics.figures.ties import KINDS, pairs_until, tie_graph, ties
from polyphony.metrics.figures.timing import moments_of_run
from polyphony.metrics.runfile.rundata import RunData
from polyphony.sqlite_file import FileState, file_state

_PLAYING = "network plays"
_BEGINS, _GOES_ON = "begins", "goes on"
_SECONDS_A_PICTURE = 0.8
# A longer run is played in larger steps.
_MOST_PICTURES = 60
_COLOURINGS = ("community", "stance", "activity")
_DIVERGING = ("#0072B2", "#B8BFCB", "#D55E00")
_SEQUENTIAL = ("#B8BFCB", "#56B4E9", "#0060A8")


def draw(_: Library, run: FoundRun) -> None:
    """Draw the page."""
    title("Network", "Ties between users. A larger dot is a user with more ties; a click opens the agent.")
    data = run_data(run.path)
    handles = {user: plain("@" + handle, 60) for user, handle in sorted(data.users.items(), key=lambda item: item[1])}
    with st.container(horizontal=True):
        kinds = tuple(st.multiselect("Ties", KINDS, list(KINDS[:5]), key="kinds"))
        colouring = st.selectbox("Colour by", _COLOURINGS, key="network colouring", width=150)
        marked = st.selectbox(
            "Find a user", list(handles), None, format_func=lambda user: handles[user], placeholder="Type a handle",
            key=f"found {data.name}", width=210,
        )  # fmt: skip
    network = _network(os.fsencode(run.path), file_state(run.path), kinds)
    if network is None:
        note("No two users have such a tie in this run.")
        return
    if marked is not None and marked not in network.places:
        note("The user whom you look for has no such tie.")
    interval = _SECONDS_A_PICTURE if st.session_state.get(_PLAYING) else None
    st.fragment(_picture, run_every=interval)(run.path, data, network, colouring, marked)
    with st.container(horizontal=True):
        st.download_button(
            "GraphML of these ties", lambda: ties_graphml(data, network.ties, network.communities.partition),
            "network.graphml", "application/graphml+xml", type="tertiary", on_click="ignore",
        )  # fmt: skip
    _communities(data, network)


def _picture(path: Path, data: RunData, network: Network, colouring: str, marked: int | None) -> None:
    """Draw the network at one timestep; a part of the page that is drawn anew by itself while time passes."""
    until = _time(data)
    key = f"network {data.name}"
    figure = network_chart(data, network, until, _colouring(path, data, colouring, until), marked)
    chart(
        figure, "network", "Users as dots, ties as lines, communities in colour", zoom=True, key=key,
        on_select=lambda: _open_agent(key, data), selection_mode="points",
    )  # fmt: skip
    if st.session_state.get(PAGE, "Network") != "Network":
        st.rerun()  # a click chose another page, which this part cannot draw
    note(_remark(data, network, until))


def _time(data: RunData) -> int:
    """Draw the button and the slider of time, and return the timestep up to which ties are drawn."""
    last = data.completed_timesteps - 1
    if last < 1:
        return max(last, 0)
    key, state = f"until {data.name}", st.session_state
    now = min(state.get(key, last), last)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label, icon = ("Pause", ":material/pause:") if state.get(_PLAYING) else ("Play", ":material/play_arrow:")
        is_pressed = st.button(label, icon=icon, key="play", width=110, on_click=_play_or_pause, args=(key, last))
        if state.get(_PLAYING) == _GOES_ON and not is_pressed:
            now = min(now + max(1, round(last / _MOST_PICTURES)), last)
        state[key] = now
        until = int(st.slider("Up to timestep", 0, last, key=key))
    if is_pressed:
        st.rerun()  # the whole page decides whether this part is drawn anew by itself
    if state.get(_PLAYING):
        state[_PLAYING] = _GOES_ON
        if until == last:
            state[_PLAYING] = None
            st.rerun()
    return until


def _play_or_pause(key: str, last: int) -> None:
    """Begin to play, from the first timestep where the last one is shown, or stop."""
    state = st.session_state
    state[_PLAYING] = None if state.get(_PLAYING) else _BEGINS
    if state[_PLAYING] and state.get(key, last) >= last:
        state[key] = 0


def _colouring(path: Path, data: RunData, name: str, until: int) -> Colouring | None:
    """Return the values that users are coloured by; None for their communities."""
    if name == "activity":
        acted = [row for row in data.activations if row.outcome == "ok" and row.act not in (None, "nothing")]
        busiest = max(Counter(row.user_id for row in acted).values(), default=1)
        counts = Counter(row.user_id for row in acted if row.timestep <= until)
        values = {agent.user_id: counts[agent.user_id] for agent in data.agents}
        return Colouring("acts", values, _SEQUENTIAL, (0, busiest), "no agent")
    if name == "stance":
        scored = run_stances(path)
        if isinstance(scored, str):
            note(f"There are no stances: {markup(scored)}.")
            return None
        note("A stance is the mean of what a user wrote in the whole run, at every timestep.")
        stances = mean_by_author(scored)
        most = max(map(abs, stances.values()), default=1.0)
        return Colouring("stance", stances, _DIVERGING, (-most, most), "no text")
    return None


def _open_agent(key: str, data: RunData) -> None:
    """Go to the page of the agent that was clicked."""
    for point in st.session_state[key]["selection"]["points"]:
        user = (point.get("customdata") or [None])[0]
        agent = next((agent for agent in data.agents if agent.user_id == user), None)
        if agent is not None:
            st.session_state[AGENT] = agent.handle
            st.session_state[PAGE] = "Agent"


@st.cache_resource(show_spinner="Placing the users …", max_entries=32)
def _network(path: bytes, state: FileState, kinds: tuple[str, ...]) -> Network | None:
    """Return ties, communities and places over the whole run; None where there is no tie."""
    data = run_data(Path(os.fsdecode(path)))
    graph = tie_graph(data, kinds)
    partition = louvain(graph)
    if not partition:
        return None
    chosen = tuple(tie for tie in ties(data) if tie.kind in kinds)
    communities = communities_of(data, partition)
    return Network(chosen, graph, communities, places_of(graph, partition), data.completed_timesteps)


def _remark(data: RunData, network: Network, until: int) -> str:
    graph, pairs = network.graph, network.graph.number_of_edges()
    now = pairs if until >= network.timesteps - 1 else len(pairs_until(network.ties, until))
    moments = moments_of_run(data)
    moment = f", which begins {moments[until]:%d %B %Y, %H:%M} UTC" if moments else ""
    most = f" The {MOST_DRAWN_TIES:,} heaviest are drawn." if now > MOST_DRAWN_TIES else ""
    placed = (
        f"Forces place the users (Fruchterman & Reingold), {INSIDE_PULL:g} times as strong inside a community."
        if len(graph) <= MOST_BY_FORCES
        else "The users are too many to place one by one: each community is a disc."
    )
    return (
        f"{len(graph):,} users; {now:,} of {pairs:,} pairs have a tie up to timestep {until}{moment}.{most} "
        "A tie is fainter, the older its latest act is. Users without a tie so far are pale. "
        f"{placed} Places come from the whole run, so that users stay where they are."
    )


def _communities(data: RunData, network: Network) -> None:
    communities, planted = network.communities, {agent.user_id: agent.community for agent in data.agents}
    strength = number(modularity(network.graph, communities.partition))
    heading(
        "Communities",
        f"{len(communities.sizes):,} Louvain communities of the whole run's ties, modularity {strength}. The words are "
        "those that members use more often than other users do. A planted community is one "
        "that the population was generated with.",
    )
    rows = [_community_row(communities, label, planted) for label in communities.sizes]
    coloured = [row for row in rows if row["community"] - 1 in communities.colours]
    block("".join(_community_line(communities, row) for row in coloured))
    if communities.others:
        note(f"Grey in the picture: {communities.others:,} users of all other communities.")
    with st.expander("All communities as a table"):
        table(rows, "communities", 260)


def _community_row(communities: Communities, label: int, planted: dict[int, int | None]) -> dict[str, Any]:
    size = communities.sizes[label]
    known = Counter(planted[user] for user in communities.members(label) if planted.get(user) is not None)
    top, members = known.most_common(1)[0] if known else (None, None)
    return {
        "community": label + 1, "words": communities.names.get(label, ""), "users": size,
        "share": size / len(communities.partition), "most common planted community": top,
        "its share": None if members is None else members / size,
    }  # fmt: skip


def _community_line(communities: Communities, row: dict[str, Any]) -> str:
    colour = communities.colours[row["community"] - 1]
    planted = (
        "" if row["its share"] is None
        else f", {row['its share']:.0%} of them of planted community {row['most common planted community']}"
    )  # fmt: skip
    return (
        f'<div class="item"><span class="dot" style="background:{colour}"></span><b>{markup(row["words"])}</b> '
        f"· {row['users']:,} users{planted}</div>"
    )
