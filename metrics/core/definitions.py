"""Polyphony's own measurements, in the order in which tables show them.

The order is part of the command line's contract. The file is long because it is one table: everything about a
measurement but its code is read, and changed, here.
"""

from functools import partial

from polyphony.metrics.core.definition import Definition

_GRAPH = "agents drawn twice have no ties of their own, so that no resampled graph has this one's structure; over seeds"
_WORDS = "texts drawn twice repeat their words, which lowers the figure itself; over seeds"
_WHOLE_RUN = "of the run as a whole, which holds one observation of it; over seeds"

_DESCRIBED = "says what was done: what chance would do is another arm"
_ANY_GRAPH = "random graphs have communities too: see the modularity of the same graph"
_OWN_NULL = "the modularity beside it, of Leiden's partition, has one"
_RECOMMENDER = "its ties are the recommender's work, and too many to rewire"
_SEEDS = "compares partitions of one graph, found from several seeds or by two methods"
_TEXTS = "nothing could be permuted that leaves texts texts: compare arms"
_BESIDE_HISTORY = "run and history stand beside each other"
_BESIDE = "other predictors of the same acts stand beside it"
_TARGETS_REDRAWN = "the target drawn again among the items shown"
_ITEMS_REDRAWN = "each act's target drawn again among the items shown that it could have been about"
_PLANTED_VALUE = "a number of the generator, without chance"
_SHARED_CHOICE = "an act upon one of several items shown"
_REFERENCE = "real platforms are larger than any simulated one: compare arms"
_UNSEEN = "posts that nobody trained on are what it subtracts"

_REWIRED = (
    "the same graph rewired a hundred times (fewer of over 250,000 ties, at least 10), every node keeping its number "
    "of ties"
)
_ACTS_DEALT = "the people acted upon dealt anew to the acts a hundred times: all act, and are acted upon, as often"
_IS_NULL = "is the mean of a null model"
_REACTIONS_REWIRED = (
    "who reacted to what rewired a hundred times: agents and posts keep their numbers; what the feed shows is no part"
)
_PLANTED_PERMUTED = "the planted labels permuted among the agents"
_HISTORIES_PERMUTED = "the agents' histories permuted among them"
_OTHER_PERSON = "the same against another person's training texts"
_AUTHORS_PERMUTED = "the texts' true authors permuted"
_TOPICS_PERMUTED = "the texts' true communities permuted"

_LOUVAIN = "Blondel et al. 2008 (Louvain; python-louvain)"
_LEIDEN = "Traag et al. 2019 (Leiden; graspologic-native)"
_HILL = "Hill 1973 (number of order 1)"
_NEWMAN = "Newman 2004, Analysis of weighted networks, eq. 6"
_NMI = "Vinh, Epps & Bailey 2010 (normalised mutual information)"
_ARI = "Hubert & Arabie 1985 (adjusted Rand index)"
_F1 = "Opitz & Burst 2019, Macro F1 and Macro F1, eq. 1"
_PROFILES = "Stamatatos 2009; Manning, Raghavan & Schütze 2008, section 14.2 (nearest profile; scikit-learn)"

_ACTIVATIONS, _INTERACTIONS, _POSTS = "activations", "interactions between users", "posts written in the run"
_OWN_TEXTS, _HISTORIES, _ANSWERS = "texts written in the run", "people's histories", "answered posts"
_PLANTED, _SHOWN, _FOLLOWS = "planted communities", "recorded exposures", "follows between agents"
_DISTRIBUTIONS, _CLOCK = "the policy's logged act distributions", "the length of a timestep"
_SIDES = "a generated town that tells its sides"

_count = partial(
    Definition, subject="activity", needs=(_ACTIVATIONS,), interval="agents", no_null=_DESCRIBED, n="activations"
)
_sizes = partial(
    Definition, subject="community sizes", needs=(_INTERACTIONS,), no_interval=_GRAPH, no_null=_ANY_GRAPH,
    n="users in the graph",
)  # fmt: skip
_strength = partial(Definition, subject="communities", needs=(_INTERACTIONS,), no_interval=_GRAPH)
_window = partial(Definition, subject="windows", needs=(_INTERACTIONS,), no_interval=_GRAPH)
_planted = partial(
    Definition, subject="planted", needs=(_INTERACTIONS, _PLANTED), no_interval=_GRAPH, null=_PLANTED_PERMUTED
)
_follow = partial(Definition, subject="other graphs", needs=(_FOLLOWS,), no_interval=_GRAPH, n="agents in the graph")
_co_exposure = partial(Definition, subject="other graphs", needs=(_SHOWN,), no_interval=_GRAPH, n="agents in the graph")
_acts_between = partial(
    Definition, subject="interaction structure", needs=(_INTERACTIONS,), no_interval=_GRAPH
)  # fmt: skip
_co_engagement = partial(Definition, subject="co-engagement", needs=(_INTERACTIONS,), no_interval=_GRAPH)
_distinct = partial(
    Definition, subject="distinct", unit="share, 0 to 1", source="Li et al. 2016 (distinct-n), by n-grams",
    needs=(_OWN_TEXTS,), no_interval=_WORDS, no_null=_TEXTS,
)  # fmt: skip
_cascade = partial(
    Definition, subject="cascades", needs=(_ANSWERS,), n="cascades", interval="cascades", no_null=_DESCRIBED
)
_talk = partial(Definition, subject="conversations", needs=("replies",), no_null=_BESIDE_HISTORY)
_reference = partial(
    Definition, subject="references", unit="0 to 1", source="Kolmogorov-Smirnov statistic; data/reference",
    needs=("reply trees of 6 posts or more",), n="reply trees", interval="trees", no_null=_REFERENCE,
)  # fmt: skip
_next_act = partial(
    Definition, subject="next act", unit="0 to 1", needs=(_ACTIVATIONS, _HISTORIES), n="held-out acts",
    interval="agents", no_null=_BESIDE,
)  # fmt: skip
_memory = partial(
    Definition, subject="memorisation", needs=(_OWN_TEXTS, _HISTORIES), n="texts", interval="texts",
)  # fmt: skip

