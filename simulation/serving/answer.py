"""One answer on its way: tokens become text, stops end it, and finished pieces go to the client that waits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from tokenizers.decoders import DecodeStream

from polyphony.adapters.engine.generation import Emission, Ending, Generation, TokenScores

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ScoredToken:
    """One token of an answer with its log-probabilities."""

    token: int
    scores: TokenScores


@dataclass(frozen=True)
class Chunk:
    """A part of an answer.

    Attributes:
        text: The text that is new.
        scored: Its tokens with their log-probabilities, where they were asked for.
        ending: Why the answer ends with it; None where it goes on.
    """

    text: str
    scored: tuple[ScoredToken, ...] = ()
    ending: Ending | None = None


@dataclass
class Chosen:
    """The label that was drawn before the text.

    Attributes:
        index: Which label.
        logs: Log-probabilities of all labels, in nats.
    """

    index: int
    logs: np.ndarray


@dataclass(eq=False)
class Answer:
    """Collects the tokens of one text. Used by the thread that owns the model.

    Attributes:
        generation: The text's tokens on their way.
        tokenizer: Of the base model.
        stops: Texts that end it; they are no part of it.
        streams: Whether parts are wanted before its end.
        chosen: The label drawn; None where no label is chosen.
        fixed: Text that follows the label without being drawn; None where text is drawn.
    """

    generation: Generation
    tokenizer: "PreTrainedTokenizerBase"
    stops: Sequence[str] = ()
    streams: bool = False
    chosen: Chosen | None = None
    fixed: str | None = None
    _stream: DecodeStream = field(default_factory=lambda: DecodeStream(skip_special_tokens=True))
    _decoded: str = ""
    _pending: list[ScoredToken] = field(default_factory=list)
    _sent: int = 0
    _drawn: int = 0

    @property
    def output_tokens(self) -> int:
        """Tokens drawn, the label and the end included."""
        return self._drawn + (self.chosen is not None)

    def take(self, emission: Emission) -> Chunk | None:
        """Add what a step brought; returns what can be sent, None where there is nothing."""
        if emission.token is not None or emission.scores is not None:
            self._drawn += 1
        if emission.scores is not None and emission.token is not None:
            self._pending.append(ScoredToken(emission.token, emission.scores))
        ending = emission.ending
        text = self._text(emission)
        if not (ending or self.streams or self.stops):
            return None
        stop = min((place for stop in self.stops if (place := text.find(stop, max(0, self._sent))) >= 0), default=-1)
        if stop >= 0:
            text, ending = text[:stop], "stop"
        if ending is None:
            if not self.streams:
                return None
            text = text[: self._safe(text)]
            if len(text) <= self._sent:
                return None
        chunk = Chunk(text[self._sent :], tuple(self._pending), ending)
        self._sent = max(self._sent, len(text))
        self._pending.clear()
        return chunk

    def _text(self, emission: Emission) -> str:
        """All text so far, without a character of which a part has not come yet."""
        if self.fixed is not None:
            return self.fixed
        if emission.token is not None:
            self._decoded += self._stream.step(self.tokenizer.backend_tokenizer, emission.token) or ""
        return self._decoded

    def _safe(self, text: str) -> int:
        """How much of a text can be sent: nothing that may be the begin of a stop."""
        end = len(text)
        for stop in self.stops:
            for length in range(min(len(stop) - 1, end), 0, -1):
                if text.endswith(stop[:length], 0, end):
                    end -= length
                    break
        return end
