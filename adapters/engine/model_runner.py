"""The forward passes of the engine: prompts and single tokens into the key-value store, under any mix of adapters."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from polyphony.adapters.engine.decoding_graph import graphs_on
from polyphony.adapters.engine.kv_store import CachedPrefix, KeyValueStore
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import cache_argument
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.memory import TokenBudget
from polyphony.adapters.model.routing import Route, route_of


class ModelRunner:
    """Runs a base model over rows of one key-value store; each row uses the factors of its own slot."""

    def __init__(self, base: BaseModel, adapted: AdaptedModel | None, budget: TokenBudget) -> None:
        """Take the model; the store stays empty until the first pass.

        Args:
            base: The base model.
            adapted: Its adapted layers with the factors; None runs the bare base alone.
            budget: Most padded prompt tokens of one pass.
        """
        self.base, self.adapted, self.budget = base, adapted, budget
        self.store = KeyValueStore(spare=1 if base.device.type == "cuda" else 0)
        self.graphs = graphs_on(base, adapted, self.store)
        """Recordings of passes of one token a row; None where they run without."""
        self._cache_argument = cache_argument(base.model)

    def read(
        self,
        prompts: Sequence[Sequence[int]],
        slots: Sequence[int | None],
        rows: slice,
        prefixes: Sequence[CachedPrefix | None] | None = None,
    ) -> tuple[Tensor, list[int], int]:
        """Run prompts into rows of the store, aligned where their cached prefixes end.

        Args:
            prompts: Whole prompts, best in order of falling number of new tokens: the budget decides how many are run
                at once.
            slots: Slot of each.
            rows: Where their keys and values go.
            prefixes: Cached keys and values of each prompt's first tokens, which are then not run; None without any.

        Returns:
            The hidden state of each last token, each row's first column, and the common column of the first new token.
        """
        cached = list(prefixes) if prefixes is not None else [None] * len(prompts)
        lengths = [0 if prefix is None else prefix.length for prefix in cached]
        begin = max(lengths)
        firsts = [begin - length for length in lengths]
        for row, prefix in enumerate(cached, rows.start):
            if prefix is not None:
                self.store.write(row, slice(begin - prefix.length, begin), prefix.states)
        new = [list(prompt[length:]) for prompt, length in zip(prompts, lengths, strict=True)]
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

    def append(self, tokens: Sequence[int], firsts: Sequence[int], ends: Sequence[int], route: Route | None) -> Tensor:
        """Append one token to each of the first rows of the store.

        Args:
            tokens: One token for each row.
            firsts: Each row's first column.
            ends: The column that each token takes.
            route: Which factors each row uses.

        Returns:
            Hidden states, shape [rows, hidden].
        """
        recorded = None if self.graphs is None else self.graphs.hidden(tokens, firsts, ends, route)
        if recorded is not None:
            return recorded
        column = torch.tensor(ends, device=self.base.device).unsqueeze(1)
        width = max(ends) + 1
        self.store.aim(slice(0, len(tokens)), column.squeeze(1), width)
        fed = torch.tensor(tokens, device=self.base.device).unsqueeze(1)
        return self._forward(fed, column, firsts, width, route)[:, -1]

    def extend(
        self, chunks: Sequence[Sequence[int]], rows: Sequence[int], firsts: Sequence[int], ends: Sequence[int],
        slots: Sequence[int | None],
    ) -> None:  # fmt: skip
        """Append several tokens to each of some rows, as many rows at once as the budget allows.

        Shorter chunks are padded: what is written behind a row's own tokens is overwritten before it is seen.

        Args:
            chunks: The tokens of each row, best in order of falling number.
            rows: Their places in the store.
            firsts: Each row's first column.
            ends: The column that its first new token takes.
            slots: Slot of each.
        """
        device, start = self.base.device, 0
        while start < len(chunks):
            length = max(map(len, chunks[start:]))
            part = slice(start, start + max(1, self.budget.tokens // length))
            length = max(map(len, chunks[part]))
            tokens = torch.tensor([[*chunk, *[0] * (length - len(chunk))] for chunk in chunks[part]], device=device)
            begin = torch.tensor(ends[part], device=device)
            width = max(ends[part]) + length
            self.store.aim(torch.tensor(rows[part], device=device), begin, width)
            columns = begin.unsqueeze(1) + torch.arange(length, device=device)
            self._forward(tokens, columns, firsts[part], width, route_of(slots[part]))
            start = part.stop

    def _read_part(
        self, new: Sequence[Sequence[int]], firsts: Sequence[int], begin: int, rows: slice, route: Route | None
    ) -> Tensor:
        """Run new tokens from column `begin` on; returns the hidden state of each row's last, shape [rows, hidden]."""
        width = max(map(len, new))
        tokens = torch.tensor([[*part, *[0] * (width - len(part))] for part in new], device=self.base.device)
        columns = torch.arange(begin, begin + width, device=self.base.device).expand(len(new), -1)
        self.store.aim(rows, begin, begin + width)
        hidden = self._forward(tokens, columns, firsts, begin + width, route)
        last = torch.tensor([len(part) - 1 for part in new], device=hidden.device)
        return hidden[torch.arange(len(new), device=hidden.device), last]

    def _forward(
        self, tokens: Tensor, columns: Tensor, firsts: Sequence[int], width: int, route: Route | None
    ) -> Tensor:
        """Run tokens that stand at `columns` of rows whose sequences begin at `firsts`."""
        device, dtype = self.base.device, self.base.model.dtype
        first = torch.tensor(firsts, device=device).unsqueeze(1)
        all_columns = torch.arange(width, device=device)
        seen = (all_columns <= columns.unsqueeze(2)) & (all_columns >= first.unsqueeze(2))
        mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, torch.finfo(dtype).min)
        with self.adapted.routed(route) if self.adapted is not None else nullcontext():
            out = self.base.model.base_model(
                input_ids=tokens, attention_mask=mask.unsqueeze(1), position_ids=columns - first,
                use_cache=True, **{self._cache_argument: self.store},
            )  # fmt: skip
        hidden: Tensor = out.last_hidden_state
        return hidden