_within_agents = partial(
    Definition, subject="responsiveness", unit="share, 0 to 1", needs=(_DISTRIBUTIONS,), n="logged distributions",
    source="Searle, Casella & McCulloch 1992, section 3.6 (one minus the intraclass correlation)", interval="agents",
    null="the distributions dealt to the agents at random",
)  # fmt: skip
_target = partial(
    Definition, subject="targets", needs=(_SHOWN, _SHARED_CHOICE), n="acts upon one of several items shown",
    interval="agents", null=_TARGETS_REDRAWN,
)  # fmt: skip
_planted_post = partial(
    Definition, subject="planted posts", needs=("posts of accounts that are no agents",), no_null=_DESCRIBED
)

_shown_preference = partial(Definition, subject="exposure nulls", needs=(_SHOWN, _PLANTED), null=_ITEMS_REDRAWN)

_KINDS = {
    "original_posts": "original posts", "comments": "comments", "reposts": "reposts", "quotes": "quotes",
    "likes": "likes", "follows": "follows",
}  # fmt: skip


def _per_activation(kind: str) -> Definition:
    return _count(
        name=f"{kind}_per_activation", title=f"{kind.capitalize()} per activation", unit=f"{kind} per activation",
        definition=f"The number of {_KINDS[kind]} of the run divided by its activations.",
    )  # fmt: skip


def _per_agent(kind: str, headline: str = "") -> Definition:
    words = kind.replace("_", " ")
    return _count(
        name=f"{kind}_per_agent", title=f"{words.capitalize()} per agent", unit=f"{words} per agent", n="agents",
        definition=f"The number of {_KINDS[kind]} of the run divided by its agents.", headline=headline,
    )  # fmt: skip


def _homophily(
    name: str, title: str, subject: str, encoder: str, *, headline: str = "", primary: bool = False
) -> Definition:
    return Definition(
        name=name, title=title, subject=subject, unit="difference of cosines", headline=headline, primary=primary,
        definition="Mean cosine similarity of the texts of two agents of one Louvain community, minus that of two "
        f"agents of different ones; texts are encoded by their {encoder}.", source="scikit-learn (encoder)",
        superseded_by="" if "characters" in name else "topic_homophily",
        needs=(_OWN_TEXTS, _INTERACTIONS), n="agents with text and a community", interval="agents",
        null="the community labels permuted among the agents",
    )  # fmt: skip


def _attribution(name: str, title: str, texts: str, definition: str, headline: str = "") -> Definition:
    return Definition(
        name=name, title=title, subject="attribution", unit="share, 0 to 1", definition=definition, n="texts",
        source=_PROFILES, needs=(texts, _HISTORIES), interval="agents", null=_AUTHORS_PERMUTED, headline=headline,
    )  # fmt: skip


