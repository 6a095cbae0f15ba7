"""Do agents react to another feed in the direction in which the town's people would? Two recommenders and a rumour.

`python -m benchmarks.interventions --bank DIR --out DIR` runs every seed with recommender A and with recommender B, and
with a scenario in which 1% of the accounts spread a rumour. The town's truth says how often its people would do
nothing, and post where they act, before the pages of both. The table says in how many seeds the runs differ in that
direction, and in which direction the rumour's reach differs, of which the truth says nothing.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import yaml

import polyphony
from benchmarks import results
from polyphony.adapters.evaluation.feed_facts import FeedFacts
from polyphony.adapters.evaluation.planted_features import planted_features
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.moments import HistoryConfig, ShownMoment
from polyphony.personas.people.acts import Verb
from polyphony.personas.population import Population, load_population
from polyphony.personas.town.choice import ITEM_VERBS, OUTSIDE
from polyphony.personas.town.known_truth import TownTruth
from polyphony.personas.town.numbered import numbered_town_path
from polyphony.simulation.history.replay import ReplayedHistory

RUMOUR = (
    "Heard it from two people now: the council shuts the footbridge for good on Friday and tells nobody.",
    "They are closing the footbridge for good this Friday. Ask the council why nobody was told.",
)
FIGURES = ("nothing_share", "original_post_share", "planted_reach", "planted_spread", "planted_cascade_size_mean")
ITEMS = 4


def main() -> None:
    """Print what the truth says, and what the runs of each seed do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recommenders", nargs=2, default=("chronological", "random"), metavar=("A", "B"))
    parser.add_argument("--agents", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", default="trained")
    asked = parser.parse_args()
    print(results.machine())
    population = load_population("town")
    true = {name: _true_shares(population, asked.agents, name) for name in asked.recommenders}
    for name, shares in true.items():
        print(f"truth, {name}: " + ", ".join(f"{figure} {share:.4f}" for figure, share in shares.items()), flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    scenario = asked.out / "rumour.yaml"
    scenario.write_text(yaml.safe_dump(_rumour(asked.agents)), encoding="utf-8")
    rows = polyphony.study(
        {"recommender": list(asked.recommenders)}, out=asked.out / "study", seeds=asked.seeds, agents=asked.agents,
        steps=asked.steps, population="town", scenario=scenario, bank=asked.bank, weights=asked.weights, together=5,
    )  # fmt: skip
    one, other = asked.recommenders
    for figure in FIGURES:
        table = rows[rows.measurement == figure].pivot(index="seed", columns="recommender", values="value")
        signs = np.sign((table[one] - table[other]).to_numpy(dtype=float))
        told = ""
        if figure in true[one]:
            agreeing = int((signs == np.sign(true[one][figure] - true[other][figure])).sum())
            told = f"; as the truth says in {agreeing}"
        print(
            f"{figure}: {one} {table[one].mean():.4f}, {other} {table[other].mean():.4f}; {one} is higher in "
            f"{int((signs > 0).sum())} of {len(signs)} seeds, lower in {int((signs < 0).sum())}{told}"
        )


def _rumour(agents: int) -> dict[str, object]:
    """Two posts of each of 1% of the accounts, an hour apart."""
    count = math.ceil(agents / 100)
    return {
        "bots": [
            {
                "name": f"whisper{number}",
                "acts": [{"at": at, "action": "create_post", "content": text} for at, text in enumerate(RUMOUR)],
            }
            for number in range(count)
        ]
    }


def _true_shares(population: Population, agents: int, recommender: str) -> dict[str, float]:
    """How often people do nothing before pages of a recommender, and post where they act, by the town's choice model.

    The moments are those at which people did nothing: no act decides what is on their pages.
    """
    truth = TownTruth.read(numbered_town_path(0))
    history = ReplayedHistory(population, HistoryConfig(recommender=recommender, nothing=1.0), items=ITEMS)
    people = population.choose(agents)
    history.prepare([(person, person.held_out) for person in people], 1)
    moments = [
        (number, _example(moment))
        for number, person in enumerate(people)
        for moment in history.moments(person, person.held_out, 1)
        if moment.act is None and moment.feed
    ]
    facts = FeedFacts(population.acts, people, [example for _, example in moments])
    shares = []
    for number, example in moments:
        features = planted_features(population.truth, people, number, example, facts)
        choice = truth.tastes(people[number].handle).choose(features, _possible(number, example, facts, population))
        shares.append(choice.outside)
    mean = dict(zip(OUTSIDE, np.mean(shares, axis=0), strict=True))
    original = mean["post"] / (1 - mean["nothing"])
    return {"nothing_share": float(mean["nothing"]), "original_post_share": float(original)}


def _example(moment: ShownMoment) -> Example:
    return Example(
        moment.id, (), 0, Verb.NOTHING, None, len(moment.feed), None, moment.feed, moment.item_ids, moment.at
    )


def _possible(number: int, example: Example, facts: FeedFacts, population: Population) -> np.ndarray:
    """Replies cannot be quoted or reposted; who is followed is not followed again."""
    columns = {verb: np.ones(example.items, dtype=bool) for verb in ITEM_VERBS}
    posts = np.array([population.acts[item].verb is not Verb.REPLY for item in example.item_ids])
    columns["quote"] = columns["repost"] = posts
    columns["follow"] = (facts.followed(number, example) == 0) & (facts.past(number, example) > 0)
    return np.column_stack([columns[verb] for verb in ITEM_VERBS])


if __name__ == "__main__":
    main()
