"""How much the population does: posts, comments, reposts, quotes, likes and follows.

Counts come from the platform's own tables, not from the ledger of activations, so that an agent who acts twice in
one activation counts twice. Seed posts and the starting follow graph are never counted.
"""

from collections import Counter

import numpy as np

from polyphony.metrics.core.measurement import AgentStatistic, Measurement, measured, missing, ratio, total
from polyphony.metrics.core.registry import names_of
from polyphony.metrics.runfile.rundata import RunData

_NOBODY = "the run has no agents"
_NO_ACTIVATION = "no activation has been recorded"


def acts_by_kind(run: RunData) -> dict[str, Counter[int]]:
    """How many acts of each kind every user made during the run; the kinds are those of the measurements."""
    return {
        "original_posts": Counter(post.user_id for post in run.own_posts if post.is_original),
        "comments": Counter(comment.user_id for comment in run.own_comments),
        "reposts": Counter(post.user_id for post in run.own_posts if not post.is_original and not post.is_quote),
        "quotes": Counter(post.user_id for post in run.own_posts if post.is_quote),
        "likes": Counter(like.user_id for like in run.likes),
        "follows": Counter(follow.follower_id for follow in run.new_follows),
    }


def outcome_counts(run: RunData) -> Counter[tuple[str, str]]:
    """Activations by (outcome, reason); an outcome without a reason has the empty one."""
    return Counter((activation.outcome, activation.reason or "") for activation in run.activations)


def activity(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Counts and rates of acts, each with an interval over agents.

    - ``original_posts``, ``comments``, ``reposts``, ``quotes``, ``likes``, ``follows``: totals; n = activations.
    - ``comments_per_activation`` and so on, ``comments_per_agent`` and so on: the same divided by activations, or by
      agents.
    - ``original_post_rate``: original posts divided by activations; n = activations (arXiv 2606.02437 counts posts;
      the rate makes runs of different length comparable).
    - ``original_post_share``: original posts divided by original posts, replies, quotes, reposts, likes and
      follows; n = those.
    - ``nothing_share``: activations that chose `nothing`, of those that ended well; n = those.
    """
    if not run.agents:
        return dict.fromkeys(names_of("activity"), missing(_NOBODY))
    kinds = acts_by_kind(run)
    activated = Counter(activation.user_id for activation in run.activations)
    completed = Counter(activation.user_id for activation in run.activations if activation.outcome == "ok")
    idle = Counter(row.user_id for row in run.activations if row.outcome == "ok" and row.act == "nothing")
    acts = sum(kinds.values(), Counter[int]())
    one_each = Counter(agent.user_id for agent in run.agents)
    originals = kinds["original_posts"]
    figures = {kind: measured(_sums(run, count), activated.total(), rng, _NOBODY) for kind, count in kinds.items()}
    figures["original_post_rate"] = measured(
        ratio_of_counts(run, originals, activated), activated.total(), rng, _NO_ACTIVATION
    )
    figures["original_post_share"] = measured(
        ratio_of_counts(run, originals, acts),
        acts.total(),
        rng,
        "nobody acted: every activation was `nothing` or failed",
    )
    figures["nothing_share"] = measured(
        ratio_of_counts(run, idle, completed), completed.total(), rng, "no activation ended well"
    )
    for kind, counts in kinds.items():
        for per, below, reason in (("activation", activated, _NO_ACTIVATION), ("agent", one_each, _NOBODY)):
            statistic = ratio_of_counts(run, counts, below)
            figures[f"{kind}_per_{per}"] = measured(statistic, below.total(), rng, reason)
    # The original post rate by another name; it is drawn so that the intervals after it stay what they are.
    del figures["original_posts_per_activation"]
    return figures


def _sums(run: RunData, counts: Counter[int]) -> AgentStatistic:
    return AgentStatistic(_ids(run), np.array([[counts[agent.user_id]] for agent in run.agents], dtype=float), total)


def ratio_of_counts(run: RunData, above: Counter[int], below: Counter[int]) -> AgentStatistic:
    """What users did of one kind divided by what they did of another, over the run's agents."""
    rows = [[above[agent.user_id], below[agent.user_id]] for agent in run.agents]
    return AgentStatistic(_ids(run), np.array(rows, dtype=float), ratio)


def _ids(run: RunData) -> tuple[int, ...]:
    return tuple(agent.agent_id for agent in run.agents)
