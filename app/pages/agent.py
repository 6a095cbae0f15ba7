"""One agent: who it is, what it did, and why: down to a single decision."""

from collections import Counter
from collections.abc import Mapping

import streamlit as st

from polyphony.app.parts.charts import shares_chart
from polyphony.app.parts.escape import markup, plain
from polyphony.app.parts.library import FoundRun, Library, agent_rows, bank_catalog, run_data
from polyphony.app.parts.page_parts import AGENT, arm_name, block, chart, facts, heading, note, notice, table, title
from polyphony.app.parts.style import OTHER_COLOUR, arm_colours
from polyphony.errors import MetricsError
from polyphony.metrics.core.labels import number
from polyphony.metrics.figures.activity import acts_by_kind
from polyphony.metrics.runfile.agent_rows import AgentRows, Decision
from polyphony.metrics.runfile.bank_catalog import BankRevision
from polyphony.metrics.runfile.rundata import Agent, RunData

_MOST_ITEMS = 200
_HEIGHT = 440
_HISTORY_COLOUR = OTHER_COLOUR


def draw(library: Library, run: FoundRun) -> None:
    """Draw the page."""
    data = run_data(run.path)
    if not data.agents:
        title("Agent", "This run has no agents.")
        return
    by_handle = {each.handle: each for each in data.agents}
    if st.session_state.get(AGENT) not in by_handle:
        st.session_state[AGENT] = _busiest(data).handle
    title("Agent", "Who an agent is, what it did beside what its person did before, and one decision in full.")
    handle = st.selectbox("Agent", list(by_handle), key=AGENT, format_func=lambda each: "@" + plain(each))
    chosen = by_handle[handle]
    rows = agent_rows(run.path, chosen.agent_id)
    colour = arm_colours([run.arm])[run.arm]
    block(f'<div class="box words">{markup(chosen.persona) or "No persona text."}</div>')
    _adapter(library, run, data, chosen)
    _habits(data, chosen, rows, colour)
    _texts(data, chosen, rows)
    _decision(library, run, data, rows)


def _busiest(data: RunData) -> Agent:
    kinds = acts_by_kind(data)
    return max(data.agents, key=lambda each: kinds["original_posts"][each.user_id] + kinds["comments"][each.user_id])


def _adapter(library: Library, run: FoundRun, data: RunData, chosen: Agent) -> None:
    if chosen.adapter_id is None:
        note("No adapter: the agent acts through the shared model.")
        return
    pairs = [("adapter", chosen.adapter_id), ("revision", str(chosen.revision))]
    found = _revision(library, run, data, chosen)
    if found is not None:
        pairs += [
            ("status", found.status), ("rank, start, numbers", f"{found.rank}, {found.init}, {found.precision}"),
            ("training posts", number(found.train_examples)),
            ("held-out NLL, own and prior alone", f"{number(found.own)} and {number(found.pooled)}"),
            ("learned from", f"{(found.learned_from or '?')[:10]} to {(found.learned_to or '?')[:10]}"),
            ("origin of the posts", found.origin or "not told"),
        ]  # fmt: skip
    facts(pairs)
    if found is None:
        note("Its training and evaluation stand in the bank that this run used; name it with <code>--bank DIR</code>.")


def _revision(library: Library, run: FoundRun, data: RunData, chosen: Agent) -> BankRevision | None:
    """The agent's revision in the bank, if that is the bank whose weights the run used."""
    if library.bank is None:
        return None
    try:
        catalog = bank_catalog(library.bank)
    except MetricsError as error:
        notice(str(error))
        return None
    used = [(each.adapter_id, each.revision) for each in data.agents if each.adapter_id and each.revision is not None]
    if catalog.digest(used) != run.header.bank_digest:
        return None
    key = (chosen.adapter_id, chosen.revision)
    return next((each for each in catalog.revisions if (each.adapter_id, each.number) == key), None)


def _habits(data: RunData, chosen: Agent, rows: AgentRows, colour: str) -> None:
    acted = Counter(each.act for each in rows.decisions if each.act and each.outcome == "ok" and each.act != "nothing")
    before = Counter(each.act for each in rows.past)
    shares = {
        name: {verb: count / counts.total() for verb, count in counts.items()}
        for name, counts in (("history", before), ("run", acted)) if counts
    }  # fmt: skip
    heading("Habits", f"Shares of acts: {before.total():,} in the person's history, {acted.total():,} in this run.")
    if shares:
        chart(
            shares_chart(shares, {"history": _HISTORY_COLOUR, "run": colour}), "habits", "Act shares, history and run"
        )
    else:
        note("The file holds no history of this person, and the agent did nothing but nothing.")


def _texts(data: RunData, chosen: Agent, rows: AgentRows) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        heading("Before", "What the person wrote: newest first, with the part of the history it belongs to.")
        past = [each for each in reversed(rows.past) if each.text]
        _scroll([(f"{each.created_at[:10]} · {each.act} · {each.split}", each.text, "") for each in past])
    with right:
        heading("In the run", "What the agent did: newest first.")
        _scroll([_told(data, each) for each in reversed(rows.decisions)])


