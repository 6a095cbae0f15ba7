"""The weights that agents act with, while they can act."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from polyphony.adapters.bank.revision import Revision
    from polyphony.adapters.engine.adapter_cache import AdapterCache
    from polyphony.adapters.model.lora import AdaptedModel


class InstalledWeights(NamedTuple):
    """The weights of some agents while they can act.

    Attributes:
        adapted: The base model with room for adapters; None for the bare base.
        revisions: The revision of each agent, in their order; empty for the bare base.
        cache: Brings the agents' adapters into slots; None where they have no weights of their own.
    """

    adapted: "AdaptedModel | None"
    revisions: "list[Revision]"
    cache: "AdapterCache | None"


NO_WEIGHTS = InstalledWeights(None, [], None)
