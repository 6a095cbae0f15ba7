"""How a person's pointer is made: what they remember of their acts, weighed as it best tells everybody's targets."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from polyphony.adapters.model.pointer import LEVEL, MARKS, OUTPUTS, PULL
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.item_states import ItemEncoder
from polyphony.adapters.training.pointer_weights import (
    MEMORIES,
    PointerWeights,
    WeighedMoment,
    deviations,
    weigh,
)
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.follow_graph import addressee

# Directions of the spaces in which words, and handles, are compared, and the floor of their variances in units of the
# mean one: without it, rare directions would be noise of unit size.
WORD_DIRECTIONS, HANDLE_DIRECTIONS, FLOOR = 128, 256, 0.1
# Least variance of a direction that counts, in units of the largest.
LEAST = 1e-6
# Texts and handles that the space is measured on, spread evenly over the corpus.
MEASURED = 4096
# A memory is shrunk as if it held so many items of no direction.
SHRINKAGE = 3.0
# Most acts of others upon a person that are remembered, the latest.
REACTIONS = 64
Pair = tuple[Tensor, Tensor]
Value = TypeVar("Value")


class Space:
    """A whitened space: directions that vary little in a corpus count as much as those that vary most."""

    def __init__(self, states: Tensor, most: int) -> None:
        """Measure the space on some states, shape [n, hidden], and take its first directions."""
        self.centre = states.mean(0)
        centred = (states - self.centre).double()
        variances, directions = torch.linalg.eigh(centred.T @ centred / max(1, len(centred)))
        variances, directions = variances.flip(0)[:most], directions.flip(1)[:, :most]
        # Where few states are measured, the other directions are of no size, and whatever has one there would be vast.
        seen = variances > max(LEAST * float(variances[0]), 1e-12)
        variances, directions = variances[seen], directions[:, seen]
        floor = FLOOR * variances.mean()
        self.projection = (directions / (variances + floor).sqrt()).float()

    def memory(self, states: Sequence[Tensor]) -> Tensor:
        """The mean of some states in this space, shrunk towards nothing, and a constant, shape [hidden + 1].

        The product with a state and a 1 is the state's similarity to the memory; its mean over the corpus is 0.
        """
        if not states:
            return torch.zeros(len(self.centre) + 1)
        total = (torch.stack(list(states)) - self.centre).sum(0) @ self.projection
        memory: Tensor = self.projection @ (total / (len(states) + SHRINKAGE))
        return torch.cat([memory, -(memory @ self.centre).view(1)])


class PointerFitter:
    """Makes pointers of one corpus over one base model."""

    def __init__(self, encoder: ItemEncoder, corpus: Mapping[str, Act], held_out: Collection[str] = ()) -> None:
        """Measure the spaces of words and of handles on the corpus's public texts and their authors.

        Args:
            encoder: Makes item states.
            corpus: All acts by id.
            held_out: Ids of the acts from which nothing may be learned.
        """
        self._encoder, self._corpus = encoder, corpus
        public = [act for name, act in corpus.items() if not act.is_private and name not in held_out]
        texts = [act for act in public if act.text]
        handles = list(dict.fromkeys(act.author for act in texts))
        self._words = Space(_stacked([encoder.words(act.text) for act in _spread(texts)], encoder), WORD_DIRECTIONS)
        self._people = Space(_stacked([encoder.author(name) for name in _spread(handles)], encoder), HANDLE_DIRECTIONS)
        self._reactions: defaultdict[str, list[tuple[datetime, str]]] = defaultdict(list)
        for act in sorted(public, key=lambda act: act.at):
            if (other := self._other(act)) is not None:
                self._reactions[other].append((act.at, act.author))

    def memories(self, acts: Iterable[Act]) -> Tensor:
        """What is remembered of some acts: own words, words acted on, and people, shape [3, hidden + 1].

        People are those whom somebody acted on or followed, and those who acted on them before the last of their acts.
        """
        own, acted_on, people = [], [], []
        for author, group in groupby(acts, key=lambda act: act.author):
            done = list(group)
            for act in done:
                if act.text:
                    own.append(self._encoder.words(act.text))
                target = None if act.verb is Verb.FOLLOW else self._corpus.get(act.target or "")
                if target is not None and target.text:
                    acted_on.append(self._encoder.words(target.text))
            people += [other for act in done if (other := self._other(act)) is not None]
            people += self._reacting(author, done[-1].at)
        authors = [self._encoder.author(name) for name in people]
        return torch.stack([self._words.memory(own), self._words.memory(acted_on), self._people.memory(authors)])

    def _other(self, act: Act) -> str | None:
        """Whom an act deals with, but for its author."""
        other = addressee(act, self._corpus) if act.verb is Verb.FOLLOW or act.target in self._corpus else None
        return None if other == act.author else other

    def _reacting(self, person: str, until: datetime) -> list[str]:
        """Who acted on a person before a moment, the latest."""
        reactions = self._reactions.get(person, [])
        end = bisect_left(reactions, until, key=lambda reaction: reaction[0])
        return [name for _, name in reactions[max(0, end - REACTIONS) : end]]

    def weights(self, people: Sequence[tuple[Sequence[Act], Sequence[Example]]]) -> PointerWeights | None:
        """Weigh memories, marks and what is shown, see `adapters.training.pointer_weights.weigh`.

        Args:
            people: For each person their acts in time order, and the examples whose targets and verbs are to be told.
                An example is told from the acts before it. Items that are targets of other examples of its screen are
                no choices.

        Returns:
            None where no example has a choice.
        """
        return weigh([moment for acts, examples in people for moment in self._moments(acts, examples)])

    def _moments(self, acts: Sequence[Act], examples: Sequence[Example]) -> Iterable[WeighedMoment]:
        times = [act.at for act in acts]
        for example in examples:
            if not example.feed or example.at is None or not acts:
                continue
            place = None if example.position is None else example.position - 1
            shares = [example.item_shares(verb) for verb in OUTPUTS]
            before = self.memories(acts[: bisect_left(times, example.at)])
            yield WeighedMoment(
                acts[0].author, self._features(self._encoder.states(example.feed), before),
                VERBS.index(example.verb), place, torch.tensor(shares),
                () if place is None else [choice - 1 for choice in example.choices(example.verb)],
            )  # fmt: skip

    def _features(self, states: Tensor, memories: Tensor) -> Tensor:
        hidden = self._encoder.hidden
        words, authors = states[:, :hidden], states[:, hidden : 2 * hidden]
        marks = states[:, 2 * hidden : 2 * hidden + MARKS]
        similarities = torch.cat([words @ memories[:2, :-1].T, authors @ memories[2:, :-1].T], dim=1) + memories[:, -1]
        return torch.cat([similarities, marks], dim=1)

    def shared_pair(self, weights: PointerWeights, scale: float = 1.0) -> Pair:
        """The prior's pointer: what all people share, marks and pulls, for a product that counts `scale` times."""
        rows = torch.zeros(len(OUTPUTS), self._encoder.width)
        rows[:, 2 * self._encoder.hidden :][:, :MARKS] = torch.tensor(weights.marks)
        rows[:, LEVEL], rows[:, PULL] = torch.tensor(weights.levels), torch.tensor(weights.pulls)
        return rows / scale, torch.eye(len(OUTPUTS))

    def personal_pair(
        self, acts: Sequence[Act], weights: PointerWeights, scale: float, examples: Sequence[Example] = ()
    ) -> Pair:
        """A person's own pointer, for a product that counts `scale` times.

        Args:
            acts: What is remembered, in time order.
            weights: Everybody's.
            scale: Of the product.
            examples: These acts, each before a screen of its own, which tell how far the person's weights differ;
                without them everybody's count.
        """
        memories, hidden, marks = self.memories(acts), self._encoder.hidden, 2 * self._encoder.hidden
        own = torch.tensor(deviations(list(self._moments(acts, examples)), weights), dtype=torch.float32)
        rows = torch.zeros(MEMORIES + 1, self._encoder.width)
        rows[:2, :hidden], rows[2, hidden:marks] = memories[:2, :-1], memories[2, :-1]
        rows[:MEMORIES, LEVEL] = memories[:, -1]
        rows[MEMORIES, marks : marks + MARKS] = own[MEMORIES:]
        by = torch.tensor(weights.memories, dtype=torch.float32) + own[:MEMORIES]
        return rows / scale, torch.cat([by, torch.ones(len(OUTPUTS), 1)], dim=1)

    def directions(self) -> Pair:
        """Directions in which every personal pointer of this corpus lies, and the row of it that each belongs to.

        Returns:
            Directions, orthonormal within a row, shape [directions, width]; and 1 where a direction belongs to a row
            of `personal_pair`, else 0, shape [rows, directions].
        """
        hidden, width = self._encoder.hidden, self._encoder.width
        words, people = (torch.linalg.qr(space.projection).Q.T for space in (self._words, self._people))
        level = torch.zeros(1, width)
        level[0, LEVEL] = 1
        memories = [
            *[functional.pad(words, (0, width - hidden))] * 2,
            functional.pad(people, (hidden, width - 2 * hidden)),
        ]
        marks = functional.pad(torch.eye(MARKS), (2 * hidden, width - 2 * hidden - MARKS))
        rows = [*(torch.cat([memory, level]) for memory in memories), marks]
        row_of = torch.repeat_interleave(torch.eye(len(rows)), torch.tensor([len(row) for row in rows]), dim=1)
        return torch.cat(rows), row_of


def _spread(values: Sequence[Value]) -> list[Value]:
    places = np.linspace(0, max(0, len(values) - 1), min(len(values), MEASURED)).astype(int)
    return [values[place] for place in np.unique(places)]


def _stacked(states: Sequence[Tensor], encoder: ItemEncoder) -> Tensor:
    return torch.stack(list(states)) if states else torch.zeros(1, encoder.hidden)
