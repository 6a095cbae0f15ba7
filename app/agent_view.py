"""One agent in every arm: who it is, what it did and what it was shown."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.escape import markup
from app.page_parts import arm_name, block
from metrics.activity import acts_by_kind
from metrics.rundata import Activation, Agent, RunData

_MOST_ACTS = 200
_MOST_SHOWN = 1_000
_HEIGHT = 470


def agent_section(runs: Mapping[str, RunData], colours: Mapping[str, str]) -> None:
    """Let the reader choose an agent and see it in every arm."""
    first = next(iter(runs.values()))
    if not first.agents:
        block('<p class="note">These runs have no agents.</p>')
        return
    handles = {agent.agent_id: agent.handle for agent in first.agents}
    kinds = acts_by_kind(first)
    busiest = max(
        first.agents, key=lambda agent: kinds["original_posts"][agent.user_id] + kinds["comments"][agent.user_id]
    )
    ids = list(handles)
    chosen = st.selectbox("Agent", ids, index=ids.index(busiest.agent_id), format_func=lambda each: "@" + handles[each])
    agents = {arm: _agent(run, chosen) for arm, run in runs.items()}
    persona = next((agent.persona for agent in agents.values() if agent is not None), "")
    block(f'<div class="persona words">{markup(persona) or "No persona text."}</div>')
    for (arm, agent), column in zip(agents.items(), st.columns(len(agents), gap="large"), strict=True):
        with column:
            _one_arm(arm, colours[arm], agent, runs[arm])


def _agent(run: RunData, agent_id: int) -> Agent | None:
    return next((agent for agent in run.agents if agent.agent_id == agent_id), None)


def _one_arm(arm: str, colour: str, agent: Agent | None, run: RunData) -> None:
    if agent is None:
        block(f'<p>{arm_name(arm, colour)}</p><p class="note">This agent is not in this run.</p>')
        return
    adapter = "no adapter: the shared model" if agent.adapter_id is None else f"adapter {markup(agent.adapter_id)}"
    revision = "" if agent.revision is None else f", revision {agent.revision}"
    block(f'<p style="margin:.6rem 0 0">{arm_name(arm, colour)}</p><p class="note">{adapter}{revision}</p>')
    activations = [each for each in run.activations if each.user_id == agent.user_id]
    with st.container(height=_HEIGHT, border=True):
        if not activations:
            block('<p class="note">This agent was never activated.</p>')
        else:
            words = _words(run)
            block("".join(_act(each, run, words) for each in activations[:_MOST_ACTS]))
    with st.expander("What it was shown"):
        _shown(run, agent)


def _words(run: RunData) -> dict[int, str]:
    return {comment.comment_id: comment.content for comment in run.comments}


def _act(activation: Activation, run: RunData, comments: dict[int, str]) -> str:
    """One activation as HTML; every text in it is escaped."""
    verb = activation.act or activation.outcome
    reason = f" · {activation.outcome}: {activation.reason or 'no reason given'}" if activation.outcome != "ok" else ""
    target = run.post_by_id.get(activation.target_post_id or 0)
    whom = run.users.get(target.user_id if target else activation.target_user_id or 0)
    about = f" · @{whom}" if whom else ""
    made = run.post_by_id.get(activation.post_id or 0)
    text = made.own_text if made else comments.get(activation.comment_id or 0, "")
    parts = [
        f'<div class="head">timestep {activation.timestep} · <b>{markup(verb)}</b>{markup(about + reason)}</div>',
        f'<div class="words">{markup(text)}</div>' if text else "",
        f'<div class="about words">{markup(target.quote_content or target.content)}</div>' if target else "",
    ]
    return f'<div class="act">{"".join(parts)}</div>'


def _shown(run: RunData, agent: Agent) -> None:
    rows: list[dict[str, Any]] = []
    for each in run.exposures:
        post = run.post_by_id.get(each.post_id)
        if each.user_id == agent.user_id and post is not None:
            rows.append(
                {
                    "timestep": each.timestep,
                    "place": each.position,
                    "source": each.source,
                    "author": run.users.get(post.user_id, ""),
                    "text": post.quote_content or post.content,
                }
            )
    if rows:
        st.dataframe(
            rows[:_MOST_SHOWN], hide_index=True, column_config={"text": st.column_config.TextColumn(width="large")}
        )
    else:
        block('<p class="note">Nothing was shown to this agent.</p>')
