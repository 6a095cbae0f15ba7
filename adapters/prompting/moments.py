"""What people were shown when they acted, and when they were there and did nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.errors import InputError
from polyphony.personas.people.acts import Act
from polyphony.personas.people.persona import Persona


@dataclass(frozen=True)
class HistoryConfig:
    """How people's histories are shown to them again in training.

    Attributes:
        recommender: Ranks the posts that they were shown, see `simulation.feed`.
        followee_share: Part of a feed that is kept for followees.
        nothing: Moments at which a person was there and did nothing, for each of their acts.
        minutes: Everybody sees the platform as it stood at the beginning of a span of this many minutes.
    """

    recommender: str = "attention"
    followee_share: float = 0.5
    nothing: float = 0.125
    minutes: int = 60

    def __post_init__(self) -> None:
        if not 0 <= self.nothing <= 10:
            raise InputError(f"--nothing {self.nothing} must be from 0 to 10")


@dataclass(frozen=True)
class ShownMoment:
    """What one person was shown at one moment of their history.

    Attributes:
        person: Handle.
        at: When, in UTC.
        act: What they did; None where they did nothing.
        feed: The items shown, in the order shown.
        item_ids: Id of the act of the corpus that each item shows.
        position: The item that the act is about, from 1; None where it is about none.
    """

    person: str
    at: datetime
    act: Act | None
    feed: tuple[FeedItem, ...]
    item_ids: tuple[str, ...]
    position: int | None

    @property
    def id(self) -> str:
        """The act's id; a moment without an act has one of its own."""
        return self.act.id if self.act is not None else f"nothing {self.person} {self.at.isoformat()}"


Request = tuple[Persona, Sequence[Act]]
"""A person, and some of their acts in time order."""


class FeedHistory(Protocol):
    """Shows people's histories to them again.

    Attributes:
        not_ranked: Ids of the acts so far whose target was there, but not among what feeds choose from.
    """

    not_ranked: set[str]

    def prepare(self, requests: Sequence[Request], together: int) -> None:
        """Work out what many people were shown in one go; `moments` then only looks it up."""
        ...

    def moments(self, persona: Persona, acts: Sequence[Act], together: int) -> list[ShownMoment]:
        """Return what a person was shown when they acted, and at moments between at which they did nothing.

        Acts whose target could not have been shown are left out. What is returned depends on nobody else's requests.

        Args:
            persona: The person.
            acts: Some of their acts, in time order.
            together: Most acts that may share one screen; 1 gives each a screen of its own.

        Returns:
            Moments in time order; those that share a screen are neighbours with equal feeds.
        """
        ...
