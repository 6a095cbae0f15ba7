"""What is compared of a period: the same counts from a corpus, from a run, and from a resampled corpus."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyphony.metrics.figures.cascades import cascade_nodes, distances_of
from polyphony.metrics.runfile.rundata import RunData
from polyphony.personas.people.acts import Act, Verb
from polyphony.randomness import keyed_generator
from polyphony.simulation.calibration.periods import REACTIONS, Period

Counts = NDArray[np.int64]

VERBS = tuple(verb for verb in Verb if verb is not Verb.NOTHING)
TO_OTHERS = (*REACTIONS, Verb.LIKE)
"""Acts on somebody's post or comment."""
_DAY = timedelta(days=1)
# With fewer days than this, single timesteps are drawn again instead of days.
_LEAST_DAYS = 4
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Observed:
    """Counts of a period.

    Attributes:
        acts: How often each agent did what, shape [agents, verbs].
        cascades: Author, size and depth of each cascade, shape [cascades, 3]: of the posts that agents wrote in the
            period, answered or not, and of older posts that were answered in it.
        reactions: Of each agent, acts on items of accounts it followed when the period began, and on others', shape
            [agents, 2].
        words: Of each agent, words that occur in no post before the period, and other words, shape [agents, 2].
    """

    acts: Counts
    cascades: Counts
    reactions: Counts
    words: Counts

    def to_json(self) -> dict[str, Any]:
        """The counts as lists."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Observed":
        """What `to_json` gave."""
        cascades = np.array(document["cascades"], dtype=np.int64).reshape(-1, 3)
        others = {name: np.array(document[name], dtype=np.int64) for name in ("acts", "reactions", "words")}
        return cls(cascades=cascades, **others)


def vocabulary(period: Period) -> frozenset[str]:
    """The words of everybody's public posts before a period."""
    acts = period.population.acts.values()
    return frozenset(
        word for act in acts if act.at < period.start and not act.is_private for word in _words(act.text)
    )  # fmt: skip


def of_acts(acts: Sequence[Act], period: Period, known: frozenset[str]) -> Observed:
    """What people did in a period, as their corpus has it.

    Args:
        acts: Their acts in the period, in time order.
        period: Says who the agents are, and whom they followed.
        known: The words from before it.
    """
    number = {handle: place for place, handle in enumerate(period.handles)}
    corpus = period.population.acts
    following = {person.handle: set(person.following) for person in period.population.personas}
    counts = np.zeros((len(number), len(VERBS)), dtype=np.int64)
    reactions, words = np.zeros((len(number), 2), dtype=np.int64), np.zeros((len(number), 2), dtype=np.int64)
    for act in acts:
        agent, target = number[act.author], corpus.get(act.target or "")
        counts[agent, VERBS.index(act.verb)] += 1
        if act.verb in TO_OTHERS and target is not None and target.author in number and target.author != act.author:
            reactions[agent, int(target.author not in following.get(act.author, ()))] += 1
        _count_words(words[agent], act.text, known)
    return Observed(counts, _cascades(acts, period, number), reactions, words)


def of_run(run: RunData, period: Period, known: frozenset[str]) -> Observed:
    """What agents did in a run that simulated a period; agent i is the i-th of its people."""
    number = {agent.user_id: agent.agent_id for agent in run.agents}
    follows = {(edge.follower_id, edge.followee_id) for edge in run.follows if edge.timestep < 0}
    counts = np.zeros((len(number), len(VERBS)), dtype=np.int64)
    reactions, words = np.zeros((len(number), 2), dtype=np.int64), np.zeros((len(number), 2), dtype=np.int64)
    for act in run.activations:
        if act.outcome != "ok" or act.act is None or act.act == Verb.NOTHING:
            continue
        agent = number[act.user_id]
        counts[agent, VERBS.index(Verb(act.act))] += 1
        if act.act in TO_OTHERS and act.target_post_id is not None:
            other = run.author_of_item(act.target_post_id, act.target_comment_id)
            if other in number and other != act.user_id:
                reactions[agent, int((act.user_id, other) not in follows)] += 1
    texts = [(post.user_id, post.own_text) for post in run.own_posts]
    for user, text in texts + [(comment.user_id, comment.content) for comment in run.own_comments]:
        _count_words(words[number[user]], text, known)
    trees = cascade_nodes(run)
    answered = {tree[0].id for tree in trees}
    rows = [
        (number[tree[0].user_id], len(tree), max(distances_of([node.parent for node in tree])))
        for tree in trees if tree[0].user_id in number
    ]  # fmt: skip
    rows += [(number[post.user_id], 1, 0) for post in run.own_posts
             if post.is_original and post.post_id not in answered]  # fmt: skip
    return Observed(counts, _table(rows), reactions, words)


