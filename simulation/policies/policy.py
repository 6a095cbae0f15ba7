"""The contract between the platform and whatever decides: observe → act distribution → act."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.personas.people.acts import Verb


@dataclass(frozen=True)
class Observation:
    """What an active agent sees and can do.

    Attributes:
        agent: Its id.
        timestep: The timestep, from 0.
        feed: Items shown, in the order shown: posts and replies, what concerns the agent first.
        targets: Each possible verb, with the feed items (from 1) that can be its target; empty for a verb without one.
        memory: What the agent remembers, oldest first; a prompt holds as much of it as its token budget allows.
    """

    agent: int
    timestep: int
    feed: Sequence[FeedItem]
    targets: dict[Verb, list[int]]
    memory: Sequence[str] = ()


@dataclass(frozen=True)
class Decision:
    """What an agent wants to do.

    Attributes:
        verb: The act, one of the observation's `targets`; None where the policy failed.
        position: The feed item that is its target, one of ``targets[verb]``; None for a verb without a target.
        text: Text of a post, reply or quote, or what a search is for. If it has no printable character, the platform
            refuses the act.
        distribution: The probability that the policy gave each possible verb, if it has one; verbs that are left out
            have probability 0.
        prompt_digest: Digest of the prompt; None without one.
        prompt_tokens: Length of the prompt in tokens; None without one.
        output_tokens: Length of the answer in tokens; None without one.
        failure: Why there is no act, in one line; None where there is one.
    """

    verb: Verb | None
    position: int | None = None
    text: str = ""
    distribution: dict[Verb, float] | None = None
    prompt_digest: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    failure: str | None = None


class Policy(Protocol):
    """Decides for all agents that are active in a timestep.

    A decision that its observation does not allow ends the run, see `simulation.policies.decisions`. Random draws come
    from `polyphony.randomness.keyed_generator`, keyed by the run's seed, the agent and the timestep, so that a run can
    be repeated and resumed.
    """

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Return one decision for each observation, in their order."""
        ...
