"""The event loop: observe → decide → act → record, one transaction a timestep."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from polyphony.adapters.bank.revision import Revision
from polyphony.garbage import cycles_left
from polyphony.personas.people.acts import USUAL, Verb
from polyphony.plugins import failing_as
from polyphony.simulation.feed.feed import FeedEntry, FeedMaker
from polyphony.simulation.feed.items import feed_items
from polyphony.simulation.policies.decisions import check_decisions
from polyphony.simulation.policies.policy import Decision, Observation, Policy
from polyphony.simulation.runs.scenario import Scenario
from polyphony.simulation.runs.store import RunStore
from polyphony.simulation.world.action_menu import action_of, possible_targets
from polyphony.simulation.world.actions import CreatePost
from polyphony.simulation.world.clock import Clock
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.platform import Platform
from polyphony.simulation.world.rows import Rows

EMPTY = Scenario()
Progress = Callable[[int, int, int], None]
"""Called after each timestep with the timesteps done, the timesteps in all, and the activations so far."""


class PendingTimestep(NamedTuple):
    """A timestep that waits for the decisions of its agents.

    Attributes:
        when: The timestep and its moment.
        scripted: Rows of the scenario's acts, which come before those of the agents.
        feeds: The feed of each active agent.
        observations: The observation of each active agent, in the order of their numbers.
        began: When the timestep began on the wall clock, in seconds.
    """

    when: Moment
    scripted: list[dict[str, Any]]
    feeds: dict[int, list[FeedEntry]]
    observations: list[Observation]
    began: float


class Simulation:
    """One run between its store, its platform and its policy."""

    def __init__(
        self,
        store: RunStore,
        platform: Platform,
        clock: Clock,
        policy: Policy,
        feeds: FeedMaker,
        revisions: Sequence[Revision | None],
        *,
        offered: Sequence[Verb] = USUAL,
        scenario: Scenario = EMPTY,
        expect: Callable[[Sequence[int]], None] | None = None,
    ) -> None:
        """Bind the parts.

        Args:
            store: The run file.
            platform: The platform, as the run begins or goes on.
            clock: Says which agents are active when.
            policy: Decides for the agents.
            feeds: Makes the agents' feeds.
            revisions: The weights each agent acts with, None where it has none.
            offered: Verbs that the policy may choose.
            scenario: The interventions of the experimenter.
            expect: Called, before the agents of a timestep decide, with those who are active in the next one.
        """
        self._expect = expect
        self._store, self._platform, self._clock, self._policy = store, platform, clock, policy
        self._feeds, self._revisions, self._offered, self._scenario = feeds, revisions, offered, scenario
        self._users = {name: user for user, name in enumerate(platform.names)}
        self._activations = store.activations()

    @property
    def next_timestep(self) -> int:
        """The first timestep that the run file does not hold yet."""
        return self._store.next_timestep()

    @property
    def activations(self) -> int:
        """Activations so far."""
        return self._activations

    @property
    def policy(self) -> Policy:
        """Decides for the agents."""
        return self._policy

    def begin_timestep(self, timestep: int) -> PendingTimestep:
        """Carry the scenario's acts out and observe for all active agents, who see the platform at the same moment."""
        began = time.perf_counter()
        when = Moment(timestep, self._clock.at(timestep))
        scripted = self._stage(when)
        active = [agent for agent in self._clock.active(timestep) if agent not in self._platform.suspended]
        feeds = self._feeds.feeds(self._platform, active, when)
        observations = [self._observe(agent, when, feed) for agent, feed in feeds.items()]
        if self._expect is not None:
            self._expect(self._clock.active(timestep + 1))
        return PendingTimestep(when, scripted, feeds, observations, began)

    def end_timestep(self, pending: PendingTimestep, decisions: Sequence[Decision], seconds: float) -> None:
        """Carry the decisions out in the order of the agents' numbers, and record the timestep in one transaction.

        Args:
            pending: What `begin_timestep` returned.
            decisions: One for each of its observations, in their order.
            seconds: What the decisions took on the wall clock, those of other runs in the same batch included.
        """
        timestep = pending.when.timestep
        rows: Rows = {
            "activation": [], "exposure": self._exposures(pending.feeds, timestep), "scripted": pending.scripted,
        }  # fmt: skip
        for observation, decision in zip(pending.observations, decisions, strict=True):
            row, discovered = self._act(observation, decision, pending.feeds[observation.agent], pending.when)
            rows["activation"].append(row)
            rows["exposure"] += self._exposures({observation.agent: discovered}, timestep)
        self._record(timestep, rows, {"policy": seconds, "timestep": time.perf_counter() - pending.began})

    def _stage(self, when: Moment) -> list[dict[str, Any]]:
        """Carry out what the scenario orders for a timestep; return the rows of its acts."""
        platform, users = self._platform, self._users
        platform.suspended = {users[name] for name in self._scenario.suspended_at(when.timestep)}
        self._feeds.switch(self._scenario.recommender_at(when.timestep, self._feeds.default))
        rows = []
        for name, action in self._scenario.acts_at(when.timestep):
            refused = platform.act(users[name], action, when, seed=isinstance(action, CreatePost)).refused
            outcome = {"outcome": "refused" if refused else "ok", "reason": refused}
            rows.append({"timestep": when.timestep, "user_id": users[name], "action": action.name, **outcome})
        return rows

    def _observe(self, agent: int, when: Moment, feed: Sequence[FeedEntry]) -> Observation:
        items = [entry.item for entry in feed]
        shown = feed_items(self._platform, agent, items, when)
        targets = possible_targets(self._platform, agent, items, self._offered)
        return Observation(agent, when.timestep, shown, targets, self._platform.memory[agent])

    def _exposures(self, feeds: dict[int, list[FeedEntry]], timestep: int) -> list[dict[str, Any]]:
        rows = []
        for agent, feed in feeds.items():
            for entry in feed:
                self._platform.expose(agent, entry.post_id, entry.source, entry.comment_id)
                rows.append(
                    {
                        "timestep": timestep, "agent_id": agent, "post_id": entry.post_id,
                        "position": entry.position, "source": entry.source,
                        "score": None if entry.score is None else round(entry.score, 6),
                        "comment_id": entry.comment_id,
                    }
                )  # fmt: skip
        return rows

    def _act(
        self, observation: Observation, decision: Decision, feed: Sequence[FeedEntry], when: Moment
    ) -> tuple[dict[str, Any], list[FeedEntry]]:
        """Carry a decision out; return its row, and the posts that a search or a trend showed the agent."""
        agent, verb = observation.agent, decision.verb
        row: dict[str, Any] = {
            "activation_id": self._activations + 1,
            "timestep": observation.timestep,
            "agent_id": agent,
            "prompt_digest": decision.prompt_digest,
            "prompt_tokens": decision.prompt_tokens,
            "output_tokens": decision.output_tokens,
            "act_distribution": _rounded(decision),
            "act": verb,
            "outcome": "failed",
            "reason": decision.failure,
            **dict.fromkeys(("target_post_id", "target_user_id", "target_comment_id", "post_id", "comment_id")),
            **self._weights_of(agent),
        }
        self._activations += 1
        if verb is None:
            return row, []
        outcome = self._carry_out(agent, verb, decision, feed, when)
        source = "search" if verb is Verb.SEARCH else "trend"
        discovered = [FeedEntry(post_id, place, source, None) for place, post_id in enumerate(outcome.shown, 1)]
        return row | {
            "outcome": "refused" if outcome.refused else "ok",
            "reason": outcome.refused,
            "target_post_id": outcome.target_post_id,
            "target_user_id": outcome.target_user_id,
            "target_comment_id": outcome.target_comment_id,
            "post_id": outcome.post_id,
            "comment_id": outcome.comment_id,
        }, discovered

    def _carry_out(
        self, agent: int, verb: Verb, decision: Decision, feed: Sequence[FeedEntry], when: Moment
    ) -> Outcome:
        item = feed[decision.position - 1].item if decision.position else None
        author = None if item is None else self._platform.author(item)
        try:
            action = action_of(verb, item, author, decision.text)
        except ValidationError as error:
            post_id, comment_id = item or (None, None)
            reason = error.errors()[0]["msg"]
            return Outcome(refused=reason, target_post_id=post_id, target_comment_id=comment_id)
        return self._platform.act(agent, action, when)

    def _weights_of(self, agent: int) -> dict[str, Any]:
        revision = self._revisions[agent]
        return {
            "adapter_id": revision.adapter_id if revision else None,
            "revision": revision.number if revision else None,
        }

    def _record(self, timestep: int, rows: Rows, seconds: Mapping[str, float]) -> None:
        changes = self._platform.take_changes()
        last = {"last_numbers": json.dumps(self._platform.last_numbers)}
        rows["checkpoint"] = [{"timestep": timestep, "activations": len(rows["activation"]), **last}]
        rows["timing"] = [
            {"timestep": timestep, "stage": stage, "seconds": spent} for stage, spent in seconds.items()
        ]  # fmt: skip
        with self._store.transaction() as connection:
            self._store.write(connection, changes, rows)


