"""The words and numbers a reader sees."""

from polyphony.metrics.core.measurement import Measurement

HEADLINES = {
    "original_post_rate": ("Original posts per activation", "new posts by an agent that wakes up"),
    "comments_per_agent": ("Comments per agent", "replies written during the run"),
    "act_entropy_bits": ("Act entropy (bits)", "0: one act only; 2.8: all seven equally often"),
    "effective_communities": ("Effective communities", "exp of the entropy of Louvain community sizes"),
    "within_community_homophily": ("Within-community homophily", "text similarity, inside minus between"),
    "attribution_accuracy": ("Attribution accuracy", "texts traced to the right person by writing style"),
}

TITLES = {name: title for name, (title, _) in HEADLINES.items()} | {
    "original_post_share": "Original posts, share of acts",
    "original_posts": "Original posts",
    "comments": "Comments",
    "reposts": "Reposts",
    "quotes": "Quotes",
    "likes": "Likes",
    "act_divergence_between_agents": "Act divergence between agents (bits)",
    "communities": "Communities of 3 or more",
    "modularity": "Modularity",
    "exposure_adjusted_homophily": "Exposure-adjusted homophily",
    "distinct_2": "Distinct word pairs",
    "vendi": "Vendi score (effective number of texts)",
    "cascade_size_mean": "Mean cascade size",
    "structural_virality_mean": "Mean structural virality",
    "follows": "New follows",
    "nothing_share": "Activations that do nothing",
    "policy_entropy_bits": "Entropy of the policy's own distribution (bits)",
    "louvain_stability": "Louvain stability (NMI over seeds)",
    "attribution_ceiling": "Attribution accuracy on real held-out posts",
    "posts_gini": "Gini coefficient of posts per agent",
    "original_post_icc": "Share of posting variance between agents (ICC)",
    "distinct_1": "Distinct words",
    "distinct_3": "Distinct word triples",
    "near_duplicate_rate": "Texts that nearly repeat another",
    "planted_assortativity": "Assortativity by planted community",
    "planted_ei_index": "E–I index by planted community",
    "planted_nmi": "Louvain and planted communities, NMI",
    "planted_ari": "Louvain and planted communities, ARI",
    "reciprocity": "Reciprocity of interactions",
    "cascade_depth_mean": "Mean cascade depth",
    "cascade_breadth_mean": "Mean greatest cascade breadth",
    **{
        f"{kind}_per_activation": f"{kind.capitalize()} per activation"
        for kind in ("comments", "reposts", "quotes", "likes", "follows")
    },
    **{
        f"{kind}_per_agent": f"{kind.replace('_', ' ').capitalize()} per agent"
        for kind in ("original_posts", "reposts", "quotes", "likes", "follows")
    },
    "leiden_effective_communities": "Effective communities by Leiden",
    "leiden_louvain_nmi": "Leiden and Louvain communities, NMI",
    "community_persistence": "Communities of the first and the second half, NMI",
    "follow_effective_communities": "Effective communities of the follow graph",
    "follow_modularity": "Modularity of the follow graph",
    "co_exposure_effective_communities": "Effective communities of co-exposure",
    "co_exposure_modularity": "Modularity of co-exposure",
    "within_community_homophily_characters": "Within-community homophily, second encoder",
    "stance_spread": "Stance spread inside communities (sd)",
    "self_bleu": "Self-BLEU",
    "vocabulary_growth": "Vocabulary growth (Heaps' exponent)",
    "semantic_spread": "Semantic spread",
    "semantic_drift": "Semantic drift, later minus earlier spread",
    "response_delay_hours": "Response delay (hours)",
    "rhythm_divergence_bits": "Daily rhythm against history (bits)",
    "cascade_ks_twitter": "Reply trees against Twitter's sizes (KS)",
    "cascade_ks_reddit": "Reply trees against Reddit's sizes (KS)",
    "act_distance_to_history": "Act distance to history (total variation)",
    "next_act_f1": "Next-act prediction, macro-F1",
    "next_act_f1_most_frequent": "– by the most frequent act",
    "next_act_f1_history": "– by the person's history",
    "next_act_f1_trees": "– by gradient-boosted trees",
    "copied_words_mean": "Longest run of words copied from training",
    "near_copy_rate": "Near copies of training posts",
    "membership_gap": "Membership gap (words)",
    "topic_recovery": "Texts recognised as their community's, by topic",
    "topic_ceiling": "– of real held-out texts",
    "style_recovery": "Style of agents and their people (correlation)",
    "style_ceiling": "– of real held-out texts, style",
    "louvain_modularity": "Modularity of Louvain's communities",
    "effective_communities_coarse": "Effective communities at resolution 0.5 (Leiden)",
    "effective_communities_fine": "Effective communities at resolution 2 (Leiden)",
    "effective_communities_first_half": "Effective communities of the first half",
    "effective_communities_second_half": "Effective communities of the second half",
    "modularity_first_half": "Modularity of the first half",
    "modularity_second_half": "Modularity of the second half",
    "follow_communities": "Communities of the follow graph, 3 or more",
    "follow_louvain_stability": "Louvain stability on the follow graph (NMI)",
    "follow_planted_nmi": "Follow graph and planted communities, NMI",
    "follow_planted_ari": "Follow graph and planted communities, ARI",
    "co_exposure_communities": "Communities of co-exposure, 3 or more",
    "co_exposure_planted_nmi": "Co-exposure and planted communities, NMI",
    "co_exposure_planted_ari": "Co-exposure and planted communities, ARI",
}

_ARMS = {
    "lora": "every agent acts through an adapter trained on that person's own posts",
    "base": "all agents share one base model",
    "lora-noprompt": "own adapters, without the persona prompt",
    "base-noprompt": "the shared base model, without the persona prompt",
    "shuffled": "every agent acts through somebody else's adapter",
    "pooled": "all agents share one adapter trained on everybody",
    "fewshot": "the shared base model reads the person's recent posts",
    "act-matched": "acts drawn from the person's history, texts by the shared base model",
}


def arm_sentence(arm: str) -> str:
    """What an arm is, in a clause; empty for an arm the house does not name."""
    return _ARMS.get(arm, "")


def number(value: float | None) -> str:
    """A figure at about three significant digits, with a true minus sign; a dash where there is none."""
    if value is None:
        return "–"
    if abs(value) < 0.0005:
        return "0"
    if value < 0:
        return f"−{number(-value)}"
    if value == int(value) and value < 1e6:
        return f"{int(value):,}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def probability(value: float | None) -> str:
    """A p, which is never 0."""
    return "<0.001" if value is not None and value < 0.001 else number(value)


def signed(value: float) -> str:
    """A difference with its sign."""
    return "±0" if value == 0 else f"{'+' if value > 0 else ''}{number(value)}"


def span(interval: tuple[float, float] | None) -> str:
    """An interval in words; empty where there is none."""
    if interval is None:
        return ""
    return f"{number(interval[0])} to {number(interval[1])}"


def chance(figure: Measurement) -> str:
    """What the null model gives on average; empty where there is none."""
    return "" if figure.null is None else f"chance {number(figure.null.mean)}"


def null_note(figure: Measurement) -> str:
    """How far a figure is from its null model; empty where it has none."""
    null = figure.null
    if null is None:
        return ""
    z = "" if null.z is None else f", z = {number(null.z)}"
    return f"by chance {number(null.mean)}{z}"
