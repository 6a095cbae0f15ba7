"""What long work will take on this machine: time, memory and disk."""

import resource
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stage of some work.

    Attributes:
        work: What there is to do, in words.
        seconds: What it will take.
        count: How much there is to do.
        unit: What of, in the plural.
    """

    work: str
    seconds: float
    count: int
    unit: str


@dataclass(frozen=True)
class Forecast:
    """What some work has to do, and what it will take.

    Attributes:
        stages: By name, in their order.
        loading: Seconds for reading and loading.
        memory: Most memory of the process, in bytes.
        disk: Bytes that it will write.
    """

    stages: dict[str, Stage]
    loading: float
    memory: int
    disk: int

    @property
    def seconds(self) -> float:
        """What all of it will take."""
        return self.loading + sum(stage.seconds for stage in self.stages.values())


def joint(forecasts: Sequence[Forecast]) -> Forecast:
    """The forecast of works that are done one after another; at least one."""
    stages: dict[str, Stage] = {}
    for name, stage in (pair for forecast in forecasts for pair in forecast.stages.items()):
        known = stages.get(name)
        stages[name] = stage if known is None else Stage(
            f"{known.work}; {stage.work}", known.seconds + stage.seconds, known.count + stage.count, stage.unit
        )  # fmt: skip
    return Forecast(
        stages, sum(forecast.loading for forecast in forecasts), max(forecast.memory for forecast in forecasts),
        sum(forecast.disk for forecast in forecasts),
    )  # fmt: skip


def peak_memory() -> int:
    """Most bytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
