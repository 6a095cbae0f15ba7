"""How a person's pointer is made: what they remember of their acts, weighed as it best tells everybody's targets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from polyphony.adapters.model.pointer import FLAGS
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.item_states import ItemEncoder, output_of
from polyphony.personas.people.acts import Act, Verb

# Directions of the space in which words, and handles, are compared, and the floor of their variances in units of the
# mean one: without it, rare directions would be noise of unit size.
DIRECTIONS, FLOOR = 128, 0.1
# Texts and handles that the space is measured on, spread evenly over the corpus.
MEASURED = 4096
# A memory is shrunk as if it held so many items of no direction.
SHRINKAGE = 3.0
# Strength of the penalty on squared weights, which stand on the scale of one standard deviation.
PENALTY = 1e-3
STEPS = 40
MEMORIES = 3
Pair = tuple[Tensor, Tensor]
Value = TypeVar("Value")


@dataclass(frozen=True)
class PointerWeights:
    """How much what is remembered counts, for acts with and without words.

    Attributes:
        memories: Weight of the similarity to own words, to words acted on, and to the authors acted on,
            shape [outputs, 3].
        flags: Weight of an item's marks, shape [outputs, flags].
    """

    memories: np.ndarray
    flags: np.ndarray

    def to_json(self) -> dict[str, list[list[float]]]:
        """Plain values, as a revision records them."""
        return {"memories": self.memories.tolist(), "flags": self.flags.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[Sequence[float]]]) -> "PointerWeights":
        """Read what `to_json` wrote."""
        return cls(np.array(value["memories"], dtype=float), np.array(value["flags"], dtype=float))


class Space:
    """A whitened space: directions that vary little in a corpus count as much as those that vary most."""

    def __init__(self, states: Tensor) -> None:
        """Measure the space on some states, shape [n, hidden]."""
        self.centre = states.mean(0)
        centred = (states - self.centre).double()
        variances, directions = torch.linalg.eigh(centred.T @ centred / max(1, len(centred)))
        variances, directions = variances.flip(0)[:DIRECTIONS].clamp(min=0), directions.flip(1)[:, :DIRECTIONS]
        floor = FLOOR * variances.mean().clamp(min=1e-12)
        self.projection = (directions / (variances + floor).sqrt()).float()

    def memory(self, states: Sequence[Tensor]) -> Tensor:
        """The mean of some states in this space, shrunk towards nothing, shape [hidden].

        The product with a state is its similarity to the memory, up to a constant that all items share.
        """
        if not states:
            return torch.zeros_like(self.centre)
        total = (torch.stack(list(states)) - self.centre).sum(0) @ self.projection
        memory: Tensor = self.projection @ (total / (len(states) + SHRINKAGE))
        return memory


class PointerFitter:
    """Makes pointers of one corpus over one base model."""

    def __init__(self, encoder: ItemEncoder, corpus: Mapping[str, Act]) -> None:
        """Measure the spaces of words and of handles on the corpus's public texts and their authors."""
        self._encoder, self._corpus = encoder, corpus
        texts = [act for act in corpus.values() if act.text and not act.is_private]
        handles = list(dict.fromkeys(act.author for act in texts))
        self._words = Space(_stacked([encoder.words(act.text) for act in _spread(texts)], encoder))
        self._authors = Space(_stacked([encoder.author(handle) for handle in _spread(handles)], encoder))

    def memories(self, acts: Iterable[Act]) -> Tensor:
        """What is remembered of some acts: own words, words acted on, authors acted on, shape [3, hidden]."""
        own, acted_on, authors = [], [], []
        for act in acts:
            if act.text:
                own.append(self._encoder.words(act.text))
            target = None if act.verb is Verb.FOLLOW else self._corpus.get(act.target or "")
            if target is not None and target.text:
                acted_on.append(self._encoder.words(target.text))
            author = act.target if act.verb is Verb.FOLLOW else None if target is None else target.author
            if author and author != act.author:
                authors.append(self._encoder.author(author))
        return torch.stack([self._words.memory(own), self._words.memory(acted_on), self._authors.memory(authors)])

    def weights(self, people: Sequence[tuple[Sequence[Act], Sequence[Example]]]) -> PointerWeights | None:
        """Weigh memories and marks so that targets are likeliest (McFadden 1974, conditional logit).

        Args:
            people: For each person their acts in time order, and the examples whose targets are to be told. An example
                is told from the acts before it. Items that are targets of other examples of its prompt are no choices.

        Returns:
            None where no example has a choice.
        """
        rows, outputs, chosen = [], [], []
        for acts, examples in people:
            place = {act.id: number for number, act in enumerate(acts)}
            targets = _targets(examples)
            for example in examples:
                choices = _choices(example, targets)
                if example.act_id not in place or choices is None:
                    continue
                states = self._encoder.states(example.feed)[choices]
                rows.append(self._features(states, self.memories(acts[: place[example.act_id]])))
                outputs.append(output_of(example.verb))
                chosen.append(choices.index((example.position or 1) - 1))
        return _conditional_logit(rows, outputs, chosen) if rows else None

    @staticmethod
    def _features(states: Tensor, memories: Tensor) -> Tensor:
        hidden = memories.shape[1]
        words, authors, flags = states[:, :hidden], states[:, hidden : 2 * hidden], states[:, 2 * hidden :]
        return torch.cat([words @ memories[:2].T, authors @ memories[2:].T, flags], dim=1)

    def shared_pair(self, weights: PointerWeights) -> Pair:
        """The prior's pointer: what all people share, the marks of an item."""
        flags = torch.tensor(weights.flags, dtype=torch.float32)
        return torch.cat([torch.zeros(2, self._encoder.width - FLAGS), flags], dim=1), torch.eye(2)

    def personal_pair(self, acts: Iterable[Act], weights: PointerWeights, scale: float) -> Pair:
        """A person's own pointer from what they remember of some acts, for a product that counts `scale` times."""
        memories = self.memories(acts)
        by = torch.tensor(weights.memories, dtype=torch.float32)
        rows = torch.cat([by[:, :2] @ memories[:2], by[:, 2:] @ memories[2:], torch.zeros(2, FLAGS)], dim=1)
        return rows / scale, torch.eye(2)


