"""A committed ``study.json``: figures by arm and size, paired differences, and the paper's claims tested."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from polyphony.metrics.core.equivalence import Equivalence, equivalence
from polyphony.metrics.core.inference import holm, t_interval
from polyphony.metrics.core.paired import PairedDifference, independent_values, population_comparison
from polyphony.metrics.core.registry import PRIMARY
from polyphony.metrics.studies.reported import REPORTED, SIZES, Reported

REFERENCE, OWN = "base", "lora"
Run = tuple[str, int]
"""Population and seed of a run."""


@dataclass(frozen=True)
class Claim:
    """What arXiv 2606.02437 reports of own adapters against the shared base, one seed a cell.

    Attributes:
        measurement: Our figure of the same thing.
        words: The paper's figure.
        sign: 1 where the paper's adapters raise it, -1 where they lower it; of a claim with ratios see `side`.
        more: What the paper has more of in own adapters, at each of `metrics.studies.reported.SIZES`; empty where it
            gives no counts. They are of runs of another length, so ours are not held to them.
        ratio: Whether one figure can be so many times another: a difference of similarities has no zero of its own.
        reported: The paper's ratios; None where it gives none.
    """

    measurement: str
    words: str
    sign: int = 0
    more: tuple[int, ...] = ()
    ratio: bool = True
    reported: Reported | None = None

    def side(self, agents: int) -> int:
        """1 or -1 where the paper has more or less of it at one size; 0 where its ratios lie on both sides of 1."""
        if self.reported is None:
            return self.sign
        none = 1 if self.reported.is_ratio else 0
        signs = {1 if value > none else -1 for value in self.reported.at(agents)}
        return signs.pop() if len(signs) == 1 else 0

    def short(self, agents: int) -> str:
        """What the paper reports at one size, in a few letters."""
        if self.reported is not None:
            return self.reported.text(agents)
        more = dict(zip(SIZES, self.more, strict=True)) if self.more else {}
        return f"+{more[agents]}" if agents in more else {1: "more", -1: "less"}[self.sign]


_COUNTS = (
    Claim("original_posts", "+139 / +153 / +306 at 128 / 256 / 512 agents", 1, (139, 153, 306)),
    Claim("comments", "+70 / +247 / +493", 1, (70, 247, 493)),
)
_COMMUNITIES, _MODULARITY = REPORTED["co_engagement_effective_communities"], REPORTED["co_engagement_modularity"]
CLAIMS = (
    *_COUNTS,
    Claim("co_engagement_effective_communities", "1.47 to 2.19 times as many", reported=_COMMUNITIES),
    Claim("co_engagement_modularity", "1.20 / 0.95 / 1.20 times", reported=_MODULARITY),
    Claim("stance_side_homophily", "−0.089 / −0.193 / −0.197", ratio=False, reported=REPORTED["stance_side_homophily"]),
)
EARLIER_CLAIMS = (
    *_COUNTS,
    Claim("effective_communities", "1.47 to 2.19 times as many", reported=_COMMUNITIES),
    Claim("modularity", "1.20 / 0.95 / 1.20 times", reported=_MODULARITY),
    Claim(
        "stance_spread", "1.32 to 2.45 times as wide, read as less homophily",
        reported=Reported((1.32, 2.45), is_ratio=True),
    ),
    Claim("within_community_homophily", "lower (as stance spread)", -1, ratio=False),
)  # fmt: skip
"""Runs of an earlier version have other figures of the same things: see docs/results.md."""


def verdict(difference: PairedDifference, side: int) -> str:
    """On which side of 0 the interval lies, seen from the paper's; without a side of the paper's, of which sign."""
    if difference.interval is None:
        return "undecided: " + (difference.reason or "").partition(":")[0]
    if not difference.direction:
        return "undecided"
    if not side:
        return "higher" if difference.direction > 0 else "lower"
    return "on the paper's side" if difference.direction == side else "on the other side"


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

    @property
    def is_part(self) -> bool:
        """Whether planned runs are not finished."""
        return bool(self.found["unfinished"])

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What the paper reports, by the figures that these runs have of it."""
        return EARLIER_CLAIMS if self.is_earlier else CLAIMS

    @cached_property
    def populations(self) -> list[str]:
        """Populations with a finished run."""
        return list(dict.fromkeys(run["population"] for run in self.found["runs"]))

    @cached_property
    def tested(self) -> dict[tuple[Claim, int], tuple[PairedDifference, float | None]]:
        """Claim and size to the difference of own adapters and base, and its p after Holm's correction.

        It is corrected over the primary measurements at one size; a claim about another one has no corrected p.
        """
        there = {
            (claim, size): difference
            for claim in self.claims
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
        """Whether two arms are alike, over the independent units of both; None without a common run."""
        own, other = (self.figures(measurement, each, agents) for each in (arm, against))
        common = sorted(set(own) & set(other))
        populations = [population for population, _ in common]
        values = [
            independent_values([figures[run]["value"] for run in common], populations) for figures in (own, other)
        ]
        return equivalence(*values) if common else None

    def compute_type(self, agents: int) -> str:
        """What the runs of one size were computed in: all in the same, or they could not be one study."""
        return next((str(run["versions"]["dtype"]) for run in self.found["runs"] if run["run"]["agents"] == agents), "")

    def figures(self, measurement: str, arm: str, agents: int) -> dict[Run, Mapping[str, Any]]:
        """Population and seed to the measurement's JSON, where it has a value."""
        return {
            (run["population"], run["run"]["seed"]): figure
            for run in self.found["runs"]
            if (run["label"], run["run"]["agents"]) == (arm, agents)
            and (figure := run["measurements"].get(measurement, _ABSENT))["value"] is not None
        }

    def values(self, measurement: str, arm: str, agents: int) -> list[float]:
        """The figure of each independent unit: of seeds, or means of several populations."""
        figures = self.figures(measurement, arm, agents)
        return independent_values([figure["value"] for figure in figures.values()], [run[0] for run in figures])

    def mean(self, measurement: str, arm: str, agents: int) -> float | None:
        """Mean over seeds; populations weigh equally."""
        values = self.values(measurement, arm, agents)
        return sum(values) / len(values) if values else None

    def interval(self, measurement: str, arm: str, agents: int) -> tuple[float, float] | None:
        """Student's t interval of the mean, over seeds or over several populations; None with fewer than two."""
        return t_interval(self.values(measurement, arm, agents))

    def combined_z(self, measurement: str, arm: str, agents: int) -> float | None:
        """The seeds' z against their null models as one (Stouffer et al. 1949): their sum by the root of their number.

        Of independent seeds it is a standard normal where there is nothing but chance, which their mean is not.
        """
        nulls = [figure["null"] for figure in self.figures(measurement, arm, agents).values()]
        zs = [null["z"] for null in nulls if null and null["z"] is not None]
        return sum(zs) / len(zs) ** 0.5 if zs else None

    def paired(self, measurement: str, arm: str, against: str, agents: int) -> PairedDifference | None:
        """An arm less another over the runs of both, see `population_comparison`; None without a common run."""
        return _compared(*(self.figures(measurement, each, agents) for each in (arm, against)))

    def differences(self, measurement: str, arm: str, against: str, agents: int) -> list[float]:
        """An arm less another for each independent unit of both."""
        differences = _differences(*(self.figures(measurement, each, agents) for each in (arm, against)))
        return independent_values(list(differences.values()), [population for population, _ in differences])

    def better(self, measurement: str, than: str, arm: str, agents: int) -> PairedDifference | None:
        """One figure of an arm less another of the same runs; None without a run that has both."""
        return _compared(*(self.figures(each, arm, agents) for each in (measurement, than)))


_ABSENT: Mapping[str, Any] = {"value": None}


def _differences(own: Mapping[Run, Mapping[str, Any]], other: Mapping[Run, Mapping[str, Any]]) -> dict[Run, float]:
    return {run: own[run]["value"] - other[run]["value"] for run in sorted(set(own) & set(other))}


def _compared(own: Mapping[Run, Mapping[str, Any]], other: Mapping[Run, Mapping[str, Any]]) -> PairedDifference | None:
    seeds_of: defaultdict[str, list[float]] = defaultdict(list)
    for (population, _), difference in _differences(own, other).items():
        seeds_of[population].append(difference)
    return population_comparison(list(seeds_of.values())) if seeds_of else None
