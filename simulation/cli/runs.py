"""``simulate run``, ``fork`` and ``interview``."""

import gc
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyphony.errors import InputError
from polyphony.plugins import load_plugins
from polyphony.simulation.cli.ending import command, look_at, print_run_ending
from polyphony.simulation.cli.forecasting import print_forecast_of_runs, say_forecast_of_runs
from polyphony.simulation.cli.options import (
    AllOption,
    Chosen,
    DryRunOption,
    JsonOption,
    PluginOption,
    RunArgument,
    WorkerSecondsOption,
    WorkersOption,
    in_range,
    takes_machine,
    takes_options,
)
from polyphony.simulation.cli.printing import say, stderr
from polyphony.simulation.cli.reading import print_measurements
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import LARGEST, OPTIONS
from polyphony.simulation.runs.workers import (
    USUAL_SECONDS,
    Workers,
    check_can_be_shared,
    in_blocks,
    workers_of,
)

if TYPE_CHECKING:
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.fork import Fork
    from polyphony.simulation.runs.runner import Runner
    from polyphony.simulation.runs.settings import RunSettings

FORKABLE = [option for option in OPTIONS.values() if option.forkable]
ASKED = [option for option in OPTIONS.values() if option.asks]


@takes_machine
@takes_options(OPTIONS.values())
def run(
    *,
    out: Annotated[
        str | None,
        typer.Option(
            help="Run file to write, or a URL postgresql+psycopg://…", show_default="runs/POPULATION-ARM-AGENTS-SEED.db"
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    dry_run: DryRunOption = False,
    everything: AllOption = False,
    plugin: PluginOption = None,
    workers: WorkersOption = None,
    worker_seconds: WorkerSecondsOption = USUAL_SECONDS,
    chosen: Chosen,
    machine: Machine,
) -> None:
    """Train missing adapters, simulate one arm, and print texts and ten figures."""
    deciding = None if workers is None else workers_of(workers, worker_seconds)
    plugins = load_plugins(plugin or ())
    from polyphony.simulation.runs.settings import make_settings
    from polyphony.simulation.runs.store import run_target

    settings = replace(make_settings(chosen), plugins=plugins)
    if deciding is not None:
        check_can_be_shared(settings)
        settings = in_blocks(settings)
    target = _default_file(settings, settings.arm) if out is None else run_target(out)
    if dry_run:
        if resume:
            raise InputError("--dry-run forecasts a whole run: leave --resume out")
        print_forecast_of_runs([settings], machine, workers=deciding)
        return
    _simulate(settings, target, resume, None, machine, deciding)
    _print_end(target, everything, _after_run(settings, target, chosen, machine, plugin or (), workers))


@takes_machine
@takes_options(FORKABLE, absent=lambda option: "as in the run")
def fork(
    run_file: RunArgument,
    *,
    at: Annotated[int, typer.Option(**in_range(0, LARGEST, "First timestep that is simulated anew."))],
    out: Annotated[str, typer.Option(help="Run file of the fork.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted fork.")] = False,
    everything: AllOption = False,
    plugin: PluginOption = None,
    chosen: Chosen,
    machine: Machine,
) -> None:
    """Continue a run from any of its timesteps under other settings.

    A scenario that is given replaces what the run's own orders for later timesteps; accounts and products stay.
    """
    plugins = load_plugins(plugin or ())
    from polyphony.metrics.runfile.digest import run_digest
    from polyphony.simulation.runs.fork import Fork, merged
    from polyphony.simulation.runs.recorded import settings_of, with_people
    from polyphony.simulation.runs.settings import with_options
    from polyphony.simulation.runs.store import run_target

    source = run_target(run_file)
    before = settings_of(source)
    settings = with_options(with_people(before, source, _population(chosen)), chosen)
    if "scenario" in chosen:
        settings = replace(settings, scenario=merged(before.scenario, settings.scenario))
    settings = replace(settings, forked_from=f"{run_digest(run_file)}@{at}", plugins=plugins)
    target = run_target(out)
    _simulate(settings, target, resume, Fork(source, at), machine)
    words = [word for name in plugin or () for word in ("--plugin", name)]
    all_figures = {command("metrics", target, *words): "all figures"}
    following = look_at([target]) | all_figures if isinstance(target, Path) else {}
    _print_end(target, everything, following)


@takes_machine
@takes_options(ASKED, absent=lambda option: "as in the run")
def interview(
    run_file: RunArgument,
    agent: Annotated[str, typer.Argument(help="Handle of the agent.")],
    question: Annotated[str, typer.Argument(help="The question.")],
    *,
    at: Annotated[
        int | None,
        typer.Option(
            show_default="the end", **in_range(0, LARGEST, "The agent remembers what happened before this timestep.")
        ),
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
    chosen: Chosen,
    machine: Machine,
) -> None:
    """Ask an agent a question outside simulated time; the run does not change."""
    load_plugins(plugin or ())
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.interview import interview as ask
    from polyphony.simulation.runs.recorded import settings_of, with_people
    from polyphony.simulation.runs.settings import with_options
    from polyphony.simulation.runs.store import run_target

    source = run_target(run_file)
    settings = with_options(with_people(settings_of(source), source, _population(chosen)), chosen)
    with Reporter() as reporter:
        answer = ask(open_runner(settings, machine, reporter), settings, source, agent, question, at=at)
    say(json.dumps({"agent": agent, "question": question, "at": at, "answer": answer}) if as_json else answer)


def open_runner(
    settings: "RunSettings", machine: Machine, reporter: "Reporter", *, show_texts: bool = False
) -> "Runner":  # fmt: skip
    """A runner that reports to the console, with the first texts that agents write if asked.

    Raises:
        InputError: The population cannot be read.
    """
    from polyphony.simulation.runs.runner import Runner

    hooks = replace(reporter.hooks, wrote=reporter.show_text) if show_texts else reporter.hooks
    return Runner(settings, **vars(machine), hooks=hooks)


def _simulate(
    settings: "RunSettings", target: Path | str, resume: bool, fork: "Fork | None", machine: Machine,
    workers: Workers | None = None,
) -> None:  # fmt: skip
    """Run with progress on the console."""
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.recorded import check_plugins

    if resume:
        check_plugins(target, settings.plugins)
    with Reporter() as reporter:
        runner = open_runner(settings, machine, reporter, show_texts=True)
        for problem in runner.population.problems:
            reporter.say(f"warning: {problem.message}")
        if not resume and fork is None:
            say_forecast_of_runs(reporter, [settings], machine, resources=runner.resources, workers=workers)
        runner.run(settings, target, resume=resume, fork=fork, workers=workers)
        reporter.say("took: " + ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in runner.stages.items()))
    del runner
    gc.collect()  # the model's memory is free for the measurements


def _print_end(target: Path | str, everything: bool, following: dict[str, str]) -> None:
    """Print what came of a run: texts and headlines, or all measurements."""
    from polyphony.simulation.runs.store import name_of

    if everything:
        print_measurements(target, False)
    else:
        print_run_ending(target, following)
    stderr().print(f"run file: {name_of(target)}", markup=False)


def _after_run(
    settings: "RunSettings", target: Path | str, chosen: Chosen, machine: Machine, plugin: Sequence[str],
    workers: str | None = None,
) -> dict[str, str]:  # fmt: skip
    """What to do after a run, by command; nothing for a run in a server, whose password is not printed."""
    from polyphony.metrics.core.labels import arm_sentence

    if not isinstance(target, Path):
        return {}
    plugins = [word for name in plugin for word in ("--plugin", name)]
    following = look_at([target])
    shared = [] if workers is None else ["--workers", workers]
    if settings.policy == "engine":
        arm = "base" if settings.arm != "base" else "lora"
        # What a server calls the models of one arm, it does not call those of another.
        options = {name: value for name, value in {**chosen, **vars(machine)}.items() if name != "engine_models"}
        given = {name: value for name, value in options.items() if value != _default(name)}
        other = _default_file(settings, arm)
        if target != _default_file(settings, settings.arm):
            stem = target.stem.removesuffix(f"-{settings.arm}").removesuffix(settings.arm)
            given["out"] = other = target.with_name(f"{stem}{'-' if stem else ''}{arm}{target.suffix}")
        words = [
            *plugins,
            *shared,
            *(word for name, value in {**given, "arm": arm}.items() for word in _flag(name, value)),
        ]
        if other.exists():
            following[command("compare", target, other, *plugins)] = "what differs between the two arms"
        else:
            following[command("run", *words)] = f"the other arm: {arm_sentence(arm)}"
    return following | {command("metrics", target, *plugins): "all figures"}


def _default(name: str) -> object:
    return OPTIONS[name].default if name in OPTIONS else getattr(Machine(Path("bank")), name)


def _flag(name: str, value: object) -> list[object]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", value]


def _default_file(settings: "RunSettings", arm: str) -> Path:
    name = arm
    if settings.policy != "engine":
        name = f"{arm}-{settings.policy}" if settings.needs_model else settings.policy
    population = Path(settings.population).name.split(".")[0].replace(":", "")  # no file name everywhere
    return Path("runs") / f"{population}-{name}-{settings.agents}-{settings.seed}.db"


def _population(chosen: Chosen) -> str | None:
    return str(chosen["population"]) if "population" in chosen else None
