"""How the prior should be trained, by the validation part of people's training sides: ``python -m benchmarks.prior``.

Each SPEC is learning rate, epochs, prompts a step and examples, as 2e-3,2,1,384.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from adapters.bank import Bank
from adapters.base_model import load_base_model
from adapters.likelihood import ExampleStore, Scoring
from adapters.population_training import CHECKED_TOGETHER, PopulationTraining
from adapters.prompt_kit import make_prompt_kit
from adapters.training_config import TrainingConfig
from benchmarks import results
from personas.persona import Persona
from personas.population import load_population

PLAIN = TrainingConfig()


def with_prior(spec: str) -> TrainingConfig:
    """The defaults with another training of the prior."""
    lr, epochs, batch_size, examples = spec.split(",")
    schedule = replace(PLAIN.prior_schedule, lr=float(lr), epochs=int(epochs), batch_size=int(batch_size))
    return replace(PLAIN, prior_schedule=schedule, prior_examples=int(examples))


@torch.no_grad()
def validation_loss(training: PopulationTraining, people: tuple[Persona, ...]) -> tuple[float, float]:
    """People's mean validation loss under the prior alone, as personal training counts it; and its text part.

    Args:
        training: Whose prior it is, trained if it is missing.
        people: Whose validation acts are scored.
    """
    prior = training.prior()
    made = [
        (number, example)
        for number, person in enumerate(people)
        for example in training.examples.sittings(person, person.validation, CHECKED_TOGETHER)
    ]
    sums = np.zeros((3, len(people)))
    with training.config.adapted(training.base) as adapted:
        adapted.set_prior(training.bank.factors(prior.object), prior.scale)
        scoring = Scoring(adapted, training.split(), training.kit.scorer)
        store = ExampleStore(scoring.split, [example for _, example in made])
        for batch in store.batches(range(len(store.rows)), training.config.schedule.token_budget):
            nll = scoring.nll(store, batch, [0] * len(batch))
            owners = [made[member][0] for member in store.members(batch)]
            losses = nll.loss(training.config.schedule.act_weight), nll.text, torch.ones_like(nll.text)
            np.add.at(sums.T, owners, torch.stack(losses, 1).cpu().numpy())
    total, text, count = sums[:, sums[2] > 0]
    return float((total / count).mean()), float((text / count).mean())


def main() -> None:
    """Train a prior for each setting and print what it is worth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specs", nargs="+", metavar="SPEC")
    parser.add_argument("--population", default="town")
    parser.add_argument("--users", type=int, default=64)
    parser.add_argument("--bank", type=Path, required=True)
    asked = parser.parse_args()
    base, population = load_base_model(say=print), load_population(asked.population)
    kit, people = make_prompt_kit(base, PLAIN.prompt), population.choose(asked.users)
    print(results.machine())
    bank = Bank(asked.bank, create=True)
    for spec in asked.specs:
        training = PopulationTraining(base, kit, population, bank, with_prior(spec))
        began = time.perf_counter()
        training.prior()
        seconds = time.perf_counter() - began
        total, text = validation_loss(training, people)
        print(f"{spec}: trained in {seconds:.0f} s; validation {total:.4f}, text alone {text:.4f}", flush=True)


if __name__ == "__main__":
    main()
