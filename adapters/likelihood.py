"""How likely a model finds what a person did: the loss of training and the measure of evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from adapters.blocks import SplitModel
from adapters.choice import VERBS, ChoiceScorer
from adapters.examples import Example
from adapters.lora import AdaptedModel, Route
from personas.acts import Verb

# Batches come in few lengths, so that freed memory fits the next batch and kernels are not built for each anew.
LENGTH_STEP = 32


@dataclass(frozen=True)
class ActNll:
    """Negative log-likelihoods in nats, each of shape [rows].

    Attributes:
        verb: Of the verb among those possible.
        target: Of the feed item, 0 where the verb has none.
        text: Mean over the text's tokens, 0 where the act has none.
    """

    verb: Tensor
    target: Tensor
    text: Tensor

    def loss(self, act_weight: float) -> Tensor:
        """The training loss: each part its own mean, so that one act token is not drowned in text.

        Args:
            act_weight: Weight of verb and target beside the text.
        """
        return act_weight * (self.verb + self.target) + self.text


class ExampleStore:
    """Examples with their trunk states, computed once and kept; batches are cut by a token budget."""

    def __init__(self, split: SplitModel, examples: Sequence[Example], *, token_budget: int = 4096) -> None:
        """Run the trunk over all examples, longest together, at most `token_budget` padded tokens at a time."""
        self.examples = list(examples)
        self._device = split.base.device
        self._states: list[Tensor] = [torch.empty(0)] * len(self.examples)
        for batch in self.batches(range(len(self.examples)), token_budget):
            rows = [torch.tensor(self.examples[index].tokens, device=self._device) for index in batch]
            states = split.trunk(pad_sequence(rows, batch_first=True))
            for row, index in enumerate(batch):
                self._states[index] = states[row, : len(self.examples[index].tokens)].clone()

    def batches(self, indices: Sequence[int], token_budget: int) -> Iterator[list[int]]:
        """Cut examples into batches of similar length whose padded size stays within the budget."""
        batch: list[int] = []
        for index in sorted(indices, key=lambda i: (-len(self.examples[i].tokens), i)):
            if batch and (len(batch) + 1) * self._padded(batch[0]) > token_budget:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _padded(self, index: int) -> int:
        """Length of an example in a batch that it is the longest of."""
        return -(-len(self.examples[index].tokens) // LENGTH_STEP) * LENGTH_STEP

    def states(self, indices: Sequence[int]) -> Tensor:
        """Return trunk states [rows, length, hidden], right-padded to a multiple of `LENGTH_STEP`."""
        states = pad_sequence([self._states[index] for index in indices], batch_first=True)
        return functional.pad(states, (0, 0, 0, -states.shape[1] % LENGTH_STEP))


@dataclass(frozen=True)
class Scoring:
    """Everything that scores examples: the adapted model, its split into trunk and upper part, the act scorer."""

    adapted: AdaptedModel
    split: SplitModel
    scorer: ChoiceScorer

    def nll(self, store: ExampleStore, batch: Sequence[int], slots: Sequence[int] | None) -> ActNll:
        """Score one batch of examples.

        Args:
            store: Where the examples and their trunk states are.
            batch: Which examples.
            slots: Which slot's factors each row uses, with the prior if one is installed; None for the bare base.
        """
        states = store.states(batch)
        with self.adapted.routed(None if slots is None else Route(torch.tensor(slots, device=states.device))):
            hidden = self.split.upper(states)
        return act_nll(hidden, [store.examples[index] for index in batch], self.scorer)


def act_nll(hidden: Tensor, examples: Sequence[Example], scorer: ChoiceScorer) -> ActNll:
    """Score each row's act.

    Args:
        hidden: Final hidden states, right-padded, shape [rows, length, hidden].
        examples: What each row is.
        scorer: Distribution of verbs and targets.
    """
    return ActNll(
        _verb_nll(hidden, examples, scorer),
        _target_nll(hidden, examples, scorer),
        _text_nll(hidden, examples, scorer),
    )


def possible_verbs(items: int) -> list[bool]:
    """Which verbs are possible with that many feed items, in the order of `VERBS`."""
    return [items > 0 or not verb.has_target for verb in VERBS]


def _verb_nll(hidden: Tensor, examples: Sequence[Example], scorer: ChoiceScorer) -> Tensor:
    rows = torch.arange(len(examples), device=hidden.device)
    last = torch.tensor([example.prompt_length - 1 for example in examples], device=hidden.device)
    allowed = torch.tensor([possible_verbs(example.items) for example in examples], device=hidden.device)
    done = torch.tensor([VERBS.index(example.verb) for example in examples], device=hidden.device)
    return -scorer.verbs(hidden[rows, last], allowed)[rows, done]


def _target_nll(hidden: Tensor, examples: Sequence[Example], scorer: ChoiceScorer) -> Tensor:
    out = hidden.new_zeros(len(examples), dtype=torch.float32)
    rows = [row for row, example in enumerate(examples) if example.position is not None]
    if not rows:
        return out
    chosen = [examples[row] for row in rows]
    index = torch.tensor(rows, device=hidden.device)
    at = torch.tensor([example.prompt_length for example in chosen], device=hidden.device)
    verbs = torch.tensor([VERBS.index(Verb(example.verb)) for example in chosen], device=hidden.device)
    width = len(scorer.digit_ids)
    allowed = torch.tensor([[n < example.items for n in range(width)] for example in chosen], device=hidden.device)
    scores = scorer.targets(hidden[index, at], verbs, allowed)
    done = torch.tensor([(example.position or 1) - 1 for example in chosen], device=hidden.device)
    return out.index_put((index,), -scores[torch.arange(len(rows), device=hidden.device), done])


def _text_nll(hidden: Tensor, examples: Sequence[Example], scorer: ChoiceScorer) -> Tensor:
    rows: list[int] = []
    places: list[int] = []
    tokens: list[int] = []
    weights: list[float] = []
    for row, example in enumerate(examples):
        if example.text_start is None:
            continue
        text = example.tokens[example.text_start :]
        rows += [row] * len(text)
        places += range(example.text_start - 1, len(example.tokens) - 1)
        tokens += text
        weights += [1 / len(text)] * len(text)
    out = hidden.new_zeros(len(examples), dtype=torch.float32)
    if not rows:
        return out
    device = hidden.device
    index = torch.tensor(rows, device=device)
    logits = scorer.head(hidden[index, torch.tensor(places, device=device)])
    nll = functional.cross_entropy(logits, torch.tensor(tokens, device=device), reduction="none")
    return out.index_add(0, index, nll * torch.tensor(weights, device=device))