# fmt: off
# The first twenty, which `simulate metrics` has had from the beginning.
_CONTRACT = (
    _count(
        name="original_post_rate", title="Original posts per activation", unit="posts per activation",
        definition="Original posts divided by activations.", headline="new posts each time an agent is activated",
    ),
    _count(
        name="original_post_share", title="Original posts, share of acts", unit="share, 0 to 1", n="acts",
        definition="Original posts divided by original posts, replies, quotes, reposts, likes and follows.",
    ),
    _count(
        name="original_posts", title="Original posts", unit="posts", primary=True,
        definition="Posts that agents wrote in the run and that neither repeat nor quote another post.",
    ),
    _count(
        name="comments", title="Comments", unit="replies", primary=True,
        definition="Replies that agents wrote in the run.",
    ),
    _per_agent("comments", "replies written during the run"),
    _count(name="reposts", title="Reposts", unit="reposts", definition="Posts that agents repeated unchanged."),
    _count(
        name="quotes", title="Quotes", unit="quotes", definition="Posts that agents repeated with words of their own.",
    ),
    _count(name="likes", title="Likes", unit="likes", definition="Likes that agents gave in the run."),
    Definition(
        name="act_entropy_bits", title="Act entropy (bits)", subject="acts", unit="bits",
        n="activations that ended well", definition="Shannon entropy of the acts chosen by all agents together.",
        needs=(_ACTIVATIONS,), interval="agents", no_null=_DESCRIBED,
        headline="0: one act only; 2.8: the seven usual acts equally often",
    ),
    Definition(
        name="act_divergence_between_agents", title="Act divergence between agents (bits)", subject="acts", unit="bits",
        definition="Mean Jensen-Shannon divergence between the act shares of every two agents, at most 2,000 of them.",
        source="Lin 1991", needs=(_ACTIVATIONS,), n="agents with an act", interval="agents",
        null="the same acts dealt to the agents at random",
    ),
    _sizes(
        name="communities", title="Communities of 3 or more", unit="communities", source=_LOUVAIN,
        definition="Louvain communities of the interaction graph with at least 3 members.",
    ),
    _sizes(
        name="effective_communities", title="Effective communities", unit="communities", primary=True,
        superseded_by="interaction_effective_communities",
        definition="As many equally large communities as would be as diverse: exp of the Shannon entropy of the sizes "
        "of all Louvain communities of the interaction graph.", source=f"{_LOUVAIN}; {_HILL}",
        headline="number of equally large communities with the same diversity",
    ),
    _strength(
        name="modularity", title="Modularity", unit="−0.5 to 1", source=f"{_NEWMAN}; {_LEIDEN}", n="edges",
        definition="Weighted modularity of the partition that Leiden finds in the interaction graph.", null=_REWIRED,
        superseded_by="interaction_modularity",
    ),
    _homophily(
        "within_community_homophily", "Within-community homophily", "within", "words",
        headline="above 0: people of one community write more alike than people of different ones", primary=True,
    ),
    Definition(
        name="exposure_adjusted_homophily", title="Exposure-adjusted homophily", subject="exposure",
        unit="difference of cosines", definition="Text similarity of an agent to the shown authors whom it answered, "
        "minus that to those whom it did not; only texts that answer nobody count. For draws of items instead of "
        "authors see `exposure_adjusted_homophily_shown`.",
        n="pairs of agent and shown author", needs=(_OWN_TEXTS, _SHOWN, _INTERACTIONS), interval="agents",
        null="the answered labels permuted among each agent's own pairs",
    ),
    _distinct(
        name="distinct_2", title="Distinct word pairs", n="word pairs",
        definition="Different pairs of neighbouring words divided by all, in at most 1,000 texts.",
    ),
    Definition(
        name="vendi", title="Vendi score (effective number of texts)", subject="vendi", unit="texts", n="texts",
        definition="Effective number of different texts: exp of the entropy of the eigenvalues of the texts' cosine "
        "matrix divided by their number; at most 1,000 texts.", source="Friedman & Dieng 2023, definition 3.1",
        needs=(_OWN_TEXTS,), no_interval=_WORDS, no_null=_TEXTS,
        headline="number of wholly different texts with the same variety",
    ),
    _attribution(
        "attribution_accuracy", "Attribution accuracy", _OWN_TEXTS,
        "Share of the run's texts that a classifier of writing style, trained on real histories, attributes to the "
        "person whom the agent stands for.", "texts traced to the right person by writing style",
    ),
    _cascade(
        name="cascade_size_mean", title="Mean cascade size", unit="posts and replies",
        definition="Mean number of posts and replies in a cascade: an original post, or any post of an account that is "
        "no agent, with everything that answers it, repeats it or quotes it. Posts without any reaction are left out.",
    ),
    _cascade(
        name="structural_virality_mean", title="Mean structural virality", unit="steps",
        definition="Mean over cascades of the mean distance between two nodes of the tree.",
        source="Goel, Anderson, Hofman & Watts 2016, eq. 1",
    ),
)
_ACTS_AND_INTERACTIONS = (
    _count(name="follows", title="New follows", unit="follows", definition="Follows that agents made in the run."),
    _count(
        name="nothing_share", title="Activations that do nothing", unit="share, 0 to 1",
        n="activations that ended well", definition="Activations that chose `nothing`, of those that ended well.",
        headline="how often an agent reads the feed and does nothing",
    ),
    Definition(
        name="policy_entropy_bits", title="Entropy of the policy's own distribution (bits)", subject="acts",
        unit="bits",
        definition="Mean over activations of the Shannon entropy of the policy's own act distribution before sampling.",
        needs=(_DISTRIBUTIONS,), n="logged distributions", interval="agents", no_null=_DESCRIBED,
    ),
    _strength(
        name="louvain_stability", title="Louvain stability (NMI over seeds)", unit="0 to 1", source=_NMI, n="seeds",
        definition="Mean agreement of the partitions that Louvain finds from 10 seeds, every two of them; from 3 where "
        "there are more than 250,000 ties.",
        no_null=_SEEDS,
    ),
    _attribution(
        "attribution_ceiling", "Attribution accuracy on real held-out posts", "people's held-out texts",
        "The attribution accuracy of the people's real held-out texts; a simulation cannot be asked for more.",
    ),
    Definition(
        name="posts_gini", title="Gini coefficient of posts per agent", subject="inequality", unit="0 to 1", n="agents",
        definition="Inequality of original posts per agent: 0 where all write equally many, near 1 where one writes "
        "all.", source="Gini coefficient", needs=(_POSTS,), interval="agents",
        null="the same posts dealt to the agents in proportion to their activations",
    ),
    Definition(
        name="original_post_icc", title="Share of posting variance between agents (ICC)", subject="inequality",
        unit="up to 1", n="activations", definition='Share of the variance of "this activation made an original '
        'post" that lies between agents: 0 where every agent posts at one rate, 1 where each always or never posts.',
        source="Donner 1986, section 2 (intraclass correlation ICC(1))", needs=(_ACTIVATIONS, _POSTS),
        interval="agents", null="the same outcomes dealt to the activations at random",
    ),
    _distinct(
        name="distinct_1", title="Distinct words", n="words",
        definition="Different words divided by all, in at most 1,000 texts.",
    ),
    _distinct(
        name="distinct_3", title="Distinct word triples", n="word triples",
        definition="Different triples of neighbouring words divided by all, in at most 1,000 texts.",
    ),
    Definition(
        name="near_duplicate_rate", title="Texts that nearly repeat another", subject="near duplicates",
        unit="share, 0 to 1", definition="Share of at most 1,000 texts whose 3-word shingles have a Jaccard similarity "
        "of at least 0.8 to another text's.", source="Broder 1997, section 2", needs=(_OWN_TEXTS,), n="texts",
        interval="agents", no_null=_TEXTS,
    ),
    _planted(
        name="planted_assortativity", title="Assortativity by planted community", unit="−1 to 1",
        n="edges between agents",
        definition="How far interactions stay inside planted communities: 1 where all do, 0 by chance. Its z also "
        "finds what the feed does: for what agents choose, see `planted_assortativity_shown`.",
        source="Newman 2003, Mixing patterns in networks, eq. 2",
    ),
    _planted(
        name="planted_ei_index", title="E–I index by planted community", unit="−1 to 1", n="edges between agents",
        definition="Ties between planted communities minus ties inside them, divided by all: −1 where all stay inside. "
        "Its z also finds what the feed does, see `planted_ei_index_shown`.",
        source="Krackhardt & Stern 1988",
    ),
    _planted(
        name="planted_nmi", title="Louvain and planted communities, NMI", unit="0 to 1", n="agents in the graph",
        definition="Agreement of the Louvain communities of the interaction graph with the planted ones. Its z also "
        "finds what the feed does, see `planted_nmi_shown`.", source=_NMI,
    ),
    _planted(
        name="planted_ari", title="Louvain and planted communities, ARI", unit="up to 1", n="agents in the graph",
        definition="The same agreement, corrected for chance; see `planted_ari_shown`.", source=_ARI,
    ),
    Definition(
        name="reciprocity", title="Reciprocity of interactions", subject="reciprocity", unit="share, 0 to 1",
        n="directed ties", definition="Share of directed ties between agents that are returned.",
        source="Newman, Strogatz & Watts 2001, section IV (null)", needs=(_INTERACTIONS,), no_interval=_GRAPH,
        null="ties drawn anew, every agent acting upon as many others and being acted upon as often",
    ),
    _cascade(
        name="cascade_depth_mean", title="Mean cascade depth", unit="steps", source="Vosoughi, Roy & Aral 2018",
        definition="Mean over cascades of the largest distance from the first post.",
    ),
    _cascade(
        name="cascade_breadth_mean", title="Mean greatest cascade breadth", unit="posts and replies",
        definition="Mean over cascades of the most nodes at one distance from the first post.",
        source="Vosoughi, Roy & Aral 2018",
    ),
)
_RATES = (
    *map(_per_activation, ("comments", "reposts", "quotes", "likes", "follows")),
    *map(_per_agent, ("original_posts", "reposts", "quotes", "likes", "follows")),
)
_FURTHER_GRAPHS_AND_TEXTS = (
    _strength(
        name="leiden_effective_communities", title="Effective communities by Leiden", unit="communities",
        definition="The effective number of communities of the partition that Leiden finds.", n="users in the graph",
        source=f"{_LEIDEN}; {_HILL}", null=_REWIRED, superseded_by="interaction_effective_communities",
    ),
    _strength(
        name="leiden_louvain_nmi", title="Leiden and Louvain communities, NMI", unit="0 to 1", n="users in the graph",
        definition="Agreement of the partitions that Leiden and Louvain find: 1 where they are the same.", source=_NMI,
        no_null=_SEEDS,
    ),
    _window(
        name="community_persistence", title="Communities of the first and the second half, NMI", unit="0 to 1",
        definition="Agreement of the Louvain communities of the run's two halves, over the agents who interact in "
        "both: 1 where communities stay.", source=_NMI, n="agents in both halves",
        null="the second half's labels permuted among these agents",
    ),
    _follow(
        name="follow_effective_communities", title="Effective communities of the follow graph", unit="communities",
        definition="The effective number of Louvain communities of the follow graph at the end.",
        source=f"{_LOUVAIN}; {_HILL}", no_null=_ANY_GRAPH,
    ),
    _follow(
        name="follow_modularity", title="Modularity of the follow graph", unit="−0.5 to 1", n="edges",
        definition="Weighted modularity of Leiden's partition of the follow graph.", source=f"{_NEWMAN}; {_LEIDEN}",
        null=_REWIRED,
    ),
    _co_exposure(
        name="co_exposure_effective_communities", title="Effective communities of co-exposure", unit="communities",
        definition="The effective number of Louvain communities of the graph of agents who were shown the same posts.",
        source=f"{_LOUVAIN}; {_HILL}", no_null=_RECOMMENDER,
    ),
    _co_exposure(
        name="co_exposure_modularity", title="Modularity of co-exposure", unit="−0.5 to 1", n="edges",
        definition="Weighted modularity of Leiden's partition of that graph.", source=f"{_NEWMAN}; {_LEIDEN}",
        no_null=_RECOMMENDER,
    ),
    _homophily(
        "within_community_homophily_characters", "Within-community homophily, second encoder", "within characters",
        "character 3- to 5-grams",
    ),
    Definition(
        name="stance_spread", title="Stance spread inside communities (sd)", subject="stance",
        superseded_by="stance_polarisation",
        unit="standard deviations of the training texts", definition="Mean over communities of the standard deviation "
        "of their agents' stances: the place of their texts on the axis that best tells the planted communities apart.",
        source="Fisher 1936 (scikit-learn)", needs=(_OWN_TEXTS, _HISTORIES, _PLANTED, _INTERACTIONS), n="agents",
        interval="communities", null="the stances permuted among the agents",
    ),
    Definition(
        name="self_bleu", title="Self-BLEU", subject="self-BLEU", unit="0 to 1", n="texts",
        definition="Mean BLEU-4 of a text against all others, of at most 100: near 1 where everybody writes the same.",
        source="Zhu et al. 2018, Texygen (sacrebleu)", needs=(_OWN_TEXTS,), interval="texts", no_null=_TEXTS,
    ),
    Definition(
        name="vocabulary_growth", title="Vocabulary growth (Heaps' exponent)", subject="vocabulary", unit="exponent",
        definition="How fast new words come as more is written: the exponent β of V(n) = K n^β.", source="Heaps 1978",
        needs=(_OWN_TEXTS,), n="words", no_interval=_WORDS, no_null=_TEXTS,
    ),
    Definition(
        name="semantic_spread", title="Semantic spread", subject="spread", unit="1 − cosine", n="texts",
        definition="1 minus the mean cosine similarity of two texts of the run.", needs=(_OWN_TEXTS,), interval="texts",
        no_null=_TEXTS,
    ),
    Definition(
        name="semantic_drift", title="Semantic drift, later minus earlier spread", subject="spread", unit="1 − cosine",
        definition="The spread of the later half of the texts minus that of the earlier half: below 0 where texts draw "
        "together.", needs=(_OWN_TEXTS,), n="texts", no_interval=_WHOLE_RUN, null="the same texts in random order",
    ),
    Definition(
        name="response_delay_hours", title="Response delay (hours)", subject="delay", unit="simulated hours",
        definition="Mean time from a post of the run to a reply, repost or quote.", needs=(_ANSWERS, _CLOCK),
        n="answers", interval="agents", no_null=_DESCRIBED,
    ),
    Definition(
        name="rhythm_divergence_bits", title="Daily rhythm against history (bits)", subject="rhythm", unit="bits",
        definition="Jensen-Shannon divergence between the hours of day of the run's acts and those of the people's "
        "histories.", source="Lin 1991", needs=(_ACTIVATIONS, _HISTORIES, _CLOCK), n="acts", no_interval=_WHOLE_RUN,
        null="as many hours drawn from the histories",
    ),
)
_FIDELITY = (
    *(
        _reference(
            name=f"cascade_ks_{platform}", title=f"Reply trees against {platform.capitalize()}'s sizes (KS)",
            definition=f"Largest gap between the distributions of the sizes of the run's reply trees and of "
            f"{platform.capitalize()}'s. `cascade_size_ks_{platform}` compares one window of sizes.",
        )
        for platform in ("twitter", "reddit")
    ),
    Definition(
        name="act_distance_to_history", title="Act distance to history (total variation)", subject="act distance",
        unit="0 to 1", definition="Mean total variation distance between an agent's acts and its person's acts in the "
        "training history, `nothing` left out.", needs=(_ACTIVATIONS, _HISTORIES), n="agents with an act and a history",
        interval="agents", null="as many acts drawn from the person's own history",
    ),
    _next_act(
        name="next_act_f1", title="Next-act prediction, macro-F1", source=_F1,
        definition="Macro-F1 of guessing that each held-out act of a person is the agent's most probable act.",
    ),
    _next_act(
        name="next_act_f1_most_frequent", title="– by the most frequent act", source=_F1,
        definition="The same of guessing the population's most frequent act of all training acts. Adapters learn the "
        "latest alone: see `next_act_f1_most_frequent_window`.",
    ),
    _next_act(
        name="next_act_f1_history", title="– by the person's history", source=_F1,
        definition="The same of guessing the person's own most frequent act in all of training; see "
        "`next_act_f1_history_window`.",
    ),
    _next_act(
        name="next_act_f1_trees", title="– by gradient-boosted trees", source=f"{_F1} (scikit-learn)",
        definition="The same of trees that know the person's frequencies, the act before, the hour and the weekday, "
        "from all training acts; see `next_act_f1_trees_window`.",
    ),
    _memory(
        name="copied_words_mean", title="Longest run of words copied from training", unit="words",
        definition="Mean length of the longest run of words that a text shares with its person's training texts.",
        source="after Carlini et al. 2023", null=_OTHER_PERSON,
    ),
    _memory(
        name="near_copy_rate", title="Near copies of training posts", unit="share, 0 to 1",
        definition="Share of texts for which that run has at least 8 words.", source="after Carlini et al. 2023",
        null=_OTHER_PERSON,
    ),
    _memory(
        name="membership_gap", title="Membership gap (words)", unit="words", n="texts of people with both",
        definition="How much longer that run is against training texts than against as many held-out texts of the same "
        "person: 0 where nothing is memorised.", source="after Shokri et al. 2017", no_null=_UNSEEN,
    ),
    *(
        Definition(
            name=name, title=title, subject="topics", unit="share, 0 to 1", source=_PROFILES, n="texts",
            definition=f"Share of {what} whose words are nearest to the profile of their author's community.",
            needs=(_OWN_TEXTS, _HISTORIES, _PLANTED), interval="agents", null=_TOPICS_PERMUTED,
        )
        for name, title, what in (
            ("topic_recovery", "Texts recognised as their community's, by topic", "the run's texts"),
            ("topic_ceiling", "– of real held-out texts", "the people's real held-out texts"),
        )
    ),
    *(
        Definition(
            name=name, title=title, subject="style", unit="−1 to 1", source="Pearson correlation", n="agents",
            definition=f"Mean over marks of style of the correlation, over agents, between {what} and the person's "
            "training history.", needs=(_OWN_TEXTS, _HISTORIES), interval="agents", null=_HISTORIES_PERMUTED,
        )
        for name, title, what in (
            ("style_recovery", "Style of agents and their people (correlation)", "the run's texts"),
            ("style_ceiling", "– of real held-out texts, style", "the people's real held-out texts"),
        )
    ),
)
_FURTHER_COMMUNITIES = (
    _strength(
        name="louvain_modularity", title="Modularity of Louvain's communities", unit="−0.5 to 1", n="edges",
        definition="Weighted modularity of the partition that Louvain finds in the interaction graph.",
        source=f"{_NEWMAN}; {_LOUVAIN}", no_null=_OWN_NULL,
    ),
    *(
        _sizes(
            name=f"effective_communities_{grain}", unit="communities",
            title=f"Effective communities at resolution {resolution} (Leiden)",
            definition=f"The effective number of communities that Leiden finds at resolution {resolution}.",
            source=f"Reichardt & Bornholdt 2006; {_LEIDEN}",
        )
        for grain, resolution in (("coarse", "0.5"), ("fine", "2"))
    ),
    *(
        _window(
            name=f"effective_communities_{half}_half", title=f"Effective communities of the {half} half",
            definition=f"The effective number of Louvain communities of the interactions of the run's {half} half.",
            unit="communities", source=f"{_LOUVAIN}; {_HILL}", n="users in the half's graph", no_null=_ANY_GRAPH,
        )
        for half in ("first", "second")
    ),
    *(
        _window(
            name=f"modularity_{half}_half", title=f"Modularity of the {half} half", unit="−0.5 to 1", n="edges",
            definition=f"Weighted modularity of Leiden's partition of the run's {half} half.",
            source=f"{_NEWMAN}; {_LEIDEN}", no_null=_OWN_NULL,
        )
        for half in ("first", "second")
    ),
    _follow(
        name="follow_communities", title="Communities of the follow graph, 3 or more", unit="communities",
        definition="Louvain communities of the follow graph at the end with at least 3 members.", source=_LOUVAIN,
        no_null=_ANY_GRAPH,
    ),
    _follow(
        name="follow_louvain_stability", title="Louvain stability on the follow graph (NMI)", unit="0 to 1", n="seeds",
        definition="Mean agreement of the partitions of the follow graph that Louvain finds from 10 seeds; from 3 "
        "where there are more than 250,000 ties.",
        source=_NMI, no_null=_SEEDS,
    ),
    *(
        _follow(
            name=f"follow_planted_{score}", title=f"Follow graph and planted communities, {score.upper()}",
            definition="Agreement of the Louvain communities of the follow graph with the planted ones.",
            unit="0 to 1" if score == "nmi" else "up to 1", source=source, needs=(_FOLLOWS, _PLANTED),
            null=_PLANTED_PERMUTED,
        )
        for score, source in (("nmi", _NMI), ("ari", _ARI))
    ),
    _co_exposure(
        name="co_exposure_communities", title="Communities of co-exposure, 3 or more", unit="communities",
        definition="Louvain communities with at least 3 members of the graph of agents who were shown the same posts.",
        source=_LOUVAIN, no_null=_RECOMMENDER,
    ),
    *(
        _co_exposure(
            name=f"co_exposure_planted_{score}", title=f"Co-exposure and planted communities, {score.upper()}",
            definition="Agreement of the Louvain communities of that graph with the planted ones.",
            unit="0 to 1" if score == "nmi" else "up to 1", source=source, needs=(_SHOWN, _PLANTED),
            null=_PLANTED_PERMUTED,
        )
        for score, source in (("nmi", _NMI), ("ari", _ARI))
    ),
)
_CONVERSATIONS = (
    _talk(
        name="answered_reply_share", title="Replies that are answered", unit="share, 0 to 1", n="replies",
        definition="Share of the agents' replies that have a reply of an agent.", interval="replies",
        headline="how often a reply is answered",
    ),
    _talk(
        name="answered_reply_share_history", title="– in the people's histories", unit="share, 0 to 1", n="replies",
        definition="The same of the agents' replies to each other in their histories.", interval="replies",
    ),
    _talk(
        name="thread_depth_mean", title="Mean thread depth", unit="replies", n="threads", interval="threads",
        definition="Mean over posts with a reply of the most replies from the post downwards: 1 where no reply is "
        "answered.",
    ),
    _talk(
        name="thread_depth_mean_history", title="– in the people's histories, threads", unit="replies", n="threads",
        definition="The same of the threads in the histories.", interval="threads",
    ),
    _talk(
        name="cascade_depth_mean_history", title="Mean cascade depth in the people's histories", unit="steps",
        n="cascades", source="Vosoughi, Roy & Aral 2018", interval="cascades",
        definition="As `cascade_depth_mean`, of the replies, reposts and quotes in the histories.",
    ),
)
_RESPONSIVENESS = (
    _within_agents(
        name="act_variance_within_agents", title="Variance of act probabilities within agents",
        definition="Share of the variance of the policy's logged act probabilities that lies within agents, over the "
        "moments of the run, corrected for the number of moments: 0 where an agent's probabilities never change, 1 "
        "where agents differ in what they are shown alone.",
        headline="0: acts ignore the feed; 1: agents differ in what they are shown alone",
    ),
    *(
        _within_agents(
            name=f"act_variance_within_agents_{verb}", title=f"– of the probability of {verb}",
            definition=f"The same for the probability of {verb} alone.",
        )
        for verb in ("post", "reply", "quote", "repost", "like", "follow", "nothing")
    ),
    Definition(
        name="act_variance_within_agents_truth", title="– of the town's truth", subject="responsiveness",
        unit="share, 0 to 1", definition="The same of the people of a generated town, whose act probabilities its "
        "generator knows.", needs=("a generated town that tells it",), n="agents", no_interval=_PLANTED_VALUE,
        no_null=_PLANTED_VALUE,
    ),
    _target(
        name="target_top1", title="Targets that are nearest to the person's words (top-1)", unit="share, 0 to 1",
        definition="Share of acts that are about the shown post or reply most similar to the person's training texts. "
        "It tells whether agents choose what their people write about; `simulate bank evaluate` gives the same name to "
        "how often the adapter puts the true target of a held-out act first.", source="scikit-learn (TF-IDF of words)",
    ),
    _target(
        name="target_mrr", title="– mean reciprocal rank", unit="0 to 1", source="Voorhees 1999",
        definition="Mean reciprocal rank of an act's target among the items shown, by that similarity.",
    ),
    _target(
        name="target_top1_popularity", title="Targets that have the most reactions (top-1)", unit="share, 0 to 1",
        definition="Share of acts that are about the shown post or reply with the most replies, reposts, quotes and "
        "likes in the timesteps before. Blind choices have a z above 0, too: see `target_top1_popularity_shown`.",
    ),
    _target(
        name="reply_parent_gain", title="Gain of replies from what they answer", unit="nats a word", n="replies",
        definition="How much likelier a reply's words are after what it answers than after another item of "
        "the same feed, under a mixture of that item's words (weight 0.1) and the population's word frequencies. "
        "`simulate bank evaluate` measures held-out replies under the model itself, in nats a token.",
        source="Zhai & Lafferty 2004 (Jelinek-Mercer smoothing)",
    ),
    _planted_post(
        name="planted_reach", title="Reach of a scenario's posts", unit="share, 0 to 1", n="agents", interval="agents",
        definition="Share of agents who were shown a post that a scenario's news or bots wrote, or anything in its "
        "cascade.",
    ),
    _planted_post(
        name="planted_spread", title="Spread of a scenario's posts", unit="share, 0 to 1", n="agents",
        interval="agents", definition="Share of agents who replied to, reposted or quoted such a post or anything in "
        "its cascade.",
    ),
    _planted_post(
        name="planted_cascade_size_mean", title="Mean cascade size of a scenario's posts", unit="posts and replies",
        n="planted posts", interval="planted posts", definition="Mean number of posts and replies in the cascade of "
        "such a post, itself included.",
    ),
)
# Each has a planted-truth test (tests/test_planted_truth_*.py); they stand in for ones that missed what was there.
_PLANTED_TRUTH = (
    Definition(
        name="topic_homophily", title="Topic homophily", subject="topic homophily", unit="difference of probabilities",
        definition="How much likelier the texts of two agents are taken for those of one planted community if the "
        "agents are in one Louvain community than if they are not. Texts are recognised by their words.",
        source="Chang & Blei 2009 (inner product of topic shares); Manning, Raghavan & Schütze 2008, section 13.2 "
        "(naive Bayes; scikit-learn)", needs=(_OWN_TEXTS, _HISTORIES, _INTERACTIONS, _PLANTED),
        n="agents with text and a community", interval="agents", null="the community labels permuted among the agents",
    ),
    Definition(
        name="topic_homophily_ceiling", title="– of the planted communities, topics", subject="topic homophily",
        unit="difference of probabilities", definition="The same of the same agents and texts by planted community: "
        "what could be seen if ties followed the planted communities.", source="Chang & Blei 2009",
        needs=(_OWN_TEXTS, _HISTORIES, _INTERACTIONS, _PLANTED), n="agents with text and a community",
        interval="agents", null=_PLANTED_PERMUTED,
    ),
    Definition(
        name="centred_homophily", title="Homophily of centred texts", subject="centred homophily",
        unit="difference of cosines", definition="As `within_community_homophily`, of the agents' text vectors less "
        "their mean in the run: what all agents of an arm have in common is left out.",
        source="Mu & Viswanath 2018 (centring); scikit-learn (encoder)", needs=(_OWN_TEXTS, _INTERACTIONS),
        n="agents with text and a community", interval="agents", null="the community labels permuted among the agents",
    ),
    Definition(
        name="centred_homophily_ceiling", title="– of the planted communities, centred texts",
        subject="centred homophily", unit="difference of cosines", definition="The same of the same agents and texts "
        "by planted community.", source="Mu & Viswanath 2018", needs=(_OWN_TEXTS, _INTERACTIONS, _PLANTED),
        n="agents with text and a community", interval="agents", null=_PLANTED_PERMUTED,
    ),
    Definition(
        name="stance_macro_f1", title="Stance classifier on held-out texts, macro-F1", subject="issue stance",
        unit="0 to 1", definition="Macro-F1 of recognising a town's held-out texts as for or against one of its "
        "issues, or as neither. Below 0.7 no measurement rests on the classifier.",
        source=f"{_F1}; Joachims 1998 (linear support vector machine; scikit-learn)", needs=(_HISTORIES, _SIDES),
        n="held-out texts", interval="texts", no_null="a bound decides, not chance",
    ),
    Definition(
        name="stance_side_homophily", title="Ties between agents of one side", subject="issue stance",
        unit="share, 0 to 1", definition="Share of ties whose two ends are on the same side of an issue, by what the "
        "agents write without answering anybody; a tie counts once for each issue in which both ends take a side.",
        source="arXiv 2606.02437 (stance side of ties)", needs=(_OWN_TEXTS, _INTERACTIONS, _HISTORIES, _SIDES),
        n="ties by issue", no_interval=_GRAPH, null="whole agents' sides permuted among the agents",
    ),
    Definition(
        name="stance_side_homophily_truth", title="– by their people's true sides", subject="issue stance",
        unit="share, 0 to 1", definition="The same with the true sides of the people whom the agents stand for.",
        source="arXiv 2606.02437 (stance side of ties)", needs=(_INTERACTIONS, _SIDES), n="ties by issue",
        no_interval=_GRAPH, null="whole agents' sides permuted among the agents",
    ),
    Definition(
        name="stance_polarisation", title="Polarisation of stances", subject="issue stance", unit="0 to 1",
        definition="Variance of the agents' stances in an issue, from −1 to 1, mean over issues: 0 where all are of "
        "one mind, 1 where two halves stand at the ends.", source="DiMaggio, Evans & Bryson 1996 (dispersion)",
        needs=(_OWN_TEXTS, _HISTORIES, _SIDES), n="agents by issue", no_interval=_WORDS,
        null="the sides of an issue's texts permuted among these texts",
    ),
    _acts_between(
        name="interaction_effective_communities", title="Effective communities of interactions", unit="communities",
        definition="The effective number of Leiden communities of the interaction graph: as many equally large "
        "communities as would be as diverse.", source=f"{_LEIDEN}; {_HILL}", n="users in the graph",
        null=_ACTS_DEALT,
    ),
    _acts_between(
        name="interaction_effective_communities_rewired", title="– of acts dealt anew", unit="communities",
        definition="Mean of the same over that null. Where the two are alike, the number tells how often people act "
        "and are acted upon, and not who acts upon whom.", source=f"{_LEIDEN}; {_HILL}", n="users in the graph",
        no_null=_IS_NULL,
    ),
    _acts_between(
        name="interaction_modularity", title="Modularity of interactions", unit="−0.5 to 1", n="edges",
        definition="Weighted modularity of that partition.", source=f"{_NEWMAN}; {_LEIDEN}", null=_ACTS_DEALT,
    ),
    _co_engagement(
        name="co_engagement_effective_communities", title="Effective communities of co-engagement",
        unit="communities", definition="The effective number of Leiden communities of the graph of agents who liked, "
        "reposted, quoted or answered the same posts. A post that k agents reacted to ties each two by 1/(k − 1).",
        source=f"{_LEIDEN}; {_HILL}; Newman 2001, Scientific collaboration networks II (weights)", n="agents in the "
        "graph", null=_REACTIONS_REWIRED,
    ),
    _co_engagement(
        name="co_engagement_effective_communities_rewired", title="– of rewired reactions", unit="communities",
        definition="Mean of the same over the reactions rewired a hundred times.", source=f"{_LEIDEN}; {_HILL}",
        n="agents in the graph", no_null=_IS_NULL,
    ),
    _co_engagement(
        name="co_engagement_modularity", title="Modularity of co-engagement", unit="−0.5 to 1", n="edges",
        definition="Weighted modularity of that partition.", source=f"{_NEWMAN}; {_LEIDEN}", null=_REACTIONS_REWIRED,
    ),
)
_EXPOSURE_AND_ACTS = (
    _shown_preference(
        name="same_community_targets", title="Targets of the own community", unit="share, 0 to 1", interval="agents",
        n="acts upon items shown",
        definition="Share of replies, quotes, reposts, likes and follows upon an item shown that are about an item of "
        "the agent's own planted community. Only z tells a preference: the share itself follows the feed.",
    ),
    _shown_preference(
        name="planted_assortativity_shown", title="Assortativity by planted community, among items shown",
        unit="−1 to 1", n="acts between agents", no_interval=_GRAPH,
        source="Newman 2003, Mixing patterns in networks, eq. 2",
        definition="As `planted_assortativity`, of acts upon items shown, each of which counts.",
    ),
    _shown_preference(
        name="planted_ei_index_shown", title="E–I index by planted community, among items shown", unit="−1 to 1",
        n="acts between agents", no_interval=_GRAPH, source="Krackhardt & Stern 1988",
        definition="As `planted_ei_index`, of acts upon items shown, each of which counts.",
    ),
    *(
        _shown_preference(
            name=f"planted_{score}_shown", title=f"Leiden and planted communities, {score.upper()}, among items shown",
            unit="0 to 1" if score == "nmi" else "up to 1", n="agents with a tie", no_interval=_GRAPH,
            definition="Agreement of the planted communities with those that Leiden finds in the ties that acts upon "
            "items shown make; in the null Leiden finds them anew in every draw.", source=f"{source}; {_LEIDEN}",
        )
        for score, source in (("nmi", _NMI), ("ari", _ARI))
    ),
    _shown_preference(
        name="target_top1_popularity_shown", title="Targets with the most reactions of possible ones",
        unit="share, 0 to 1", interval="agents", n="acts upon one of several items", needs=(_SHOWN, _SHARED_CHOICE),
        definition="As `target_top1_popularity`, among the items that the act could have been about: a repost cannot "
        "be about a reply, which has few reactions.",
    ),
    _shown_preference(
        name="exposure_adjusted_homophily_shown", title="Exposure-adjusted homophily, items drawn again",
        subject="shown homophily", unit="difference of cosines", n="pairs of agent and shown author",
        no_interval=_GRAPH, needs=(_OWN_TEXTS, _SHOWN),
        definition="As `exposure_adjusted_homophily`, of acts upon items shown.",
    ),
    *(
        Definition(
            name=f"{kind}_count_icc", title=f"{title} (ICC of counts)", subject="count heterogeneity",
            unit="up to 1", n="agents times timesteps", interval="agents", needs=(_ACTIVATIONS,),
            definition=f"Share of the variance of the logarithm of {what} per agent and timestep that lies between "
            "agents, of an overdispersed Poisson count: 0 where all have one rate. It depends on the length of a "
            "timestep.", source="Nakagawa & Schielzeth 2010; Nakagawa, Johnson & Schielzeth 2017 (log-normal "
            "approximation), variances by moments", null="the counts of each timestep permuted among the agents",
        )
        for kind, title, what in (
            ("posts", "Heterogeneity of posting", "original posts"), ("acts", "Heterogeneity of activity", "acts"),
        )
    ),
    *(
        Definition(
            name=f"likes_received_{name}", title=title, subject="likes received", unit="0 to 1", n="agents",
            definition=definition, source="Gini coefficient" if name == "gini" else "", interval="agents",
            needs=("likes between agents",), null="the same likes dealt to the agents at random",
        )
        for name, title, definition in (
            ("gini", "Gini coefficient of likes received", "Inequality of the likes that agents received from agents: "
             "0 where all received equally many, near 1 where one received all."),
            ("top10", "Likes received by the top 10%", "Share of the likes between agents that the tenth of the "
             "agents with the most received. Part of it is the feed's doing."),
        )
    ),
    *(
        Definition(
            name=f"cascade_size_ks_{platform}", title=f"Reply trees in {platform.capitalize()}'s window of sizes (KS)",
            subject="matched trees", unit="0 to 1", n="reply trees", interval="trees",
            definition=f"As `cascade_ks_{platform}`, both of at least 6 posts and of no more than the run has agents. "
            "z tells whether the sizes are further off than a sample of as many real trees. It does not tell why: a "
            "run is short, and cuts its last trees off.", source="Kolmogorov-Smirnov statistic; data/reference",
            needs=("reply trees of 6 posts or more",), null="as many trees drawn from the reference in that window",
        )
        for platform in ("twitter", "reddit")
    ),
    Definition(
        name="cascade_depth_gap_history", title="Cascade depth less that of histories at equal size",
        subject="matched trees", unit="steps", n="cascades of a size that histories have", interval="cascades",
        definition="Mean depth of the run's cascades of at least 3 posts minus that of the cascades in the people's "
        "histories of exactly as many posts. No depth is compared with `data/reference`, which does not tell how deep "
        "trees of one size are.", source="Vosoughi, Roy & Aral 2018 (depth)",
        needs=(_ANSWERS, _HISTORIES), null="run and histories permuted among the cascades of each size",
    ),
    *(
        _next_act(
            name=f"next_act_f1_{name}_window", title=f"Next-act prediction by {title} of the adapters' window",
            source=source, subject="next act of window",
            definition=f"As `next_act_f1_{name}`, of the person's latest training acts alone, as many as an adapter "
            "learns from.",
        )
        for name, title, source in (
            ("most_frequent", "the most frequent act", _F1), ("history", "the person's history", _F1),
            ("trees", "gradient-boosted trees", f"{_F1} (scikit-learn)"),
        )
    ),
)
# fmt: on

DEFINITIONS: tuple[Definition, ...] = (
    *_CONTRACT, *_ACTS_AND_INTERACTIONS, *_RATES, *_FURTHER_GRAPHS_AND_TEXTS, *_FIDELITY, *_FURTHER_COMMUNITIES,
    *_CONVERSATIONS,
    *_RESPONSIVENESS, *_PLANTED_TRUTH, *_EXPOSURE_AND_ACTS,
)  # fmt: skip
