"""What doing nothing in training, and a memory in prompts, are worth on people's validation moments.

`python -m benchmarks.validation_moments --nothing 0.125 0 0.25 --memory 0 96 --users 24 --bank DIR` trains a prior
and own adapters with each pair of settings. Every line after the first has the mean difference from it, with a 95% t
interval over people. The likelihood of acts and of `nothing` together says which share the fixed moments have, not
which is better. So the figures are those that the share does not set by itself: of the verb given that something is
done, of targets and texts, and of `nothing` against acts after one intercept is fitted, which leaves how well the two
are told apart.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.optimize import minimize_scalar

from benchmarks import results
from benchmarks.evidence import PLAIN
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.stacking import install
from polyphony.adapters.model.base_model import BaseModel, load_base_model
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example, ExampleBuilder
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.metrics.core.labels import span
from polyphony.metrics.core.paired import paired_comparison
from polyphony.personas.people.acts import Verb
from polyphony.personas.population import Population, load_population
from polyphony.simulation.history.replay import ReplayedHistory

# Moments without an act, for each act of the fixed set.
FIXED = 0.5
NOTHING = VERBS.index(Verb.NOTHING)

Figure = npt.NDArray[np.float64]


def main() -> None:
    """Train with each pair of settings; print what validation moments are worth under own adapters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nothing", nargs="+", type=float, default=[PLAIN.history.nothing], metavar="SHARE")
    parser.add_argument("--memory", nargs="+", type=int, default=[PLAIN.prompt.memory_tokens], metavar="TOKENS")
    parser.add_argument("--population", default="town")
    parser.add_argument("--users", type=int, default=24)
    parser.add_argument("--prior-examples", type=int, default=PLAIN.prior_examples)
    parser.add_argument("--bank", type=Path, required=True)
    asked = parser.parse_args()
    base, population = load_base_model(say=print), load_population(asked.population)
    print(results.machine())
    bank, first = Bank(asked.bank, create=True), None
    for share, memory in product(asked.nothing, asked.memory):
        config = replace(
            PLAIN, prompt=replace(PLAIN.prompt, verbs=population.verbs, memory_tokens=memory),
            history=replace(PLAIN.history, nothing=share), prior_examples=asked.prior_examples,
        )  # fmt: skip
        figures = _validation_figures(base, population, bank, config, asked.users)
        first = figures if first is None else first
        told = ", ".join(f"{name} {_told(values, first[name])}" for name, values in figures.items())
        print(f"--nothing {share:g} --memory {memory}: {told}", flush=True)


def _told(values: Figure, first: Figure) -> str:
    """The mean over people, and how far it is from that of the first setting."""
    mean = f"{np.nanmean(values):.4f}"
    if values is first:
        return mean
    differences = (values - first)[np.isfinite(values - first)]
    found = paired_comparison(differences, "person")
    return f"{mean} ({found.mean:+.4f}; {span(found.interval) or found.reason})"


def _validation_figures(
    base: BaseModel, population: Population, bank: Bank, config: TrainingConfig, users: int
) -> dict[str, Figure]:
    """Train what the bank lacks; for each person the mean of each figure over validation moments."""
    kit, people = make_prompt_kit(base, config.prompt), population.choose(users)
    fixed = ReplayedHistory(population, replace(config.history, nothing=FIXED), items=config.prompt.feed_items)
    owner, moments = _moments(ExampleBuilder(population.acts, kit.builder, fixed), population, users)
    history = ReplayedHistory(population, config.history, items=config.prompt.feed_items)
    training = PopulationTraining(base, kit, population, bank, config, history)
    revisions = training.personal(people)
    with config.adapted(base) as adapted, torch.no_grad():
        install(adapted, bank, revisions)
        values = _figures(training.scoring(adapted), owner, moments)
    table = pd.DataFrame(values, index=pd.Index(owner, name="person"))
    return {str(name): column.to_numpy() for name, column in table.groupby("person").mean().items()}


def _moments(builder: ExampleBuilder, population: Population, users: int) -> tuple[list[int], list[Example]]:
    people = population.choose(users)
    builder.prepare([(person, person.validation) for person in people], 1)
    owned = [
        (number, example)
        for number, person in enumerate(people)
        for example in builder.sittings(person, person.validation, 1)
    ]
    return [number for number, _ in owned], [example for _, example in owned]


def _figures(scoring: Scoring, owner: Sequence[int], moments: Sequence[Example]) -> dict[str, Figure]:
    """Of each moment, in nats, NaN where it has none; `told apart` is of the choice between an act and none."""
    store = ExampleStore(scoring.split, moments)
    verb, target, text, nothing = np.zeros((4, len(moments)))
    for batch in store.batches(range(len(store.rows)), 1024):
        members = store.members(batch)
        slots = [owner[store.rows[row].members[0]] for row in batch]
        hidden, places = scoring.hidden(store, batch, slots), store.places(batch)
        examples = [store.examples[member] for member in members]
        nll = scoring.act_nll(hidden, examples, places, slots)
        shares = scoring.verb_log_shares(hidden, examples, places, slots)
        verb[members], target[members], text[members] = (
            part.float().cpu() for part in (nll.verb, nll.target, nll.text)
        )
        nothing[members] = shares[:, NOTHING].double().exp().clamp(1e-9, 1 - 1e-9).cpu()
    idle = np.array([example.verb is Verb.NOTHING for example in moments])
    logit = np.log(nothing / (1 - nothing))

    def apart(shift: float) -> Figure:
        return np.logaddexp(0, np.where(idle, -(logit + shift), logit + shift))

    shift = minimize_scalar(lambda shift: float(apart(shift).mean()), bounds=(-20, 20), method="bounded").x
    return {
        "text": np.where([example.text_start is not None for example in moments], text, np.nan),
        "target": np.where([example.position is not None for example in moments], target, np.nan),
        "verb given an act": np.where(idle, np.nan, verb + np.log(1 - nothing)),
        "told apart": apart(shift),
        "P(nothing)": nothing,
        "prompt tokens": np.array([float(example.prompt_length) for example in moments]),
    }


if __name__ == "__main__":
    main()
