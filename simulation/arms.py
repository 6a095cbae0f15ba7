"""The named arms of the experiment: which adapter, and whether the prompt describes the person."""

from dataclasses import dataclass
from enum import StrEnum

from personas.errors import InputError


class AdapterUse(StrEnum):
    """Whose weights an agent acts with."""

    NONE = "none"
    OWN = "own"
    SHUFFLED = "shuffled"
    POOLED = "pooled"


@dataclass(frozen=True)
class Arm:
    """One cell of the design: adapter × persona prompt."""

    name: str
    adapter: AdapterUse
    persona_prompt: bool


ARMS = {
    arm.name: arm
    for arm in (
        Arm("lora", AdapterUse.OWN, True),
        Arm("base", AdapterUse.NONE, True),
        Arm("lora-noprompt", AdapterUse.OWN, False),
        Arm("base-noprompt", AdapterUse.NONE, False),
        Arm("shuffled", AdapterUse.SHUFFLED, True),
        Arm("pooled", AdapterUse.POOLED, True),
    )
}


def arm_named(name: str) -> Arm:
    """Look an arm up.

    Raises:
        InputError: There is no arm of that name.
    """
    if name not in ARMS:
        raise InputError(f"--arm {name!r} is not one of {', '.join(ARMS)}")
    return ARMS[name]
