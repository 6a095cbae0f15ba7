"""Whether what agents are shown changes what they do: the variance of act probabilities within agents."""

import numpy as np

from polyphony.metrics.core.measurement import (
    AgentStatistic,
    Floats,
    Measurement,
    measured,
    missing,
    null_model,
)
from polyphony.metrics.figures.acts import VERBS, ordered_verbs
from polyphony.metrics.runfile.rundata import RunData
from polyphony.scores import variance_addends, within_share

POOLED = "act_variance_within_agents"
TRUTH = f"{POOLED}_truth"
PLANTED = f"planted_{POOLED}"
"""Among a run's `versions`: the value of the population's own truth, where its generator gives one."""

_NULL_DRAWS = 100


def act_variance(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Share of the variance of act probabilities that lies within agents, over the moments of a run.

    Every activation logs the policy's distribution of verbs. An agent whose distribution never changes is a lottery of
    habits, whatever stands in its feed: share 0. Agents that differ in nothing but their feeds: share 1.

    The estimate is that of `polyphony.scores.within_share`, corrected for the number of moments.

    - ``act_variance_within_agents``: mean squares summed over the verbs.
    - ``act_variance_within_agents_VERB``: of one verb's probability.
    - ``act_variance_within_agents_truth``: the same of the people that a generated town is made of, by its generator.

    Null: the distributions dealt to the agents at random, each keeping its number of moments: about 1. Interval over
    agents. n = logged distributions.
    """
    columns = {POOLED: slice(None)} | {f"{POOLED}_{verb}": slice(place, place + 1) for place, verb in enumerate(VERBS)}
    owners, shares = _logged(run)
    figures = {TRUTH: _truth(run)}
    if not len(owners):
        return figures | dict.fromkeys(columns, missing("the policy logged no act distribution"))
    agents, owner = np.unique(owners, return_inverse=True)
    if len(agents) < 2 or len(owner) == len(agents):
        alone = "one agent alone was active" if len(agents) < 2 else "no agent was active more than once"
        return figures | dict.fromkeys(columns, missing(alone, len(owner)))
    ids = {agent.user_id: agent.agent_id for agent in run.agents}
    known = tuple(ids[user] for user in agents.tolist())
    dealt = _dealt_at_random(owner, len(agents), shares, rng)
    return figures | {
        name: _share(known, owner, shares[:, taken], dealt[:, :, taken], rng) for name, taken in columns.items()
    }  # fmt: skip


def _share(
    agents: tuple[int, ...], owner: np.ndarray, shares: Floats, dealt: Floats, rng: np.random.Generator
) -> Measurement:
    statistic = AgentStatistic(agents, variance_addends(owner, len(agents), shares), within_share)
    value = statistic.value()
    if value is None:
        return missing("the probabilities are the same at all moments", len(owner))
    sizes, (between, within) = statistic.components[:, :3].sum(0), dealt.sum(-1)
    rows = [[*sizes, inside, outside] for inside, outside in zip(within, between, strict=True)]
    draws = within_share(np.column_stack([rows, np.tile(shares.sum(0), (len(rows), 1))]))
    return measured(statistic, len(owner), rng, "", null_model(value, draws))


def _dealt_at_random(owner: np.ndarray, agents: int, shares: Floats, rng: np.random.Generator) -> Floats:
    """Sums of squares between and within agents of distributions dealt at random, shape (2, draws, verbs)."""
    sizes, squares = np.bincount(owner, minlength=agents), np.square(shares).sum(0)
    between = np.empty((_NULL_DRAWS, shares.shape[1]))
    for draw in range(_NULL_DRAWS):
        dealt = owner[rng.permutation(len(owner))]
        sums = np.stack([np.bincount(dealt, column, minlength=agents) for column in shares.T])
        between[draw] = (np.square(sums) / sizes).sum(1)
    return np.stack([between, squares - between])


def _logged(run: RunData) -> tuple[np.ndarray, Floats]:
    """The agent of each logged distribution, shape (moments,), and its shares, shape (moments, verbs).

    The usual verbs are the first columns, in their order.
    """
    logged = [(row.user_id, row.act_distribution) for row in run.activations if row.act_distribution]
    verbs = ordered_verbs(dict.fromkeys((*VERBS, *(verb for _, shares in logged for verb in shares)), 1))
    shares = np.array([[shares.get(verb, 0.0) for verb in verbs] for _, shares in logged])
    return np.array([user for user, _ in logged], dtype=int), shares.reshape(len(logged), len(verbs))


def _truth(run: RunData) -> Measurement:
    value = run.versions.get(PLANTED)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return missing("the run's file names no such truth of its population")
    return Measurement(float(value), len(run.agents))
