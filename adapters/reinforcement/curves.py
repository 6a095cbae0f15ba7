"""What is known of each adapter while it learns."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Update:
    """One update of one adapter.

    Attributes:
        number: From 1.
        reward: Mean reward of its answers.
        dropped: Share of groups without variance, which teach nothing.
        entropy: Mean entropy of a token's distribution, in nats; None once it is not finite.
        mismatch: Mean difference of a token's log-probability between the draw and the learning, in nats.
        largest_mismatch: The largest one.
        tokens: Tokens drawn, or given by a supervised update.
        is_supervised: Whether right answers were given instead of drawn, so that the reward says nothing.
    """

    number: int
    reward: float
    dropped: float
    entropy: float | None
    mismatch: float
    largest_mismatch: float
    tokens: int
    is_supervised: bool = False


@dataclass
class Curve:
    """All that is known of one adapter.

    Attributes:
        updates: One after another.
        success: Part of the items -> update -> mean reward of one answer to each item.
        stopped: The update whose gradient was not finite, after which the adapter learned no more; None for none.
    """

    updates: list[Update] = field(default_factory=list)
    success: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    stopped: int | None = None

    @property
    def chosen(self) -> int | None:
        """The evaluated update with the best validation success, the earliest of equals; None without evaluations."""
        of_validation = self.success.get("validation", {})
        return max(of_validation, key=lambda number: (of_validation[number], -number)) if of_validation else None

    def to_json(self) -> dict[str, Any]:
        """As JSON can store it."""
        return {
            "updates": [vars(update) for update in self.updates],
            "success": {part: [[number, value] for number, value in values.items()]
                        for part, values in self.success.items()},
            "stopped": self.stopped,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Curve":
        """What `to_json` wrote."""
        curve = cls([Update(**update) for update in value["updates"]], stopped=value["stopped"])
        for part, values in value["success"].items():
            curve.success[part] |= {int(number): float(mean) for number, mean in values}
        return curve
