"""The Agent page: who an agent is, what it did, and how it made one decision."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

import streamlit as st

from polyphony.app.parts.address import write_address
from polyphony.app.parts.charts import shares_chart
from polyphony.app.parts.escape import markup, plain
from polyphony.app.parts.library import FoundRun, Library, agent_rows, bank_catalog, run_data
from polyphony.app.parts.page_parts import AGENT, arm_name, block, chart, facts, heading, note, notice, table, title
from polyphony.app.parts.style import OTHER_COLOUR, arm_colours
from polyphony.errors import MetricsError
from polyphony.metrics.core.labels import number
from polyphony.metrics.figures.activity import acts_by_kind
from polyphony.metrics.runfile.agent_rows import AgentRows, LoggedDecision
from polyphony.metrics.runfile.bank_catalog import BankRevision
from polyphony.metrics.runfile.oasis import ARM as OASIS
from polyphony.metrics.runfile.rundata import Agent, RunData

_MOST_ITEMS = 200
_HEIGHT = 440
_FEW_ACTS = 10
_HISTORY_COLOUR = OTHER_COLOUR


def draw(library: Library, run: FoundRun) -> None:
    """Draw the page."""
    data = run_data(run.path)
    if not data.agents:
        title("Agent", "This run has no agents.")
        return
    by_handle = {agent.handle: agent for agent in data.agents}
    busiest = _busiest(data).handle
    if st.session_state.get(AGENT) not in by_handle:
        st.session_state[AGENT] = busiest
    title("Agent", "Who an agent is, how its acts compare with its person's history, and one decision in full.")
    handle = st.selectbox("Agent", list(by_handle), key=AGENT, format_func=lambda name: "@" + plain(name))
    write_address(AGENT, handle)
    agent = by_handle[handle]
    rows = agent_rows(run.path, agent.agent_id)
    colour = arm_colours([run.arm])[run.arm]
    _neighbours(list(by_handle), handle)
    block(f'<div class="box words">{markup(agent.persona) or "No persona text."}</div>')
    _texts(data, rows)
    _act_shares(rows, colour)
    _decision(library, run, data, rows)
    if data.arm == OASIS:
        return
    _interview(library, run, agent)
    if agent.adapter_id is None:
        note("This agent has no adapter: it acts through the base model that all agents share.")
        return
    with st.expander("Adapter: training and evaluation"):
        _adapter(library, run, data, agent, agent.adapter_id)


def _neighbours(handles: Sequence[str], handle: str) -> None:
    """Buttons that go to the agents before and after this one, in the run's order; after the last comes the first."""
    place = handles.index(handle)
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, step in (("← Previous", -1), ("Next →", 1)):
            other = handles[(place + step) % len(handles)]
            st.button(label, on_click=_choose, args=(other,), disabled=len(handles) < 2)
        note(f"Agent {place + 1:,} of {len(handles):,}")


def _choose(handle: str) -> None:
    st.session_state[AGENT] = handle


def _busiest(data: RunData) -> Agent:
    counts = acts_by_kind(data)
    posts, comments = counts["original_posts"], counts["comments"]
    return max(data.agents, key=lambda agent: posts[agent.user_id] + comments[agent.user_id])


def _adapter(library: Library, run: FoundRun, data: RunData, agent: Agent, adapter_id: str) -> None:
    pairs = [("adapter", adapter_id), ("revision", str(agent.revision))]
    revision = _revision(library, run, data, agent)
    if revision is not None:
        pairs += [
            ("status", revision.status), ("rank", str(revision.rank)), ("initialisation", revision.init),
            ("storage", revision.precision),
            ("training posts", number(revision.train_examples)),
            ("held-out NLL, own adapter and prior alone", f"{number(revision.own)} and {number(revision.pooled)}"),
            ("trained on posts of", f"{(revision.learned_from or '?')[:10]} to {(revision.learned_to or '?')[:10]}"),
            ("source of the posts", revision.origin or "not recorded"),
        ]  # fmt: skip
    facts(pairs)
    if revision is None:
        note(
            "The bank that this run used records how the adapter was trained and evaluated. Start the dashboard with "
            "<code>--bank DIR</code> to see it."
        )


