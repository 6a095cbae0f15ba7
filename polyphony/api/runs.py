"""A finished run as a notebook reads it."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyphony.metrics.measure import RunMeasurements, measure_run
from polyphony.metrics.runfile.database import open_run, source_name
from polyphony.metrics.runfile.digest import run_digest
from polyphony.metrics.runfile.frames import RunFrames
from polyphony.metrics.runfile.loading import load_run

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """One run file, read when something of it is first asked for; what it gives are copies.

    Columns and types of every frame stand in `metrics.runfile.frames`.
    """

    def __init__(self, source: str | Path) -> None:
        """Name a run: the path of a run file or of an OASIS database, or a database URL.

        Raises:
            MetricsError: There is no such file, or it is no run.
        """
        self.source = source
        with open_run(source):
            pass

    def __repr__(self) -> str:
        return f"Run({source_name(self.source)!r})"

    @property
    def arm(self) -> str:
        """The arm, as ``lora``."""
        return self._frames.arm

    @property
    def seed(self) -> int:
        """The random seed."""
        return self._frames.seed

    @property
    def timesteps(self) -> int:
        """Timesteps that are complete."""
        return self._frames.timesteps

    @property
    def settings(self) -> dict[str, Any]:
        """Everything else that decided the run, as the run file records it."""
        return dict(self._frames.settings)

    @property
    def digest(self) -> str:
        """Fingerprint of what happened: equal runs have equal digests."""
        return run_digest(self.source)

    @property
    def agents(self) -> "pd.DataFrame":
        """The simulated people, a row each."""
        return self._frames.agents

    @property
    def posts(self) -> "pd.DataFrame":
        """Posts, reposts, quotes and replies, a row each; seed posts are marked."""
        return self._frames.posts

    @property
    def acts(self) -> "pd.DataFrame":
        """Every activation of an agent: the act, its outcome, its target, the policy's probabilities."""
        return self._frames.acts

    @property
    def exposures(self) -> "pd.DataFrame":
        """What each agent was shown, a row for each post in each feed."""
        return self._frames.exposures

    @property
    def edges(self) -> "pd.DataFrame":
        """Acts of one user upon another, and the follows of the beginning."""
        return self._frames.edges

    @property
    def history(self) -> "pd.DataFrame":
        """What the people did before the simulation."""
        return self._frames.history

    def texts(self, agent: str | int) -> "pd.DataFrame":
        """What one agent wrote, with what it answers.

        Args:
            agent: Its handle, or its number.

        Raises:
            MetricsError: The run has no such agent.
        """
        return self._frames.texts(agent)

    @property
    def measurements(self) -> "pd.DataFrame":
        """Every measurement, a row each, with the measurement's name as the index.

        Columns: ``value``, ``n``, ``low`` and ``high`` (95% interval), ``null_mean``, ``null_sd``, ``null_z``,
        ``null_draws`` (the null model, see docs/measurements.md) and ``reason`` (why there is no value).
        """
        import pandas as pd

        figures = self.measured.measurements
        rows = [{"measurement": name, **figure.columns()} for name, figure in figures.items()]
        frame = pd.DataFrame(rows).set_index("measurement")
        numbers = ["value", "low", "high", "null_mean", "null_sd", "null_z", "null_draws"]
        return frame.astype(dict.fromkeys(numbers, "float64"))

    @cached_property
    def measured(self) -> RunMeasurements:
        """The measurements as the command line has them, measured when first asked for (seconds)."""
        return measure_run(self.source)

    @cached_property
    def _frames(self) -> RunFrames:
        return RunFrames(load_run(self.source))
