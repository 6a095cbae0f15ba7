"""How often people should be seen doing nothing in training: what shares lead to on one set of validation moments.

`python -m benchmarks.nothing 0 0.25 0.5 --users 16 --bank DIR`. The likelihood of acts and of `nothing` together says
which share the fixed set has, not which is better. So the figures are those that the share does not set by itself: of
the verb given that something is done, of targets and texts, and of `nothing` against acts after one intercept is
fitted, which leaves how well the two are told apart.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from benchmarks import results
from benchmarks.evidence import PLAIN
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.stacking import install
from polyphony.adapters.model.base_model import load_base_model
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example, ExampleBuilder
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.personas.people.acts import Verb
from polyphony.personas.population import Population, load_population
from polyphony.simulation.history.replay import ReplayedHistory

# Moments without an act, for each act of the fixed set.
FIXED = 0.5
NOTHING = VERBS.index(Verb.NOTHING)


def main() -> None:
    """Train with each share and print what people's validation moments are worth then, under own adapters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shares", nargs="+", type=float, metavar="SHARE")
    parser.add_argument("--population", default="town")
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--bank", type=Path, required=True)
    asked = parser.parse_args()
    base, population = load_base_model(say=print), load_population(asked.population)
    kit, people = make_prompt_kit(base, replace(PLAIN.prompt, verbs=population.verbs)), population.choose(asked.users)
    print(results.machine())
    bank = Bank(asked.bank, create=True)
    fixed = ReplayedHistory(population, replace(PLAIN.history, nothing=FIXED), items=PLAIN.prompt.feed_items)
    owner, moments = _moments(ExampleBuilder(population.acts, kit.builder, fixed), population, asked.users)
    for share in asked.shares:
        config = replace(PLAIN, prompt=kit.config, history=replace(PLAIN.history, nothing=share))
        history = ReplayedHistory(population, config.history, items=config.prompt.feed_items)
        training = PopulationTraining(base, kit, population, bank, config, history)
        revisions = training.personal(people)
        with config.adapted(base) as adapted, torch.no_grad():
            install(adapted, bank, revisions)
            figures = _figures(training.scoring(adapted), owner, moments)
        print(
            f"--nothing {share:g}: " + ", ".join(f"{name} {value:.4f}" for name, value in figures.items()), flush=True
        )


def _moments(builder: ExampleBuilder, population: Population, users: int) -> tuple[list[int], list[Example]]:
    people = population.choose(users)
    builder.prepare([(person, person.validation) for person in people], 1)
    owned = [
        (number, example)
        for number, person in enumerate(people)
        for example in builder.sittings(person, person.validation, 1)
    ]
    return [number for number, _ in owned], [example for _, example in owned]


def _figures(scoring: Scoring, owner: Sequence[int], moments: Sequence[Example]) -> dict[str, float]:
    """Means over the moments, in nats; `told apart` is of the choice between an act and none."""
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

    def apart(shift: float) -> float:
        return float(np.logaddexp(0, np.where(idle, -(logit + shift), logit + shift)).mean())

    return {
        "text": text[[example.text_start is not None for example in moments]].mean(),
        "target": target[[example.position is not None for example in moments]].mean(),
        "verb given an act": (verb + np.log(1 - nothing))[~idle].mean(),
        "told apart": float(minimize_scalar(apart, bounds=(-20, 20), method="bounded").fun),
        "P(nothing)": nothing.mean(),
    }


if __name__ == "__main__":
    main()
