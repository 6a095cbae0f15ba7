"""Whether what people are shown changes what their agents do: the figures of an evaluation that concern feeds."""

from collections.abc import Mapping
from itertools import groupby

import numpy as np

from polyphony.adapters.evaluation.bootstrap import CONFIDENCE, Estimate, estimate_over_people
from polyphony.adapters.evaluation.counterfactuals import FAR, NEAR, OWN, Counterfactuals
from polyphony.adapters.evaluation.elasticities import recoveries, response_slopes
from polyphony.adapters.evaluation.feed_facts import FeedFacts, Floats
from polyphony.adapters.evaluation.next_act import next_act_figures
from polyphony.adapters.evaluation.owned_examples import ActScores, OwnedExamples, sums_of
from polyphony.adapters.evaluation.planted_features import FEATURES, planted_features
from polyphony.adapters.evaluation.target_choice import target_figures
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.personas.population import Population
from polyphony.randomness import keyed_generator
from polyphony.scores import variance_addends, within_share

Figures = dict[str, dict[str, Estimate]]

_DRAWS = 500


def responsiveness(
    population: Population,
    training: OwnedExamples,
    counterfactuals: Counterfactuals,
    scores: Mapping[str, ActScores],
) -> Figures:
    """Turn scores into figures by name and by whose weights gave them.

    - ``act_variance_within_agents``: share of the variance of verb probabilities within people, over held-out moments
      (`polyphony.scores.within_share`); ``truth`` where a town's generator tells it.
    - ``target_top1``, ``target_mrr``: see `target_choice.target_figures`.
    - ``reply_parent_gain``: nats a token by which a held-out reply's words are likelier as an answer to what it answers
      than as one to another item of the same feed.
    - ``next_act_log_loss``, ``next_act_f1``: see `next_act.next_act_figures`.
    - ``feed_swap_distance``: total variation between a person's verb probabilities at a moment before the own feed and
      before one of another community; under ``NAME_near`` before another feed of the same community.
    - ``feed_swap_change``: mean change of each verb's probability under the own adapter before a feed of another
      community.
    - ``elasticity_recovery``, ``elasticity_recovery_pooled``: rank correlation over people between the true elasticity
      of each feature and the slope of the adapter's choice among items on that feature; of towns that tell it.

    Args:
        population: The people, and what their generator tells.
        training: The training acts of the same people.
        counterfactuals: What was scored.
        scores: Of its examples, by ``base``, ``pooled``, ``own`` and ``other`` as far as they were scored.
    """
    moments = counterfactuals.moments
    facts = FeedFacts(population.acts, moments.personas, [*training.examples, *counterfactuals.examples])
    real = {name: part.taken(np.arange(len(moments.examples))) for name, part in scores.items()}
    verbs = {name: part.verbs for name, part in real.items() if name != "other"}
    top1, mrr = target_figures(moments, {name: part.targets for name, part in real.items()}, facts)
    losses, f1 = next_act_figures(moments, training, verbs, facts)
    return {
        "act_variance_within_agents": _act_variance(population, moments, verbs),
        "target_top1": top1,
        "target_mrr": mrr,
        "reply_parent_gain": {name: _parent_gain(counterfactuals, part.text) for name, part in scores.items()},
        "next_act_log_loss": losses,
        "next_act_f1": f1,
        **_swaps(counterfactuals, scores),
        **_recovered(population, counterfactuals, scores, facts),
    }


def _act_variance(population: Population, moments: OwnedExamples, verbs: Mapping[str, Floats]) -> dict[str, Estimate]:
    owners, owner = np.unique(moments.owner, return_inverse=True)
    figures = {name: _within(owner, len(owners), shares) for name, shares in verbs.items()}
    if (truth := population.truth.act_variance) is not None:
        figures["truth"] = Estimate(truth, len(population.personas), None)
    return figures


