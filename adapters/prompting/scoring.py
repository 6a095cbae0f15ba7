"""The likelihood of a person's acts under a model: the loss of training and the measure of evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import RowLayout, SplitModel
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.pointer import OUTPUTS
from polyphony.adapters.model.routing import Route
from polyphony.adapters.prompting.act_scorer import PULLED, VERBS, ActScorer
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.habits import Habits
from polyphony.adapters.prompting.item_states import ItemEncoder

# Batches have few different lengths, so that freed memory fits the next batch and kernels are not built for each.
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
        """The training loss: each part is a mean of its own, so that many text tokens do not outweigh one act token.

        Args:
            act_weight: Weight of verb and target beside the text.
        """
        return act_weight * (self.verb + self.target) + self.text


@dataclass(frozen=True)
class PromptRow:
    """Examples that share one prompt, laid out as the prompt and one branch for each act.

    Attributes:
        members: Indices of the examples.
        tokens: The prompt, then the tokens of each act.
        starts: Index in `tokens` of each branch's first token.
        prompt_length: Number of prompt tokens.
    """

    members: tuple[int, ...]
    tokens: tuple[int, ...]
    starts: tuple[int, ...]
    prompt_length: int


@dataclass(frozen=True)
class ExamplePlace:
    """The place of an example in a batch: its row, and the column where its act begins."""

    row: int
    start: int


class ExampleStore:
    """Examples in rows that share prompts, with their trunk states; batches are cut by a token budget."""

    def __init__(
        self,
        split: SplitModel,
        examples: Sequence[Example],
        *,
        token_budget: int = 1024,
        keep_bytes: int = 1 << 30,
    ) -> None:
        """Run the trunk over all rows, longest together, at most `token_budget` padded tokens at a time.

        States beyond `keep_bytes` are not stored but computed at each use.

        Raises:
            InputError: An example does not fit the base model's context.
        """
        self.examples = list(examples)
        split.base.check_context(max((len(example.tokens) for example in self.examples), default=0))
        self.rows = rows_of(self.examples)
        self._split = split
        self._device = split.base.device
        self._states: list[Tensor | None] = [None] * len(self.rows)
        width = split.base.model.config.get_text_config().hidden_size * split.base.model.dtype.itemsize
        for batch in self.batches(range(len(self.rows)), token_budget):
            keep_bytes -= width * sum(len(self.rows[index].tokens) for index in batch)
            if keep_bytes < 0:
                break
            states = self._trunk(batch)
            for row, index in enumerate(batch):
                self._states[index] = states[row, : len(self.rows[index].tokens)].clone()

    def members(self, rows: Sequence[int]) -> list[int]:
        """Indices of the examples in some rows, in the order in which they are scored."""
        return [member for row in rows for member in self.rows[row].members]

    def places(self, rows: Sequence[int]) -> list[ExamplePlace]:
        """The place of each example in a batch of some rows."""
        return [ExamplePlace(place, start) for place, row in enumerate(rows) for start in self.rows[row].starts]

    def batches(self, rows: Sequence[int], token_budget: int) -> Iterator[list[int]]:
        """Cut rows into batches of similar length whose padded size stays within the budget."""
        batch: list[int] = []
        for index in sorted(rows, key=lambda i: (-len(self.rows[i].tokens), i)):
            if batch and (len(batch) + 1) * self._padded([batch[0]]) > token_budget:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def states(self, rows: Sequence[int]) -> Tensor:
        """Return trunk states [rows, length, hidden], right-padded to a multiple of `LENGTH_STEP`."""
        stored = [state for index in rows if (state := self._states[index]) is not None]
        if len(stored) < len(rows):
            return self._trunk(rows)
        states = pad_sequence(stored, batch_first=True)
        return functional.pad(states, (0, 0, 0, self._padded(rows) - states.shape[1]))

    def layout(self, rows: Sequence[int]) -> RowLayout | None:
        """Positions and mask of a batch of some rows; None where each is a single sequence."""
        if all(len(self.rows[index].members) == 1 for index in rows):
            return None
        return make_layout([self.rows[index] for index in rows], self._padded(rows), self._split.base)

    def _trunk(self, rows: Sequence[int]) -> Tensor:
        tokens = torch.zeros(len(rows), self._padded(rows), dtype=torch.long)
        for place, index in enumerate(rows):
            tokens[place, : len(self.rows[index].tokens)] = torch.tensor(self.rows[index].tokens)
        return self._split.trunk(tokens.to(self._device), self.layout(rows))

    def _padded(self, rows: Sequence[int]) -> int:
        longest = max(len(self.rows[index].tokens) for index in rows)
        return -(-longest // LENGTH_STEP) * LENGTH_STEP


def rows_of(examples: Sequence[Example]) -> list[PromptRow]:
    """Lay out examples so that neighbours with the same prompt share one row."""
    rows: list[PromptRow] = []
    for number, example in enumerate(examples):
        prompt, act = example.tokens[: example.prompt_length], example.tokens[example.prompt_length :]
        last = rows[-1] if rows else None
        if last is not None and last.tokens[: last.prompt_length] == prompt:
            rows[-1] = PromptRow(
                (*last.members, number), last.tokens + act, (*last.starts, len(last.tokens)), last.prompt_length
            )
        else:
            rows.append(PromptRow((number,), example.tokens, (len(prompt),), len(prompt)))
    return rows


def make_layout(rows: Sequence[PromptRow], length: int, base: BaseModel) -> RowLayout:
    """Let every branch attend to its prompt and itself, as if it followed the prompt alone."""
    positions = torch.zeros(len(rows), length, dtype=torch.long)
    branch = torch.full((len(rows), length), -1)
    for place, row in enumerate(rows):
        branch[place, : row.prompt_length] = 0
        positions[place, : row.prompt_length] = torch.arange(row.prompt_length)
        for number, (start, end) in enumerate(zip(row.starts, (*row.starts[1:], len(row.tokens)), strict=True), 1):
            branch[place, start:end] = number
            positions[place, start:end] = torch.arange(row.prompt_length, row.prompt_length + end - start)
    own = branch.unsqueeze(2) == branch.unsqueeze(1)
    visible = (own | (branch == 0).unsqueeze(1)).tril().unsqueeze(1)
    dtype = base.model.dtype
    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min)
    return RowLayout(positions.to(base.device), mask.to(base.device))


@dataclass(frozen=True)
class Scoring:
    """The parts that score examples: the adapted model, its split into trunk and upper blocks, the act scorer.

    With the states of feed items, and over a prior that has a pointer, targets are scored by the pointer, which also
    adds to the scores of verbs what the feed calls for; otherwise targets are scored by the digits that name them.
    """

    adapted: AdaptedModel
    split: SplitModel
    scorer: ActScorer
    items: ItemEncoder | None = None

    def nll(
        self, store: ExampleStore, rows: Sequence[int], slots: Sequence[int] | None, habits: Habits | None = None
    ) -> ActNll:  # fmt: skip
        """Score one batch of rows; the answers are in the order of `ExampleStore.members`.

        Args:
            store: The examples with their trunk states.
            rows: Indices of the rows.
            slots: The slot whose factors each row uses, with the prior if one is installed; None for the bare base.
            habits: What verbs are also learned from; None to measure what was done.
        """
        examples = [store.examples[index] for index in store.members(rows)]
        return self.act_nll(self.hidden(store, rows, slots), examples, store.places(rows), slots, habits)

    def act_nll(
        self, hidden: Tensor, examples: Sequence[Example], places: Sequence["ExamplePlace"],
        slots: Sequence[int] | None, habits: Habits | None = None,
    ) -> ActNll:  # fmt: skip
        """Score each example's act, as the function `act_nll` and with the pointer where there is one.

        Args:
            hidden: Final hidden states of rows, right-padded, shape [rows, length, hidden].
            examples: The acts.
            places: The place of each in `hidden`.
            slots: The slot of each row; None for the bare base.
            habits: See `nll`.
        """
        nll = act_nll(hidden, examples, self.scorer, places, self._pulls(examples, places, slots), habits)
        shares = self._pointed(examples, places, slots)
        if shares is None:
            return nll
        targets = torch.tensor([(example.position or 1) - 1 for example in examples])
        aimed = torch.tensor([example.position is not None for example in examples])
        target = torch.where(aimed, -shares.gather(1, targets.unsqueeze(1)).squeeze(1), 0.0)
        return ActNll(nll.verb, target.to(nll.verb), nll.text)

    def verb_log_shares(
        self, hidden: Tensor, examples: Sequence[Example], places: Sequence["ExamplePlace"],
        slots: Sequence[int] | None,
    ) -> Tensor:  # fmt: skip
        """The function `verb_log_shares`, with what the pointer adds where there is one; arguments as in `act_nll`."""
        return verb_log_shares(hidden, examples, places, self.scorer, self._pulls(examples, places, slots))

    def target_log_shares(
        self, hidden: Tensor, examples: Sequence[Example], places: Sequence["ExamplePlace"],
        slots: Sequence[int] | None,
    ) -> tuple[list[int], Tensor]:  # fmt: skip
        """The function `target_log_shares`, with the pointer where there is one; arguments as in `act_nll`."""
        shares = self._pointed(examples, places, slots)
        if shares is None:
            return target_log_shares(hidden, examples, places, self.scorer)
        aimed = [number for number, example in enumerate(examples) if example.position is not None]
        return aimed, shares[aimed]

    def _pointed(
        self, examples: Sequence[Example], places: Sequence["ExamplePlace"], slots: Sequence[int] | None
    ) -> Tensor | None:  # fmt: skip
        return None if slots is None else self.pointed(examples, [slots[place.row] for place in places])

    def pointed(self, examples: Sequence[Example], slots: Sequence[int]) -> Tensor | None:
        """The pointer's log-probabilities of the items of each example's feed, given its verb.

        Args:
            examples: The acts.
            slots: Slot of each.

        Returns:
            Shape [examples, items], in main memory; minus infinity where a feed is shorter. Zero for acts without a
            target. None where items have no states, or one of the slots has no pointer.
        """
        if self.items is None or not self._is_pointed(slots):
            return None
        longest = max((len(example.feed) for example in examples), default=0) or 1
        shares = torch.full((len(examples), longest), -torch.inf)
        for number, (example, slot) in enumerate(zip(examples, slots, strict=True)):
            if example.position is None:
                shares[number] = 0
                continue
            scores = self.adapted.pointer.scores(self.items.states(example.feed), slot)[OUTPUTS.index(example.verb)]
            possible = [item.allows(example.verb) for item in example.feed]
            possible[example.position - 1] = True
            scores = scores.masked_fill(~torch.tensor(possible), -torch.inf)
            shares[number, : len(example.feed)] = scores.log_softmax(-1)
        return shares

    def _is_pointed(self, slots: Sequence[int]) -> bool:
        return all(map(self.adapted.pointer.serves, set(slots)))

    def _pulls(
        self, examples: Sequence[Example], places: Sequence["ExamplePlace"], slots: Sequence[int] | None
    ) -> Tensor | None:  # fmt: skip
        """What each example's feed calls for, shape [examples, verbs]; None where there is no pointer."""
        if self.items is None or slots is None or not self._is_pointed(slots):
            return None
        pulls = torch.zeros(len(examples), len(VERBS))
        for number, (example, place) in enumerate(zip(examples, places, strict=True)):
            if example.feed:
                shares = torch.tensor([example.item_shares(verb) for verb in OUTPUTS])
                states = self.items.states(example.feed)
                pulls[number, PULLED] = self.adapted.pointer.pulls(states, slots[place.row], shares)
        return pulls

    def hidden(self, store: ExampleStore, rows: Sequence[int], slots: Sequence[int] | None) -> Tensor:
        """Final hidden states of one batch of rows, right-padded, shape [rows, length, hidden]."""
        states = store.states(rows)
        with self.adapted.routed(None if slots is None else Route(torch.tensor(slots, device=states.device))):
            return self.split.upper(states, store.layout(rows))


