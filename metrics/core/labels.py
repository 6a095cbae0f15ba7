"""Arms and numbers in the words a reader sees; a measurement's own words are in `metrics.core.registry`."""

# The least value that three decimals show, and the largest that is an error of rounding.
_LEAST, _ROUNDING = 0.0005, 1e-12

_ARMS = {
    "lora": "every agent acts through an adapter trained on that person's own posts",
    "base": "all agents share one base model",
    "lora-noprompt": "own adapters, without the persona prompt",
    "base-noprompt": "the shared base model, without the persona prompt",
    "shuffled": "every agent acts through somebody else's adapter",
    "pooled": "all agents share one adapter trained on everybody",
    "fewshot": "the shared base model reads the person's recent posts",
    "act-matched": "acts drawn from the person's history, texts by the shared base model",
    "base-nocopy": "the shared base model, whose texts repeat at most 7 tokens in a row of their prompt",
}


def arm_sentence(arm: str) -> str:
    """What an arm is, in a clause, also where settings stand behind it; empty for an arm the house does not name."""
    return _ARMS.get(arm.partition(", ")[0], "")


def number(value: float | None) -> str:
    """A figure at about three significant digits, with a true minus sign; a dash where there is none.

    What would round to 0 is ``<0.0005`` or, below zero, ``>−0.0005``; 0 is 0 alone, up to an error of rounding.
    """
    if value is None:
        return "–"
    if abs(value) <= _ROUNDING:
        return "0"
    if abs(value) < _LEAST:
        return f"<{_LEAST}" if value > 0 else f">−{_LEAST}"
    if value < 0:
        return f"−{number(-value)}"
    if value == int(value) and value < 1e6:
        return f"{int(value):,}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def probability(value: float | None) -> str:
    """A p, which is never 0."""
    return "<0.001" if value is not None and value < 0.001 else number(value)


def signed(value: float) -> str:
    """A difference with its sign, also where it is too small for a figure: ``+<0.0005``."""
    return "±0" if abs(value) <= _ROUNDING else f"{'+' if value > 0 else ''}{number(value)}"


def span(interval: tuple[float, float] | None) -> str:
    """An interval in words; empty where there is none."""
    if interval is None:
        return ""
    return f"{number(interval[0])} to {number(interval[1])}"
