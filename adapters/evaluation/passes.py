"""How many passes over held-out acts an evaluation makes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyphony.adapters.evaluation.evaluation import EvaluationPlan


@dataclass(frozen=True)
class Passes:
    """The passes of a plan over some people.

    Attributes:
        others: Under how many other people's adapters each held-out act is scored.
        held_out: Passes over all held-out acts.
        candidates: Among how many people each is identified: passes over the few acts that do it.
        feeds: Passes over the moments that concern feeds.
    """

    others: int
    held_out: int
    candidates: int
    feeds: int

    @classmethod
    def of(cls, plan: "EvaluationPlan", people: int) -> "Passes":
        """Those of a plan over so many people."""
        others = min(plan.others, people - 1)
        feeds = 1 + len(plan.controls) + min(1, others) if plan.moments else 0
        return cls(others, 1 + len(plan.controls) + others, min(plan.candidates, people), feeds)

    @property
    def total(self) -> int:
        """All passes."""
        return self.held_out + self.candidates + self.feeds

    def posts(self, plan: "EvaluationPlan") -> int:
        """How many posts the candidates write at most, in all arms."""
        return self.candidates * plan.written_posts * (1 + len({"base", "pooled"} & set(plan.controls)))
