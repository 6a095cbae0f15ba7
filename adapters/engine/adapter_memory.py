"""Adapters in memory, between the disk and the slots: the latest used within a number of bytes."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Lock

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.object_layout import FlatFactors
from polyphony.adapters.bank.objects import Held
from polyphony.adapters.bank.usage import Tier
from polyphony.adapters.model.reading_pool import reading_pool
from polyphony.errors import InputError

MEMORY_BYTES = 1 << 30


class AdapterMemory:
    """The most recently used adapters, up to a number of bytes; one thread reads ahead.

    Coefficients stay as they are stored, a few kilobytes each, and become factors where they are loaded.
    """

    def __init__(self, bank: Bank, budget: int, tier: Tier) -> None:
        """Begin empty.

        Args:
            bank: Holds the adapters.
            budget: Most bytes; 0 keeps nothing.
            tier: Counts what is found and what is read.
        """
        self._bank, self._budget, self._tier = bank, budget, tier
        self._cached: OrderedDict[str, Held] = OrderedDict()
        self._size = 0
        self._lock = Lock()
        self._reader = reading_pool(1)
        self._reading: Future[None] | None = None
        self._closing = Event()

    def close(self) -> None:
        """Stop reading ahead."""
        self._closing.set()
        self._reader.shutdown(cancel_futures=True)

    def expect(self, names: Sequence[str]) -> None:
        """Start to read objects that will be needed soon."""
        if self._budget and names:
            self._wait()
            self._reading = self._reader.submit(self._read_ahead, list(names))

    def fill(self, names: Iterable[str], *, after: float = 0.0) -> None:
        """Read objects beside the work, until memory is full.

        None takes the place of another. One that cannot be read is left out, and refused when it is loaded.

        Args:
            names: Taken on the thread that reads ahead.
            after: Seconds before it begins.
        """
        self._reader.submit(self._fill, names, after)

    def load(self, names: Sequence[str]) -> Iterator[FlatFactors]:
        """Objects in the order of `names`; those that memory does not hold are read.

        Raises:
            InputError: One is missing or damaged.
        """
        self._wait()
        loaded = {name: self._cached[name] for name in names if name in self._cached}
        missing = [name for name in dict.fromkeys(names) if name not in loaded]
        self._tier.hits += len(loaded)
        for name in loaded:
            self._cached.move_to_end(name)
        arriving = zip(missing, self._bank.objects.held_many(missing), strict=True)
        for name in names:
            if name not in loaded:
                loaded[name] = self._add(*next(arriving))
            yield self._bank.objects.opened(loaded[name], name)

    def _wait(self) -> None:
        """Wait for the thread that reads ahead; an error of it is raised again when its adapter is loaded."""
        if self._reading is not None:
            self._reading.exception()
            self._reading = None

    def _read_ahead(self, names: Sequence[str]) -> None:
        missing = [name for name in dict.fromkeys(names) if name not in self._cached]
        began = time.perf_counter()
        for name, held in zip(missing, self._bank.objects.held_many(missing), strict=True):
            self._add(name, held)
        self._tier.seconds += time.perf_counter() - began

    def _fill(self, names: Iterable[str], after: float) -> None:
        self._closing.wait(after)
        for name in names:
            if self._closing.is_set():
                return
            if name in self._cached:
                continue
            with suppress(InputError):
                held = next(self._bank.objects.held_many([name]))
                if self._size + _size(held) > self._budget:
                    return
                self._add(name, held)

    def _add(self, name: str, factors: Held) -> Held:
        self._tier.misses += 1
        self._tier.bytes += _size(factors)
        with self._lock:
            if name not in self._cached and _size(factors) <= self._budget:
                self._cached[name] = _copied(factors)
                self._size += _size(factors)
            while self._size > self._budget:
                self._size -= _size(self._cached.popitem(last=False)[1])
        return factors


def _size(factors: Held) -> int:
    return factors.numbers.nbytes if isinstance(factors, FlatFactors) else len(factors)


def _copied(factors: Held) -> Held:
    """Numbers read from a shard are views of a larger range; a copy frees that."""
    return FlatFactors(factors.layout, factors.numbers.clone()) if isinstance(factors, FlatFactors) else factors
