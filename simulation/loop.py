"""The event loop: observe → decide → act → record, one transaction a timestep."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from adapters.prompt import FeedItem
from adapters.revision import Revision
from personas.acts import USUAL, Verb
from simulation.actions import CreatePost
from simulation.choices import action_of, possible_targets
from simulation.clock import Clock
from simulation.feed import Exposure, FeedMaker
from simulation.platform import Moment, Outcome, Platform
from simulation.policy import Decision, Observation, Policy
from simulation.rows import Rows
from simulation.scenario import Scenario
from simulation.store import RunStore

EMPTY = Scenario()
Progress = Callable[[int, int, int], None]
"""Called after each timestep with the timesteps done, the timesteps in all, and the activations so far."""


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
            store: Where everything is recorded.
            platform: What is acted on.
            clock: Who is active when.
            policy: What decides.
            feeds: What agents are shown.
            revisions: The weights each agent acts with, None where it has none.
            offered: Verbs that the policy may choose.
            scenario: What the experimenter does.
            expect: Told who will be active next, while those of now decide.
        """
        self._expect = expect
        self._store, self._platform, self._clock, self._policy = store, platform, clock, policy
        self._feeds, self._revisions, self._offered, self._scenario = feeds, revisions, offered, scenario
        self._users = {name: user for user, name in enumerate(platform.names)}
        self._activations = store.activations()

    def run(self, timesteps: int, progress: Progress = lambda done, total, activations: None) -> None:
        """Simulate every timestep that the run file does not hold yet."""
        for timestep in range(self._store.next_timestep(), timesteps):
            self.step(timestep)
            progress(timestep + 1, timesteps, self._activations)

    def step(self, timestep: int) -> None:
        """Simulate one timestep: all active agents see the same moment, then act in the order of their ids."""
        began = time.perf_counter()
        when = Moment(timestep, self._clock.at(timestep))
        scripted = self._stage(when)
        active = [agent for agent in self._clock.active(timestep) if agent not in self._platform.suspended]
        feeds = self._feeds.feeds(self._platform, active, when)
        observations = [self._observe(agent, timestep, feed) for agent, feed in feeds.items()]
        if self._expect is not None:
            self._expect(self._clock.active(timestep + 1))
        asked = time.perf_counter()
        decisions = self._policy.decide(observations) if observations else []
        answered = time.perf_counter()
        rows: Rows = {"activation": [], "exposure": self._exposures(feeds, timestep), "scripted": scripted}
        for observation, decision in zip(observations, decisions, strict=True):
            row, found = self._act(observation, decision, feeds[observation.agent], when)
            rows["activation"].append(row)
            rows["exposure"] += self._exposures({observation.agent: found}, timestep)
        self._record(timestep, rows, {"policy": answered - asked, "timestep": time.perf_counter() - began})

    def _stage(self, when: Moment) -> list[dict[str, Any]]:
        """Set what the scenario orders for a timestep; return the rows of its acts."""
        platform, users = self._platform, self._users
        platform.suspended = {users[name] for name in self._scenario.suspended_at(when.timestep)}
        self._feeds.switch(self._scenario.recommender_at(when.timestep, self._feeds.default))
        rows = []
        for name, action in self._scenario.acts_at(when.timestep):
            refused = platform.act(users[name], action, when, seed=isinstance(action, CreatePost)).refused
            outcome = {"outcome": "refused" if refused else "ok", "reason": refused}
            rows.append({"timestep": when.timestep, "user_id": users[name], "action": action.name, **outcome})
        return rows

    def _observe(self, agent: int, timestep: int, feed: Sequence[Exposure]) -> Observation:
        posts, shown = self._platform.posts, [exposure.post_id for exposure in feed]
        items = [FeedItem(self._platform.names[int(posts[post]["user"])], posts.text(post)) for post in shown]
        targets = possible_targets(self._platform, agent, shown, self._offered)
        return Observation(agent, timestep, items, targets, tuple(self._platform.memory[agent]))

    def _exposures(self, feeds: dict[int, list[Exposure]], timestep: int) -> list[dict[str, Any]]:
        rows = []
        for agent, feed in feeds.items():
            for shown in feed:
                self._platform.expose(agent, shown.post_id, shown.source)
                rows.append(
                    {
                        "timestep": timestep, "agent_id": agent, "post_id": shown.post_id,
                        "position": shown.position, "source": shown.source,
                        "score": None if shown.score is None else round(shown.score, 6),
                    }
                )  # fmt: skip
        return rows

    def _act(
        self, observation: Observation, decision: Decision, feed: Sequence[Exposure], when: Moment
    ) -> tuple[dict[str, Any], list[Exposure]]:
        """Carry a decision out; return the activation's row, and what the act showed the agent."""
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
            **dict.fromkeys(("target_post_id", "target_user_id", "post_id", "comment_id")),
            **self._weights_of(agent),
        }
        self._activations += 1
        if verb is None:
            return row, []
        outcome = self._carry_out(agent, verb, decision, feed, when)
        source = "search" if verb is Verb.SEARCH else "trend"
        found = [Exposure(post_id, place, source, None) for place, post_id in enumerate(outcome.shown, 1)]
        return row | {
            "outcome": "refused" if outcome.refused else "ok",
            "reason": outcome.refused,
            "target_post_id": outcome.target_post_id,
            "target_user_id": outcome.target_user_id,
            "post_id": outcome.post_id,
            "comment_id": outcome.comment_id,
        }, found

    def _carry_out(self, agent: int, verb: Verb, decision: Decision, feed: Sequence[Exposure], when: Moment) -> Outcome:
        post_id = feed[decision.position - 1].post_id if decision.position else None
        author = None if post_id is None else int(self._platform.posts[post_id]["user"])
        try:
            action = action_of(verb, post_id, author, decision.text)
        except ValidationError as error:
            return Outcome(refused=error.errors()[0]["msg"], target_post_id=post_id)
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


def _rounded(decision: Decision) -> dict[str, float] | None:
    if decision.distribution is None:
        return None
    return {str(verb): round(share, 6) for verb, share in decision.distribution.items()}
