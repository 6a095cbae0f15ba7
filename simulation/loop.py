"""The event loop: observe → decide → act → record, one transaction a timestep."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from adapters.bank import Revision
from adapters.prompt import FeedItem
from personas.persona import Persona
from simulation import schema
from simulation.clock import Clock, iso
from simulation.feed import Exposure, make_feed
from simulation.platform import Platform, Rows
from simulation.policy import Decision, Observation, Policy
from simulation.store import RunStore

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
        personas: Sequence[Persona],
        revisions: Sequence[Revision | None],
        *,
        feed_items: int,
        seed: int,
    ) -> None:
        """Bind the parts; `revisions` names the weights each agent acts with, None where it has none."""
        self._store, self._platform, self._clock, self._policy = store, platform, clock, policy
        self._personas, self._revisions = personas, revisions
        self._feed_items, self._seed = feed_items, seed
        self._activations = store.activations()

    def run(self, timesteps: int, progress: Progress = lambda done, total, activations: None) -> None:
        """Simulate every timestep that the run file does not hold yet."""
        for timestep in range(self._store.next_timestep(), timesteps):
            self.step(timestep)
            progress(timestep + 1, timesteps, self._activations)

    def step(self, timestep: int) -> None:
        """Simulate one timestep: all active agents see the same moment, then act in the order of their ids."""
        began = time.perf_counter()
        feeds = {agent: self._feed(agent, timestep) for agent in self._clock.active(timestep)}
        observations = [self._observe(agent, timestep, feed) for agent, feed in feeds.items()]
        decisions = self._policy.decide(observations) if observations else []
        rows: Rows = {"activation": [], "exposure": self._exposures(feeds, timestep)}
        for observation, decision in zip(observations, decisions, strict=True):
            rows["activation"].append(self._act(observation, decision, feeds[observation.agent]))
        self._record(timestep, rows, time.perf_counter() - began)

    def _feed(self, agent: int, timestep: int) -> list[Exposure]:
        return make_feed(self._platform, agent, timestep=timestep, items=self._feed_items, seed=self._seed)

    def _observe(self, agent: int, timestep: int, feed: Sequence[Exposure]) -> Observation:
        posts = [self._platform.posts[exposure.post_id] for exposure in feed]
        items = [FeedItem(self._personas[post.user_id].handle, post.text) for post in posts]
        targets = self._platform.possible_targets(agent, [post.post_id for post in posts])
        return Observation(agent, timestep, items, targets)

    def _exposures(self, feeds: dict[int, list[Exposure]], timestep: int) -> list[dict[str, Any]]:
        rows = []
        for agent, feed in feeds.items():
            for shown in feed:
                self._platform.expose(agent, shown.post_id)
                rows.append(
                    {
                        "timestep": timestep, "agent_id": agent, "post_id": shown.post_id,
                        "position": shown.position, "source": shown.source, "score": round(shown.score, 6),
                    }
                )  # fmt: skip
        return rows

    def _act(self, observation: Observation, decision: Decision, feed: Sequence[Exposure]) -> dict[str, Any]:
        """Carry a decision out; return the activation's row."""
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
            return row
        post_id = feed[decision.position - 1].post_id if decision.position else None
        at = iso(self._clock.at(observation.timestep))
        outcome = self._platform.perform(agent, verb, post_id, decision.text, timestep=observation.timestep, at=at)
        return row | {
            "outcome": "refused" if outcome.refused else "ok",
            "reason": outcome.refused,
            "target_post_id": outcome.target_post_id,
            "target_user_id": outcome.target_user_id,
            "post_id": outcome.post_id,
            "comment_id": outcome.comment_id,
        }

    def _weights_of(self, agent: int) -> dict[str, Any]:
        revision = self._revisions[agent]
        return {
            "adapter_id": revision.adapter_id if revision else None,
            "revision": revision.number if revision else None,
        }

    def _record(self, timestep: int, rows: Rows, seconds: float) -> None:
        acts, posts, users = self._platform.take_rows()
        rows = {**acts, **rows}
        rows["checkpoint"] = [{"timestep": timestep, "activations": len(rows["activation"])}]
        rows["timing"] = [{"timestep": timestep, "stage": "timestep", "seconds": seconds}]
        with self._store.transaction() as connection:
            self._store.insert(connection, rows)
            self._store.update(connection, schema.post, posts)
            self._store.update(connection, schema.user, users)


def _rounded(decision: Decision) -> dict[str, float] | None:
    if decision.distribution is None:
        return None
    return {str(verb): round(share, 6) for verb, share in decision.distribution.items()}
