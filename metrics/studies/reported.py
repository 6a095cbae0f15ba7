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


class Reported(NamedTuple):
    """Reported figures of own adapters; `is_ratio`: divided by the base's, else less the base's."""

    values: tuple[float, ...]
    is_ratio: bool

    @property
    def text(self) -> str:
        """The least and the largest of them."""
        low, high = min(self.values), max(self.values)
        return f"{low:.2f} to {high:.2f} times" if self.is_ratio else f"{low:.3f} to {high:.3f}".replace("-", "−")

    def verdict(self, difference: tuple[float, float] | None, ratio: tuple[float, float] | None) -> str:
        """Whether a 95% interval, of the difference or of the ratio, excludes all that was reported."""
        return possibility(ratio if self.is_ratio else difference, self.values)


REPORTED: Mapping[str, Reported] = {
    "effective_communities": Reported((1.47, 2.19), is_ratio=True),
    "modularity": Reported((1.20, 0.95, 1.20), is_ratio=True),
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
        verdict = reported.verdict(difference.interval, difference.ratio_interval)
        if verdict == OPEN:
            continue
        own = (
            f"{number(difference.ratio)} times the base's ({span(difference.ratio_interval)})" if reported.is_ratio
            else f"{signed(difference.difference or 0.0)} against the base ({span(difference.interval)})"
        )  # fmt: skip
        yield (
            f"{title_of(difference.measurement)} at {difference.agents:,} agents: {own}; what {SOURCE} reports, "
            f"{reported.text}, is {verdict}."
        )
