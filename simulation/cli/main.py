"""The `simulate` command."""

import gc
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from polyphony.errors import InputError, PolyphonyError
from polyphony.simulation.cli.evaluation import bank_app
from polyphony.simulation.cli.export import export
from polyphony.simulation.cli.options import (
    AgentsOption,
    BankOption,
    BaseOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    PopulationOption,
    RunArgument,
)
from polyphony.simulation.cli.printing import figure, flat, print_pairs, print_results, stderr, stdout
from polyphony.simulation.cli.study import study
from polyphony.simulation.runs.training_options import Plan, takes_training_options

if TYPE_CHECKING:
    from polyphony.simulation.runs.fork import Fork
    from polyphony.simulation.runs.settings import RunSettings

app = typer.Typer(
    help="Agent-based social simulation in which every agent owns its own trained weights.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(bank_app, name="bank")
app.command()(study)
app.command()(export)

INTERRUPTED = "interrupted; the same command with --resume (or again, for training) continues"


@app.command()
@takes_training_options
def run(
    *,
    agents: AgentsOption = 32,
    steps: Annotated[int, typer.Option(help="Timesteps to simulate.")] = 6,
    seed: Annotated[int, typer.Option(help="Key of every random draw.")] = 0,
    arm: Annotated[
        str,
        typer.Option(help="lora, base, pooled, shuffled, lora-noprompt, base-noprompt, fewshot or act-matched."),
    ] = "lora",
    population: PopulationOption = "town",
    bank: BankOption = Path("bank"),
    out: Annotated[
        str | None,
        typer.Option(help="Run file, or postgresql+psycopg://… ; default runs/POPULATION-ARM-AGENTS-SEED.db."),
    ] = None,
    policy: Annotated[
        str, typer.Option(help="engine; camel: camel-ai agents; null: acts from history, no model.")
    ] = "engine",
    camel_model: Annotated[
        str,
        typer.Option(help="With --policy camel: PLATFORM/NAME of a model that camel reaches, as ollama/llama3.2."),
    ] = "",
    camel_url: Annotated[str, typer.Option(help="Where that model is served, as http://127.0.0.1:8000/v1.")] = "",
    resume: Annotated[bool, typer.Option(help="Continue an interrupted run.")] = False,
    minutes_per_step: Annotated[int, typer.Option(help="Simulated minutes of a timestep.")] = 120,
    activation: Annotated[float, typer.Option(help="Mean expected acts of an agent in a timestep.")] = 0.5,
    start: Annotated[
        str, typer.Option(help="Simulated start, as 2026-03-02T08:00Z; default the morning after the last post.")
    ] = "",
    churn: Annotated[float, typer.Option(help="Rate a day at which agents leave for good.")] = 0.0,
    late: Annotated[float, typer.Option(help="Share of agents who join during the run.")] = 0.0,
    slots: Annotated[
        int, typer.Option(help="Adapters in the engine at once; 0 for everybody's. Fewer take less memory.")
    ] = 0,
    temperature: Annotated[float, typer.Option(help="Temperature at which texts are drawn.")] = 0.9,
    weights: Annotated[
        str, typer.Option(help="trained: exactly what the training options ask for; serving: what the bank promoted.")
    ] = "trained",
    actions: Annotated[
        str, typer.Option(help="What agents may do: default, twitter, reddit, all, or a list as post,reply,mute.")
    ] = "default",
    recommender: Annotated[
        str,
        typer.Option(
            help="attention, chronological, collaborative, followee-popular, random, reddit-hot, similarity or twhin."
        ),
    ] = "attention",
    followee_share: Annotated[float, typer.Option(help="Part of a feed kept for followees, from 0 to 1.")] = 0.5,
    who_to_follow: Annotated[
        str,
        typer.Option(
            help="Suggest people in a feed's last place: none, random, popularity, common-neighbours, adamic-adar or "
            "similar-content."
        ),
    ] = "none",
    scenario: Annotated[
        Path | None, typer.Option(help="YAML or TOML: seed posts, news, bots, suspensions, recommender switches.")
    ] = None,
    repeats: Annotated[bool, typer.Option(help="Show posts again that an agent has seen.")] = False,
    history: Annotated[bool, typer.Option(help="Keep people's own acts in the run file.")] = True,
    base_model: BaseOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    plan: Plan,
) -> None:
    """Train missing adapters, simulate one arm, print the measurements."""
    from polyphony.adapters.engine.decoding import DecodingConfig
    from polyphony.simulation.feed.feed import FeedSettings
    from polyphony.simulation.runs.scenario import Scenario, load_scenario
    from polyphony.simulation.runs.settings import RunSettings
    from polyphony.simulation.runs.store import name_of, run_target

    settings = RunSettings(
        population=population, agents=agents, timesteps=steps, seed=seed, arm=arm, policy=policy,
        camel_model=camel_model, camel_url=camel_url, minutes=minutes_per_step,
        activation=activation, history=history, training=plan(), actions=actions, weights=weights, slots=slots,
        feed=FeedSettings(recommender, followee_share, who_to_follow, repeats), start=start, churn=churn, late=late,
        scenario=load_scenario(scenario) if scenario else Scenario(), decoding=DecodingConfig(temperature=temperature),
    )  # fmt: skip
    name = arm if policy == "engine" else f"{arm}-{policy}" if settings.needs_model else policy
    target = run_target(out) if out else Path("runs") / f"{_stem(population)}-{name}-{agents}-{seed}.db"
    _simulate(settings, target, resume, None, bank, base_model, device, dtype)
    print_measurements(target, False)
    stderr().print(f"run file: {name_of(target)}", markup=False)


@app.command()
def fork(
    run_file: RunArgument,
    at: Annotated[int, typer.Option(help="First timestep that is simulated anew.")],
    out: Annotated[str, typer.Option(help="Run file of the fork.")],
    steps: Annotated[int | None, typer.Option(help="Timesteps in all; default as before.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another key of the random draws.")] = None,
    arm: Annotated[str | None, typer.Option(help="Another arm.")] = None,
    policy: Annotated[str | None, typer.Option(help="Another policy.")] = None,
    actions: Annotated[str | None, typer.Option(help="Other actions.")] = None,
    recommender: Annotated[str | None, typer.Option(help="Another recommender.")] = None,
    scenario: Annotated[Path | None, typer.Option(help="What happens from then on instead.")] = None,
    population: Annotated[str | None, typer.Option(help="Where the posts file is now, if it has moved.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted fork.")] = False,
    bank: BankOption = Path("bank"),
    base_model: BaseOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
) -> None:
    """Continue a run from any of its timesteps under other settings."""
    from polyphony.metrics.runfile.digest import run_digest
    from polyphony.simulation.runs.fork import Fork, merged, settings_of
    from polyphony.simulation.runs.scenario import load_scenario
    from polyphony.simulation.runs.store import name_of, run_target

    source, target = run_target(run_file), run_target(out)
    before = settings_of(source)
    given: dict[str, Any] = {
        "timesteps": steps, "seed": seed, "arm": arm, "policy": policy, "actions": actions, "population": population,
        "feed": replace(before.feed, recommender=recommender) if recommender else None,
        "scenario": merged(before.scenario, load_scenario(scenario)) if scenario else None,
        "forked_from": f"{run_digest(run_file)}@{at}",
    }  # fmt: skip
    settings = replace(before, **{name: value for name, value in given.items() if value is not None})
    _simulate(settings, target, resume, Fork(source, at), bank, base_model, device, dtype)
    print_measurements(target, False)
    stderr().print(f"run file: {name_of(target)}", markup=False)


@app.command()
def interview(
    run_file: RunArgument,
    agent: Annotated[str, typer.Argument(help="Handle of the agent.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    at: Annotated[int | None, typer.Option(help="As of the beginning of this timestep; default the end.")] = None,
    bank: BankOption = Path("bank"),
    base_model: BaseOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Ask an agent something, outside simulated time; the run does not change."""
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.fork import settings_of
    from polyphony.simulation.runs.interview import interview as ask
    from polyphony.simulation.runs.runner import Runner
    from polyphony.simulation.runs.store import run_target

    source = run_target(run_file)
    settings = settings_of(source)
    with Reporter() as reporter:
        runner = Runner(
            settings, bank=bank, base_model=base_model, device=device, dtype=dtype, hooks=reporter.hooks
        )  # fmt: skip
        answer = ask(runner, settings, source, agent, question, at=at)
    print(json.dumps({"agent": agent, "question": question, "at": at, "answer": answer}) if as_json else answer)


@app.command()
@takes_training_options
def train(
    *,
    population: PopulationOption = "town",
    bank: BankOption = Path("bank"),
    users: Annotated[int, typer.Option(help="How many people get an adapter.")] = 32,
    base_model: BaseOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    continued: Annotated[
        bool, typer.Option("--continue", help="Go on from what the bank holds, with the posts since then.")
    ] = False,
    plan: Plan,
) -> None:
    """Train the population prior and personal adapters; what the bank holds is not trained again."""
    from polyphony.simulation.cli.training_session import training_session

    with training_session(population, users, plan(), bank, base_model, device, dtype) as session:
        revisions = session.training.personal(session.personas, continued=continued)
        session.reporter.say(f"{len(revisions)} personal adapters and their prior are in {bank}")


@app.command()
def personas(
    path: Annotated[str, typer.Argument(help="'town', or a file of posts.")], as_json: JsonOption = False
) -> None:
    """Tell what a population holds: people, acts by type, span, problems by row."""
    from polyphony.personas.population import load_population, summarise

    summary = summarise(load_population(path))
    if as_json:
        print(json.dumps(summary, ensure_ascii=False))
        return
    print_pairs(path, {name: flat(value) for name, value in summary.items() if name != "problems"})
    for problem in summary["problems"]:
        stdout().print(f"warning: {problem['message']}", markup=False)


@app.command()
def metrics(run_file: RunArgument, as_json: JsonOption = False) -> None:
    """Measure one run."""
    print_measurements(run_file, as_json)


@app.command()
def digest(run_file: RunArgument) -> None:
    """Print the fingerprint of a run: the same seed on the same machine gives the same."""
    from polyphony.metrics.runfile.digest import run_digest

    print(run_digest(run_file))


@app.command()
def compare(
    run_files: Annotated[list[str], typer.Argument(help="Two or more run files, or URLs of runs.")],
    reference: Annotated[
        str | None, typer.Option(help="Arm to compare with; default base, or the first run's.")
    ] = None,
    style: Annotated[str, typer.Option("--format", help="table, markdown or latex.")] = "table",
    as_json: JsonOption = False,
) -> None:
    """Compare arms, paired by seed."""
    from polyphony.metrics.studies.comparison_table import FORMATS, HEADERS, comparison_rows, comparison_text, notes

    if style not in ("table", *FORMATS):
        raise InputError(f"--format {style!r} is not one of table, {', '.join(FORMATS)}")
    from polyphony.metrics.studies.compare import compare_runs

    comparison = compare_runs(run_files, reference)
    if as_json:
        print(json.dumps(comparison.to_json()))
    elif style in FORMATS:
        print(comparison_text(comparison, style))
    else:
        print_results(HEADERS, comparison_rows(comparison), f"against {comparison.reference}")
        stderr().print(notes(comparison), markup=False)


@app.command("app")
def dashboard(
    path: Annotated[Path, typer.Argument(help="A run file or a folder of them.")] = Path("runs"),
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8501,
    address: Annotated[
        str, typer.Option(help="Address to listen on; whoever reaches it reads everything in the folder.")
    ] = "127.0.0.1",
    bank: Annotated[
        Path | None, typer.Option(help="Directory of an adapter bank; default one in the folder or beside it.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Open the dashboard, on 127.0.0.1 unless told otherwise."""
    from polyphony.app.server.launch import launch

    raise typer.Exit(launch(path, port, browser, bank=bank, address=address))


def _simulate(
    settings: "RunSettings",
    target: Path | str,
    resume: bool,
    fork: "Fork | None",
    bank: Path,
    base_model: Path | None,
    device: str,
    dtype: str,
) -> None:
    """Run with progress on the console; when this returns, the model's memory is free for the measurements."""
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.runner import Runner

    with Reporter() as reporter:
        runner = Runner(
            settings, bank=bank, base_model=base_model, device=device, dtype=dtype, hooks=reporter.hooks
        )  # fmt: skip
        for problem in runner.population.problems:
            reporter.say(f"warning: {problem.message}")
        runner.run(settings, target, resume=resume, fork=fork)
        reporter.say("took: " + ", ".join(f"{stage} {spent:.0f} s" for stage, spent in runner.stages.items()))
    del runner
    gc.collect()


def print_measurements(path: Path | str, as_json: bool) -> None:
    """Measure a run and print it, as a table or as one JSON object."""
    from polyphony.metrics.measure import measure_run

    run = measure_run(path)
    for failure in run.plugin_failures:
        stderr().print(f"warning: {failure}", markup=False)
    report = run.to_json()
    if as_json:
        print(json.dumps(report))
        return
    rows = []
    for name, found in report["measurements"].items():
        interval = "" if found["interval"] is None else " … ".join(figure(bound) for bound in found["interval"])
        null = found["null"]
        against = "" if null is None else f"{figure(null['mean'])} ({figure(null['z'])})"
        rows.append((name, figure(found["value"]), str(found["n"]), interval, against))
    whole = run.completed_timesteps == run.timesteps
    length = f"{run.timesteps}" if whole else f"{run.completed_timesteps} ({run.status}) of {run.timesteps}"
    title = f"{run.arm}: {run.agents} agents, {length} timesteps, seed {run.seed}"
    print_results(("measurement", "value", "n", "95% interval", "null (z)"), rows, title)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; every foreseen failure is one line on stderr.

    Exit codes: 0 done, 2 the input is wrong, 3 interrupted but resumable, 1 our fault.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(arguments, standalone_mode=False)
    except typer.TyperException as error:
        _refuse_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        _fail(INTERRUPTED, 3)
    except PolyphonyError as error:
        _fail(str(error), 2)
    except OSError as error:
        _fail(f"{error.filename or 'disk'}: {error.strerror or error}; free or choose another place", 2)
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("metrics", "app"):
            _fail(str(error), 2)
        if _out_of_memory(error):
            _fail("out of memory; fewer agents at once, a smaller base model or more memory would do", 2)
        raise
    if code == 128 + signal.SIGINT:  # typer turns an interrupt into the shell's code for it
        _fail(INTERRUPTED, 3)
    if isinstance(code, int) and code:
        sys.exit(code)


def _refuse_usage(error: typer.TyperException) -> NoReturn:
    """Say what is wrong with the command itself; where nothing was asked, its help is printed already."""
    line, context = error.format_message().strip().rstrip("."), getattr(error, "ctx", None)
    if not line:
        sys.exit(2)
    _fail(f"{line}; see `{context.command_path} --help`" if context else line, 2)


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out where nothing halves what is done at once."""
    if not isinstance(error, (MemoryError, RuntimeError)):
        return False
    from polyphony.adapters.model.memory import out_of_memory

    return out_of_memory(error)


def _fail(line: str, code: int) -> NoReturn:
    stderr().print(f"simulate: {' '.join(line.split())}", markup=False)
    sys.exit(code)


def _stem(population: str) -> str:
    return Path(population).name.split(".")[0]
