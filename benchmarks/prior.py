"""How the prior should be trained, by the validation part of people's training sides: ``python -m benchmarks.prior``.

Each SPEC is learning rate, most epochs, prompts a step, and the examples that all epochs read, as 2e-3,2,1,768.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import results
from benchmarks.validation import validation_nll
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.model.base_model import load_base_model
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.personas.population import load_population
from polyphony.simulation.history.replay import ReplayedHistory

PLAIN = TrainingConfig()


def with_prior(spec: str) -> TrainingConfig:
    """The defaults with another training of the prior."""
    lr, epochs, batch_size, examples = spec.split(",")
    schedule = replace(PLAIN.prior_schedule, lr=float(lr), epochs=int(epochs), batch_size=int(batch_size))
    return replace(PLAIN, prior_schedule=schedule, prior_examples=int(examples))


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
    history = ReplayedHistory(population, PLAIN.history, items=PLAIN.prompt.feed_items)
    for spec in asked.specs:
        training = PopulationTraining(base, kit, population, bank, with_prior(spec), history)
        began = time.perf_counter()
        training.prior()
        seconds = time.perf_counter() - began
        nll = validation_nll(training, people)
        total, text = nll.loss(training.config.schedule.act_weight).mean(), nll.text.mean()
        print(f"{spec}: trained in {seconds:.0f} s; validation {total:.4f}, text alone {text:.4f}", flush=True)


if __name__ == "__main__":
    main()
