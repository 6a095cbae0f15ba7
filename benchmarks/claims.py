"""The paper's claims held to a committed study: for each claim and size a verdict, by rules that a page can state."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.stored_study import CLAIMS, EARLIER_CLAIMS, OWN, REFERENCE, Claim, Stored
from polyphony.metrics.core.equivalence import EQUIVALENT, EXCLUDED, LITTLE, MARGIN, Equivalence
from polyphony.metrics.core.inference import t_test_power
from polyphony.metrics.core.paired import PairedDifference

REPRODUCED, EXPLAINED, REFUTED, OPEN = "reproduced", "explained", "refuted", "cannot tell"
VERDICTS = (REPRODUCED, EXPLAINED, REFUTED, OPEN)
# Arms that could show the same difference from the base without an adapter for each person.
CONTROLS = ("pooled", "act-matched")


class Verdict(NamedTuple):
    """What a study says of a claim.

    Attributes:
        kind: One of `VERDICTS`.
        reason: Why, in a clause; of `EXPLAINED` the controls.
    """

    kind: str
    reason: str

    def __str__(self) -> str:
        return f"explained by {self.reason}" if self.kind == EXPLAINED else self.kind


class Row(NamedTuple):
    """A claim at one size of one population.

    Attributes:
        claim: What the paper reports.
        population: In words.
        agents: Population size.
        own: Mean of own adapters.
        base: Mean of the base.
        difference: Own adapters less base, paired by population and seed.
        alike: Their ratio with its interval, and what the test of equivalence says.
        controls: Own adapters less each of `CONTROLS` that ran.
        power: Of the test to find the effect that the paper reports, see `power_of_claim`; None where it has none.
        verdict: What follows.
    """

    claim: Claim
    population: str
    agents: int
    own: float
    base: float
    difference: PairedDifference
    alike: Equivalence
    controls: Mapping[str, PairedDifference]
    power: float | None
    verdict: Verdict

    @property
    def absent(self) -> list[str]:
        """Controls that did not run here."""
        return [control for control in CONTROLS if control not in self.controls]


def claim_rows(studies: Mapping[str, Stored]) -> list[Row]:
    """A row for each claim, population and size in which own adapters and the base have a common seed.

    Args:
        studies: The population in words to its study.
    """
    return [
        row for claim in dict.fromkeys((*CLAIMS, *EARLIER_CLAIMS)) for title, study in studies.items()
        if claim in study.claims for size in study.sizes for row in _row(claim, title, study, size)
    ]  # fmt: skip


def _row(claim: Claim, title: str, study: Stored, agents: int) -> Iterator[Row]:
    name = claim.measurement
    difference, alike = study.paired(name, OWN, REFERENCE, agents), study.equivalence(name, OWN, REFERENCE, agents)
    own, base = study.mean(name, OWN, agents), study.mean(name, REFERENCE, agents)
    if difference is None or alike is None or own is None or base is None:
        return
    controls = {
        control: paired for control in CONTROLS
        if (paired := study.paired(name, OWN, control, agents)) is not None and paired.interval is not None
    }  # fmt: skip
    values = study.differences(name, OWN, REFERENCE, agents)
    power = power_of_claim(claim, agents, values, base)
    ruling = verdict_of(claim, agents, difference, alike, controls)
    yield Row(claim, title, agents, own, base, difference, alike, controls, power, ruling)


def power_of_claim(claim: Claim, agents: int, differences: Sequence[float], base: float) -> float | None:
    """Chance that the paired t test at 5% finds what the paper reports, for differences that vary as these do.

    The effect is the least that the paper reports, or 25% of the base's mean where it gives no ratio and no difference.

    Args:
        claim: What the paper reports.
        agents: Population size.
        differences: Own adapters less base, for each independent unit.
        base: The base's mean.

    Returns:
        None for fewer than two units, for differences that do not vary, and where nothing says how large the effect is.
    """
    if len(differences) < 2 or not (spread := float(np.std(differences, ddof=1))):
        return None
    if claim.reported is not None and not claim.reported.is_ratio:
        effect = min(abs(value) for value in claim.reported.at(agents))
    elif claim.ratio:
        ratios = claim.reported.at(agents) if claim.reported else (1 + MARGIN,)
        effect = min(abs(ratio - 1) for ratio in ratios) * base
    else:
        return None
    return t_test_power(effect / spread, len(differences))


def verdict_of(
    claim: Claim,
    agents: int,
    difference: PairedDifference,
    alike: Equivalence,
    controls: Mapping[str, PairedDifference],
) -> Verdict:
    """What the differences of own adapters from the base, and from the controls, say of a claim.

    Args:
        claim: What the paper reports.
        agents: Population size.
        difference: Own adapters less base.
        alike: The same as a ratio.
        controls: Own adapters less each control that ran, each with an interval.
    """
    if difference.interval is None:
        return Verdict(OPEN, (difference.reason or "").partition(":")[0])
    side = claim.side(agents)
    against = _refutation(claim, agents, difference, alike)
    if against:
        return Verdict(REFUTED, against)
    if not difference.direction:
        return Verdict(OPEN, "the interval includes no difference")
    if not side:
        return Verdict(OPEN, "the paper's own ratios lie on both sides of 1")
    if not controls:
        return Verdict(OPEN, "no control ran")
    explaining = [control for control, paired in controls.items() if paired.direction != side]
    if explaining:
        return Verdict(EXPLAINED, " and ".join(explaining))
    return Verdict(REPRODUCED, f"also against {' and '.join(controls)}")


def _refutation(claim: Claim, agents: int, difference: PairedDifference, alike: Equivalence) -> str:
    """Why the claim cannot hold in this population; empty where it can."""
    side = claim.side(agents)
    if side and difference.direction == -side:
        return "the interval lies on the other side"
    if claim.reported is None:
        return ""
    if claim.reported.verdict(agents, difference.interval, alike.interval) == EXCLUDED:
        return f"the interval leaves out the reported {'ratio' if claim.reported.is_ratio else 'difference'}"
    is_large = claim.reported.is_ratio and all(abs(ratio - 1) > MARGIN for ratio in claim.reported.at(agents))
    if is_large and alike.verdict in (EQUIVALENT, LITTLE):
        return "own and base are within 25% of each other"
    return ""