def _within(owner: np.ndarray, count: int, shares: Floats) -> Estimate:
    """The share within people, with the percentile bootstrap over them; None where no person has two moments."""
    if count < 2 or len(owner) <= count:
        return Estimate(None, count, None)
    addends = variance_addends(owner, count, shares)
    value = float(within_share(addends.sum(0)))
    if not np.isfinite(value):
        return Estimate(None, count, None)
    weights = keyed_generator(0, "bootstrap").multinomial(count, np.full(count, 1 / count), _DRAWS)
    draws = within_share(weights @ addends)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return Estimate(value, count, (float(low), float(high)))


def _parent_gain(counterfactuals: Counterfactuals, text_nll: np.ndarray) -> Estimate:
    firsts = counterfactuals.first_of_parents()
    gains = [
        text_nll[first : first + len(reply.examples)].mean() - text_nll[reply.moment]
        for first, reply in zip(firsts, counterfactuals.parents, strict=True)
    ]
    owner = np.array([reply.person for reply in counterfactuals.parents], dtype=int)
    return estimate_over_people(*sums_of(np.array(gains), owner, len(counterfactuals.moments.personas)))


def _swaps(counterfactuals: Counterfactuals, scores: Mapping[str, ActScores]) -> Figures:
    starts, people = counterfactuals.first_of_shown(), len(counterfactuals.moments.personas)
    moments = list(dict.fromkeys((person, moment) for person, moment, _ in starts))
    owner = np.array([person for person, _ in moments], dtype=int)
    distance: dict[str, Estimate] = {}
    change: dict[str, Estimate] = {}
    for name, part in scores.items():
        before, near, far = (
            part.verbs[[starts[person, moment, feed] for person, moment in moments]].reshape(-1, len(VERBS))
            for feed in (OWN, NEAR, FAR)
        )
        for key, after in ((name, far), (f"{name}_near", near)):
            distance[key] = estimate_over_people(*sums_of(np.abs(after - before).sum(1) / 2, owner, people))
        if name == "own":
            change = {
                verb.value: estimate_over_people(*sums_of(far[:, column] - before[:, column], owner, people))
                for column, verb in enumerate(VERBS)
                if before[:, column].any() or far[:, column].any()
            }
    return {"feed_swap_distance": distance, "feed_swap_change": change}


def _recovered(
    population: Population, counterfactuals: Counterfactuals, scores: Mapping[str, ActScores], facts: FeedFacts
) -> Figures:
    people = enumerate(counterfactuals.moments.personas)
    truth = {number: population.truth.elasticities(person.handle) for number, person in people}
    if not any(truth.values()):
        return {}
    figures: Figures = {}
    for key, name in (("elasticity_recovery", "own"), ("elasticity_recovery_pooled", "pooled")):
        if name in scores:
            slopes = _slopes(population, counterfactuals, scores[name], facts)
            figures[key] = recoveries(slopes, FEATURES, truth)
    return figures


def _slopes(
    population: Population, counterfactuals: Counterfactuals, scores: ActScores, facts: FeedFacts
) -> dict[int, Floats]:
    """Each person's slopes over all feeds that they were shown and all verbs with a target."""
    personas, starts, slopes = counterfactuals.moments.personas, counterfactuals.first_of_shown(), {}
    for person, group in groupby(counterfactuals.shown, key=lambda shown: shown.person):
        responses, features, weights = [], [], []
        for shown in group:
            first = starts[shown.person, shown.moment, shown.feed]
            seen = planted_features(population.truth, personas, person, shown.examples[0], facts)
            for offset, example in enumerate(shown.examples):
                shares = scores.targets[first + offset, : example.items]
                # What a verb cannot be about, as a reply for a repost, has no share: it tells nothing of the person.
                possible = shares > 0
                if possible.sum() > 1:
                    responses.append(np.log(shares[possible]))
                    features.append(seen[possible])
                    weights.append(float(scores.verbs[first, VERBS.index(example.verb)]))
        slopes[person] = response_slopes(responses, features, weights) if responses else np.full(len(FEATURES), np.nan)
    return slopes
