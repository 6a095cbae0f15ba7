"""Several samples for each of several questions, under any mix of adapters, behind one prefix that is read once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.engine.kv_store import KeyValueStore
from polyphony.adapters.engine.model_runner import ModelRunner
from polyphony.adapters.model.blocks import RowLayout, SplitModel, cache_argument
from polyphony.adapters.model.head import TOKENS_AT_ONCE, Head
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.memory import budget_on
from polyphony.adapters.model.packed_rows import PADDING, PackedRows, SharedPrefix, packed_questions
from polyphony.adapters.model.routing import route_of
from polyphony.errors import InputError

# Two cumulative sums of this many numbers replace one over the whole vocabulary.
BLOCK = 256


@dataclass(frozen=True, eq=False)
class Drawn:
    """The tokens drawn, in the order in which they came.

    Attributes:
        rows: Row of each token, shape [tokens].
        columns: Column of the packed rows from which each was predicted.
        tokens: Token ids; a sample's last one may be a stop, which stands in no row.
        questions: Number of each one's question within its row.
        samples: Number of each one's sample within its question.
        likelihoods: Log-probability of each when it was drawn, in nats.
        entropies: Entropy of the distribution that it was drawn from, in nats.
    """

    rows: Tensor
    columns: Tensor
    tokens: Tensor
    questions: Tensor
    samples: Tensor
    likelihoods: Tensor
    entropies: Tensor

    def joined(self, later: "Drawn") -> "Drawn":
        """These and later ones."""
        return Drawn(*(torch.cat([before, after]) for before, after in zip(self._parts, later._parts, strict=True)))

    def chosen(self, mask: Tensor) -> "Drawn":
        """Those that a mask of shape [tokens] marks."""
        return Drawn(*(part[mask] for part in self._parts))

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        return (self.rows, self.columns, self.tokens, self.questions, self.samples, self.likelihoods, self.entropies)


@dataclass(frozen=True, eq=False)
class Rollout:
    """What some rows answered.

    Attributes:
        packed: Questions and answers as they were read; an answer's last token was not.
        trunk: What the lower blocks made of them, shape [rows, length, hidden].
        drawn: Every token of every answer.
        texts: The answer of each row, question and sample, without the stop.
    """

    packed: PackedRows
    trunk: Tensor
    drawn: Drawn
    texts: list[list[list[str]]]


class GroupSampler:
    """Draws groups of answers; the adapters act on questions and answers, the bare base reads the prefix."""

    def __init__(
        self, split: SplitModel, adapted: AdaptedModel, head: Head, prefix: Sequence[int], stops: Sequence[int],
        banned: Sequence[int],
    ) -> None:  # fmt: skip
        """Read the prefix.

        Args:
            split: The base, split below the adapted blocks.
            adapted: Its layers with the installed factors.
            head: Its head.
            prefix: Tokens before every question, at least one.
            stops: Tokens that end an answer.
            banned: Tokens that are never drawn.
        """
        self.split, self.adapted, self.head = split, adapted, head
        device = split.base.device
        self.prefix_length = len(prefix)
        self.stops = torch.tensor(sorted(stops), device=device)
        self.banned = torch.tensor(sorted(set(banned) - set(stops)), device=device, dtype=torch.long)
        self._tokenizer = split.base.tokenizer
        self.prefix = self._read_prefix(prefix)

    @torch.no_grad()
    def sample(
        self,
        rows: Sequence[Sequence[Sequence[int]]],
        slots: Sequence[int | None],
        uniforms: Sequence[np.ndarray],
        *,
        temperature: float = 1.0,
        given: Sequence[Sequence[Sequence[int]]] | None = None,
    ) -> Rollout:
        """Draw answers, or read given ones as if they had been drawn.

        Args:
            rows: For each row the tokens of its questions.
            slots: Slot of each row's factors; None for the bare base.
            uniforms: For each row draws in [0, 1), shape [questions, samples, most tokens of an answer].
            temperature: Divides the logits, above 0; likelihoods and entropies are those of the divided ones.
            given: For each row and question the tokens of its answer, which all its samples take; None to draw. What
                goes beyond the most tokens is left out; what ends before needs a stop at its end.
        """
        base, device = self.split.base, self.split.base.device
        longest = self.prefix_length + max(len(question) for row in rows for question in row) + uniforms[0].shape[2]
        if base.context is not None and longest > base.context:
            raise InputError(f"a question with its answer takes {longest} tokens, {base.name} reads {base.context}")
        packed = packed_questions(rows, self.prefix_length, device)
        samples, most = uniforms[0].shape[1:]
        store = KeyValueStore()
        columns = packed.length + (most - 1) * max(map(len, rows)) * samples
        store.reserve(len(rows), self.prefix_length + columns)
        for row in range(len(rows)):
            store.write(row, slice(0, self.prefix_length), self.prefix)
        draws = torch.zeros(len(rows), max(map(len, rows)), samples, most, dtype=torch.float64)
        for row, draw in enumerate(uniforms):
            draws[row, : len(draw)] = torch.tensor(draw)
        table = None if given is None else _table(given, draws.shape[1], most, int(self.stops[0])).to(device)
        work = _Work(packed, rows, samples, draws.to(device), temperature, table)
        with self.adapted.routed(route_of(list(slots))):
            hidden, trunk = self._questions(packed, store)
            begin = 0
            with self.split.trunk_captured() as captured:
                for step in range(most):
                    drawn = self._draw(hidden, work, begin, step)
                    work.parts.append(drawn)
                    begin = work.packed.length
                    if step + 1 == most or not work.append(drawn, self.stops):
                        break
                    hidden = self._pass(work.packed, begin, store)
            trunk = self.split.trunk(work.packed.tokens) if trunk is None else torch.cat([trunk, *captured], 1)
        drawn = work.all_drawn()
        return Rollout(work.packed, trunk, drawn, self._texts(rows, samples, drawn))

    def _questions(self, packed: PackedRows, store: KeyValueStore) -> tuple[Tensor, Tensor | None]:
        """Read the questions: rows that are alike, as of adapters that are asked the same, share the lower blocks.

        Returns:
            Hidden states, and what the lower blocks made of them, None at a split before the first block; both of shape
            [rows, length, hidden].
        """
        if self.split.first_upper == 0:
            return self._pass(packed, 0, store), None
        facts = torch.cat([packed.tokens, packed.questions, packed.positions], 1)
        _, kind = facts.unique(dim=0, return_inverse=True)
        first = torch.full((int(kind.max()) + 1,), len(packed), device=kind.device)
        first = first.scatter_reduce(0, kind, torch.arange(len(packed), device=kind.device), "amin")
        prefix, end = self.prefix_length, self.prefix_length + packed.length
        store.aim(first, prefix, end)
        layout = packed.layout(prefix, self.split.base.model.dtype)
        alike = RowLayout(layout.positions[first], layout.mask[first])
        trunk = self.split.trunk(packed.tokens[first], alike, store)[kind]
        store.spread(first[kind], slice(prefix, end), self.split.first_upper)
        store.aim(slice(0, len(packed)), prefix, end)
        return self.split.upper(trunk, layout, store), trunk

    def _pass(self, packed: PackedRows, begin: int, store: KeyValueStore) -> Tensor:
        """Run the tokens from a column on; returns their hidden states, shape [rows, tokens, hidden]."""
        base, prefix = self.split.base, self.prefix_length
        layout = packed.layout(prefix, base.model.dtype, begin)
        store.aim(slice(0, len(packed)), prefix + begin, prefix + packed.length)
        out = base.model.base_model(
            input_ids=packed.tokens[:, begin:], attention_mask=layout.mask, position_ids=layout.positions,
            use_cache=True, **{cache_argument(base.model): store},
        )  # fmt: skip
        hidden: Tensor = out.last_hidden_state
        return hidden

    def _draw(self, hidden: Tensor, work: "_Work", begin: int, step: int) -> Drawn:
        rows, columns = work.rows, work.columns
        choose: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] = draw_tokens
        choices = work.uniforms[rows, work.questions, work.samples, step]
        if work.given is not None:
            choose, choices = _scored, work.given[rows, work.questions, step]
        parts = [
            choose(self.head.free_logits(hidden[r, c - begin], self.banned) / work.temperature, choice)
            for r, c, choice in zip(*(part.split(TOKENS_AT_ONCE) for part in (rows, columns, choices)), strict=True)
        ]
        tokens, likelihoods, entropies = (torch.cat(part) for part in zip(*parts, strict=True))
        return Drawn(rows, columns, tokens, work.questions, work.samples, likelihoods, entropies)

    def _texts(self, rows: Sequence[Sequence[object]], samples: int, drawn: Drawn) -> list[list[list[str]]]:
        written: list[list[list[list[int]]]] = [[[[] for _ in range(samples)] for _ in row] for row in rows]
        stops = set(self.stops.tolist())
        places = zip(
            *(part.tolist() for part in (drawn.rows, drawn.questions, drawn.samples, drawn.tokens)), strict=True
        )
        for row, question, sample, token in places:
            if token not in stops:
                written[row][question][sample].append(token)
        decode = self._tokenizer.decode
        return [
            [[str(decode(tokens, skip_special_tokens=True)) for tokens in group] for group in row] for row in written
        ]

    @torch.no_grad()
    def _read_prefix(self, prefix: Sequence[int]) -> list[Tensor]:
        if not prefix:
            raise InputError("a prefix of at least one token must come before the questions")
        runner = ModelRunner(self.split.base, self.adapted, budget_on(self.split.base.device))
        runner.store.reserve(1, len(prefix))
        runner.read([prefix], [None], slice(0, 1))
        return runner.store.read(0, slice(0, len(prefix)))

    def cache(self) -> SharedPrefix:
        """The prefix as it comes before rows that are learned."""
        return SharedPrefix(self.prefix)


class _Work:
    """Samples that are not finished: from which column each one's next token is predicted."""

    def __init__(
        self, packed: PackedRows, rows: Sequence[Sequence[Sequence[int]]], samples: int, uniforms: Tensor,
        temperature: float, given: Tensor | None,
    ) -> None:  # fmt: skip
        device = packed.tokens.device
        places, end = [], 0
        for row, questions in enumerate(rows):
            end = 0
            for number, question in enumerate(questions):
                end += len(question)
                places += [(row, end - 1, number, sample) for sample in range(samples)]
        self.rows, self.columns, self.questions, self.samples = torch.tensor(places, device=device).unbind(1)
        self.packed, self.uniforms, self.temperature, self.given = packed, uniforms, temperature, given
        self.parts: list[Drawn] = []

    def all_drawn(self) -> Drawn:
        """The tokens of all samples, in the order in which they came."""
        drawn = self.parts[0]
        for part in self.parts[1:]:
            drawn = drawn.joined(part)
        return drawn

    def append(self, drawn: Drawn, stops: Tensor) -> bool:
        """Put the tokens that go on behind the rows; returns whether there are any."""
        goes_on = ~torch.isin(drawn.tokens, stops)
        if not bool(goes_on.any()):
            return False
        drawn = drawn.chosen(goes_on)
        packed, begin = self.packed, self.packed.length
        positions = packed.positions[drawn.rows, drawn.columns] + 1
        counts = torch.bincount(drawn.rows, minlength=len(packed))
        first = counts.cumsum(0) - counts
        order = torch.argsort(drawn.rows, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device) - first[drawn.rows[order]]
        shape = (len(packed), int(counts.max()))
        table = [torch.full(shape, fill, device=order.device) for fill in (0, PADDING, 0, 0)]
        for column, values in zip(table, (drawn.tokens, drawn.questions, drawn.samples, positions), strict=True):
            column[drawn.rows, place] = values
        self.packed = packed.joined(PackedRows(*table))
        self.rows, self.questions, self.samples, self.columns = (
            drawn.rows, drawn.questions, drawn.samples, begin + place,
        )  # fmt: skip
        return True


