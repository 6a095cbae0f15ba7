"""A calibration from its plan to its report."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyphony.documents import read_document
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.simulation.calibration.distances import figures, objective
from polyphony.simulation.calibration.fit import Parameter, Point, counted_activation, fit, parameters
from polyphony.simulation.calibration.observed import Observed, of_acts, resampled
from polyphony.simulation.calibration.periods import Period, Periods
from polyphony.simulation.calibration.scoring import FITTED, HISTORY, NULL, Score, scores
from polyphony.simulation.calibration.trials import Trials
from polyphony.simulation.policies.arms import arm_named
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.settings import RunSettings

PLAN = "plan.json"
Progress = Callable[[str, int, int, str], None]
"""Takes the stage, the simulations done, those there are in all, and a note."""


@dataclass(frozen=True)
class Budget:
    """How much is simulated.

    Attributes:
        evaluations: Settings that are tried on the training period.
        fit_seeds: Runs of each of them, with seeds from 0 on; every setting is tried with the same.
        seeds: Runs of each candidate on the held-out period, with seeds that the fit has not seen.
    """

    evaluations: int
    fit_seeds: int
    seeds: int

    @property
    def scored_seeds(self) -> range:
        """The seeds of the held-out period."""
        return range(self.fit_seeds, self.fit_seeds + self.seeds)

    @property
    def runs(self) -> int:
        """How many simulations it takes at most."""
        return (self.evaluations + 1) * self.fit_seeds + 2 * self.seeds


@dataclass(frozen=True)
class Calibration:
    """What came of a calibration.

    Attributes:
        fitted: The fitted options.
        counted: The activation that the counted number of acts gives: the null policy's.
        space: What was fitted, and between which values.
        objective: Mean distance of the fitted settings from the training period.
        before: The same of the null policy.
        scores: Of the held-out period, by figure.
    """

    fitted: Point
    counted: float
    space: tuple[Parameter, ...]
    objective: float
    before: float
    scores: Mapping[str, Score]


class Calibrator:
    """Fits settings to the training period of a corpus, and scores them on its held-out period."""

    def __init__(
        self, periods: Periods, settings: RunSettings, machine: Machine, budget: Budget, directory: Path
    ) -> None:
        """Prepare; nothing is simulated or written yet.

        Args:
            periods: The two periods of the corpus.
            settings: Policy, arm and everything else that is not fitted.
            machine: Bank, base model and device.
            budget: How much is simulated.
            directory: The directory of the calibration.
        """
        self.periods, self.settings, self.budget, self.directory = periods, settings, budget, directory
        self.counted = counted_activation(periods.training, settings.training.history.nothing)
        # Where verbs come from histories, the temperature changes words alone, and it is left out.
        writes = settings.needs_model and not arm_named(settings.arm).matched_acts
        self.space = parameters(self.counted, writes)
        self.figures = figures(needs_model=writes)
        self._fitting = Trials(periods.training, settings, machine, directory)
        self._scoring = Trials(periods.held_out, settings, machine, directory)
        self._real = {
            period.name: of_acts(period.acts, period, trials.known)
            for period, trials in ((periods.training, self._fitting), (periods.held_out, self._scoring))
        }

    @property
    def null(self) -> dict[str, float | str]:
        """The options of the null policy: the counted activation, everything else as it is given or by default."""
        return {"policy": "null", "arm": "lora", "activation": self.counted}

    def begin(self) -> None:
        """Write the plan down.

        Raises:
            InputError: The directory holds something else.
        """
        file, plan = self.directory / PLAN, self.plan()
        if file.exists():
            before = read_document(file, "choose another --out")
            recorded = before if isinstance(before, dict) else {}
            different = sorted(name for name in plan if recorded.get(name) != plan[name])
            if different:
                raise InputError(
                    f"{self.directory}: holds a calibration with another {', '.join(different)}; choose another --out"
                )
            return
        if self.directory.exists() and any(self.directory.iterdir()):
            raise InputError(f"{self.directory}: is not empty and holds no calibration; choose another --out")
        write_durably(file, (json.dumps(plan, indent=1, sort_keys=True) + "\n").encode())

    def plan(self) -> dict[str, Any]:
        """What all simulations of the calibration share: more of them, by a larger budget, may be added."""
        from importlib.metadata import version

        fixed = ("population", "agents", "timesteps", "seed", "start", "activation", "minutes")
        settings = {name: value for name, value in self.settings.as_mapping().items() if name not in fixed}
        return {
            "version": version("polyphony-sim"), "corpus": self.periods.held_out.population.digest,
            "training": self.periods.training.description, "held-out": self.periods.held_out.description,
            "agents": list(self.periods.training.handles), "settings": json.loads(json.dumps(settings)),
            "base model": str(self._fitting.machine.base_model or ""),
        }  # fmt: skip

    def run(self, progress: Progress) -> Calibration:
        """Fit and score; simulations that the directory holds are not done again."""
        count = 0

        def tried(point: Mapping[str, float | str]) -> float:
            nonlocal count
            values = [self._distance(point, seed) for seed in range(self.budget.fit_seeds)]
            count += 1
            value = sum(values) / len(values)
            note = ", ".join(f"{name} {value}" for name, value in point.items())
            progress("fit", min(count, self.budget.evaluations), self.budget.evaluations, f"{note}: {value:.3f}")
            return value

        fitted, nearest = fit(tried, self.space, self.budget.evaluations)
        before = sum(self._distance(self.null, seed) for seed in range(self.budget.fit_seeds)) / self.budget.fit_seeds
        held_out, seeds = self._real["held-out"], self.budget.scored_seeds
        simulated: dict[str, list[Observed]] = {FITTED: [], NULL: [], HISTORY: []}
        for done, seed in enumerate(seeds, 1):
            simulated[FITTED].append(self._scoring.observe(fitted, seed))
            simulated[NULL].append(self._scoring.observe(self.null, seed))
            simulated[HISTORY].append(self._again(seed))
            progress("held-out period", done, len(seeds), "")
        held_out_scores = scores(held_out, simulated, self.figures, seed=0)
        return Calibration(fitted, self.counted, self.space, nearest, before, held_out_scores)

    def probe(self) -> None:
        """Simulate the training period once, under the counted activation, without the directory."""
        self._fitting.simulated(self._fitting.settings(self.null, 0))

    def _distance(self, point: Mapping[str, float | str], seed: int) -> float:
        return objective(self._real["training"], self._fitting.observe(point, seed), self.figures)

    def _again(self, seed: int) -> Observed:
        training: Period = self.periods.training
        return resampled(training.acts, training, self.periods.held_out.steps, self._fitting.known, seed)
