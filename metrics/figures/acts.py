"""Which acts are chosen: the population's distribution, its entropy and how much agents differ in it."""

from collections import Counter, defaultdict

import numpy as np

from polyphony.metrics.core.measurement import (
    BOOTSTRAP_DRAWS,
    AgentStatistic,
    Floats,
    Measurement,
    agent_weights,
    measured,
    missing,
    null_model,
    percentile_interval,
    ratio,
    sample,
)
from polyphony.metrics.runfile.rundata import RunData

VERBS = ("post", "reply", "quote", "repost", "like", "follow", "nothing")

_NULL_DRAWS = 100
_NULL_PAIRS = 10_000
_MOST_COMPARED = 2_000


def act_distribution(run: RunData) -> dict[str, float]:
    """Share of each verb among the activations that ended well; empty where none did."""
    counts = Counter(activation.act for activation in run.activations if activation.outcome == "ok" and activation.act)
    return {verb: counts[verb] / counts.total() for verb in ordered_verbs(counts)}


def policy_act_distribution(run: RunData) -> dict[str, float]:
    """Mean over activations of the policy's own distribution before sampling; empty where none was logged."""
    logged = [activation.act_distribution for activation in run.activations if activation.act_distribution is not None]
    sums: defaultdict[str, float] = defaultdict(float)
    for distribution in logged:
        for verb, share in distribution.items():
            sums[verb] += share
    return {verb: sums[verb] / len(logged) for verb in ordered_verbs(sums)}


def act_diversity(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How varied the acts are, in the population and between agents.

    - ``act_entropy_bits``: Shannon entropy (bits) of the acts chosen by all agents together, plug-in estimate;
      n = activations that ended well.
    - ``policy_entropy_bits``: mean entropy (bits) of the policy's own distribution, one activation at a time; it
      tells a narrow prior from a varied population. n = logged distributions.
    - ``act_divergence_between_agents``: mean Jensen-Shannon divergence (bits, 0 to 1; Lin 1991) between the act
      shares of every two agents; null: the same acts dealt to the agents at random. With few acts an agent the
      divergence is large by chance alone, so read it against its null. At most 2,000 agents, drawn by seed. n = agents
      with an act.
    """
    verbs, counts = _act_counts(run)
    users = [agent for agent in run.agents if agent.user_id in counts]
    table = np.array([counts[agent.user_id] for agent in users], dtype=float).reshape(len(users), len(verbs))
    statistic = AgentStatistic(tuple(agent.agent_id for agent in users), table, entropy_bits)
    figures = {"policy_entropy_bits": _policy_entropy(run, rng)}
    if not users:
        reason = "no activation ended well"
        return figures | {"act_entropy_bits": missing(reason), "act_divergence_between_agents": missing(reason)}
    figures["act_entropy_bits"] = measured(statistic, int(table.sum()), rng, "no act was chosen")
    figures["act_divergence_between_agents"] = _divergence(table, rng)
    return figures


def entropy_bits(weights: Floats) -> Floats:
    """Shannon entropy in bits of the last axis, which need not be normalised."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = weights / weights.sum(axis=-1, keepdims=True)
        terms = np.where(shares > 0, -shares * np.log2(shares), 0.0)
    return np.where(weights.sum(axis=-1) > 0, terms.sum(axis=-1), np.nan)


def jensen_shannon_bits(left: Floats, right: Floats) -> Floats:
    """Jensen-Shannon divergence in bits between distributions on the last axis (Lin 1991, eq. 4.1)."""
    mixed = entropy_bits((left + right) / 2) - (entropy_bits(left) + entropy_bits(right)) / 2
    return np.maximum(mixed, 0.0)


def _divergence(table: Floats, rng: np.random.Generator) -> Measurement:
    table = table[sample(len(table), rng, _MOST_COMPARED)]
    agents = len(table)
    if agents < 2:
        return missing("only one agent acted: nobody to differ from", agents)
    shares = table / table.sum(axis=1, keepdims=True)
    matrix = np.stack([jensen_shannon_bits(row, shares) for row in shares])
    value = float(matrix.sum() / (agents * (agents - 1)))
    weights = agent_weights(agents, rng, BOOTSTRAP_DRAWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        # A pair of draws of one agent is no pair of agents: its share is taken out of the denominator.
        pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
        draws = ((weights @ matrix) * weights).sum(axis=1) / pairs
    return Measurement(value, agents, percentile_interval(draws), null_model(value, _dealt_at_random(table, rng)))


def _dealt_at_random(table: Floats, rng: np.random.Generator) -> list[float]:
    """Mean divergence when the same acts are dealt to agents who keep how often they act."""
    agents, verbs = table.shape
    owner = np.repeat(np.arange(agents), table.sum(axis=1).astype(int))
    acts = np.repeat(np.arange(verbs), table.sum(axis=0).astype(int))
    left, right = np.triu_indices(agents, k=1)
    if len(left) > _NULL_PAIRS:
        chosen = rng.choice(len(left), _NULL_PAIRS, replace=False)
        left, right = left[chosen], right[chosen]
    draws = []
    for _ in range(_NULL_DRAWS):
        dealt = np.bincount(owner * verbs + rng.permutation(acts), minlength=agents * verbs).reshape(agents, verbs)
        shares = dealt / dealt.sum(axis=1, keepdims=True)
        draws.append(float(jensen_shannon_bits(shares[left], shares[right]).mean()))
    return draws


def _policy_entropy(run: RunData, rng: np.random.Generator) -> Measurement:
    sums: defaultdict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for activation in run.activations:
        if activation.act_distribution:
            entropy = float(entropy_bits(np.array(list(activation.act_distribution.values()))))
            sums[activation.user_id][0] += entropy
            sums[activation.user_id][1] += 1
    agents = [agent for agent in run.agents if agent.user_id in sums]
    if not agents:
        return missing("the policy logged no act distribution")
    rows = np.array([sums[agent.user_id] for agent in agents])
    statistic = AgentStatistic(tuple(agent.agent_id for agent in agents), rows, ratio)
    return measured(statistic, int(rows[:, 1].sum()), rng, "the logged act distributions are all zero")


def _act_counts(run: RunData) -> tuple[list[str], dict[int, list[int]]]:
    chosen = [
        (activation.user_id, activation.act)
        for activation in run.activations
        if activation.outcome == "ok" and activation.act
    ]
    verbs = ordered_verbs({act: 1 for _, act in chosen})
    counted = Counter(chosen)
    return verbs, {user: [counted[user, verb] for verb in verbs] for user in {user for user, _ in chosen}}


def ordered_verbs(verbs: "Counter[str] | dict[str, float] | dict[str, int]") -> list[str]:
    """The verbs of the grammar in its order, then any other by name."""
    return [verb for verb in VERBS if verb in verbs] + sorted(set(verbs) - set(VERBS))
