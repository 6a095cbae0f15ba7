"""A batch that requests join and leave between any two tokens, each with the adapter of its own slot."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.engine.acts import draw_index
from polyphony.adapters.engine.generation import Emission, Ending, Generation, LabelChoice, TokenScores
from polyphony.adapters.engine.model_runner import ModelRunner
from polyphony.adapters.engine.token_sampler import NOT_FINITE, TokenSampler
from polyphony.adapters.model.head import Head
from polyphony.adapters.model.routing import Route, route_of
from polyphony.errors import PolyphonyError


@dataclass(eq=False)
class _Row:
    """A text in work.

    Attributes:
        generation: The text.
        slot: Whose factors; None for the bare base.
        end: The column after its last token.
        feed: The token that is read next.
        head: Tokens to read after that before text is drawn.
        has_chosen: Whether its label is drawn.
    """

    generation: Generation
    slot: int | None
    end: int
    feed: int = 0
    head: list[int] = field(default_factory=list)
    has_chosen: bool = False


class ContinuousBatch:
    """Texts in work over one key-value store: `admit` reads prompts, `step` draws one more token of each."""

    def __init__(
        self, runner: ModelRunner, head: Head, sampler: TokenSampler, ends: Iterable[int], *, rows: int, columns: int
    ) -> None:  # fmt: skip
        """Allocate the store.

        Args:
            runner: Runs the model; its store belongs to this batch.
            head: The language-model head.
            sampler: Draws the tokens.
            ends: Tokens that end a text.
            rows: Most texts in work at once.
            columns: Most tokens of one text with its prompt.
        """
        self.columns = columns
        self._runner, self._head, self._sampler, self._ends = runner, head, sampler, frozenset(ends)
        self._most_rows = rows
        self._rows: list[_Row] = []
        self._route: Route | None = None
        runner.store.reserve(rows, columns)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def free(self) -> int:
        """How many more texts it takes."""
        return self._most_rows - len(self._rows)

    @torch.no_grad()
    def admit(self, generations: Sequence[Generation], slots: Sequence[int | None]) -> list[Emission]:
        """Read prompts and draw what comes first.

        Args:
            generations: At most `free` texts, each of at most `columns` tokens.
            slots: Slot of each.
        """
        order = sorted(range(len(generations)), key=lambda index: -len(generations[index].prompt))
        rows = [
            _Row(generations[index], slots[index], len(generations[index].prompt)) for index in order
        ]  # fmt: skip
        place = slice(len(self._rows), len(self._rows) + len(rows))
        hidden, _, _ = self._runner.read([row.generation.prompt for row in rows], [row.slot for row in rows], place)
        self._rows += rows
        return self._go_on(rows, hidden)

    @torch.no_grad()
    def step(self) -> list[Emission]:
        """Read one token of every text in work, and draw what comes next."""
        rows = list(self._rows)
        hidden = self._runner.append(
            [row.feed for row in rows], [0] * len(rows), [row.end for row in rows], self._route
        )
        drawing = []
        for place, row in enumerate(rows):
            row.end += 1
            if row.head:
                row.feed = row.head.pop(0)
            else:
                drawing.append(place)
        return self._go_on([rows[place] for place in drawing], hidden[drawing])

    def drop(self, generations: Iterable[Generation]) -> None:
        """Take texts out; those that are not in work are left out."""
        self._settle({id(generation) for generation in generations})

    def _go_on(self, rows: Sequence[_Row], hidden: Tensor) -> list[Emission]:
        """Draw a label or a token for each row."""
        emissions = []
        writing = []
        for place, row in enumerate(rows):
            if row.generation.choice is not None and not row.has_chosen:
                emissions += self._choose(row, row.generation.choice, hidden[place])
            else:
                writing.append(place)
        if writing:
            emissions += self._write([rows[place] for place in writing], hidden[writing])
        self._clear({id(emission.generation) for emission in emissions if emission.fault is not None})
        self._settle({id(emission.generation) for emission in emissions if emission.ending})
        return emissions

    def _choose(self, row: _Row, choice: LabelChoice, hidden: Tensor) -> list[Emission]:
        labels = torch.tensor(choice.tokens, device=hidden.device)
        scores = self._head(hidden, labels) - torch.tensor(choice.bias, device=hidden.device)
        logs = scores.log_softmax(-1).cpu().numpy()
        if not np.isfinite(logs.max()):
            return [_failed(row.generation, PolyphonyError(NOT_FINITE))]
        index = draw_index(_tempered(logs, row.generation.sampling.temperature), choice.uniform)
        try:
            following = choice.taken(index, logs)
        except Exception as error:
            return [_failed(row.generation, error)]
        row.has_chosen, row.feed, row.head = True, choice.tokens[index], list(following.tokens)
        row.generation.constraint = following.constraint
        return [Emission(row.generation, None, None, "stop")] if following.ended else []

    def _write(self, rows: Sequence[_Row], hidden: Tensor) -> list[Emission]:
        tokens, scores = self._sampler.draw(self._head(hidden), [row.generation for row in rows])
        return [self._emit(row, token, score) for row, token, score in zip(rows, tokens, scores, strict=True)]

    def _emit(self, row: _Row, token: int | Exception, scores: TokenScores | None) -> Emission:
        generation = row.generation
        if isinstance(token, Exception):
            return _failed(generation, token)
        row.feed = token
        if token in self._ends:
            return Emission(generation, None, scores, "stop")
        generation.written.append(token)
        ending: Ending | None = None
        if generation.constraint is not None:
            try:
                generation.constraint.accept(token)
            except Exception as error:
                return _failed(generation, error)
            if generation.constraint.ended:
                ending = "stop"
        most = generation.most + (generation.spare if generation.constraint is not None else 0)
        if ending is None and len(generation.written) >= most:
            ending = "length"
        return Emission(generation, token, scores, ending)

    def _clear(self, failed: set[int]) -> None:
        """Clear the rows of failed texts in the store: 0 × NaN would be NaN for the text that takes a row next."""
        for place, row in enumerate(self._rows):
            if id(row.generation) in failed:
                self._runner.store.clear(place)

    def _settle(self, ended: set[int]) -> None:
        """Take out some rows; the last rows of the store move into the places they leave."""
        place = 0
        while place < len(self._rows):
            if id(self._rows[place].generation) not in ended:
                place += 1
                continue
            last = self._rows.pop()
            if place < len(self._rows):
                self._runner.store.move(len(self._rows), place, slice(0, last.end))
                self._rows[place] = last
        self._route = route_of([row.slot for row in self._rows]) if self._rows else None


def _failed(generation: Generation, fault: Exception) -> Emission:
    return Emission(generation, None, None, "fault", fault)


def _tempered(logs: np.ndarray, temperature: float) -> np.ndarray:
    """Shares at a temperature; at 0 the likeliest has all."""
    if temperature == 0:
        shares: np.ndarray = np.eye(len(logs))[int(logs.argmax())]
        return shares
    scaled = logs.astype(np.float64) / temperature
    tempered: np.ndarray = np.exp(scaled - scaled.max())
    return tempered
