"""``simulate bank evaluate``: do adapters carry their people?"""

import json
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyphony.adapters.training.forecast import Forecast
from polyphony.errors import InputError
from polyphony.personas.readers.dates import UTC_NAME
from polyphony.simulation.cli.forecasting import print_forecast, say_forecast
from polyphony.simulation.cli.interchange import bank_app
from polyphony.simulation.cli.options import (
    Chosen,
    ColumnsOption,
    DryRunOption,
    JsonOption,
    PopulationOption,
    PrivateOption,
    TimezoneOption,
    UsersOption,
    takes_machine,
    takes_options,
)
from polyphony.simulation.cli.printing import figure, print_results
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.runs.options import TRAINING_OPTIONS

if TYPE_CHECKING:
    from polyphony.adapters.bank.revision import Revision
    from polyphony.adapters.evaluation.evaluation import EvaluationPlan
    from polyphony.simulation.cli.training_session import TrainingSession
    from polyphony.simulation.runs.resources import Resources
    from polyphony.simulation.runs.settings import RunSettings

__all__ = ["bank_app"]

# Held-out acts times passes from which on a probe is worth its seconds.
LONG_ACTS = 5_000


@bank_app.command("evaluate")
@takes_machine
@takes_options(TRAINING_OPTIONS)
def bank_evaluate(
    *,
    population: PopulationOption = "town",
    columns: ColumnsOption = "",
    timezone: TimezoneOption = UTC_NAME,
    include_private: PrivateOption = False,
    users: UsersOption = 32,
    latest: Annotated[
        bool,
        typer.Option(
            "--latest",
            help="Evaluate the adapter that the bank serves for each person, or else the latest one, "
            "whatever it was trained on.",
        ),
    ] = False,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="Evaluate only what a promotion needs: own adapter and prior, in two passes."),
    ] = False,
    as_json: JsonOption = False,
    dry_run: DryRunOption = False,
    chosen: Chosen,
    machine: Machine,
) -> None:
    """Score held-out posts under the base model, the prior, own and other people's adapters.

    Missing adapters are trained. If the command is interrupted, the same command continues after the last complete
    pass.
    """
    from polyphony.adapters.evaluation.evaluation import GATE, EvaluationPlan, evaluate
    from polyphony.adapters.evaluation.passes import Passes
    from polyphony.adapters.evaluation.probing import probe
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.cli.training_session import training_session
    from polyphony.simulation.runs.resources import Resources
    from polyphony.simulation.runs.settings import RunSettings, training_config

    settings = RunSettings(
        population=population, columns=columns, timezone=timezone, include_private=include_private, agents=users,
        timesteps=1, training=training_config(chosen),
    )  # fmt: skip
    plan = GATE if gate else EvaluationPlan()
    if dry_run:
        with Reporter() as reporter:
            resources = Resources(settings, **vars(machine), hooks=reporter.hooks)
            expected = _forecast(plan, settings, machine, resources, trains=not latest)
        print_forecast(expected)
        return

    def expect(reporter: Reporter, resources: Resources) -> None:
        held_out = sum(len(persona.held_out) for persona in resources.personas)
        if held_out * Passes.of(plan, len(resources.personas)).held_out >= LONG_ACTS:
            say_forecast(reporter, lambda: _forecast(plan, settings, machine, resources, trains=not latest))

    with training_session(settings, machine, expect) as session:
        training = session.training
        revisions = _latest(session) if latest else training.personal(session.personas)
        result = evaluate(
            training, session.personas, revisions, plan=plan,
            keep=session.bank.evaluations,
            progress=lambda done, total: session.reporter.show("evaluation", done, total, "passes"),
        )  # fmt: skip
        probes = [] if gate else probe(training.base, training.kit, session.bank, revisions)
        for place, (persona, revision) in enumerate(zip(session.personas, revisions, strict=True)):
            figures: dict[str, Any] = {"probe": asdict(probes[place])} if probes else {}
            if persona.handle in result.per_person:
                figures["nll"] = result.per_person[persona.handle]
            session.bank.set_evaluation(revision, figures)
        unshown = training.examples.unshown(session.personas)
    report = result.to_json()
    if as_json:
        print(json.dumps({**report, "unshown_acts": unshown, "matrix": result.matrix, "candidates": result.candidates}))
        return
    _print(report)


def _forecast(
    plan: "EvaluationPlan", settings: "RunSettings", machine: Machine, resources: "Resources", *, trains: bool
) -> "Forecast":  # fmt: skip
    """What the missing adapters and the evaluation of all will take; `trains` for those of people, too."""
    from polyphony.adapters.evaluation.forecast import forecast_evaluation
    from polyphony.simulation.runs.forecast import forecast, present_bank

    arms = [settings] if trains else []
    if "pooled" in plan.controls:
        arms.append(replace(settings, arm="pooled"))
    began = time.perf_counter()
    resources.base_and_kit(settings)
    loading = time.perf_counter() - began
    training = forecast(arms, machine, resources.hooks, simulates=False, resources=resources) if arms else None
    with present_bank(resources, machine) as bank:
        scored = forecast_evaluation(resources.training(settings, bank), resources.personas, plan)
    before = Forecast({}, 0.0, 0, 0) if training is None else training
    return Forecast(
        {**before.stages, **scored.stages}, loading + before.loading, max(before.memory, scored.memory),
        before.disk + scored.disk,
    )  # fmt: skip


def _latest(session: "TrainingSession") -> "list[Revision]":
    from polyphony.adapters.bank.revision import PERSONAL, adapter_id

    base, population = session.training.base, session.training.population
    names = [adapter_id(base.hash, population.name, PERSONAL, persona.handle) for persona in session.personas]
    revisions = [session.bank.newest(name) for name in names]
    for persona, revision in zip(session.personas, revisions, strict=True):
        if revision is None:
            raise InputError(f"{session.bank.directory}: no adapter of {persona.handle!r}; ask for fewer --users")
    return [revision for revision in revisions if revision is not None]


def _print(report: dict[str, Any]) -> None:
    rows = []
    for name, value in report.items():
        if name == "intervals":
            continue
        parts = value if isinstance(value, dict) else {"": value}
        for part, value_of in parts.items():
            interval = report["intervals"].get(name)
            interval = interval.get(part) if isinstance(interval, dict) else interval
            rows.append((name, part, figure(value_of), " … ".join(map(figure, interval or ()))))
    print_results(("figure", "of", "value", "95% interval over people"), rows, "held-out evaluation (nats per token)")
