"""Probabilities of acts of the same agents at the same moments before several feeds."""

from collections.abc import Sequence
from typing import Any

import torch

from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.bank.stacking import install
from polyphony.adapters.evaluation.act_scoring import ActScoring, install_prior
from polyphony.adapters.evaluation.feed_scoring import FeedScoring
from polyphony.adapters.evaluation.resumable_passes import ResumablePasses
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.errors import InputError
from polyphony.personas.people.persona import Persona


def swapped_rows(
    training: PopulationTraining,
    personas: Sequence[Persona],
    revisions: Sequence[Revision],
    *,
    moments: int,
    communities: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Return a row for each person, held-out moment, feed and possible act, see `polyphony.feed_swap`.

    Args:
        training: Whose prior and settings the adapters have.
        personas: The people.
        revisions: Their own adapters, in the same order.
        moments: Most moments of one person.
        communities: Of each person; None for `counterfactuals.communities_of`.

    Raises:
        InputError: There is not one community for each person.
    """
    if communities is not None and len(communities) != len(personas):
        raise InputError(f"communities: {len(communities)} are given for {len(personas)} people; give one for each")
    people, scores = range(len(personas)), {}
    with training.config.adapted(training.base) as adapted, torch.no_grad():
        scoring = training.scoring(adapted)
        passes = ActScoring(scoring, ResumablePasses(None), 3, lambda done, total: None)
        feeds = FeedScoring.of(training, personas, passes, moments, communities)
        install_prior(adapted, training, revisions)
        scores["prior"] = feeds.score("prior", [0] * len(people))
        install(adapted, training.bank, revisions)
        scores["base"] = feeds.score("base", None)
        scores["own"] = feeds.score("own", list(people))
    rows, starts = [], feeds.counterfactuals.first_of_shown()
    for one in feeds.counterfactuals.shown:
        place = starts[one.person, one.moment, one.feed]
        for column, verb in enumerate(VERBS):
            shares = {name: float(scores[name].verbs[place, column]) for name in ("base", "prior", "own")}
            if any(shares.values()):
                rows.append({
                    "handle": personas[one.person].handle, "at": one.examples[0].at, "moment": one.moment,
                    "feed": one.feed, "act": verb.value, **shares,
                })  # fmt: skip
    return rows
