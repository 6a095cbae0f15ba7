"""What a served request asks of the engine: text after a prompt, free or under a grammar, after a choice of labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

Ending = Literal["stop", "length", "fault"]


class Constraint(Protocol):
    """Says which tokens may come next. What it raises ends its own text and no other."""

    @property
    def ended(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        ...

    def allowed(self, *, closing: bool) -> np.ndarray:
        """Which tokens may come next, boolean, shape [vocabulary]; with `closing` those that lead to the end."""
        ...

    def accept(self, token: int) -> None:
        """Go on behind a token that was allowed."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How the tokens of one request are drawn.

    Attributes:
        temperature: Divides the logits; 0 takes the likeliest token.
        top_p: Nucleus mass (Holtzman et al. 2020, section 3.1); 1 for all tokens.
        repetition_penalty: Divides positive and multiplies negative logits of tokens already written (Keskar et al.
            2019, section 4.1).
        top: How many of the likeliest tokens are reported with each token; None to report no log-probability.
        scored: Tokens whose log-probabilities are reported with each token.
        bias: Added to the logits of some tokens, token by token.
        goes_on: Whether a text without a constraint goes on until its most tokens: no end is drawn.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    top: int | None = None
    scored: tuple[int, ...] = ()
    bias: tuple[tuple[int, float], ...] = ()
    goes_on: bool = False

    @property
    def is_scored(self) -> bool:
        """Whether log-probabilities are reported."""
        return self.top is not None or bool(self.scored)


@dataclass(frozen=True)
class TokenScores:
    """Log-probabilities at one place, in nats, of the model's own distribution: before temperature and grammar.

    Attributes:
        own: Of the token drawn.
        top: The likeliest tokens with theirs, likeliest first.
        scored: Of `Sampling.scored`, in that order.
    """

    own: float
    top: tuple[tuple[int, float], ...]
    scored: tuple[float, ...]


@dataclass(frozen=True)
class Continuation:
    """What follows a label.

    Attributes:
        tokens: Tokens that are read after the label.
        constraint: What the text must be; None for free text.
        ended: Whether nothing follows.
    """

    tokens: Sequence[int] = ()
    constraint: Constraint | None = None
    ended: bool = False


@dataclass(frozen=True, eq=False)
class LabelChoice:
    """A choice among labels of one token each, before any text.

    Attributes:
        tokens: The labels.
        bias: Log-probabilities to subtract from theirs, see `adapters.prompting.act_scorer.ActScorer`.
        uniform: A uniform draw in [0, 1).
        taken: Says what follows the label of an index; it gets the log-probabilities of all labels, in nats.
    """

    tokens: Sequence[int]
    bias: Sequence[float]
    uniform: float
    taken: Callable[[int, np.ndarray], Continuation]


@dataclass(eq=False)
class Generation:
    """One text on its way.

    Attributes:
        prompt: Tokens that are read first; at least one.
        sampling: How tokens are drawn.
        most: Most tokens of text.
        uniforms: Draws in [0, 1), one for each token, shape [most and more].
        choice: What is chosen before the text; None where text follows the prompt.
        constraint: What the text must be; None for free text.
        spare: Most tokens beyond `most` that a text under a constraint takes to come to its end.
        written: The text's tokens so far.
    """

    prompt: Sequence[int]
    sampling: Sampling
    most: int
    uniforms: np.ndarray
    choice: LabelChoice | None = None
    constraint: Constraint | None = None
    spare: int = 0
    written: list[int] = field(default_factory=list)

    @property
    def most_columns(self) -> int:
        """Most places in the key-value store that it takes."""
        # A label, with the few tokens that open what follows it.
        return len(self.prompt) + (8 if self.choice is not None else 0) + self.most + self.spare


@dataclass(frozen=True, eq=False)
class Emission:
    """What one step brought for one text.

    Attributes:
        generation: The text.
        token: The token drawn; None where the step was a choice that ended it, or the token was its end.
        scores: Log-probabilities, where they were asked for.
        ending: Why it ended with this; None where it goes on.
        fault: What went wrong, where it ended with a fault of its own.
    """

    generation: Generation
    token: int | None
    scores: TokenScores | None
    ending: Ending | None
    fault: Exception | None = None