def _spread(values: Sequence[Value]) -> list[Value]:
    places = np.linspace(0, max(0, len(values) - 1), min(len(values), MEASURED)).astype(int)
    return [values[place] for place in np.unique(places)]


def _stacked(states: Sequence[Tensor], encoder: ItemEncoder) -> Tensor:
    return torch.stack(list(states)) if states else torch.zeros(1, (encoder.width - FLAGS) // 2)


def _targets(examples: Sequence[Example]) -> dict[tuple[int, ...], set[int]]:
    """The positions that examples of one prompt are about."""
    targets: dict[tuple[int, ...], set[int]] = {}
    for example in examples:
        if example.position is not None:
            targets.setdefault(example.tokens[: example.prompt_length], set()).add(example.position)
    return targets


def _choices(example: Example, targets: Mapping[tuple[int, ...], set[int]]) -> list[int] | None:
    """Places of the items that an example's target is told from, its own included; None where there is no choice."""
    if example.position is None or not example.feed:
        return None
    others = targets[example.tokens[: example.prompt_length]] - {example.position}
    choices = [number - 1 for number in range(1, len(example.feed) + 1) if number not in others]
    return choices if len(choices) > 1 else None


def _conditional_logit(rows: Sequence[Tensor], outputs: Sequence[int], chosen: Sequence[int]) -> PointerWeights:
    """Weights of the features of each output's choices: a common part and a smaller one of its own, by L-BFGS."""
    longest = max(map(len, rows))
    padded = torch.stack([functional.pad(row, (0, 0, 0, longest - len(row))) for row in rows]).double()
    possible = torch.tensor([[number < len(row) for number in range(longest)] for row in rows])
    spread = torch.cat(list(rows)).double().std(0, unbiased=False)
    scale = torch.where(spread > 1e-9, spread, torch.inf)  # what never varies gets no weight
    padded, of, told = padded / scale, torch.tensor(outputs), torch.tensor(chosen)
    common = torch.zeros(padded.shape[2], dtype=torch.double, requires_grad=True)
    own = torch.zeros(2, padded.shape[2], dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([common, own], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        scores = (padded * (common + own[of]).unsqueeze(1)).sum(2).masked_fill(~possible, -torch.inf)
        # The common part is held by everything seen, an output's own part needs as much again.
        penalty = PENALTY * (common.square().sum() + 10 * own.square().sum())
        value: Tensor = functional.cross_entropy(scores, told) + penalty
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)
    weights = ((common + own) / scale).detach().numpy()
    return PointerWeights(weights[:, :MEMORIES], weights[:, MEMORIES:])
