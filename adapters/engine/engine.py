"""The engine: many agents, each with its own adapter, decide what to do in one batch."""

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polyphony.adapters.engine.decoding import DecodingConfig, TextSampler
from polyphony.adapters.engine.kv_store import KeyValueStore, cache_argument
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel, Route, route_of
from polyphony.adapters.model.memory import TokenBudget, at_once, budget_on, out_of_memory
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.errors import PolyphonyError
from polyphony.personas.people.acts import Verb

# Tokens of an act around its text: label, digit, colon.
HEAD_TOKENS = 3
# What is in work at once: rows that write, and beginnings computed together.
ROWS = {"cpu": 64, "gpu": 512}
PREFIX_ROWS = {"cpu": 16, "gpu": 128}


@dataclass(frozen=True)
class ActRequest:
    """One agent that is about to act.

    Attributes:
        slot: Index of its own factors in the stack; None for the bare base.
        prompt: Prompt tokens.
        targets: For each possible verb, the feed items (from 1) it may be said about; empty for verbs without one.
        length_cap: Most tokens of text.
        uniforms: Uniform draws in [0, 1): one for the verb, one for the target, then one per text token.
        constant: How many of the first prompt tokens are the same whenever this agent acts, see `Engine.remember`.
    """

    slot: int | None
    prompt: Sequence[int]
    targets: Mapping[Verb, Sequence[int]]
    length_cap: int
    uniforms: np.ndarray
    constant: int = 0


@dataclass(frozen=True)
class ActChoice:
    """What an agent decided.

    Attributes:
        distribution: The policy's own probability of each possible verb, before sampling.
        verb: The verb drawn from it.
        position: The feed item drawn, from 1; None where the verb has no target.
        text: The words; may be empty although the verb has text, when nothing printable was written.
        output_tokens: Tokens the act cost.
    """

    distribution: dict[Verb, float]
    verb: Verb
    position: int | None
    text: str
    output_tokens: int


class _Beginning(NamedTuple):
    """Keys and values of a prompt's beginning, and the version of its slot's factors that made them."""

    states: list[Tensor]
    version: int


