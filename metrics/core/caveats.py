"""Why a measurement has no interval, or no null model."""

from collections import defaultdict
from collections.abc import Callable, Mapping

from polyphony.metrics.core.measurement import Measurement

_GRAPH = "agents drawn twice have no ties of their own, so that no resampled graph has this one's structure; over seeds"
_WORDS = "texts drawn twice repeat their words, which lowers the figure itself; over seeds"
_WHOLE_RUN = "of the run as a whole, which holds one observation of it; over seeds"
_FEW = "too few observations to resample"

_DESCRIBED = "says what was done: what chance would do is another arm"
_ANY_GRAPH = "random graphs have communities too: see the modularity of the same graph"
_OWN_NULL = "the modularity beside it, of Leiden's partition, has one"
_RECOMMENDER = "its ties are the recommender's work, and too many to rewire"
_SEEDS = "compares partitions of one graph, found from several seeds or by two methods"
_TEXTS = "nothing could be permuted that leaves texts texts: compare arms"
_BESIDE = "other predictors of the same acts stand beside it"
_REFERENCE = "real platforms are larger than any simulated one: compare arms"
_UNSEEN = "posts that nobody trained on are what it subtracts"
_ALONE = "too few observations to permute"

_NO_INTERVAL = {
    **dict.fromkeys(
        (
            "communities", "effective_communities", "modularity", "louvain_modularity", "leiden_effective_communities",
            "effective_communities_coarse", "effective_communities_fine", "effective_communities_first_half",
            "effective_communities_second_half", "modularity_first_half", "modularity_second_half",
            "community_persistence", "louvain_stability", "leiden_louvain_nmi", "planted_assortativity",
            "planted_ei_index", "planted_nmi", "planted_ari", "reciprocity", "follow_communities",
            "follow_effective_communities", "follow_modularity", "follow_louvain_stability", "follow_planted_nmi",
            "follow_planted_ari", "co_exposure_communities", "co_exposure_effective_communities",
            "co_exposure_modularity", "co_exposure_planted_nmi", "co_exposure_planted_ari",
        ),
        _GRAPH,
    ),
    **dict.fromkeys(("distinct_1", "distinct_2", "distinct_3", "vendi", "vocabulary_growth"), _WORDS),
    **dict.fromkeys(("semantic_drift", "rhythm_divergence_bits"), _WHOLE_RUN),
}  # fmt: skip

_NO_NULL = {
    **dict.fromkeys(
        (
            "communities", "effective_communities", "effective_communities_coarse", "effective_communities_fine",
            "effective_communities_first_half", "effective_communities_second_half", "follow_communities",
            "follow_effective_communities",
        ),
        _ANY_GRAPH,
    ),
    **dict.fromkeys(("louvain_modularity", "modularity_first_half", "modularity_second_half"), _OWN_NULL),
    **dict.fromkeys(
        ("co_exposure_communities", "co_exposure_effective_communities", "co_exposure_modularity"), _RECOMMENDER
    ),
    **dict.fromkeys(("louvain_stability", "leiden_louvain_nmi", "follow_louvain_stability"), _SEEDS),
    **dict.fromkeys(
        (
            "distinct_1", "distinct_2", "distinct_3", "vendi", "self_bleu", "vocabulary_growth", "near_duplicate_rate",
            "semantic_spread",
        ),
        _TEXTS,
    ),
    **dict.fromkeys(
        ("next_act_f1", "next_act_f1_most_frequent", "next_act_f1_history", "next_act_f1_trees"), _BESIDE
    ),
    **dict.fromkeys(("cascade_ks_twitter", "cascade_ks_reddit"), _REFERENCE),
    "membership_gap": _UNSEEN,
    **dict.fromkeys(
        (
            "original_post_rate", "original_post_share", "original_posts", "comments", "comments_per_agent", "reposts",
            "quotes", "likes", "follows", "nothing_share", "act_entropy_bits", "policy_entropy_bits",
            "comments_per_activation", "reposts_per_activation", "quotes_per_activation", "likes_per_activation",
            "follows_per_activation", "original_posts_per_agent", "reposts_per_agent", "quotes_per_agent",
            "likes_per_agent", "follows_per_agent", "cascade_size_mean", "cascade_depth_mean", "cascade_breadth_mean",
            "structural_virality_mean", "response_delay_hours",
        ),
        _DESCRIBED,
    ),
}  # fmt: skip


def without_interval(figures: Mapping[str, Measurement]) -> dict[str, list[str]]:
    """The names of the figures with a value and no interval, by the reason why."""
    return _by_reason(figures, _NO_INTERVAL, _FEW, lambda figure: figure.interval is None)


def without_null(figures: Mapping[str, Measurement]) -> dict[str, list[str]]:
    """The names of the figures with a value and no null model, by the reason why."""
    return _by_reason(figures, _NO_NULL, _ALONE, lambda figure: figure.null is None)


def _by_reason(
    figures: Mapping[str, Measurement],
    reasons: Mapping[str, str],
    otherwise: str,
    lacks: Callable[[Measurement], bool],
) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, figure in figures.items():
        if figure.value is not None and lacks(figure):
            found[reasons.get(name, otherwise)].append(name)
    return dict(found)
