"""How well elasticities can be recovered at all: ``python -m benchmarks.elasticities``.

The features by which a generated town's people chose are known. A conditional logit on them (McFadden 1974), with a
common part and a ridge penalty on each person's deviations, learns from the targets of people's training acts, each
before a replayed screen. It is a reference for adapters that learn from the same acts, not a bound: it learns from
targets alone, and takes one weight of a feature for all verbs.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks import results
from polyphony.adapters.evaluation.bootstrap import Estimate
from polyphony.adapters.evaluation.elasticities import recoveries
from polyphony.adapters.evaluation.feed_facts import FeedFacts
from polyphony.adapters.evaluation.owned_examples import OwnedExamples, laid_out
from polyphony.adapters.evaluation.planted_features import FEATURES, planted_features
from polyphony.adapters.model.base_model import load_base_model
from polyphony.adapters.prompting.examples import ExampleBuilder
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.training.config import TrainingConfig
from polyphony.personas.population import Population, load_population
from polyphony.simulation.history.replay import ReplayedHistory

PENALTIES = (0.3, 1.0, 3.0, 10.0)
EVERY_ACT = 1_000_000
CONFIG = TrainingConfig()


def choices(population: Population, acts: OwnedExamples) -> tuple[list[Tensor], Tensor, Tensor]:
    """The items that each act with a target chose from, as features, the place of the target, and whose act it is."""
    facts = FeedFacts(population.acts, acts.personas, acts.examples)
    features, chosen, owners = [], [], []
    for person, example in zip(acts.owner.tolist(), acts.examples, strict=True):
        places = [place - 1 for place in example.choices(example.verb)] if example.position is not None else []
        if len(places) > 1:
            seen = planted_features(population.truth, acts.personas, person, example, facts)
            features.append(torch.tensor(seen[places]))
            chosen.append(places.index((example.position or 1) - 1))
            owners.append(person)
    return features, torch.tensor(chosen), torch.tensor(owners)


def slopes(features: list[Tensor], chosen: Tensor, owners: Tensor, penalty: float) -> dict[int, np.ndarray]:
    """Each person's weights of the features."""
    table = pad_sequence(features, batch_first=True)
    shown = pad_sequence([torch.ones(len(row), dtype=torch.bool) for row in features], batch_first=True)
    spread = table[shown].std(0)
    common = torch.zeros(len(FEATURES), dtype=torch.double, requires_grad=True)
    own = torch.zeros(int(owners.max()) + 1, len(FEATURES), dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([common, own], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        scores = (table / spread * (common + own)[owners].unsqueeze(1)).sum(2).masked_fill(~shown, -torch.inf)
        value = torch.nn.functional.cross_entropy(scores, chosen, reduction="sum") + penalty * own.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    weights = ((common + own) / spread).detach().numpy()
    return {person: weights[person] for person in owners.unique().tolist()}


def _shown(estimate: Estimate) -> str:
    if estimate.value is None or estimate.interval is None:
        return "–"
    low, high = estimate.interval
    return f"{estimate.value:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Print the recovery of each feature, from the acts that adapters learn from and from all training acts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population", default="town:2")
    parser.add_argument("--users", type=int, default=128)
    asked = parser.parse_args()
    population = load_population(asked.population)
    people = population.choose(asked.users)
    history = ReplayedHistory(population, CONFIG.history, items=CONFIG.prompt.feed_items)
    kit = make_prompt_kit(load_base_model(say=print), replace(CONFIG.prompt, verbs=population.verbs))
    builder = ExampleBuilder(population.acts, kit.builder, history)
    truth = {number: population.truth.elasticities(person.handle) for number, person in enumerate(people)}
    print(results.machine())
    for most in (CONFIG.max_examples, EVERY_ACT):
        acts = laid_out(builder, people, lambda person, most=most: builder.known(person.train)[-most:], 1)  # type: ignore[misc]
        features, chosen, owners = choices(population, acts)
        for penalty in PENALTIES:
            recovered = recoveries(slopes(features, chosen, owners, penalty), FEATURES, truth)
            figures = ", ".join(f"{name} {_shown(estimate)}" for name, estimate in recovered.items())
            print(
                f"at most {most:,} acts a person, {len(chosen):,} choices, penalty {penalty:g}: {figures}", flush=True
            )


if __name__ == "__main__":
    main()
