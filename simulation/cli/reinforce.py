"""``simulate reinforce``."""

import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.simulation.cli.forecasting import LONG_ANSWERS, print_forecast_of_loaded, say_forecast
from polyphony.simulation.cli.options import DryRunOption, JsonOption, in_range, path, takes_machine
from polyphony.simulation.cli.printing import figure, print_results, say
from polyphony.simulation.runs.machine import Machine

if TYPE_CHECKING:
    from polyphony.adapters.bank.bank import Bank
    from polyphony.adapters.model.base_model import BaseModel
    from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
    from polyphony.adapters.reinforcement.curves import Curve
    from polyphony.adapters.reinforcement.reinforcement import Reinforcement
    from polyphony.adapters.reinforcement.summary import Cell
    from polyphony.adapters.reinforcement.tasks import Task
    from polyphony.simulation.cli.console import Reporter

MOST_ADAPTERS = 4096
MOST = 4096


@takes_machine
def reinforce(
    *,
    task: Annotated[
        str,
        typer.Option(
            help="What is learned: products, additions, sums, sorting, next-act (of people, each by an adapter of "
            "their own), stance (on which side a town's post stands), or gym: with the name of a reasoning-gym task."
        ),
    ] = "products",
    population: Annotated[
        str, typer.Option(help="Whose next acts or stances are learned, as in `simulate run`.")
    ] = "town",
    users: Annotated[
        int, typer.Option(**in_range(1, 4096, "Number of people whose next acts are learned, the first ones."))
    ] = 16,
    ranks: Annotated[str, typer.Option(help="Ranks, for example 1,4,16.")] = "1",
    inits: Annotated[
        str, typer.Option(help="Starts, of standard, pissa, olora, olora-tail, tail-a and mica.")
    ] = "standard",
    rates: Annotated[str, typer.Option(help="Learning rates, for example 3e-4,1e-3.")] = "1e-3",
    prompts: Annotated[str, typer.Option(help="Items of one update, for example 4,16.")] = "8",
    seeds: Annotated[int, typer.Option(**in_range(1, 1000, "Number of random seeds for each combination."))] = 4,
    warm_start: Annotated[
        int, typer.Option(**in_range(0, 100_000, "Number of updates, the first ones, on right answers."))
    ] = 0,
    samples: Annotated[int, typer.Option(**in_range(2, 1024, "Number of answers to each item."))] = 8,
    updates: Annotated[int, typer.Option(**in_range(1, 100_000, "Number of updates of each adapter."))] = 50,
    evaluate_every: Annotated[
        int, typer.Option(**in_range(1, 100_000, "Number of updates between two evaluations."))
    ] = 10,
    scaling: Annotated[
        str,
        typer.Option(help="Factor on the low-rank product: constant (1), lora (1 / rank) or rslora (1 / √rank)."),
    ] = "constant",
    freeze_a: Annotated[bool, typer.Option("--freeze-a", help="Train the factor B alone.")] = False,
    kl: Annotated[float, typer.Option(**in_range(0.0, 1000.0, "Weight of the divergence from the start."))] = 0.0,
    entropy: Annotated[
        float, typer.Option(**in_range(0.0, 1000.0, "Weight of a term that raises the entropy of answers."))
    ] = 0.0,
    clip_high: Annotated[
        float,
        typer.Option(**in_range(0.0, 1000.0, "How far the ratio of a token's probabilities may rise above 1.")),
    ] = 0.2,
    passes: Annotated[int, typer.Option(**in_range(1, 100, "Number of optimiser steps on the same answers."))] = 1,
    out: Annotated[
        Path,
        typer.Option(
            help="Directory of the state and the results. The same command continues an interrupted one.", parser=path
        ),
    ] = Path("reinforced"),
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    machine: Machine,
) -> None:
    """Reinforce many adapters on a task with a verifiable reward: one for each combination and seed."""
    from polyphony.adapters.reinforcement.config import ReinforcementConfig
    from polyphony.adapters.reinforcement.forecast import forecast_reinforcement
    from polyphony.adapters.reinforcement.grid import grid_of
    from polyphony.adapters.reinforcement.items import answers_of
    from polyphony.adapters.reinforcement.next_act import NextAct
    from polyphony.adapters.reinforcement.summary import cells_of
    from polyphony.adapters.training.starts import check_init

    chosen = _task(task, population, users)
    plans = grid_of(
        task=task, ranks=_several("--ranks", ranks, int), inits=[check_init(name.strip()) for name in inits.split(",")],
        rates=_several("--rates", rates, float), prompts=_several("--prompts", prompts, int), seeds=seeds,
        train_a=not freeze_a, scaling=scaling, owners=chosen.owners if isinstance(chosen, NextAct) else [""],
    )  # fmt: skip
    if len(plans) > MOST_ADAPTERS:
        raise InputError(f"{len(plans):,} adapters are more than {MOST_ADAPTERS:,}; give fewer combinations or seeds")
    config = ReinforcementConfig(
        updates=updates, warm=warm_start, samples=samples, passes=passes, clip_high=clip_high, kl=kl, entropy=entropy,
        evaluate_every=evaluate_every,
    )  # fmt: skip
    if dry_run:
        print_forecast_of_loaded(
            machine,
            lambda base: forecast_reinforcement(base, chosen, plans, config, into_bank=_is_of_nobody(plans)),
        )
        return
    base, curves = _reinforced(chosen, plans, config, out, machine)
    cells = cells_of(plans, curves, answers_of(chosen, config, plans))
    result = {
        "task": task, "config": asdict(config), "base_hash": base.hash, "dtype": base.dtype,
        "cells": [asdict(cell) for cell in cells],
        "adapters": {plan.name: {"plan": asdict(plan), **curves[plan.name].to_json()} for plan in plans},
    }  # fmt: skip
    write_durably(out / "results.json", json.dumps(result, indent=1).encode())
    if as_json:
        print(json.dumps(result))
        return
    _print(cells, task)
    say(
        f"all curves: {out / 'results.json'}; the adapters: "
        + (
            "only in its state"
            if isinstance(chosen, NextAct)
            else f"simulate bank list --kind reinforced --bank {machine.bank}"
        )
    )