def act_nll(
    hidden: Tensor, examples: Sequence[Example], scorer: ActScorer, places: Sequence[ExamplePlace] | None = None,
    pulls: Tensor | None = None, habits: Habits | None = None,
) -> ActNll:  # fmt: skip
    """Score each example's act.

    Args:
        hidden: Final hidden states, right-padded, shape [rows, length, hidden].
        examples: The acts.
        scorer: Distribution of verbs and targets.
        places: ExamplePlace of each example in `hidden`; None where example i is the whole of row i.
        pulls: See `ActScorer.verbs`.
        habits: See `Scoring.nll`.
    """
    if places is None:
        places = [ExamplePlace(row, example.prompt_length) for row, example in enumerate(examples)]
    return ActNll(
        _verb_nll(hidden, examples, places, scorer, pulls, habits),
        _target_nll(hidden, examples, places, scorer),
        _text_nll(hidden, examples, places, scorer),
    )


def possible_verbs(example: Example) -> list[bool]:
    """Which verbs are possible before what an example shows, in the order of `VERBS`; what was done is."""
    return [
        verb is example.verb or not verb.has_target
        or (any(item.allows(verb) for item in example.feed) if example.feed else example.items > 0)
        for verb in VERBS
    ]  # fmt: skip


def verb_log_shares(
    hidden: Tensor, examples: Sequence[Example], places: Sequence[ExamplePlace], scorer: ActScorer,
    pulls: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Log-probabilities of all verbs before each example's act, shape [examples, verbs]; arguments as in `act_nll`."""
    rows = torch.tensor([place.row for place in places], device=hidden.device)
    last = torch.tensor([example.prompt_length - 1 for example in examples], device=hidden.device)
    allowed = torch.tensor([possible_verbs(example) for example in examples], device=hidden.device)
    return scorer.verbs(hidden[rows, last], allowed, pulls)


def _verb_nll(
    hidden: Tensor, examples: Sequence[Example], places: Sequence[ExamplePlace], scorer: ActScorer,
    pulls: Tensor | None, habits: Habits | None,
) -> Tensor:  # fmt: skip
    verbs = torch.tensor([VERBS.index(example.verb) for example in examples], device=hidden.device)
    shares = verb_log_shares(hidden, examples, places, scorer, pulls)
    if habits is None:
        return -shares.gather(1, verbs.unsqueeze(1)).squeeze(1)
    possible = shares.isfinite()
    return -(habits.labels(verbs, possible, pulls) * shares.masked_fill(~possible, 0.0)).sum(1)


def target_log_shares(
    hidden: Tensor, examples: Sequence[Example], places: Sequence[ExamplePlace], scorer: ActScorer
) -> tuple[list[int], Tensor]:  # fmt: skip
    """Log-probabilities of all items of the feed after each example's verb; arguments as in `act_nll`.

    Returns:
        Which examples have a target, and of those the shares, shape [examples with a target, items].
    """
    aimed = [number for number, example in enumerate(examples) if example.position is not None]
    width, device = len(scorer.digit_ids), hidden.device
    if not aimed:
        return aimed, hidden.new_zeros(0, width, dtype=torch.float32)
    chosen = [examples[number] for number in aimed]
    rows = torch.tensor([places[number].row for number in aimed], device=device)
    labels = torch.tensor([places[number].start for number in aimed], device=device)
    verbs = torch.tensor([VERBS.index(example.verb) for example in chosen], device=device)
    allowed = torch.tensor([[n < example.items for n in range(width)] for example in chosen], device=device)
    return aimed, scorer.targets(hidden[rows, labels], verbs, allowed)


def _target_nll(
    hidden: Tensor, examples: Sequence[Example], places: Sequence[ExamplePlace], scorer: ActScorer
) -> Tensor:  # fmt: skip
    out = hidden.new_zeros(len(examples), dtype=torch.float32)
    aimed, shares = target_log_shares(hidden, examples, places, scorer)
    if not aimed:
        return out
    targets = torch.tensor([(examples[number].position or 1) - 1 for number in aimed], device=hidden.device)
    nll = -shares.gather(1, targets.unsqueeze(1)).squeeze(1)
    return out.index_put((torch.tensor(aimed, device=hidden.device),), nll)


def _text_nll(
    hidden: Tensor, examples: Sequence[Example], places: Sequence[ExamplePlace], scorer: ActScorer
) -> Tensor:  # fmt: skip
    numbers: list[int] = []
    rows: list[int] = []
    before: list[int] = []
    tokens: list[int] = []
    weights: list[float] = []
    for number, (example, place) in enumerate(zip(examples, places, strict=True)):
        if example.text_start is None:
            continue
        text = example.tokens[example.text_start :]
        first = place.start + example.text_start - example.prompt_length
        numbers += [number] * len(text)
        rows += [place.row] * len(text)
        before += range(first - 1, first - 1 + len(text))
        tokens += text
        weights += [1 / len(text)] * len(text)
    out = hidden.new_zeros(len(examples), dtype=torch.float32)
    if not rows:
        return out
    device = hidden.device
    states = hidden[torch.tensor(rows, device=device), torch.tensor(before, device=device)]
    nll = scorer.head.nll(states, torch.tensor(tokens, device=device))
    return out.index_add(0, torch.tensor(numbers, device=device), nll * torch.tensor(weights, device=device))
