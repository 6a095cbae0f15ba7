"""How text is drawn."""

from dataclasses import dataclass

from polyphony.errors import InputError

NUCLEUS_TOKENS = 256
"""A nucleus of more tokens is cut here, as by top-k: sorting a whole vocabulary per token would dominate the time."""


@dataclass(frozen=True)
class DecodingConfig:
    """How text is drawn.

    Attributes:
        temperature: Divides the logits.
        top_p: Nucleus mass (Holtzman et al. 2020, section 3.1); a nucleus is cut at its 256 likeliest tokens.
        repetition_penalty: Divides positive and multiplies negative logits of tokens already written
            (Keskar et al. 2019, section 4.1).
    """

    temperature: float = 0.9
    top_p: float = 0.92
    repetition_penalty: float = 1.15

    def __post_init__(self) -> None:
        """Refuse a temperature out of range."""
        if not 0 < self.temperature <= 10:
            raise InputError(f"--temperature {self.temperature} must be above 0 and at most 10")
