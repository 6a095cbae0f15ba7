"""Which of the shown items agents act upon, and whether their replies take up what they answer."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polyphony.metrics.core.measurement import (
    AgentStatistic,
    Floats,
    Measurement,
    measured,
    missing,
    null_model,
    ratio,
)
from polyphony.metrics.figures.diversity import words_of
from polyphony.metrics.figures.texts import history_texts
from polyphony.metrics.runfile.rundata import Activation, RunData
from polyphony.scores import reciprocal_ranks, top1_credits

_NULL_DRAWS = 200
# Weight of the answered text against the population's word frequencies (Jelinek-Mercer smoothing).
_PARENT_WEIGHT = 0.1


@dataclass(frozen=True)
class Choice:
    """An act upon one of several shown posts.

    Attributes:
        activation: The act.
        shown: The posts shown, by number; of a repost the post that it repeats; each once, in the feed's order.
        chosen: Place of the target among them.
    """

    activation: Activation
    shown: tuple[int, ...]
    chosen: int


def targets(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Whether a simple ranking of the shown posts tells which of them an act is about.

    - ``target_top1``: share of acts about the shown post that is most similar to the person's training texts (cosine of
      TF-IDF words). It is about the words of people that agents stand for, so it tells whether agents choose what
      their people write about.
    - ``target_mrr``: mean reciprocal rank of the target in that ranking (Voorhees 1999).
    - ``target_top1_popularity``: as the first, for the shown post with the most replies, reposts, quotes and likes so
      far.
    - ``reply_parent_gain``: how much likelier, in nats a word, a reply's words are after the post that it answers than
      after another post of the same feed, under a mixture of that post's words (weight 0.1) and the population's word
      frequencies (Jelinek-Mercer smoothing; Zhai & Lafferty 2004).

    Equal scores share their ranks. Null: the target drawn again among the posts shown. Interval over agents. n = acts
    with at least two posts to choose from.
    """
    names = ("target_top1", "target_mrr", "target_top1_popularity", "reply_parent_gain")
    if not run.exposures:
        return dict.fromkeys(names, missing("the file records nothing that an agent was shown"))
    choices = _choices(run)
    if not choices:
        return dict.fromkeys(names, missing("no act was about one of several posts shown"))
    similarity = _similarities(run, choices)
    popularity = _popularities(run, choices)
    return {
        "target_top1": _ranked(run, choices, similarity, top1_credits, rng),
        "target_mrr": _ranked(run, choices, similarity, reciprocal_ranks, rng),
        "target_top1_popularity": _ranked(run, choices, popularity, top1_credits, rng),
        "reply_parent_gain": _parent_gain(run, choices, rng),
    }


def _choices(run: RunData) -> list[Choice]:
    """The acts upon one of at least two shown posts."""
    shown: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for exposure in run.exposures:
        shown[exposure.timestep, exposure.user_id].append((exposure.position, _repeated(run, exposure.post_id)))
    choices = []
    for activation in run.activations:
        if activation.outcome != "ok" or (activation.target_post_id is None and activation.target_user_id is None):
            continue
        feed = sorted(shown.get((activation.timestep, activation.user_id), ()))
        posts = tuple(dict.fromkeys(post for _, post in feed))
        target = _target(run, activation, posts)
        if len(posts) > 1 and target in posts:
            choices.append(Choice(activation, posts, posts.index(target)))
    return choices


def _target(run: RunData, activation: Activation, posts: Sequence[int]) -> int | None:
    """The shown post that an act is about: its target, or for an act upon a person their first post in the feed."""
    if activation.target_post_id is not None:
        return _repeated(run, activation.target_post_id)
    return next((post for post in posts if run.author_of(post) == activation.target_user_id), None)


def _repeated(run: RunData, post_id: int) -> int:
    """The post that a repost repeats; any other post itself."""
    post = run.post_by_id.get(post_id)
    return post_id if post is None or post.original_post_id is None or post.is_quote else post.original_post_id