def _scroll(items: list[tuple[str, str, str]]) -> None:
    with st.container(height=_HEIGHT, border=True):
        if not items:
            note("Nothing.")
            return
        block("".join(_item(*each) for each in items[:_MOST_ITEMS]))
        if len(items) > _MOST_ITEMS:
            note(f"{len(items) - _MOST_ITEMS:,} more.")


def _item(head: str, text: str, about: str) -> str:
    words = f'<div class="words">{markup(text)}</div>' if text else ""
    answered = f'<div class="about words">{markup(about)}</div>' if about else ""
    return f'<div class="item"><div class="head"><bdi>{markup(head)}</bdi></div>{words}{answered}</div>'


def _told(data: RunData, each: Decision) -> tuple[str, str, str]:
    """A decision in three texts: what it was, the words it made, what it was about."""
    target = None if each.target_post_id is None else data.post_by_id.get(each.target_post_id)
    about = target.user_id if target else each.target_user_id
    whom = None if about is None else data.users.get(about)
    text = ""
    if each.post_id is not None and each.post_id in data.post_by_id:
        text = data.post_by_id[each.post_id].own_text
    elif each.comment_id is not None and each.comment_id in data.comment_by_id:
        text = data.comment_by_id[each.comment_id].content
    why = f" · {each.outcome}: {each.reason or 'no reason given'}" if each.outcome != "ok" else ""
    head = f"timestep {each.timestep} · {each.act or each.outcome}{f' · @{whom}' if whom else ''}{why}"
    return head, text, (target.quote_content or target.content) if target else ""


def _decision(library: Library, run: FoundRun, data: RunData, rows: AgentRows) -> None:
    heading(
        "One decision", "What the agent was shown, how likely each act was before one was drawn, and what it wrote."
    )
    if not rows.decisions:
        note("This agent was never activated.")
        return
    labels = {each.activation_id: plain(_told(data, each)[0]) for each in rows.decisions}
    activation = st.selectbox(
        "Activation", list(labels), format_func=lambda each: labels[each], key=f"activation {run.path}"
    )
    decision = next((each for each in rows.decisions if each.activation_id == activation), rows.decisions[0])
    left, right = st.columns(2, gap="large")
    with left:
        note("What it was shown")
        shown = [each for each in rows.shown if each.timestep == decision.timestep]
        _scroll([(f"{each.position} · @{each.author} · {each.source}", each.text, "") for each in shown])
    with right:
        facts([
            ("prompt tokens", number(decision.prompt_tokens)), ("tokens written", number(decision.output_tokens)),
            ("prompt", (decision.prompt_digest or "not logged")[:12]),
        ])  # fmt: skip
        block(_item(*_told(data, decision)))
        if decision.act_distribution is None:
            note("The policy logged no distribution.")
        else:
            one = {run.arm: decision.act_distribution}
            chart(shares_chart(one, arm_colours([run.arm])), "decision", "Probability of each act")
    _elsewhere(library, run, data, decision)


def _elsewhere(library: Library, run: FoundRun, data: RunData, decision: Decision) -> None:
    """The same agent at the same moment in other arms."""
    siblings = library.siblings(run)
    if not siblings:
        return
    heading(
        "The same moment in other arms", "Runs with the same people and seed activate the same agents at the same time."
    )
    agent_id = next(each.agent_id for each in data.agents if each.handle == st.session_state[AGENT])
    distributions: dict[str, Mapping[str, float]] = {}
    for each in siblings:
        other = next(
            (found for found in agent_rows(each.path, agent_id).decisions if found.timestep == decision.timestep), None
        )
        arm, colour = each.arm, arm_colours([each.arm])[each.arm]
        if other is None:
            block(f"<p>{arm_name(arm, colour)}</p>")
            note("Not activated then.")
            continue
        same = other.prompt_digest is not None and other.prompt_digest == decision.prompt_digest
        block(f"<p style='margin:.6rem 0 0'>{arm_name(arm, colour)}</p>")
        note(
            "The same prompt, token by token."
            if same
            else "Another prompt: feeds differ by then, or the arms' prompts."
        )
        block(_item(*_told(run_data(each.path), other)))
        if other.act_distribution is not None:
            distributions[arm] = other.act_distribution
    if decision.act_distribution is not None and distributions:
        shares = {run.arm: decision.act_distribution, **distributions}
        chart(shares_chart(shares, arm_colours(list(shares))), "elsewhere", "Probability of each act, by arm")
        verbs = sorted({verb for each in shares.values() for verb in each})
        table(
            [{"arm": arm, **{verb: each.get(verb, 0.0) for verb in verbs}} for arm, each in shares.items()], "decision"
        )