def _revision(library: Library, run: FoundRun, data: RunData, agent: Agent) -> BankRevision | None:
    """Return the agent's revision, or None where the library's bank is not the one that the run used."""
    if library.bank is None:
        return None
    try:
        catalog = bank_catalog(library.bank)
    except MetricsError as error:
        notice(str(error))
        return None
    used = [(user.adapter_id, user.revision) for user in data.agents if user.adapter_id and user.revision is not None]
    if catalog.digest(used) != run.header.bank_digest:
        return None
    key = (agent.adapter_id, agent.revision)
    return next((entry for entry in catalog.revisions if (entry.adapter_id, entry.number) == key), None)


def _act_shares(rows: AgentRows, colour: str) -> None:
    simulated = Counter(
        decision.act
        for decision in rows.decisions
        if decision.outcome == "ok" and decision.act not in (None, "nothing")
    )
    history = Counter(act.act for act in rows.past)
    shares = {
        name: {verb: count / counts.total() for verb, count in counts.items()}
        for name, counts in (("history", history), ("run", simulated)) if counts
    }  # fmt: skip
    few = [name for name, counts in (("history", history), ("run", simulated)) if 0 < counts.total() < _FEW_ACTS]
    hollow = f" Hollow bars rest on fewer than {_FEW_ACTS} acts and can differ by chance alone." if few else ""
    heading(
        "Habits",
        f"Share of each act; doing nothing is not counted. {history.total():,} acts in the person's history, "
        f"{simulated.total():,} acts in this run.{hollow}",
    )
    if shares:
        chart(
            shares_chart(shares, {"history": _HISTORY_COLOUR, "run": colour}, hollow=few, left_out=["nothing"]),
            "act shares",
            "Shares of acts in the history and in the run",
        )
    else:
        note("The run file holds no history of this person, and the agent has not acted.")


def _texts(data: RunData, rows: AgentRows) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        heading(
            "Before",
            "What the person wrote, newest first. Adapters may learn from the part train; the part validation decides "
            "which epoch of a training is kept; the part held-out is kept from training.",
        )
        past = [act for act in reversed(rows.past) if act.text]
        _scroll([(f"{act.created_at[:10]} · {act.act} · {act.split.replace('_', '-')}", act.text, "") for act in past])
    with right:
        heading("In the run", "What the agent did, newest first.")
        _scroll([_decision_texts(data, decision) for decision in reversed(rows.decisions)])


def _scroll(items: list[tuple[str, str, str]]) -> None:
    with st.container(height=_HEIGHT, border=True):
        if not items:
            note("Nothing.")
            return
        block("".join(_item(*texts) for texts in items[:_MOST_ITEMS]))
        if len(items) > _MOST_ITEMS:
            note(f"{len(items) - _MOST_ITEMS:,} more.")


def _item(head: str, text: str, about: str) -> str:
    words = f'<div class="words">{markup(text)}</div>' if text else ""
    answered = f'<div class="about words">{markup(about)}</div>' if about else ""
    return f'<div class="item"><div class="head"><bdi>{markup(head)}</bdi></div>{words}{answered}</div>'


def _decision_texts(data: RunData, decision: LoggedDecision) -> tuple[str, str, str]:
    """Return a decision as three texts: its act and target, the words that the agent wrote, the target's words."""
    target = None if decision.target_post_id is None else data.post_by_id.get(decision.target_post_id)
    reply = None if decision.target_comment_id is None else data.comment_by_id.get(decision.target_comment_id)
    about = reply.content if reply else (target.quote_content or target.content) if target else ""
    target_user_id = reply.user_id if reply else target.user_id if target else decision.target_user_id
    handle = None if target_user_id is None else data.users.get(target_user_id)
    text = ""
    if decision.post_id is not None and decision.post_id in data.post_by_id:
        text = data.post_by_id[decision.post_id].own_text
    elif decision.comment_id is not None and decision.comment_id in data.comment_by_id:
        text = data.comment_by_id[decision.comment_id].content
    failure = f" · {decision.outcome}: {decision.reason or 'no reason given'}" if decision.outcome != "ok" else ""
    target_name = f" · @{handle}" if handle else ""
    head = f"timestep {decision.timestep} · {decision.act or decision.outcome}{target_name}{failure}"
    return head, text, about