def _task(name: str, population: str, users: int) -> "Task":
    from polyphony.adapters.reinforcement.next_act import NEXT_ACT
    from polyphony.adapters.reinforcement.stance import STANCE, stance_of
    from polyphony.adapters.reinforcement.tasks import task_of
    from polyphony.simulation.history.next_acts import next_acts
    from polyphony.simulation.runs.loading import current_loader

    if name == NEXT_ACT:
        return next_acts(current_loader().population(population), users)
    return stance_of(current_loader().population(population)) if name == STANCE else task_of(name, (NEXT_ACT, STANCE))


def _is_of_nobody(plans: "list[AdapterPlan]") -> bool:
    """Whether the bank may hold the adapters: what was learned from a person's acts would outlive `bank forget`."""
    return not any(plan.owner for plan in plans)


def _reinforced(
    task: "Task", plans: "list[AdapterPlan]", config: "ReinforcementConfig", out: Path, machine: Machine
) -> "tuple[BaseModel, dict[str, Curve]]":
    """Learn, and put the adapters into the bank where they may be there."""
    from polyphony.adapters.bank.bank import Bank
    from polyphony.adapters.reinforcement.forecast import forecast_reinforcement
    from polyphony.adapters.reinforcement.grid import reinforced
    from polyphony.adapters.reinforcement.workload import drawn_answers
    from polyphony.simulation.cli.console import Reporter
    from polyphony.simulation.runs.loading import current_loader

    with Reporter() as reporter, ExitStack() as stack:
        base = current_loader().base_model(
            machine.base_model, device=machine.device, dtype=machine.dtype, say=reporter.say
        )
        reporter.say(f"{len(plans):,} adapters on {task.name}, {base.name} on {base.device.type} in {base.dtype}")
        bank = None
        if _is_of_nobody(plans):
            bank = stack.enter_context(closing(Bank(machine.bank, create=True)))
            if bank.read_only:
                raise InputError(f"{machine.bank}: the bank can only be read; give another --bank")
        if not out.exists() and drawn_answers(task, plans, config) >= LONG_ANSWERS:
            say_forecast(
                reporter, lambda: forecast_reinforcement(base, task, plans, config, into_bank=bank is not None)
            )
        return base, reinforced(
            base, task, plans, config, out, finished=partial(_store, bank, reporter),
            progress=lambda done, total, note: reporter.show("reinforcement", done, total, "updates", note),
        )  # fmt: skip


def _store(bank: "Bank | None", reporter: "Reporter", group: "Reinforcement") -> None:
    """Put a group's adapters into the bank, and say which of them are not finite and stay out."""
    from polyphony.adapters.reinforcement.stored import store_adapters

    if bank is None:
        return
    kept_out = {plan.name for plan in group.plans} - {revision.person for revision in store_adapters(group, bank)}
    if kept_out:
        reporter.say(f"not in the bank, since their factors are not finite: {', '.join(sorted(kept_out))}")


def _print(cells: "list[Cell]", task: str) -> None:
    headers = ["start", "rank", "rate", "items", "seeds", "before", "last", "chosen", "spread", "collapsed", "stopped"]
    spread = [stdev(cell.last) if len(cell.last) > 1 else None for cell in cells]
    rows = [
        [
            cell.init, str(cell.rank), f"{cell.lr:g}", str(cell.prompts), str(len(cell.last)),
            *(figure(fmean(values)) for values in (cell.start, cell.last, cell.chosen)), figure(over_seeds),
            figure(cell.collapsed), str(cell.stopped),
        ]
        for cell, over_seeds in zip(cells, spread, strict=True)
    ]  # fmt: skip
    print_results(headers, rows, f"test success on {task}, means over seeds")


def _several(option: str, text: str, kind: Callable[[str], Any]) -> list[Any]:
    """Numbers above 0, separated by commas."""
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value <= MOST for value in values) or len(set(values)) < len(values):
        raise InputError(f"{option} {text!r}: give different numbers above 0 and up to {MOST:,}, separated by commas")
    return values
