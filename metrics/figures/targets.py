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


Item = tuple[int, int | None]
"""A post by its number, or a comment by its post's and its own; of a repost the post that it repeats."""


@dataclass(frozen=True)
class Choice:
    """An act upon one of several shown items.

    Attributes:
        activation: The act.
        shown: The posts and comments shown, each once, in the feed's order.
        chosen: Place of the target among them.
    """

    activation: Activation
    shown: tuple[Item, ...]
    chosen: int


def targets(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Whether a simple ranking of the shown items tells which of them an act is about.

    - ``target_top1``: share of acts about the shown post or comment that is most similar to the person's training texts
      (cosine of TF-IDF words). It is about the words of people that agents stand for, so it tells whether agents
      choose what their people write about.
    - ``target_mrr``: mean reciprocal rank of the target in that ranking (Voorhees 1999).
    - ``target_top1_popularity``: as the first, for the shown item with the most replies, reposts, quotes and likes so
      far.
    - ``reply_parent_gain``: how much likelier, in nats a word, a reply's words are after what it answers than after
      another item of the same feed, under a mixture of that item's words (weight 0.1) and the population's word
      frequencies (Jelinek-Mercer smoothing; Zhai & Lafferty 2004).

    Equal scores share their ranks. Null: the target drawn again among the items shown. Interval over agents. n = acts
    with at least two items to choose from.
    """
    names = ("target_top1", "target_mrr", "target_top1_popularity", "reply_parent_gain")
    if not run.exposures:
        return dict.fromkeys(names, missing("the file records nothing that an agent was shown"))
    choices = _choices(run)
    if not choices:
        return dict.fromkeys(names, missing("no act was about one of several items shown"))
    similarity = _similarities(run, choices)
    popularity = popularities(run, choices)
    return {
        "target_top1": _ranked(run, choices, similarity, top1_credits, rng),
        "target_mrr": _ranked(run, choices, similarity, reciprocal_ranks, rng),
        "target_top1_popularity": _ranked(run, choices, popularity, top1_credits, rng),
        "reply_parent_gain": _parent_gain(run, choices, rng),
    }


def _choices(run: RunData) -> list[Choice]:
    """The acts upon one of at least two shown items."""
    shown: defaultdict[tuple[int, int], list[tuple[int, Item]]] = defaultdict(list)
    for exposure in run.exposures:
        item = _item(run, exposure.post_id, exposure.comment_id)
        shown[exposure.timestep, exposure.user_id].append((exposure.position, item))
    choices = []
    for activation in run.activations:
        if activation.outcome != "ok" or (activation.target_post_id is None and activation.target_user_id is None):
            continue
        feed = sorted(shown.get((activation.timestep, activation.user_id), ()), key=lambda entry: entry[0])
        items = tuple(dict.fromkeys(item for _, item in feed))
        target = _target(run, activation, items)
        if len(items) > 1 and target in items:
            choices.append(Choice(activation, items, items.index(target)))
    return choices


def _target(run: RunData, activation: Activation, items: Sequence[Item]) -> Item | None:
    """The shown item that an act is about: its target, or for an act upon a person their first item in the feed."""
    if activation.target_post_id is not None:
        return _item(run, activation.target_post_id, activation.target_comment_id)
    return next((item for item in items if run.author_of_item(*item) == activation.target_user_id), None)


def _item(run: RunData, post_id: int, comment_id: int | None) -> Item:
    post = run.post_by_id.get(post_id)
    if comment_id is not None or post is None or post.original_post_id is None or post.is_quote:
        return post_id, comment_id
    return post.original_post_id, None


def _similarities(run: RunData, choices: Sequence[Choice]) -> list[Floats | None]:
    """Similarity of the shown items to the person's training texts; None for people without any."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    histories = history_texts(run, "train")
    items = list(dict.fromkeys(item for choice in choices for item in choice.shown))
    place = {item: row for row, item in enumerate(items)}
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    try:
        vectorizer.fit([text for texts in histories.values() for text in texts])
    except ValueError:  # scikit-learn's way to say that no text holds a word
        return [None] * len(choices)
    vectors = vectorizer.transform([_words_shown(run, item) for item in items])
    people = {
        user: normalize(np.asarray(vectorizer.transform(histories[user]).sum(axis=0)))[0]
        for user in {choice.activation.user_id for choice in choices} & set(histories)
    }
    return [
        vectors[[place[item] for item in choice.shown]] @ people[choice.activation.user_id]
        if choice.activation.user_id in people
        else None
        for choice in choices
    ]


def _words_shown(run: RunData, item: Item) -> str:
    post_id, comment_id = item
    if comment_id is not None:
        comment = run.comment_by_id.get(comment_id)
        return "" if comment is None else comment.content
    post = run.post_by_id.get(post_id)
    return "" if post is None else f"{post.own_text} {post.content}" if post.is_quote else post.content


def popularities(run: RunData, choices: Sequence[Choice]) -> list[Floats | None]:
    """Reactions of agents to the shown items in the timesteps before."""
    at: defaultdict[Item, list[int]] = defaultdict(list)
    for row in run.activations:
        if row.outcome == "ok" and row.target_post_id is not None:
            at[_item(run, row.target_post_id, row.target_comment_id)].append(row.timestep)
    times = {item: np.sort(steps) for item, steps in at.items()}
    nothing = np.zeros(0)
    return [
        np.array([float(np.searchsorted(times.get(item, nothing), choice.activation.timestep))
                  for item in choice.shown])
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
    return mean_of_targets(run, scored, "no person who acted upon a shown post has training texts", rng)


def mean_of_targets(
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
            likelihoods = np.array([_log_share(words, words_of(_words_shown(run, item)), background)
                                    for item in choice.shown])  # fmt: skip
            others = (likelihoods.sum() - likelihoods) / (len(likelihoods) - 1)
            scored.append((choice, (likelihoods - others) / len(words), float(len(words))))
    return mean_of_targets(run, scored, "no reply with words was made to one of several items shown", rng)


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
