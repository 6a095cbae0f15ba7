"""A committed ``study.json``: figures by arm and size, paired differences, and the paper's claims tested."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from polyphony.metrics.core.equivalence import Equivalence, equivalence
from polyphony.metrics.core.inference import holm, t_interval
from polyphony.metrics.core.paired import PairedDifference, paired_comparison
from polyphony.metrics.core.registry import PRIMARY

REFERENCE, OWN = "base", "lora"


@dataclass(frozen=True)
class Claim:
    """What arXiv 2606.02437 reports of own adapters against the shared base, one seed a cell.

    Attributes:
        measurement: Our figure of the same thing.
        sign: 1 where the paper's adapters raise it, -1 where they lower it.
        reported: The paper's figure in words.
        ratio: Whether one figure can be so many times another: a difference of similarities has no zero of its own.
    """

    measurement: str
    sign: int
    reported: str
    ratio: bool = True


CLAIMS = (
    Claim("original_posts", 1, "+139 / +153 / +306 at 128 / 256 / 512 agents"),
    Claim("comments", 1, "+70 / +247 / +493"),
    Claim("effective_communities", 1, "1.47 to 2.19 times as many"),
    Claim("stance_spread", 1, "1.32 to 2.45 times as wide, read as less homophily"),
    Claim("within_community_homophily", -1, "lower (as stance spread)", ratio=False),
)


def verdict(difference: PairedDifference, sign: int) -> str:
    """Whether the interval says what a claim of that sign says."""
    if difference.interval is None:
        return "undecided: " + (difference.reason or "").partition(":")[0]
    return {sign: "as reported", -sign: "the opposite", 0: "undecided"}[difference.direction]


@dataclass(frozen=True)
class Stored:
    """A committed ``study.json``."""

    found: Mapping[str, Any]

    @property
    def plan(self) -> Mapping[str, Any]:
        """What `simulate study` was asked for."""
        plan: Mapping[str, Any] = self.found["plan"]
        return plan

    @cached_property
    def arms(self) -> list[str]:
        """Arms with a finished run, in the order of the plan."""
        done = {run["label"] for run in self.found["runs"]}
        return [arm for arm in dict.fromkeys(cell["label"] for cell in self.plan["cells"]) if arm in done]

    @cached_property
    def sizes(self) -> list[int]:
        """Population sizes with a finished run."""
        return sorted({run["run"]["agents"] for run in self.found["runs"]})

    @property
    def is_earlier(self) -> bool:
        """Whether the runs are of a version in which agents did not react to what they saw."""
        return "nothing" not in self.plan["options"]

    @cached_property
    def tested(self) -> dict[tuple[Claim, int], tuple[PairedDifference, float | None]]:
        """Claim and size to the difference of own adapters and base, and its p after Holm's correction.

        It is corrected over the primary measurements at one size; a claim about another one has no corrected p.
        """
        there = {
            (claim, size): difference
            for claim in CLAIMS
            for size in self.sizes
            if (difference := self.paired(claim.measurement, OWN, REFERENCE, size)) is not None
        }
        corrected: dict[tuple[Claim, int], float] = {}
        for size in self.sizes:
            p_values = {
                key: difference.p for key, difference in there.items()
                if key[1] == size and key[0].measurement in PRIMARY and difference.p is not None
            }  # fmt: skip
            corrected |= zip(p_values, holm(list(p_values.values())), strict=True)
        return {key: (difference, corrected.get(key)) for key, difference in there.items()}

    def equivalence(self, measurement: str, arm: str, against: str, agents: int) -> Equivalence | None:
        """Whether two arms are alike, over the seeds of both; None without a common seed."""
        own, other = (self.figures(measurement, each, agents) for each in (arm, against))
        seeds = sorted(set(own) & set(other))
        values = [[figures[seed]["value"] for seed in seeds] for figures in (own, other)]
        return equivalence(*values) if seeds else None

    def compute_type(self, agents: int) -> str:
        """What the runs of one size were computed in: all in the same, or they could not be one study."""
        return next((str(run["versions"]["dtype"]) for run in self.found["runs"] if run["run"]["agents"] == agents), "")

    def figures(self, measurement: str, arm: str, agents: int) -> dict[int, Mapping[str, Any]]:
        """Seed to the measurement's JSON, where it has a value."""
        return {
            run["run"]["seed"]: figure
            for run in self.found["runs"]
            if (run["label"], run["run"]["agents"]) == (arm, agents)
            and (figure := run["measurements"][measurement])["value"] is not None
        }

    def mean(self, measurement: str, arm: str, agents: int) -> float | None:
        """Mean over seeds."""
        values = [figure["value"] for figure in self.figures(measurement, arm, agents).values()]
        return sum(values) / len(values) if values else None

    def interval(self, measurement: str, arm: str, agents: int) -> tuple[float, float] | None:
        """Student's t interval of the mean over seeds; None with fewer than two."""
        return t_interval([figure["value"] for figure in self.figures(measurement, arm, agents).values()])

    def combined_z(self, measurement: str, arm: str, agents: int) -> float | None:
        """The seeds' z against their null models as one (Stouffer et al. 1949): their sum by the root of their number.

        Of independent seeds it is a standard normal where there is nothing but chance, which their mean is not.
        """
        nulls = [figure["null"] for figure in self.figures(measurement, arm, agents).values()]
        zs = [null["z"] for null in nulls if null and null["z"] is not None]
        return sum(zs) / len(zs) ** 0.5 if zs else None

    def paired(self, measurement: str, arm: str, against: str, agents: int) -> PairedDifference | None:
        """An arm less another over the seeds of both; None without a common seed."""
        own, other = (self.figures(measurement, each, agents) for each in (arm, against))
        values = [own[seed]["value"] - other[seed]["value"] for seed in sorted(set(own) & set(other))]
        return paired_comparison(values) if values else None

    def better(self, measurement: str, than: str, arm: str, agents: int) -> PairedDifference | None:
        """One figure of an arm less another of the same runs, over the seeds; None without a run that has both."""
        one, other = (self.figures(each, arm, agents) for each in (measurement, than))
        values = [one[seed]["value"] - other[seed]["value"] for seed in sorted(set(one) & set(other))]
        return paired_comparison(values) if values else None
