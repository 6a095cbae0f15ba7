"""The tiers of adapters: all on disk, the latest used in memory, those that act in the engine's slots."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.bank.stacking import STACKED_TOGETHER, Stacker
from polyphony.adapters.bank.usage import Tier
from polyphony.adapters.engine.adapter_memory import MEMORY_BYTES, AdapterMemory
from polyphony.adapters.model.lora import AdaptedModel


class AdapterCache:
    """Loads people's adapters for one engine: catalog → disk → memory within a byte budget → slots.

    With a slot for each person all adapters are loaded at once and memory holds no second copy. With fewer slots, those
    who act take the slots that have been unused longest, and `expect` reads the next ones while the engine works.
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
        """Load as many adapters as there are slots, agent i having ``revisions[i]``.

        Args:
            adapted: The layers; their stack and prior are replaced once everything is loaded.
            bank: The bank that holds the adapters.
            revisions: The revision of each agent.
            slots: How many agents act at once; None for all.
            memory_bytes: Most bytes of adapters in memory beside the slots.

        Raises:
            InputError: An adapter does not fit, or is damaged.
        """
        self.slots = min(slots or len(revisions), len(revisions))
        self.tiers = {"slots": Tier(), "memory": Tier()}
        self._adapted, self._bank, self._revisions = adapted, bank, list(revisions)
        self._stacker = Stacker(adapted, bank, revisions)
        self._memory = AdapterMemory(bank, memory_bytes if self.slots < len(revisions) else 0, self.tiers["memory"])
        self._slot_of: OrderedDict[int, int] = OrderedDict()
        self._stack = self._stacker.empty(self.slots)
        self._load({agent: agent for agent in range(self.slots)})
        self._stacker.install(self._stack)

    def close(self) -> None:
        """Stop reading ahead."""
        self._memory.close()

    def bring(self, agents: Sequence[int]) -> list[int]:
        """Load the adapters of some agents into slots; returns the slot of each.

        Raises:
            ValueError: There are more agents than slots.
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
        """Start to read the adapters of agents who will act soon."""
        self._memory.expect([self._revisions[agent].object for agent in agents if agent not in self._slot_of])

    def hand_over(self, agent: int, revision: Revision) -> None:
        """Let an agent act with another revision of its adapter from its next decision on; no other agent changes.

        Raises:
            InputError: It does not fit, or is damaged. The agent then keeps the revision it had.
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
            part = agents[start : start + STACKED_TOGETHER]
            flats = list(islice(loaded, len(part)))
            revisions = [self._revisions[agent] for agent in part]
            overwritten = {placed[agent] for agent in part}
            self._stacker.write(self._stack, [placed[agent] for agent in part], revisions, flats)
            self.tiers["slots"].bytes += sum(flat.numbers.nbytes for flat in flats)
            for agent in [agent for agent, slot in self._slot_of.items() if slot in overwritten]:
                del self._slot_of[agent]
            self._slot_of |= {agent: placed[agent] for agent in part}
        self.tiers["slots"].misses += len(agents)
        self.tiers["slots"].seconds += time.perf_counter() - began
