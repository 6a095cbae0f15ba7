"""Workers for a training without a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.workers import Workers, describe


@contextmanager
def training_workers(
    ray: ModuleType | None, workers: Workers | None, settings: RunSettings, resources: Resources
) -> Iterator[None]:  # fmt: skip
    """Until the block ends, have workers train people's own adapters.

    Args:
        ray: The module, see `simulation.runs.cluster.joined`; None for this process.
        workers: Who they are.
        settings: Name people and training; `simulation.runs.workers.in_blocks` has made them, where there are workers.
        resources: People, base model and bank.

    Raises:
        InputError: A worker cannot be had, or would compute other bits than this process.
    """
    if ray is None or workers is None:
        yield
        return
    from polyphony.simulation.runs.worker_pool import assignment_for, start_pool

    owner = describe(resources.base_and_kit(settings)[0])
    pool = start_pool(ray, workers, assignment_for(resources.machine, owner), None, owner, resources.hooks)
    with resources.trained_by(pool):
        yield