def decide_apart(
    pending: Sequence[tuple[Policy, Sequence[Observation]]], name: str = "policy"
) -> list[list[Decision]]:  # fmt: skip
    """Have each policy decide for its own agents.

    Args:
        pending: Each run's policy and observations.
        name: What errors call the policy.

    Raises:
        InputError: A policy decided what is not possible, see `simulation.policies.decisions`.
    """
    decisions = []
    for policy, observations in pending:
        with failing_as(f"policy {name!r}", policy):
            decided = policy.decide(observations) if observations else []
        check_decisions(name, observations, decided)
        decisions.append(decided)
    return decisions


def run_in_step(
    simulations: Sequence[Simulation],
    timesteps: int,
    decide: Callable[[Sequence[tuple[Any, Sequence[Observation]]]], list[list[Decision]]],
    progress: Progress,
) -> None:
    """Simulate every timestep that the run files do not hold yet; all runs end a timestep before any begins the next.

    Args:
        simulations: The runs; one that holds a timestep already waits for the others.
        timesteps: How many timesteps each run is to have.
        decide: Given each run's policy and observations, returns the decisions of each run.
        progress: Called after each timestep, with the activations of all runs.
    """
    next_timesteps = [simulation.next_timestep for simulation in simulations]
    for timestep in range(min(next_timesteps), timesteps):
        due = [run for run, first in zip(simulations, next_timesteps, strict=True) if first <= timestep]
        with cycles_left():
            pending = [simulation.begin_timestep(timestep) for simulation in due]
        began = time.perf_counter()
        decisions = decide([(run.policy, step.observations) for run, step in zip(due, pending, strict=True)])
        seconds = time.perf_counter() - began
        with cycles_left():
            for simulation, step, own_decisions in zip(due, pending, decisions, strict=True):
                simulation.end_timestep(step, own_decisions, seconds)
        progress(timestep + 1, timesteps, sum(simulation.activations for simulation in simulations))


def _rounded(decision: Decision) -> dict[str, float] | None:
    if decision.distribution is None:
        return None
    return {str(verb): round(share, 6) for verb, share in decision.distribution.items()}
