"""What arXiv 2606.02437 reports of own adapters against the shared base, where other runs can be held to it.

One run a cell, at 128, 256 and 512 agents of one community. Communities and modularity are there of the graph of
co-engagement, and homophily is of the sides that tied agents take.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from polyphony.metrics.core.equivalence import OPEN, possibility
from polyphony.metrics.core.labels import number, signed, span
from polyphony.metrics.core.registry import title_of
from polyphony.metrics.studies.compare import Difference

SOURCE = "arXiv 2606.02437"
OWN, BASE = "lora", "base"
SIZES = (128, 256, 512)


class Reported(NamedTuple):
    """Reported figures of own adapters; `is_ratio`: divided by the base's, else less the base's.

    `values` are those of `SIZES`, or, where the paper gives no others, the least and the largest.
    """

    values: tuple[float, ...]
    is_ratio: bool

    def at(self, agents: int) -> tuple[float, ...]:
        """The figure at one size; all of them where the paper has none of its own there."""
        of_size = dict(zip(SIZES, self.values, strict=True)) if len(self.values) == len(SIZES) else {}
        return (of_size[agents],) if agents in of_size else self.values

    def text(self, agents: int) -> str:
        """The least and the largest of the figures at one size."""
        ends = sorted({min(self.at(agents)), max(self.at(agents))})
        words = " to ".join(f"{end:.2f}" if self.is_ratio else f"{end:.3f}" for end in ends).replace("-", "−")
        return f"{words} times" if self.is_ratio else words

    def verdict(self, agents: int, difference: tuple[float, float] | None, ratio: tuple[float, float] | None) -> str:
        """Whether a 95% interval, of the difference or of the ratio, excludes all that was reported at one size."""
        return possibility(ratio if self.is_ratio else difference, self.at(agents))


REPORTED: Mapping[str, Reported] = {
    "co_engagement_effective_communities": Reported((1.47, 2.19), is_ratio=True),
    "co_engagement_modularity": Reported((1.20, 0.95, 1.20), is_ratio=True),
    "stance_side_homophily": Reported((-0.089, -0.193, -0.197), is_ratio=False),
}


def reported_lines(differences: Sequence[Difference]) -> Iterator[str]:
    """A sentence for each figure and size in which own adapters are compared with the base and the paper has a figure.

    Nothing where the interval that this takes is lacking.
    """
    for difference in differences:
        reported = REPORTED.get(difference.measurement)
        if reported is None or (difference.arm, difference.against) != (OWN, BASE):
            continue
        verdict = reported.verdict(difference.agents, difference.interval, difference.ratio_interval)
        if verdict == OPEN:
            continue
        own = (
            f"{number(difference.ratio)} times the base's ({span(difference.ratio_interval)})" if reported.is_ratio
            else f"{signed(difference.difference or 0.0)} against the base ({span(difference.interval)})"
        )  # fmt: skip
        yield (
            f"{title_of(difference.measurement)} at {difference.agents:,} agents: {own}; what {SOURCE} reports, "
            f"{reported.text(difference.agents)}, is {verdict}."
        )