def _decision(library: Library, run: FoundRun, data: RunData, rows: AgentRows) -> None:
    heading("One decision", "What the agent saw, the probability of each act, and what the agent wrote.")
    if not rows.decisions:
        note("This agent was never activated.")
        return
    labels = {decision.activation_id: plain(_decision_texts(data, decision)[0]) for decision in rows.decisions}
    activation = st.selectbox(
        "Activation",
        list(labels),
        format_func=lambda number: labels[number],
        key=f"activation {library.name_of(run.path)} {st.session_state[AGENT]}",
    )
    decision = next((entry for entry in rows.decisions if entry.activation_id == activation), rows.decisions[0])
    left, right = st.columns(2, gap="large")
    with left:
        note("The feed that the agent saw")
        feed = [item for item in rows.shown if item.timestep == decision.timestep]
        _scroll([(f"{item.position} · @{item.author} · {item.source}", item.text, "") for item in feed])
    with right:
        facts([
            ("prompt tokens", number(decision.prompt_tokens)), ("tokens written", number(decision.output_tokens)),
            ("prompt", (decision.prompt_digest or "not logged")[:12]),
        ])  # fmt: skip
        block(_item(*_decision_texts(data, decision)))
        if decision.act_distribution is None:
            note("The policy logged no probabilities for this decision.")
        else:
            shares = {run.arm: decision.act_distribution}
            chart(shares_chart(shares, arm_colours([run.arm])), "decision", "Probability of each act")
    _other_arms(library, run, data, decision)


def _other_arms(library: Library, run: FoundRun, data: RunData, decision: LoggedDecision) -> None:
    """Show what the same agent decided at the same timestep in other arms."""
    siblings = library.siblings(run)
    if not siblings:
        return
    heading(
        "The same timestep in other arms",
        "Runs with the same people and seed activate the same agents at the same timesteps.",
    )
    agent_id = next(agent.agent_id for agent in data.agents if agent.handle == st.session_state[AGENT])
    shares: dict[str, Mapping[str, float]] = (
        {} if decision.act_distribution is None else {run.arm: decision.act_distribution}
    )
    for sibling in siblings:
        distribution = _decision_in(sibling, agent_id, decision)
        if distribution is not None:
            shares[sibling.arm] = distribution
    if run.arm in shares and len(shares) > 1:
        chart(shares_chart(shares, arm_colours(list(shares))), "elsewhere", "Probability of each act, by arm")
        verbs = sorted({verb for distribution in shares.values() for verb in distribution})
        rows = [
            {"arm": arm, **{verb: distribution.get(verb, 0.0) for verb in verbs}}
            for arm, distribution in shares.items()
        ]
        table(rows, "decision")


def _interview(library: Library, run: FoundRun, agent: Agent) -> None:
    if run.header.base_model is None:
        return  # nothing in the run could answer
    heading(
        "Ask this agent",
        "An interview is outside simulated time and does not change the run. The agent answers with the weights that "
        "it acts with. Put your question in place of the one below.",
    )
    options = [] if library.bank is None else ["--bank", str(library.bank)]
    # After `--` a handle may begin with a dash.
    command = shlex.join(
        ["simulate", "interview", *options, "--", str(run.path), agent.handle, "What do you care about?"]
    )
    st.code(plain(command), language=None, wrap_lines=True)
    if plain(command) != command:
        note("A name in this command holds signs that a page cannot show: take it from the run file.")


def _decision_in(sibling: FoundRun, agent_id: int, decision: LoggedDecision) -> Mapping[str, float] | None:
    """Show an agent's decision in another arm; return the probability of each act, or None where none was logged."""
    decisions = agent_rows(sibling.path, agent_id).decisions
    other = next((entry for entry in decisions if entry.timestep == decision.timestep), None)
    block(f"<p style='margin:.6rem 0 0'>{arm_name(sibling.arm, arm_colours([sibling.arm])[sibling.arm])}</p>")
    if other is None:
        note("The agent was not activated at this timestep.")
        return None
    if other.prompt_digest is not None and other.prompt_digest == decision.prompt_digest:
        note("The prompt is the same, token by token.")
    else:
        note("The prompt differs: by this timestep the feeds differ, or the arms have different prompts.")
    block(_item(*_decision_texts(run_data(sibling.path), other)))
    return other.act_distribution
