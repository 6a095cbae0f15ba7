"""Scores people before their own feeds and before those of others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyphony.adapters.evaluation.act_scoring import ActScoring
from polyphony.adapters.evaluation.counterfactuals import Counterfactuals, communities_of, counterfactuals_of
from polyphony.adapters.evaluation.owned_examples import ActScores, laid_out
from polyphony.adapters.prompting.scoring import ExampleStore
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.personas.people.persona import Persona

# Held-out acts of one person that are scored, each before a screen of its own: the first ones.
MOST_ACTS = 12


@dataclass(frozen=True)
class FeedScoring:
    """Held-out moments and their counterfactuals, ready to be scored under many choices of adapters.

    Attributes:
        counterfactuals: What is scored.
        scoring: The passes.
        store: The examples, those with the same prompt beside each other.
    """

    counterfactuals: Counterfactuals
    scoring: ActScoring
    store: ExampleStore

    @classmethod
    def of(
        cls,
        training: PopulationTraining,
        personas: Sequence[Persona],
        scoring: ActScoring,
        swapped: int,
        communities: Sequence[int] | None = None,
    ) -> "FeedScoring":
        """Lay out people's held-out moments.

        Args:
            training: Whose prompts and feeds these are.
            personas: The people.
            scoring: The passes.
            swapped: Most moments of one person that are shown with other feeds.
            communities: Of each person; None for `counterfactuals.communities_of`.
        """
        builder = training.examples
        moments = laid_out(builder, personas, lambda person: builder.known(person.held_out)[:MOST_ACTS], 1)
        known = communities_of(personas, training.population.acts) if communities is None else communities
        counterfactuals = counterfactuals_of(builder, moments, known, swapped)
        examples = counterfactuals.examples
        return cls(counterfactuals, scoring, scoring.stored([examples[place] for place in counterfactuals.order]))

    def score(self, name: str, slot_of: Sequence[int] | None) -> ActScores:
        """Score all examples, those of person i under slot ``slot_of[i]``; None is the bare base."""
        order = self.counterfactuals.order
        scores = self.scoring.score(name, self.store, slot_of, self.counterfactuals.owner[order])
        return scores.taken(np.argsort(order))