class Engine:
    """Answers act requests of any mix of adapters over one frozen base.

    Prompts are read in batches of similar length; from then on every row is at its own point of its act (verb,
    target, text), one token a pass, and rows that end make room for waiting requests at once.
    """

    def __init__(
        self,
        base: BaseModel,
        adapted: AdaptedModel | None,
        kit: PromptKit,
        *,
        decoding: DecodingConfig | None = None,
        max_rows: int | None = None,
        token_budget: int | None = None,
        prefix_bytes: int = 512 << 20,
    ) -> None:
        """Use the factors installed in `adapted`; None runs the bare base alone.

        Args:
            base: The base model.
            adapted: Its adapted layers with the factors.
            kit: Prompt builder and act scorer.
            decoding: How text is drawn.
            max_rows: Most rows in work at once; None for what suits the device.
            token_budget: Most padded prompt tokens read in one pass; None for what suits the device.
            prefix_bytes: Most memory of remembered beginnings.
        """
        self._cache_argument = cache_argument(base.model)
        self.base, self.kit = base, kit
        self.max_rows = max_rows or at_once(base.device, **ROWS)
        self._adapted, self._prefix_bytes = adapted, prefix_bytes
        self.budget = TokenBudget(token_budget) if token_budget else budget_on(base.device)
        self.sampler = TextSampler(base.tokenizer, kit.builder.grammar, decoding or DecodingConfig())
        self.store = KeyValueStore()
        self.prefixes: dict[tuple[int | None, tuple[int, ...]], _Beginning] = {}
        self._prefix_room, self._generation = prefix_bytes, 0 if adapted is None else adapted.generation

    @torch.no_grad()
    def decide(self, requests: Sequence[ActRequest]) -> list[ActChoice]:
        """Decide for all agents; answers come in the order of the requests.

        Raises:
            InputError: A prompt with its act does not fit the base model's context.
            PolyphonyError: Not even one prompt fits into memory.
            ValueError: A verb is asked for that the prompts do not name.
        """
        unnamed = sorted({verb for request in requests for verb in request.targets} - set(self.kit.config.verbs))
        if unnamed:
            raise ValueError(f"prompts do not name {', '.join(unnamed)}: add them to PromptConfig.verbs")
        longest = max((len(request.prompt) + HEAD_TOKENS + request.length_cap for request in requests), default=0)
        self.base.check_context(longest)
        self._drop_stale_beginnings()
        pool = _Pool(self, requests)
        self.store.reserve(min(self.max_rows, len(requests)), pool.columns)
        try:
            while pool.unfinished:
                pool.advance()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise PolyphonyError(
                f"out of memory with {self.max_rows} agents writing at once; fewer agents, a smaller base model or "
                "more memory would do"
            ) from error
        return pool.choices()

    @torch.no_grad()
    def remember(self, beginnings: Sequence[tuple[int | None, Sequence[int]]]) -> None:
        """Compute the keys and values of prompt beginnings that will come again, as far as memory allows.

        A beginning is computed among the same neighbours whenever the same list is given, so that an interrupted run
        that is resumed continues with the same numbers.

        Args:
            beginnings: Slot and tokens of each; `ActRequest.constant` says how much of a prompt one covers.
        """
        self._drop_stale_beginnings()
        together = at_once(self.base.device, **PREFIX_ROWS)
        for start in range(0, len(beginnings), together):
            part = [(slot, tuple(tokens)) for slot, tokens in beginnings[start : start + together]]
            self.budget.run(partial(self._read_beginnings, part))
            for row, (slot, tokens) in enumerate(part):
                states = self.store.read(row, slice(0, len(tokens)))
                size = sum(state.nbytes for state in states)
                if size > self._prefix_room:
                    return
                if (slot, tokens) not in self.prefixes:
                    self._prefix_room -= size
                    self.prefixes[slot, tokens] = _Beginning(states, self._version(slot))

    def _read_beginnings(self, part: Sequence[tuple[int | None, tuple[int, ...]]], _tokens: int) -> None:
        self.store.reserve(len(part), max(len(tokens) for _, tokens in part))
        self.read([tokens for _, tokens in part], [slot for slot, _ in part], slice(0, len(part)))

    def _drop_stale_beginnings(self) -> None:
        """Forget beginnings that were computed with other factors than those installed now."""
        if self._adapted is None:
            return
        anew = self._adapted.generation != self._generation
        self._generation = self._adapted.generation
        stale = [key for key, known in self.prefixes.items() if anew or known.version != self._version(key[0])]
        for key in stale:
            self._prefix_room += sum(state.nbytes for state in self.prefixes.pop(key).states)

    def _version(self, slot: int | None) -> int:
        return 0 if self._adapted is None or slot is None else self._adapted.slot_versions[slot]

    def read(
        self,
        prompts: Sequence[Sequence[int]],
        slots: Sequence[int | None],
        rows: slice,
        skip: Sequence[int] | None = None,
    ) -> tuple[Tensor, list[int], int]:
        """Run prompts, right-aligned at their remembered beginnings, into rows of the store.

        Args:
            prompts: Whole prompts, best in order of falling number of new tokens: as many are run at once as the
                budget allows.
            slots: Slot of each.
            rows: Where their keys and values go.
            skip: How many first tokens of each are remembered; they are put so that all end at one common column.

        Returns:
            The hidden state of each last token, each row's first column, and the common column of the first new token.
        """
        skip = skip or [0] * len(prompts)
        begin = max(skip)
        firsts = [begin - count for count in skip]
        for number, (prompt, slot, count) in enumerate(zip(prompts, slots, skip, strict=True)):
            if count:
                states = self.prefixes[slot, tuple(prompt[:count])].states
                self.store.write(rows.start + number, slice(begin - count, begin), states)
        new = [list(prompt[count:]) for prompt, count in zip(prompts, skip, strict=True)]
        parts = []
        start = 0
        while start < len(new):
            stop = start + max(1, self.budget.tokens // len(new[start]))
            place = slice(rows.start + start, rows.start + min(stop, len(new)))
            parts.append(
                self._read_part(new[start:stop], firsts[start:stop], begin, place, route_of(slots[start:stop]))
            )
            start = stop
        return torch.cat(parts), firsts, begin

    def _read_part(
        self, new: Sequence[Sequence[int]], firsts: Sequence[int], begin: int, rows: slice, route: Route | None
    ) -> Tensor:
        """Run new tokens from column `begin` on; returns the hidden state of each row's last."""
        width = max(map(len, new))
        tokens = torch.tensor([[*part, *[0] * (width - len(part))] for part in new], device=self.base.device)
        columns = torch.arange(begin, begin + width, device=self.base.device).expand(len(new), -1)
        self.store.aim(rows, begin, begin + width)
        hidden = self._forward(tokens, columns, firsts, begin + width, route)
        last = torch.tensor([len(part) - 1 for part in new], device=hidden.device)
        return hidden[torch.arange(len(new), device=hidden.device), last]

    def append(self, tokens: Sequence[int], firsts: Sequence[int], ends: Sequence[int], route: Route | None) -> Tensor:
        """Append one token to each of the first rows of the store; returns hidden states [rows, hidden]."""
        column = torch.tensor(ends, device=self.base.device).unsqueeze(1)
        width = max(ends) + 1
        self.store.aim(slice(0, len(tokens)), column.squeeze(1), width)
        fed = torch.tensor(tokens, device=self.base.device).unsqueeze(1)
        return self._forward(fed, column, firsts, width, route)[:, -1]

    def _forward(
        self, tokens: Tensor, columns: Tensor, firsts: Sequence[int], width: int, route: Route | None
    ) -> Tensor:
        """Run tokens that stand at `columns` of rows whose sequences begin at `firsts`."""
        device, dtype = self.base.device, self.base.model.dtype
        first = torch.tensor(firsts, device=device).unsqueeze(1)
        every = torch.arange(width, device=device)
        seen = (every <= columns.unsqueeze(2)) & (every >= first.unsqueeze(2))
        mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, torch.finfo(dtype).min)
        with self._adapted.routed(route) if self._adapted is not None else nullcontext():
            out = self.base.model.base_model(
                input_ids=tokens, attention_mask=mask.unsqueeze(1), position_ids=columns - first,
                use_cache=True, **{self._cache_argument: self.store},
            )  # fmt: skip
        hidden: Tensor = out.last_hidden_state
        return hidden


