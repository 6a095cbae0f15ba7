"""Doing one run from a script or a notebook."""

import gc
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from polyphony.api.runs import Run
from polyphony.api.settings import Settings, divided
from polyphony.errors import InputError
from polyphony.personas.population import Population
from polyphony.plugins import load_plugins
from polyphony.simulation.cli.console import Reporter
from polyphony.simulation.runs.options import Value
from polyphony.simulation.runs.recorded import check_plugins
from polyphony.simulation.runs.runner import Runner
from polyphony.simulation.runs.store import is_run, run_target
from polyphony.simulation.runs.workers import check_can_be_shared, in_blocks, workers_of


def run(
    settings: Settings | None = None,
    *,
    out: str | Path,
    people: Population | None = None,
    resume: bool = False,
    plugins: Sequence[str] = (),
    workers: int | str | None = None,
    progress: bool = True,
    **options: Value | Path | None,
) -> Run:
    """Train missing adapters, simulate, and return the run.

    Args:
        settings: Options of the run; None for the defaults.
        out: Run file to write, or a database URL.
        people: A population that is loaded already; None to load the one that the option `population` names.
        resume: Whether a run that `out` holds goes on where it stopped. With more `steps` a finished run goes on, too;
            with fewer it stays as it is. Where `out` holds no run, one begins.
        plugins: Modules or files with recommenders, policies and measurements, which the run records. What the script
            itself registers needs no plug-in, and is not recorded.
        workers: Processes that train and decide, or the address of a Ray cluster, as ``--workers`` takes it; None for
            this process. See docs/workers.md.
        progress: Whether progress is shown on stderr.
        options: Options of ``simulate run`` by name, which take precedence over `settings`; among them ``bank``,
            ``base_model``, ``device`` and ``dtype``.

    Raises:
        InputError: An option cannot be, `out` holds a run and `resume` is not given, or it holds another run, or the
            workers cannot be had.
    """
    if settings is not None and not isinstance(settings, Settings):
        raise InputError(f"{settings!r} is no polyphony.Settings; name each option, as population='posts.csv'")
    loaded = load_plugins(plugins)
    machine, changes = divided(options)
    chosen = replace((settings or Settings()).replace(**changes).run_settings, plugins=loaded)
    deciding = None if workers is None else workers_of(str(workers))
    if deciding is not None:
        check_can_be_shared(chosen)
        chosen = in_blocks(chosen)
    target = run_target(str(out))
    resume = resume and is_run(target)
    if resume:
        check_plugins(target, loaded)
    with Reporter() if progress else nullcontext() as reporter:
        runner = Runner(
            chosen, bank=machine.bank, base_model=machine.base_model, device=machine.device, dtype=machine.dtype,
            hooks=reporter.hooks if reporter else None, population=people,
        )  # fmt: skip
        if reporter:
            for problem in runner.population.problems:
                reporter.say(f"warning: {problem.message}")
        runner.run(chosen, target, resume=resume, workers=deciding)
    del runner
    gc.collect()  # a base model is not held while the run is looked at
    return Run(target)
