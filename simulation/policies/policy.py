"""The contract between the platform and whatever decides: observe → act distribution → act."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.personas.people.acts import Verb


@dataclass(frozen=True)
class Observation:
    """What an agent has before it when it is activated.

    Attributes:
        agent: Its id.
        timestep: When.
        feed: Items shown, first first.
        targets: For each possible verb, the feed items (from 1) it may be said about.
        memory: What the agent remembers, oldest first; a prompt says as much of it as its budget holds.
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
        verb: The act; None where the policy failed.
        position: Feed item it is about, from 1.
        text: Own words.
        distribution: The policy's own probability of each possible verb.
        prompt_digest: Fingerprint of the prompt; None without one.
        prompt_tokens: Length of the prompt.
        output_tokens: Length of the answer.
        failure: Why there is no act; None where there is one.
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
    """Decides for all agents that are active in a timestep."""

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Return one decision per observation, in their order."""
        ...
