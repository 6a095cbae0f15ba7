"""What the engine is asked and what it answers: act requests, act choices, and the draw of one index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from polyphony.personas.people.acts import Verb

# Policies that need no model ask no engine, and wait for no torch.
if TYPE_CHECKING:
    from torch import Tensor

# Tokens of an act around its text: label, digit, colon.
HEAD_TOKENS = 3


@dataclass(frozen=True)
class ActRequest:
    """One agent that is about to act.

    Attributes:
        slot: Index of its own factors in the stack; None for the bare base.
        prompt: Prompt tokens.
        targets: For each possible verb, the feed items (from 1) it may be said about; empty for verbs without one.
        length_cap: Most tokens of text.
        uniforms: Uniform draws in [0, 1): one for the verb, one for the target, then one per text token.
        opened: For each feed item, tokens to read between its digit and the colon of an act with words about it, see
            `adapters.prompting.prompt.PromptBuilder.opened`; empty where nothing is read.
        items: States of the feed items, shape [items, width], see `adapters.prompting.item_states`; None to choose by
            the digits that name them.
        constant: How many of the first prompt tokens are the same whenever this agent acts; see
            `adapters.engine.engine.Engine.cache_prefixes`.
        most_copied: Most tokens in a row that the text may repeat of the prompt, or of the opened item; 0 for any
            number.
    """

    slot: int | None
    prompt: Sequence[int]
    targets: Mapping[Verb, Sequence[int]]
    length_cap: int
    uniforms: np.ndarray
    constant: int = 0
    opened: Sequence[Sequence[int]] = ()
    items: "Tensor | None" = None
    most_copied: int = 0

    @property
    def most_opened(self) -> int:
        """Most tokens read between digit and colon."""
        return max(map(len, self.opened), default=0)

    @property
    def most_tokens(self) -> int:
        """Most tokens of the prompt and the act together."""
        return len(self.prompt) + HEAD_TOKENS + self.most_opened + self.length_cap


@dataclass(frozen=True)
class ActChoice:
    """What an agent decided.

    Attributes:
        distribution: The policy's own probability of each possible verb, before sampling; empty where the engine does
            not know it.
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


@dataclass(frozen=True)
class ActFailure:
    """A request that an engine could not answer.

    Attributes:
        reason: Why, in one line.
    """

    reason: str


def draw_index(shares: np.ndarray, uniform: float) -> int:
    """Draw an index from probabilities by inverting their cumulative sum.

    Args:
        shares: Probabilities up to a common factor, shape [n].
        uniform: A uniform draw in [0, 1).
    """
    total = np.cumsum(shares, dtype=np.float64)
    index = int(np.searchsorted(total, uniform * total[-1], side="right"))
    return min(index, int(np.flatnonzero(shares)[-1]))