def _similarities(run: RunData, choices: Sequence[Choice]) -> list[Floats | None]:
    """Similarity of the shown posts to the person's training texts; None for people without any."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    histories = history_texts(run, "train")
    posts = sorted({post for choice in choices for post in choice.shown})
    place = {post: row for row, post in enumerate(posts)}
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    try:
        vectorizer.fit([text for texts in histories.values() for text in texts])
    except ValueError:  # scikit-learn's way to say that no text holds a word
        return [None] * len(choices)
    vectors = vectorizer.transform([_words_shown(run, post) for post in posts])
    people = {
        user: normalize(np.asarray(vectorizer.transform(histories[user]).sum(axis=0)))[0]
        for user in {choice.activation.user_id for choice in choices} & set(histories)
    }
    return [
        vectors[[place[post] for post in choice.shown]] @ people[choice.activation.user_id]
        if choice.activation.user_id in people
        else None
        for choice in choices
    ]


def _words_shown(run: RunData, post_id: int) -> str:
    post = run.post_by_id.get(post_id)
    return "" if post is None else f"{post.own_text} {post.content}" if post.is_quote else post.content


def _popularities(run: RunData, choices: Sequence[Choice]) -> list[Floats | None]:
    """Reactions of agents to the shown posts in the timesteps before."""
    at: defaultdict[int, list[int]] = defaultdict(list)
    for row in run.activations:
        if row.outcome == "ok" and row.target_post_id is not None:
            at[_repeated(run, row.target_post_id)].append(row.timestep)
    times = {post: np.sort(steps) for post, steps in at.items()}
    nothing = np.zeros(0)
    return [
        np.array([float(np.searchsorted(times.get(post, nothing), choice.activation.timestep))
                  for post in choice.shown])
        for choice in choices
    ]  # fmt: skip


def _ranked(
    run: RunData,
    choices: Sequence[Choice],
    scores: Sequence[Floats | None],
    credit: Callable[[Floats], Floats],
    rng: np.random.Generator,
) -> Measurement:
    """The mean credit of the targets under a ranking."""
    scored = [(choice, credit(row), 1.0) for choice, row in zip(choices, scores, strict=True) if row is not None]
    return _mean_of_targets(run, scored, "no person who acted upon a shown post has training texts", rng)


def _mean_of_targets(
    run: RunData, scored: Sequence[tuple[Choice, Floats, float]], reason: str, rng: np.random.Generator
) -> Measurement:
    """Mean value of the chosen items, beside that of items drawn again among those shown.

    Args:
        run: The run.
        scored: Each act with the values of the items shown and the act's weight.
        reason: Why there is no figure where nothing is scored.
        rng: For interval and null.
    """
    if not scored:
        return missing(reason)
    users = {agent.user_id: row for row, agent in enumerate(run.agents)}
    rows = np.zeros((len(run.agents), 2))
    draws, weight = np.zeros(_NULL_DRAWS), 0.0
    for choice, values, share in scored:
        rows[users[choice.activation.user_id]] += (share * values[choice.chosen], share)
        draws += share * rng.choice(values, _NULL_DRAWS)
        weight += share
    statistic = AgentStatistic(tuple(agent.agent_id for agent in run.agents), rows, ratio)
    value = statistic.value()
    null = None if value is None else null_model(value, draws / weight)
    return measured(statistic, len(scored), rng, reason, null)


def _parent_gain(run: RunData, choices: Sequence[Choice], rng: np.random.Generator) -> Measurement:
    background = _background(run)
    scored = []
    for choice in choices:
        comment = run.comment_by_id.get(choice.activation.comment_id or 0)
        words = [] if comment is None else words_of(comment.content)
        if words:
            likelihoods = np.array([_log_share(words, words_of(_words_shown(run, post)), background)
                                    for post in choice.shown])  # fmt: skip
            others = (likelihoods.sum() - likelihoods) / (len(likelihoods) - 1)
            scored.append((choice, (likelihoods - others) / len(words), float(len(words))))
    return _mean_of_targets(run, scored, "no reply with words was made to one of several posts shown", rng)


def _background(run: RunData) -> Callable[[str], float]:
    """Share of a word in the population's training texts and the run's posts, one added to each count."""
    counts = Counter(
        word for texts in history_texts(run, "train").values() for text in texts for word in words_of(text)
    )
    counts.update(word for post in run.posts if post.is_original for word in words_of(post.content))
    size = counts.total() + len(counts) + 1
    return lambda word: (counts[word] + 1) / size


def _log_share(words: Sequence[str], parent: Sequence[str], background: Callable[[str], float]) -> float:
    """Log-likelihood of words under the mixture of a text's words and the background."""
    counts: Mapping[str, int] = Counter(parent)
    size = max(1, len(parent))
    weight = _PARENT_WEIGHT if parent else 0.0
    return float(sum(np.log(weight * counts.get(word, 0) / size + (1 - weight) * background(word)) for word in words))
