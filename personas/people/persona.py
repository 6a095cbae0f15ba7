"""One person as the simulation knows them: who they are, what they did, when they are active."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from polyphony.personas.people.acts import Act


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One person of a population.

    Attributes:
        handle: Display name as in the corpus, NFC, printable, at most 512 characters; data, never a path.
        description: Derived from the training acts only.
        acts: All acts, follows included, in time order.
        train_end: ``acts[:train_end]`` is the training side.
        validation_end: ``acts[train_end:validation_end]`` chooses the epoch, the rest is held out.
        hours: Share of the training acts in each UTC hour, smoothed; 24 numbers above 0 with sum 1.
        acts_per_day: Mean over the training span, a span below one day counting as one.
        following: Handles of followees, sorted.
        community: Planted community where the population knows it; never shown to a model.
        unshown: Ids of the acts whose targets could not have been shown to the person, with the reason, see
            `personas.people.showable`; nothing learns from them.
    """

    handle: str
    description: str
    acts: tuple[Act, ...]
    train_end: int
    validation_end: int
    hours: tuple[float, ...]
    acts_per_day: float
    following: tuple[str, ...]
    community: int | None = None
    unshown: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def train(self) -> tuple[Act, ...]:
        """Acts to learn from."""
        return self.acts[: self.train_end]

    @property
    def public_train(self) -> tuple[Act, ...]:
        """Acts to learn from that everybody may see: what of a person others are shown comes from them alone."""
        return tuple(act for act in self.train if not act.is_private)

    @property
    def validation(self) -> tuple[Act, ...]:
        """Acts between training and held-out that choose the epoch."""
        return self.acts[self.train_end : self.validation_end]

    @property
    def held_out(self) -> tuple[Act, ...]:
        """Later acts that nothing but the evaluation sees."""
        return self.acts[self.validation_end :]

    @property
    def is_trainable(self) -> bool:
        """Whether there are enough acts to train an adapter on."""
        return self.train_end < len(self.acts)

    def learned(self, most: int) -> tuple[Act, ...]:
        """The acts that every arm learns or draws from: the latest of the training side, at most `most` of them."""
        return tuple(self.showable(self.train)[-most:])

    def showable(self, acts: Sequence[Act]) -> list[Act]:
        """Those of the person's acts whose target, if they have one, could have been shown."""
        return [act for act in acts if act.id not in self.unshown]
