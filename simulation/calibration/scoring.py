"""Scores of the held-out period: distances from it, and whether the fitted settings beat each reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polyphony.randomness import keyed_generator
from polyphony.simulation.calibration.distances import distances
from polyphony.simulation.calibration.observed import Observed

FITTED = "fitted"
NULL, HISTORY = "null policy", "history's frequencies"
REFERENCES = (NULL, HISTORY)
DRAWS = 2_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval over seeds and people."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """One figure of the held-out period.

    Attributes:
        distances: Distance from the corpus of `FITTED` and of each reference, 95% intervals.
        gains: Distance of each reference less the distance of the fitted settings; the intervals of all figures of a
            calibration hold together with 95% (Bonferroni).
    """

    distances: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]

    def beats(self, reference: str) -> bool:
        """Whether the fitted settings are nearer to the corpus than a reference, beyond chance."""
        return self.gains[reference].low > 0

    @property
    def beats_both(self) -> bool:
        """Whether they are nearer than both references."""
        return all(map(self.beats, self.gains))


def scores(
    real: Observed, simulated: Mapping[str, Sequence[Observed]], names: Sequence[str], seed: int
) -> dict[str, Score]:
    """Score the held-out period, figure by figure.

    People and seeds are drawn again at once, the same for all candidates. So an interval tells what other people of the
    same kind, and other seeds, could have given; with one held-out period it does not tell what another time would.

    Args:
        real: What people did.
        simulated: What agents did under each candidate, `FITTED` and the references, a period a seed.
        names: Of the figures.
        seed: Key of the draws.
    """
    random = keyed_generator(seed, "calibration bootstrap")
    agents, seeds = len(real.acts), len(simulated[FITTED])
    people = random.multinomial(agents, np.full(agents, 1 / agents), size=DRAWS).astype(float)
    runs = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS) / seeds
    return {name: _score(real, simulated, name, people, runs, 1 - (1 - LEVEL) / len(names)) for name in names}


def _score(
    real: Observed, simulated: Mapping[str, Sequence[Observed]], name: str, people: NDArray[np.float64],
    runs: NDArray[np.float64], level: float,
) -> Score:  # fmt: skip
    values = {who: float(np.mean([distances(name, real, one)[0] for one in observed]))
              for who, observed in simulated.items()}  # fmt: skip
    draws = {who: (np.stack([distances(name, real, one, people) for one in observed], 1) * runs).sum(1)
             for who, observed in simulated.items()}  # fmt: skip
    references = [who for who in simulated if who != FITTED]
    return Score(
        {who: _estimate(values[who], draws[who], LEVEL) for who in simulated},
        {who: _estimate(values[who] - values[FITTED], draws[who] - draws[FITTED], level) for who in references},
    )


def _estimate(value: float, draws: NDArray[np.float64], level: float) -> Estimate:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))
