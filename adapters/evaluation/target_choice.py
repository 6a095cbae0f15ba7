"""Which of the shown items a held-out act is about: as the adapters see it, and by classical rankings."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from polyphony.adapters.evaluation.bootstrap import Estimate, estimate_over_people
from polyphony.adapters.evaluation.feed_facts import FeedFacts, Floats
from polyphony.adapters.evaluation.owned_examples import OwnedExamples, sums_of
from polyphony.scores import reciprocal_ranks, top1_credits


def target_figures(
    held_out: OwnedExamples, predicted: Mapping[str, Floats], facts: FeedFacts
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """How often the true target of a held-out act is put first, and its mean reciprocal rank (Voorhees 1999).

    Acts with a target before a feed of at least two items count. Equal scores share their ranks. Beside the adapters
    stand ``chance``, ``popularity`` (most replies, quotes, reposts and likes before the act), ``similarity`` (cosine of
    TF-IDF words with the person's training history: own words and what they acted upon) and ``similarity_own_words``
    (with the own words alone).

    Args:
        held_out: The acts.
        predicted: Name -> probabilities of the items, shape [examples, at least the items].
        facts: Of the items shown.

    Returns:
        Top-1 and mean reciprocal rank, each by name.
    """
    chosen = [n for n, example in enumerate(held_out.examples) if example.position is not None and example.items > 1]
    examples = [held_out.examples[number] for number in chosen]
    owner, people = held_out.owner[chosen], len(held_out.personas)
    rankings: dict[str, Sequence[Floats]] = {
        name: [shares[number, : held_out.examples[number].items] for number in chosen]
        for name, shares in predicted.items()
    }
    rankings["chance"] = [np.zeros(example.items) for example in examples]
    if all(len(example.item_ids) == example.items for example in examples):
        rankings["popularity"] = [facts.reactions(example) for example in examples]
        shown = list(zip(owner.tolist(), examples, strict=True))
        rankings["similarity"] = [facts.similarity(person, example) for person, example in shown]
        rankings["similarity_own_words"] = [facts.similarity_to_own_words(*pair) for pair in shown]
    positions = [(example.position or 1) - 1 for example in examples]
    estimate = partial(_estimated, positions=positions, owner=owner, people=people)
    return (
        {name: estimate(scores, top1_credits) for name, scores in rankings.items()},
        {name: estimate(scores, reciprocal_ranks) for name, scores in rankings.items()},
    )


def _estimated(
    scores: Sequence[Floats],
    credit: Callable[[Floats], Floats],
    *,
    positions: Sequence[int],
    owner: np.ndarray,
    people: int,
) -> Estimate:
    values = np.array([credit(row)[position] for row, position in zip(scores, positions, strict=True)])
    return estimate_over_people(*sums_of(values, owner, people))
