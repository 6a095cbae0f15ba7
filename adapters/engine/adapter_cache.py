"""Which adapters are where: on disk all of them, in memory the latest used, in the engine's slots those that act."""

import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Lock

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.object_layout import Flat
from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.bank.stacking import STACKED_TOGETHER, Stacker
from polyphony.adapters.bank.usage import Tier
from polyphony.adapters.model.lora import AdaptedModel

MEMORY_BYTES = 1 << 30


class AdapterCache:
    """Keeps people's adapters ready for one engine: catalog → disk → memory within a byte budget → slots.

    With a slot for everybody all are loaded at once and memory keeps none of them twice. With fewer, those who act take
    the slots that have been unused longest, and `expect` reads the next ones while the engine works.
    """

    def __init__(
        self,
        adapted: AdaptedModel,
        bank: Bank,
        revisions: Sequence[Revision],
        *,
        slots: int | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Load as many as there are slots, agent i having ``revisions[i]``.

        Args:
            adapted: The layers; their stack and prior are replaced once everything is loaded.
            bank: Where adapters are.
            revisions: Each agent's.
            slots: How many act at once; None for all.
            memory_bytes: Most bytes of adapters kept in memory beside the slots.

        Raises:
            InputError: An adapter does not fit, or is damaged.
        """
        self.slots = min(slots or len(revisions), len(revisions))
        self.tiers = {"slots": Tier(), "memory": Tier()}
        self._adapted, self._bank, self._revisions = adapted, bank, list(revisions)
        self._stacker = Stacker(adapted, bank, revisions)
        self._memory = _Memory(bank, memory_bytes if self.slots < len(revisions) else 0, self.tiers["memory"])
        self._slot_of: OrderedDict[int, int] = OrderedDict()
        self._stack = self._stacker.empty(self.slots)
        self._load({agent: agent for agent in range(self.slots)})
        self._stacker.install(self._stack)

    def close(self) -> None:
        """Stop reading ahead."""
        self._memory.close()

    def bring(self, agents: Sequence[int]) -> list[int]:
        """Have some agents' adapters in slots; returns the slot of each.

        Raises:
            ValueError: There are more of them than slots.
            InputError: An adapter is damaged.
        """
        needed = dict.fromkeys(agents)
        if len(needed) > self.slots:
            raise ValueError(f"{len(needed)} agents at once, but {self.slots} slots")
        missing = [agent for agent in needed if agent not in self._slot_of]
        self.tiers["slots"].hits += len(needed) - len(missing)
        for agent in needed.keys() - set(missing):
            self._slot_of.move_to_end(agent)
        if missing:
            unused = [agent for agent in self._slot_of if agent not in needed][: len(missing)]
            placed = {agent: self._slot_of[victim] for agent, victim in zip(missing, unused, strict=True)}
            self._load(placed)
            self._adapted.changed(placed.values())
        return [self._slot_of[agent] for agent in agents]

    def expect(self, agents: Sequence[int]) -> None:
        """Begin to read the adapters of agents who will act soon."""
        self._memory.expect([self._revisions[agent].object for agent in agents if agent not in self._slot_of])

    def hand_over(self, agent: int, revision: Revision) -> None:
        """Let an agent act with another revision of its adapter from the next decision on; nobody else is touched.

        Raises:
            InputError: It does not fit, or is damaged; the agent keeps what it had.
        """
        self._stacker.admit(revision)
        loaded = self._bank.objects.load(revision.object)
        if agent in self._slot_of:
            slot = self._slot_of[agent]
            self._stacker.write(self._stack, [slot], [revision], [loaded])
            self._adapted.changed([slot])
        self._revisions[agent] = revision

    def _load(self, placed: dict[int, int]) -> None:
        """Copy adapters into slots: agent -> slot."""
        began = time.perf_counter()
        agents = list(placed)
        loaded = self._memory.load([self._revisions[agent].object for agent in agents])
        for start in range(0, len(agents), STACKED_TOGETHER):
            some = agents[start : start + STACKED_TOGETHER]
            flats = list(islice(loaded, len(some)))
            revisions = [self._revisions[agent] for agent in some]
            taken = {placed[agent] for agent in some}
            self._stacker.write(self._stack, [placed[agent] for agent in some], revisions, flats)
            self.tiers["slots"].bytes += sum(flat.numbers.nbytes for flat in flats)
            for agent in [agent for agent, slot in self._slot_of.items() if slot in taken]:
                del self._slot_of[agent]
            self._slot_of |= {agent: placed[agent] for agent in some}
        self.tiers["slots"].misses += len(agents)
        self.tiers["slots"].seconds += time.perf_counter() - began


class _Memory:
    """The latest used adapters, up to a number of bytes; one thread reads ahead."""

    def __init__(self, bank: Bank, budget: int, tier: Tier) -> None:
        self._bank, self._budget, self._tier = bank, budget, tier
        self._kept: OrderedDict[str, Flat] = OrderedDict()
        self._size = 0
        self._lock = Lock()
        self._reader = ThreadPoolExecutor(1)
        self._coming: Future[None] | None = None

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)

    def expect(self, names: Sequence[str]) -> None:
        if self._budget and names:
            self._wait()
            self._coming = self._reader.submit(self._read_ahead, list(names))

    def load(self, names: Sequence[str]) -> Iterator[Flat]:
        """Adapters in the order of their names, read where memory does not hold them."""
        self._wait()
        have = {name: self._kept[name] for name in names if name in self._kept}
        missing = [name for name in dict.fromkeys(names) if name not in have]
        self._tier.hits += len(have)
        for name in have:
            self._kept.move_to_end(name)
        arriving = zip(missing, self._bank.objects.load_many(missing), strict=True)
        for name in names:
            if name not in have:
                have[name] = self._arrived(*next(arriving))
            yield have[name]

    def _wait(self) -> None:
        """Let what is being read arrive; what is wrong with it is told to whoever asks for it."""
        if self._coming is not None:
            self._coming.exception()
            self._coming = None

    def _read_ahead(self, names: Sequence[str]) -> None:
        missing = [name for name in dict.fromkeys(names) if name not in self._kept]
        began = time.perf_counter()
        for name, flat in zip(missing, self._bank.objects.load_many(missing), strict=True):
            self._arrived(name, flat)
        self._tier.seconds += time.perf_counter() - began

    def _arrived(self, name: str, flat: Flat) -> Flat:
        self._tier.misses += 1
        self._tier.bytes += flat.numbers.nbytes
        with self._lock:
            if name not in self._kept and flat.numbers.nbytes <= self._budget:
                # Numbers read from a shard are a view of all that was read with them.
                self._kept[name] = Flat(flat.layout, flat.numbers.clone())
                self._size += flat.numbers.nbytes
            while self._size > self._budget:
                self._size -= self._kept.popitem(last=False)[1].numbers.nbytes
        return flat