def resampled(acts: Sequence[Act], training: Period, steps: int, known: frozenset[str], seed: int) -> Observed:
    """The history's own frequencies: a period of so many timesteps, drawn with replacement from the training period.

    Days are drawn for everybody at once, single timesteps where the training period has fewer than four days. Cascades
    are drawn from those of the training period.

    Args:
        acts: What people did in the training period.
        training: The training period.
        steps: Timesteps of the period that is drawn.
        known: The words from before the training period.
        seed: Key of the draws.
    """
    random = keyed_generator(seed, "calibration resampling")
    span = training.end - training.start
    block = _DAY if span >= _LEAST_DAYS * _DAY else timedelta(minutes=training.minutes)
    blocks: defaultdict[int, list[Act]] = defaultdict(list)
    for act in acts:
        blocks[(act.at - training.start) // block].append(act)
    count = max(1, int(span / block))  # what is left of a day at the end is not drawn
    drawn = max(1, round(steps * timedelta(minutes=training.minutes) / block))
    again = [act for place in random.integers(count, size=drawn) for act in blocks[int(place)]]
    observation = of_acts(again, training, known)
    cascades = of_acts(acts, training, known).cascades
    places = random.integers(len(cascades), size=max(1, round(len(cascades) * drawn / count)))
    return Observed(observation.acts, cascades[places], observation.reactions, observation.words)


def _cascades(acts: Iterable[Act], period: Period, number: Mapping[str, int]) -> Counts:
    """Cascades of acts in time order; threads that begin with somebody who is no agent are left out.

    What was there before the period is of the post that began it, as on a platform of which a run knows the posts.
    """
    corpus = period.population.acts
    root_of: dict[str, tuple[str, int]] = {}
    shapes: dict[str, list[int]] = {}
    for act in acts:
        target = corpus.get(act.target or "")
        if act.verb is Verb.POST:
            root_of[act.id] = act.id, 0
            shapes[act.id] = [1, 0]
        elif act.verb in REACTIONS and target is not None:
            above = root_of.get(target.id) or _older_root(target, period)
            if above is None or corpus[above[0]].author not in number:
                continue
            root, depth = above[0], above[1] + 1
            root_of[act.id] = root, depth
            size = shapes.setdefault(root, [1, 0])
            size[0], size[1] = size[0] + 1, max(size[1], depth)
    return _table([(number[corpus[root].author], size, depth) for root, (size, depth) in shapes.items()])


def _older_root(act: Act, period: Period) -> tuple[str, int] | None:
    """The first post of the thread of an act from before the period, at depth 0; None for a later act."""
    corpus, seen = period.population.acts, set()
    if act.at >= period.start:
        return None
    while act.verb is Verb.REPLY and (above := corpus.get(act.target or "")) is not None and act.id not in seen:
        seen.add(act.id)
        act = above
    return act.id, 0


def _table(rows: Sequence[tuple[int, int, int]]) -> Counts:
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def _words(text: str) -> Iterable[str]:
    return (word.casefold() for word in _WORD.findall(text))


def _count_words(row: Counts, text: str, known: frozenset[str]) -> None:
    for is_known, count in Counter(word in known for word in _words(text)).items():
        row[int(is_known)] += count
