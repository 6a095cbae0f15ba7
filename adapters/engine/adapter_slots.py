"""The slots of a server: a requested adapter takes the slot that was unused for the longest time."""

import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.object_layout import FlatFactors
from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.bank.stacking import Stacker
from polyphony.adapters.bank.usage import Tier
from polyphony.adapters.engine.adapter_memory import MEMORY_BYTES, AdapterMemory
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.errors import PolyphonyError


class AdapterSlots:
    """Holds the adapters that texts in work use; catalogue → disk → memory → slot. Used by one thread."""

    def __init__(
        self, adapted: AdaptedModel, bank: Bank, kinds: Sequence[Revision], slots: int,
        *, memory_bytes: int = MEMORY_BYTES,
    ) -> None:  # fmt: skip
        """Install empty slots and the prior that most adapters share.

        Args:
            adapted: The layers.
            bank: Holds the adapters.
            kinds: At least one revision of each rank and foundation that may be asked for.
            slots: How many adapters are in use at once.
            memory_bytes: Most bytes of adapters in memory beside the slots.

        Raises:
            InputError: One of them belongs to another base model, or its foundation is missing.
        """
        self.tiers = {"slots": Tier(), "memory": Tier()}
        self._adapted, self._bank = adapted, bank
        self._stacker = Stacker(adapted, bank, kinds)
        self._stack = self._stacker.empty(slots)
        self._stacker.install(self._stack)
        self._memory = AdapterMemory(bank, memory_bytes, self.tiers["memory"])
        self._free = list(range(slots))
        self._slot_of: OrderedDict[str, int] = OrderedDict()
        self._uses: Counter[str] = Counter()

    def close(self) -> None:
        """Stop reading ahead."""
        self._memory.close()

    def fill(self, names: Iterable[str], *, after: float = 0.0) -> None:
        """Read objects into memory beside the work, see `AdapterMemory.fill`."""
        self._memory.fill(names, after=after)

    @property
    def free(self) -> int:
        """How many slots nothing in work uses."""
        return len(self._free) + len(self._slot_of) - len(self._uses)

    def admit(self, revision: Revision, factors: FlatFactors) -> None:
        """Refuse an adapter that the slots have no room for; any thread may ask.

        Raises:
            InputError: It belongs to another base model, has a higher rank than the slots, changes layers that they do
                not hold, or is not finite.
        """
        self._stacker.admit(revision, factors)

    def hold(self, revision: Revision, loaded: FlatFactors | None = None) -> int:
        """The slot of an adapter, which it keeps until it is released as often as it was held.

        Args:
            revision: The adapter.
            loaded: Its factors, where no bank holds them.

        Raises:
            InputError: It does not fit, or is damaged.
            PolyphonyError: All slots are in use.
        """
        name = revision.object
        if name in self._slot_of:
            self.tiers["slots"].hits += 1
        else:
            self._load(revision, loaded)
        self._slot_of.move_to_end(name)
        self._uses[name] += 1
        return self._slot_of[name]

    def _load(self, revision: Revision, loaded: FlatFactors | None) -> None:
        self._stacker.admit(revision)
        began = time.perf_counter()
        flat = next(self._memory.load([revision.object])) if loaded is None else loaded
        slot = self._vacate()
        try:
            self._stacker.write(self._stack, [slot], [revision], [flat])
        except BaseException:
            self._free.append(slot)
            raise
        self._adapted.changed([slot])
        self._slot_of[revision.object] = slot
        tier = self.tiers["slots"]
        tier.misses, tier.bytes = tier.misses + 1, tier.bytes + flat.numbers.nbytes
        tier.seconds += time.perf_counter() - began

    def holds(self, name: str) -> bool:
        """Whether a slot has the adapter of an object."""
        return name in self._slot_of

    def slot(self, name: str) -> int:
        """The slot of an adapter that is held."""
        return self._slot_of[name]

    def release(self, name: str) -> None:
        """Let go of an adapter that was held, by the name of its object."""
        self._uses[name] -= 1
        if self._uses[name] <= 0:
            del self._uses[name]

    def forget(self, name: str) -> None:
        """Have an adapter that nothing in work uses loaded anew when it is held again."""
        if name in self._slot_of and name not in self._uses:
            self._free.append(self._slot_of.pop(name))

    def _vacate(self) -> int:
        """A slot that may be overwritten."""
        if self._free:
            return self._free.pop(0)
        victim = next((name for name in self._slot_of if name not in self._uses), None)
        if victim is None:
            raise PolyphonyError(f"all {len(self._slot_of)} slots are in use")
        return self._slot_of.pop(victim)