def _table(given: Sequence[Sequence[Sequence[int]]], questions: int, most: int, stop: int) -> Tensor:
    """Given tokens, padded with a stop, shape [rows, questions, most]."""
    table = torch.full((len(given), questions, most), stop)
    for row, answers in enumerate(given):
        for question, tokens in enumerate(answers):
            table[row, question, : min(most, len(tokens))] = torch.tensor(tokens[:most])
    return table


def _scored(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Given tokens, with their log-probability and the entropy, as `draw_tokens` returns them."""
    logs = logits.log_softmax(-1)
    return tokens, logs.gather(1, tokens.unsqueeze(1)).squeeze(1), -(logs.exp() * logs).sum(-1)


def draw_tokens(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one token from each row of logits by inverting its cumulative sum; with its log-probability and the entropy.

    Args:
        logits: Shape [n, vocabulary], float32.
        uniforms: Shape [n], in [0, 1).
    """
    logs = logits.log_softmax(-1)
    shares = logs.exp()
    entropy = -(shares * logs).sum(-1)
    blocks = torch.nn.functional.pad(shares, (0, -shares.shape[1] % BLOCK)).view(len(shares), -1, BLOCK)
    mass = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    aims = uniforms.unsqueeze(1) * mass[:, -1:]
    block = torch.searchsorted(mass, aims, right=True).clamp(max=mass.shape[1] - 1)
    rest = aims - torch.where(block > 0, mass.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(len(blocks), device=block.device), block.squeeze(1)].double().cumsum(-1)
    # Rounding may aim behind the last number of a block; the last one with a share is taken then.
    place = torch.searchsorted(inside, rest.clamp(max=inside[:, -1:]), right=True)
    last = (inside < inside[:, -1:]).sum(-1, keepdim=True)
    token = (block * BLOCK + torch.minimum(place, last)).squeeze(1)
    return token, logs.gather(1, token.unsqueeze(1)).squeeze(1), entropy
