"""The engine: many agents, each with its own adapter, decide what to do in one batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from adapters.base_model import BaseModel
from adapters.choice import VERBS
from adapters.decoding import DecodingConfig, TextSampler
from adapters.lora import AdaptedModel, Route
from adapters.population_training import PromptKit
from personas.acts import Verb


@dataclass(frozen=True)
class ActRequest:
    """One agent that is about to act.

    Attributes:
        slot: Index of its own factors in the stack; None for the bare base.
        prompt: Prompt tokens.
        targets: For each possible verb, the feed items (from 1) it may be said about; empty for verbs without one.
        length_cap: Most tokens of text.
        uniforms: Uniform draws in [0, 1): one for the verb, one for the target, then one per text token.
    """

    slot: int | None
    prompt: Sequence[int]
    targets: Mapping[Verb, Sequence[int]]
    length_cap: int
    uniforms: np.ndarray


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


class Engine:
    """Answers act requests of any mix of adapters over one frozen base.

    A batch is prefetched once; then verb, target and text follow on the kept keys and values. Rows wait, masked,
    for the parts of an act that theirs does not have.
    """

    def __init__(
        self,
        base: BaseModel,
        adapted: AdaptedModel | None,
        kit: PromptKit,
        *,
        decoding: DecodingConfig | None = None,
        max_rows: int = 64,
        token_budget: int = 8192,
    ) -> None:
        """Use the factors installed in `adapted`; None runs the bare base alone.

        `max_rows` and `token_budget` bound one batch: rows, and padded prompt tokens.
        """
        self._base, self._adapted, self._kit = base, adapted, kit
        self._max_rows, self._token_budget = max_rows, token_budget
        self._sampler = TextSampler(base.tokenizer, kit.builder.grammar, decoding or DecodingConfig())

    @torch.no_grad()
    def decide(self, requests: Sequence[ActRequest]) -> list[ActChoice]:
        """Decide for all agents; answers come in the order of the requests."""
        choices: dict[int, ActChoice] = {}
        for batch in self._batches(requests):
            made = _Batch(self, [requests[index] for index in batch]).run()
            choices.update(zip(batch, made, strict=True))
        return [choices[index] for index in range(len(requests))]

    def _batches(self, requests: Sequence[ActRequest]) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in sorted(range(len(requests)), key=lambda i: (-len(requests[i].prompt), i)):
            longest = len(requests[batch[0]].prompt) if batch else 0
            if batch and (len(batch) == self._max_rows or (len(batch) + 1) * longest > self._token_budget):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch


class _Batch:
    """One batch on its way through prompt, verb, target and text."""

    def __init__(self, engine: Engine, requests: Sequence[ActRequest]) -> None:
        self._engine, self._requests = engine, requests
        self._kit, self._grammar = engine._kit, engine._kit.builder.grammar
        self._device = engine._base.device
        self._cache: Any = DynamicCache()
        self._mask = torch.zeros(len(requests), 0, dtype=torch.long, device=self._device)
        self._lengths = torch.zeros(len(requests), dtype=torch.long, device=self._device)
        self._rows = list(range(len(requests)))
        self._route = self._make_route()

    def run(self) -> list[ActChoice]:
        hidden = self._prefill()
        distribution, verbs = self._choose_verbs(hidden)
        hidden = self._feed([self._grammar.verb_ids[verb] for verb in verbs])
        positions = self._choose_targets(hidden, verbs)
        texts, lengths = self._write(verbs, positions)
        return [
            ActChoice(
                {verb: float(share) for verb, share in zip(VERBS, shares, strict=True) if share > 0},
                verb,
                position,
                self._engine._sampler.text_of(tokens),
                1 + (position is not None) + length,
            )
            for shares, verb, position, tokens, length in zip(
                distribution, verbs, positions, texts, lengths, strict=True
            )
        ]

    def _prefill(self) -> Tensor:
        longest = max(len(request.prompt) for request in self._requests)
        pads = [longest - len(request.prompt) for request in self._requests]
        tokens = [[0] * pad + list(request.prompt) for pad, request in zip(pads, self._requests, strict=True)]
        mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
        return self._forward(torch.tensor(tokens, device=self._device), torch.tensor(mask, device=self._device))

    def _feed(self, tokens: Sequence[int | None]) -> Tensor:
        """Append one token to each row; None lets a row wait. Returns the hidden states of the new column."""
        column = torch.tensor([[token if token is not None else 0] for token in tokens], device=self._device)
        mask = torch.tensor([[int(token is not None)] for token in tokens], device=self._device)
        return self._forward(column, mask)

    def _forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        positions = (self._lengths.unsqueeze(1) + mask.cumsum(1) - 1).clamp(min=0)
        self._mask = torch.cat([self._mask, mask], dim=1)
        self._lengths = self._lengths + mask.sum(1)
        call = {
            "input_ids": tokens, "attention_mask": self._mask, "position_ids": positions,
            "past_key_values": self._cache, "use_cache": True,
        }  # fmt: skip
        adapted = self._engine._adapted
        with adapted.routed(self._route) if adapted is not None else nullcontext():
            out = self._engine._base.model.base_model(**call)
        last: Tensor = out.last_hidden_state[:, -1]
        return last

    def _choose_verbs(self, hidden: Tensor) -> tuple[np.ndarray, list[Verb]]:
        allowed = [[verb in request.targets for verb in VERBS] for request in self._requests]
        shares = self._kit.scorer.verbs(hidden, torch.tensor(allowed, device=self._device)).exp().cpu().numpy()
        draws = [request.uniforms[0] for request in self._requests]
        return shares, [VERBS[draw_index(row, draw)] for row, draw in zip(shares, draws, strict=True)]

    def _choose_targets(self, hidden: Tensor, verbs: Sequence[Verb]) -> list[int | None]:
        width = len(self._kit.scorer.digit_ids)
        allowed = [
            [not verb.has_target or number in request.targets[verb] for number in range(1, width + 1)]
            for verb, request in zip(verbs, self._requests, strict=True)
        ]
        index = torch.tensor([VERBS.index(verb) for verb in verbs], device=self._device)
        shares = self._kit.scorer.targets(hidden, index, torch.tensor(allowed, device=self._device)).exp().cpu().numpy()
        return [
            draw_index(row, request.uniforms[1]) + 1 if verb.has_target else None
            for row, verb, request in zip(shares, verbs, self._requests, strict=True)
        ]

    def _write(self, verbs: Sequence[Verb], positions: Sequence[int | None]) -> tuple[list[list[int]], list[int]]:
        """Decode the text of the rows that have one; rows that end leave the batch."""
        texts: list[list[int]] = [[] for _ in verbs]
        spent = [0] * len(verbs)
        self._keep([row for row, verb in enumerate(verbs) if verb.has_text])
        if not self._rows:
            return texts, spent
        digits = self._grammar.digit_ids
        at = [positions[row] for row in self._rows]
        if any(position is not None for position in at):
            self._feed([None if position is None else digits[position - 1] for position in at])
        hidden = self._feed([self._grammar.colon_id] * len(self._rows))
        while self._rows:
            logits = self._kit.scorer.head(hidden)
            tokens = self._engine._sampler.sample(
                logits,
                [texts[row] for row in self._rows],
                [self._requests[row].uniforms[2 + spent[row]] for row in self._rows],
            )
            going, following = [], []
            for place, (row, token) in enumerate(zip(list(self._rows), tokens, strict=True)):
                spent[row] += 1
                if token == self._grammar.end_id:
                    continue
                texts[row].append(token)
                if len(texts[row]) < self._requests[row].length_cap:
                    going.append(place)
                    following.append(token)
            self._keep(going)
            if self._rows:
                hidden = self._feed(following)
        return texts, spent

    def _keep(self, places: list[int]) -> None:
        """Keep only these rows of the batch."""
        if len(places) == len(self._rows):
            return
        self._rows = [self._rows[place] for place in places]
        if not places:
            return
        index = torch.tensor(places, device=self._device)
        self._cache.batch_select_indices(index)
        self._mask, self._lengths = self._mask[index], self._lengths[index]
        self._route = self._make_route()

    def _make_route(self) -> Route | None:
        slots = [self._requests[row].slot for row in self._rows]
        if all(slot is None for slot in slots):
            return None
        own = torch.tensor([-1 if slot is None else slot for slot in slots], device=self._device)
        return Route(own, None if min(own) >= 0 else own >= 0)


def draw_index(shares: np.ndarray, uniform: float) -> int:
    """Draw an index from probabilities by inverting their cumulative sum."""
    total = np.cumsum(shares, dtype=np.float64)
    index = int(np.searchsorted(total, uniform * total[-1], side="right"))
    return min(index, int(np.flatnonzero(shares)[-1]))
