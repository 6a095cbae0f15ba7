"""The named arms of the experiment: which adapter, what the prompt says of the person, and what chooses the act."""

from dataclasses import dataclass
from enum import StrEnum

from polyphony.errors import InputError

MOST_COPIED = 7
"""Eight words in a row count as a copy, see `copied_words_mean`; a word is one token or more."""


class AdapterUse(StrEnum):
    """Whose weights an agent acts with."""

    NONE = "none"
    OWN = "own"
    SHUFFLED = "shuffled"
    POOLED = "pooled"

    def owner(self, agent: int, agents: int) -> int:
        """The agent whose adapter an agent acts with, where adapters are personal.

        Shuffled is a rotation by one, a derangement: nobody keeps their own, and it is the same for every seed.
        """
        return (agent + 1) % agents if self is AdapterUse.SHUFFLED else agent


@dataclass(frozen=True)
class Arm:
    """One cell of the design.

    Attributes:
        name: Its name.
        adapter: Whose weights an agent acts with.
        persona_prompt: Whether the prompt describes the person.
        recent_posts: How many of the person's own latest texts the prompt shows.
        matched_acts: Whether the verb is drawn from the person's history instead of the model, which still chooses what
            the act is about and writes the text. It parts "adapters diversify" from "adapters restore posting".
        most_copied: Most tokens in a row that a text may repeat of its prompt; 0 for any number.
    """

    name: str
    adapter: AdapterUse
    persona_prompt: bool
    recent_posts: int = 0
    matched_acts: bool = False
    most_copied: int = 0


ARMS = {
    arm.name: arm
    for arm in (
        Arm("lora", AdapterUse.OWN, True),
        Arm("base", AdapterUse.NONE, True),
        Arm("lora-noprompt", AdapterUse.OWN, False),
        Arm("base-noprompt", AdapterUse.NONE, False),
        Arm("shuffled", AdapterUse.SHUFFLED, True),
        Arm("pooled", AdapterUse.POOLED, True),
        Arm("fewshot", AdapterUse.NONE, True, recent_posts=5),
        Arm("act-matched", AdapterUse.NONE, True, matched_acts=True),
        Arm("base-nocopy", AdapterUse.NONE, True, most_copied=MOST_COPIED),
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