@dataclass
class _Row:
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


class _Pool:
    """Requests on their way: waiting, in work, finished."""

    def __init__(self, engine: Engine, requests: Sequence[ActRequest]) -> None:
        self._engine, self._requests = engine, requests
        self._grammar = engine.kit.builder.grammar
        self._known = [self._remembered(request) for request in requests]
        # Rows that are read together have about as many new tokens: shorter ones are padded.
        order = sorted(
            range(len(requests)), key=lambda i: (not self._known[i], self._known[i] - len(requests[i].prompt), i)
        )
        self._waiting = deque(order)
        self._rows: list[_Row] = []
        self._route: Route | None = None
        self._shares: dict[int, np.ndarray] = {}
        self._done: dict[int, _Row] = {}

    @property
    def unfinished(self) -> bool:
        """Whether anything waits or is in work."""
        return bool(self._waiting or self._rows)

    @property
    def columns(self) -> int:
        """Most columns that a row may reach in the store: remembered beginnings, read apart, end at one column."""
        longest = max(self._known, default=0)
        return max(
            (
                (longest if known else 0) + len(request.prompt) - known + HEAD_TOKENS + request.length_cap
                for request, known in zip(self._requests, self._known, strict=True)
            ),
            default=0,
        )

    def advance(self) -> None:
        """Read waiting prompts where enough rows are free for a batch, else take one step with those in work."""
        free = self._engine.max_rows - len(self._rows)
        if self._waiting and free >= min(len(self._waiting), max(1, self._engine.max_rows // 4)):
            self._admit(self._next_batch(free))
        else:
            self._step()

    def choices(self) -> list[ActChoice]:
        """The finished acts in the order of the requests."""
        made = []
        for index in range(len(self._requests)):
            row, shares = self._done[index], self._shares[index]
            made.append(
                ActChoice(
                    {verb: float(share) for verb, share in zip(VERBS, shares, strict=True) if share > 0},
                    row.verb,
                    row.position,
                    self._engine.sampler.text_of(row.text),
                    1 + (row.position is not None) + row.spent,
                )
            )
        return made

    def _remembered(self, request: ActRequest) -> int:
        """How many first tokens of a prompt the engine remembers."""
        beginning = tuple(request.prompt[: request.constant])
        return len(beginning) if (request.slot, beginning) in self._engine.prefixes else 0

    def _next_batch(self, free: int) -> list[int]:
        """The next requests, as many as rows are free; those with a remembered beginning apart from those without."""
        batch: list[int] = []
        while self._waiting and len(batch) < free:
            index = self._waiting[0]
            if batch and bool(self._known[index]) != bool(self._known[batch[0]]):
                break
            batch.append(self._waiting.popleft())
        return batch

    def _admit(self, batch: Sequence[int]) -> None:
        requests = [self._requests[index] for index in batch]
        rows = slice(len(self._rows), len(self._rows) + len(batch))
        try:
            hidden, firsts, begin = self._engine.read(
                [request.prompt for request in requests],
                [request.slot for request in requests],
                rows,
                [self._known[index] for index in batch],
            )
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            self._engine.budget.shrink()
            self._waiting.extendleft(reversed(batch))
            return
        scorer = self._engine.kit.scorer
        allowed = torch.tensor([[verb in request.targets for verb in VERBS] for request in requests])
        shares = scorer.verbs(hidden, allowed.to(hidden.device)).exp().cpu().numpy()
        for place, (index, request) in enumerate(zip(batch, requests, strict=True)):
            verb = VERBS[draw_index(shares[place], request.uniforms[0])]
            head = [self._grammar.colon_id] if verb.has_text and not verb.has_target else []
            end = begin + len(request.prompt) - self._known[index]
            self._shares[index] = shares[place]
            self._rows.append(_Row(index, firsts[place], end, verb, self._grammar.verb_ids[verb], head))
        self._settle({row.index for row in self._rows if not (row.verb.has_target or row.verb.has_text)})

    def _step(self) -> None:
        """Feed one token to every row in work, and go on from what follows it."""
        rows = self._rows
        hidden = self._engine.append(
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

    def _aim(self, rows: Sequence[_Row], hidden: Tensor) -> set[int]:
        """Draw the feed items that acts are about; returns the requests that end with it."""
        if not rows:
            return set()
        scorer = self._engine.kit.scorer
        numbers = range(1, len(scorer.digit_ids) + 1)
        allowed = [[number in self._requests[row.index].targets[row.verb] for number in numbers] for row in rows]
        verbs = torch.tensor([VERBS.index(row.verb) for row in rows], device=hidden.device)
        shares = scorer.targets(hidden, verbs, torch.tensor(allowed, device=hidden.device)).exp().cpu().numpy()
        for row, share in zip(rows, shares, strict=True):
            row.position = draw_index(share, self._requests[row.index].uniforms[1]) + 1
            row.feed, row.head = self._grammar.digit_ids[row.position - 1], [self._grammar.colon_id]
        return {row.index for row in rows if not row.verb.has_text}

    def _write(self, rows: Sequence[_Row], hidden: Tensor) -> set[int]:
        """Draw the next token of texts; returns the requests that end with it."""
        if not rows:
            return set()
        tokens = self._engine.sampler.sample(
            self._engine.kit.scorer.head(hidden),
            [row.text for row in rows],
            [self._requests[row.index].uniforms[2 + row.spent] for row in rows],
        )
        ended = set()
        for row, token in zip(rows, tokens, strict=True):
            row.spent, row.feed = row.spent + 1, token
            if token != self._grammar.end_id:
                row.text.append(token)
            if token == self._grammar.end_id or len(row.text) == self._requests[row.index].length_cap:
                ended.add(row.index)
        return ended

    def _settle(self, ended: set[int]) -> None:
        """Take out finished rows; the last rows of the store move into the places they leave."""
        place = 0
        while place < len(self._rows):
            row = self._rows[place]
            if row.index not in ended:
                place += 1
                continue
            self._done[row.index] = row
            last = self._rows.pop()
            if last is not row:
                self._engine.store.move(len(self._rows), place, slice(last.first, last.end))
                self._rows[place] = last
        self._route = route_of([self._requests[row.index].slot for row in self._rows]) if self._rows else None


def draw_index(shares: np.ndarray, uniform: float) -> int:
    """Draw an index from probabilities by inverting their cumulative sum."""
    total = np.cumsum(shares, dtype=np.float64)
    index = int(np.searchsorted(total, uniform * total[-1], side="right"))
    return min(index, int(np.flatnonzero(shares)[-1]))
