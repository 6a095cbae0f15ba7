"""The batch of acts in work: each row stands at its own point of its act, and finished rows make room at once."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.engine.acts import ActChoice, ActRequest, draw_index
from polyphony.adapters.engine.decoding import TextSampler, copying_tokens
from polyphony.adapters.engine.model_runner import ModelRunner
from polyphony.adapters.engine.pointing import Pointing
from polyphony.adapters.engine.prefix_cache import PrefixCache
from polyphony.adapters.model.memory import out_of_memory
from polyphony.adapters.model.routing import Route, route_of
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.personas.people.acts import Verb


@dataclass
class _ActRow:
    """A request in work: where it stands in the store and in its act.

    Attributes:
        index: Which request.
        first: Its first column in the store.
        end: The column after its last token.
        verb: The verb drawn.
        feed: The token that is fed next.
        head: Tokens to feed after that before its text begins.
        position: The feed item drawn.
        text: Text tokens so far.
        spent: Text tokens sampled, the end included.
    """

    index: int
    first: int
    end: int
    verb: Verb
    feed: int
    head: list[int] = field(default_factory=list)
    position: int | None = None
    text: list[int] = field(default_factory=list)
    spent: int = 0

    @property
    def needs_target(self) -> bool:
        """Whether what follows the label is a feed item that is not drawn yet."""
        return self.verb.has_target and self.position is None


class ActBatch:
    """Act requests on their way: waiting, in work, finished."""

    def __init__(
        self,
        requests: Sequence[ActRequest],
        runner: ModelRunner,
        prefixes: PrefixCache,
        kit: PromptKit,
        sampler: TextSampler,
        max_rows: int,
    ) -> None:
        """Take requests; nothing is computed yet.

        Args:
            requests: Who acts.
            runner: Runs the model; its store must have room for `columns`.
            prefixes: Keys and values of constant prompts.
            kit: Grammar and act scorer.
            sampler: Draws the tokens of texts.
            max_rows: Most rows in work at once.
        """
        self._requests, self._runner, self._kit, self._sampler = requests, runner, kit, sampler
        self._max_rows = max_rows
        self._grammar, self._pointing = kit.builder.grammar, Pointing(runner.adapted)
        self._prefixes = [prefixes.get(request.slot, request.prompt[: request.constant]) for request in requests]
        self._cached = [0 if prefix is None else prefix.length for prefix in self._prefixes]
        # Rows that are read together have about as many new tokens: shorter ones are padded.
        order = sorted(
            range(len(requests)), key=lambda i: (not self._cached[i], self._cached[i] - len(requests[i].prompt), i)
        )
        self._waiting = deque(order)
        self._rows: list[_ActRow] = []
        self._route: Route | None = None
        self._shares: dict[int, np.ndarray] = {}
        self._finished: dict[int, _ActRow] = {}

    @property
    def unfinished(self) -> bool:
        """Whether anything waits or is in work."""
        return bool(self._waiting or self._rows)

    @property
    def columns(self) -> int:
        """Most columns that a row may reach in the store.

        All cached prefixes of one batch end at the same column, and opened items are padded to the longest one.
        """
        longest = max(self._cached, default=0)
        most_opened = max((request.most_opened for request in self._requests), default=0)
        return max(
            (
                (longest if cached else 0) + request.most_tokens - request.most_opened + most_opened - cached
                for request, cached in zip(self._requests, self._cached, strict=True)
            ),
            default=0,
        )

    def advance(self) -> None:
        """Read waiting prompts where enough rows are free for a batch, else take one step with those in work."""
        free = self._max_rows - len(self._rows)
        if self._waiting and free >= min(len(self._waiting), max(1, self._max_rows // 4)):
            self._admit(self._next_batch(free))
        else:
            self._step()

    def choices(self) -> list[ActChoice]:
        """The finished acts in the order of the requests."""
        return [self._choice(self._finished[index], self._shares[index]) for index in range(len(self._requests))]

    def _choice(self, row: _ActRow, shares: np.ndarray) -> ActChoice:
        distribution = {verb: float(share) for verb, share in zip(VERBS, shares, strict=True) if share > 0}
        tokens = 1 + (row.position is not None) + len(self._opened(row)) + row.spent
        return ActChoice(distribution, row.verb, row.position, self._sampler.text_of(row.text), tokens)

    def _next_batch(self, free: int) -> list[int]:
        """The next requests, as many as rows are free; those with a cached prefix apart from those without."""
        batch: list[int] = []
        while self._waiting and len(batch) < free:
            index = self._waiting[0]
            if batch and bool(self._cached[index]) != bool(self._cached[batch[0]]):
                break
            batch.append(self._waiting.popleft())
        return batch

    def _admit(self, batch: Sequence[int]) -> None:
        requests = [self._requests[index] for index in batch]
        rows = slice(len(self._rows), len(self._rows) + len(batch))
        try:
            hidden, firsts, begin = self._runner.read(
                [request.prompt for request in requests],
                [request.slot for request in requests],
                rows,
                [self._prefixes[index] for index in batch],
            )
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            self._runner.budget.shrink()
            self._waiting.extendleft(reversed(batch))
            return
        scorer = self._kit.scorer
        allowed = torch.tensor([[verb in request.targets for verb in VERBS] for request in requests])
        pulls = self._pointing.pulls(requests)
        shares = scorer.verbs(hidden, allowed.to(hidden.device), pulls).exp().cpu().numpy()
        for place, (index, request) in enumerate(zip(batch, requests, strict=True)):
            verb = VERBS[draw_index(shares[place], request.uniforms[0])]
            head = [self._grammar.colon_id] if verb.has_text and not verb.has_target else []
            end = begin + len(request.prompt) - self._cached[index]
            self._shares[index] = shares[place]
            self._rows.append(_ActRow(index, firsts[place], end, verb, self._grammar.verb_ids[verb], head))
        pointed = [
            row for row in self._rows[rows.start :]
            if row.verb.has_target and self._pointing.serves(self._requests[row.index])
        ]  # fmt: skip
        for row in pointed:
            row.position = self._pointing.position(self._requests[row.index], row.verb)
        self._settle({row.index for row in pointed if not row.verb.has_text}
                     | {row.index for row in self._rows if not (row.verb.has_target or row.verb.has_text)})  # fmt: skip
        self._open([row for row in pointed if row.verb.has_text])

    def _step(self) -> None:
        """Feed one token to every row in work, and go on from what follows it."""
        rows = self._rows
        hidden = self._runner.append(
            [row.feed for row in rows], [row.first for row in rows], [row.end for row in rows], self._route
        )
        aiming = [place for place, row in enumerate(rows) if not row.head and row.needs_target]
        writing = [place for place, row in enumerate(rows) if not row.head and not row.needs_target]
        for row in rows:
            row.end += 1
            if row.head:
                row.feed = row.head.pop(0)
        ended = self._aim([rows[place] for place in aiming], hidden[aiming])
        self._settle(ended | self._write([rows[place] for place in writing], hidden[writing]))

    def _aim(self, rows: Sequence[_ActRow], hidden: Tensor) -> set[int]:
        """Draw the feed items that acts are about; returns the requests that end with it."""
        if not rows:
            return set()
        scorer = self._kit.scorer
        numbers = range(1, len(scorer.digit_ids) + 1)
        allowed = [[number in self._requests[row.index].targets[row.verb] for number in numbers] for row in rows]
        verbs = torch.tensor([VERBS.index(row.verb) for row in rows], device=hidden.device)
        shares = scorer.targets(hidden, verbs, torch.tensor(allowed, device=hidden.device)).exp().cpu().numpy()
        for row, share in zip(rows, shares, strict=True):
            row.position = draw_index(share, self._requests[row.index].uniforms[1]) + 1
            row.feed, row.head = self._grammar.digit_ids[row.position - 1], [self._grammar.colon_id]
        self._open([row for row in rows if self._opened(row)], with_label=False)
        return {row.index for row in rows if not row.verb.has_text}

    def _opened(self, row: _ActRow) -> Sequence[int]:
        """The tokens that repeat the item which a row's text is about."""
        opened = self._requests[row.index].opened
        return opened[row.position - 1] if opened and row.position is not None and row.verb.has_text else ()

    def _open(self, rows: Sequence[_ActRow], *, with_label: bool = True) -> None:
        """Read digits and the items that texts are about, in as few passes as the budget allows.

        Args:
            rows: Acts with a target and words, of which the words come next.
            with_label: Whether the verb's label has not been read yet.
        """
        if not rows:
            return
        place_of = {row.index: place for place, row in enumerate(self._rows)}
        rows = sorted(rows, key=lambda row: (-len(self._opened(row)), place_of[row.index]))
        heads = [[self._grammar.verb_ids[row.verb]] if with_label else [] for row in rows]
        chunks = [
            [*head, self._grammar.digit_ids[(row.position or 1) - 1], *self._opened(row)]
            for head, row in zip(heads, rows, strict=True)
        ]
        self._runner.extend(
            chunks,
            [place_of[row.index] for row in rows],
            [row.first for row in rows],
            [row.end for row in rows],
            [self._requests[row.index].slot for row in rows],
        )
        for row, chunk in zip(rows, chunks, strict=True):
            row.end, row.feed, row.head = row.end + len(chunk), self._grammar.colon_id, []

    def _write(self, rows: Sequence[_ActRow], hidden: Tensor) -> set[int]:
        """Draw the next token of texts; returns the requests that end with it."""
        if not rows:
            return set()
        tokens = self._sampler.sample(
            self._kit.scorer.head(hidden),
            [row.text for row in rows],
            [self._requests[row.index].uniforms[2 + row.spent] for row in rows],
            [self._copying(row) for row in rows],
        )
        ended = set()
        for row, token in zip(rows, tokens, strict=True):
            row.spent, row.feed = row.spent + 1, token
            if token != self._grammar.end_id:
                row.text.append(token)
            if token == self._grammar.end_id or len(row.text) == self._requests[row.index].length_cap:
                ended.add(row.index)
        return ended

    def _copying(self, row: _ActRow) -> set[int]:
        """The tokens with which a row's text would copy more than it may of what it has read."""
        request = self._requests[row.index]
        return copying_tokens(request.prompt, row.text, request.most_copied) | copying_tokens(
            self._opened(row), row.text, request.most_copied
        )

    def _settle(self, ended: set[int]) -> None:
        """Take out finished rows; the last rows of the store move into the places they leave."""
        place = 0
        while place < len(self._rows):
            row = self._rows[place]
            if row.index not in ended:
                place += 1
                continue
            self._finished[row.index] = row
            last = self._rows.pop()
            if last is not row:
                self._runner.store.move(len(self._rows), place, slice(last.first, last.end))
                self._rows[place] = last
        self._route = route_of([self._requests[row.index].slot for row in self._rows]) if self._rows else None
