"""Constant prompts computed once: the keys and values of prompt prefixes that come again whenever an agent acts."""

from collections.abc import Sequence
from functools import partial

import torch

from polyphony.adapters.engine.kv_store import CachedPrefix
from polyphony.adapters.engine.model_runner import ModelRunner
from polyphony.adapters.model.memory import at_once

# Prefixes that are computed in one pass.
PREFIX_ROWS = {"cpu": 16, "gpu": 128}
PrefixKey = tuple[int | None, tuple[int, ...]]
"""Slot and tokens."""


class PrefixCache:
    """Keys and values of prompt prefixes, up to a number of bytes; those of replaced factors are dropped."""

    def __init__(self, runner: ModelRunner, most_bytes: int) -> None:
        """Begin empty.

        Args:
            runner: Computes the prefixes; its store is overwritten.
            most_bytes: Most memory of all prefixes together.
        """
        self._runner = runner
        self.free_bytes = most_bytes
        self.entries: dict[PrefixKey, CachedPrefix] = {}
        self._generation = 0 if runner.adapted is None else runner.adapted.generation

    def get(self, slot: int | None, tokens: Sequence[int]) -> CachedPrefix | None:
        """The prefix of these tokens under a slot's factors; None where it is not cached."""
        return self.entries.get((slot, tuple(tokens)))

    @torch.no_grad()
    def compute(self, prefixes: Sequence[tuple[int | None, Sequence[int]]]) -> None:
        """Compute prefixes, in their order, until memory is full.

        A prefix is computed among the same neighbours whenever the same list is given, so that an interrupted run
        that is resumed continues with the same numbers.

        Args:
            prefixes: Slot and tokens of each.
        """
        self.drop_stale()
        together = at_once(self._runner.base.device, **PREFIX_ROWS)
        for start in range(0, len(prefixes), together):
            part = [(slot, tuple(tokens)) for slot, tokens in prefixes[start : start + together]]
            self._runner.budget.run(partial(self._read, part))
            for row, (slot, tokens) in enumerate(part):
                states = self._runner.store.read(row, slice(0, len(tokens)))
                prefix = CachedPrefix(states, self._version(slot))
                if prefix.nbytes > self.free_bytes:
                    return
                if (slot, tokens) not in self.entries:
                    self.free_bytes -= prefix.nbytes
                    self.entries[slot, tokens] = prefix

    def drop_stale(self) -> None:
        """Drop prefixes that were computed with other factors than those installed now."""
        adapted = self._runner.adapted
        if adapted is None:
            return
        all_changed = adapted.generation != self._generation
        self._generation = adapted.generation
        stale = [key for key, prefix in self.entries.items() if all_changed or prefix.version != self._version(key[0])]
        for key in stale:
            self.free_bytes += self.entries.pop(key).nbytes

    def _read(self, part: Sequence[PrefixKey], _tokens: int) -> None:
        self._runner.store.reserve(len(part), max(len(tokens) for _, tokens in part))
        self._runner.read([tokens for _, tokens in part], [slot for slot, _ in part], slice(0, len(part)))

    def _version(self, slot: int | None) -> int:
        adapted = self._runner.adapted
        return 0 if adapted is None or slot is None else adapted.slot_versions[slot]
