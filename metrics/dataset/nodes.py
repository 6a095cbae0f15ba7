"""The nodes of a data set: users with what is known of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from polyphony.metrics.core.measurement import Floats
from polyphony.metrics.dataset.rows import Edge, RunPlace, TableRow
from polyphony.metrics.dataset.splits import node_split
from polyphony.metrics.dataset.tables import FEATURES, VERBS_OF_HISTORY
from polyphony.metrics.figures.communities import louvain
from polyphony.metrics.figures.interactions import weighted_graph
from polyphony.metrics.figures.texts import fit_encoder
from polyphony.metrics.runfile.rundata import RunData

Communities = Mapping[int, Mapping[int, int]]

_TRAIN = "train"
_TEXTS_AT_ONCE = 20_000


class Ties:
    """Counts who interacted with whom, over the whole run (window 0) and in each window."""

    def __init__(self, place: RunPlace, agents: frozenset[int]) -> None:
        self._place = place
        self._agents = agents
        self._weights: defaultdict[int, Counter[tuple[int, int]]] = defaultdict(Counter)

    def counting(self, edges: Iterable[Edge]) -> Iterator[Edge]:
        """Hand edges on, counted by the rules of `metrics.figures.interactions.interactions`."""
        for edge in edges:
            window = self._place.timeline.window(edge.timestep)
            if window is not None and edge.source in self._agents and edge.source != edge.target:
                pair = min(edge.source, edge.target), max(edge.source, edge.target)
                self._weights[0][pair] += 1
                self._weights[window][pair] += 1
            yield edge

    def communities(self) -> Communities:
        """Louvain community of every user who interacted, by window; 0 is the whole run."""
        return {
            window: louvain(weighted_graph(self._weights[window])) if self._weights[window] else {}
            for window in range(self._place.timeline.windows + 1)
        }


class PastFigures(NamedTuple):
    """What people's training histories come to, by user: see `history_features` and `history_habits`."""

    features: Mapping[int, Floats]
    habits: Mapping[int, list[float]]


def nodes(
    run: RunData, place: RunPlace, communities: Communities, past: PastFigures, windows: int
) -> Iterator[TableRow]:
    """Every user: agents, and the accounts that only stand there.

    Args:
        run: The run.
        place: Its place in the data set.
        communities: From `Ties.communities`.
        past: Figures of the people's histories; empty where they stay behind.
        windows: Columns for windows, which may be more than the run has.
    """
    agents = {agent.user_id: agent for agent in run.agents}
    for user_id in sorted(run.users):
        agent, habit, feature = agents.get(user_id), past.habits.get(user_id), past.features.get(user_id)
        labels = [communities.get(window, {}).get(user_id) for window in range(windows + 1)]
        yield (
            place.run, place.arm, user_id, agent.agent_id if agent else None, "agent" if agent else "account",
            place.disclosure.handle(user_id), agent.persona if agent and place.disclosure.personas else None,
            place.disclosure.adapter(agent.adapter_id) if agent else None, agent.revision if agent else None,
            node_split(place.disclosure.split_key(user_id)), agent.community if agent else None, *labels,
            *([None] * (len(VERBS_OF_HISTORY) + 1) if habit is None else habit),
            *([None] * FEATURES if feature is None else feature.tolist()),
        )  # fmt: skip


def history_habits(run: RunData) -> dict[int, list[float]]:
    """Acts in each person's training history: how many, and the share of each verb."""
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for row in run.history:
        if row.split == _TRAIN:
            counts[row.user_id][row.act] += 1
    return {
        user: [count.total(), *(count[verb] / count.total() for verb in VERBS_OF_HISTORY)]
        for user, count in counts.items()
    }


def history_features(run: RunData) -> dict[int, Floats]:
    """Mean vector of each person's training texts, see `fit_encoder`, scaled to length 1; shape (64,) each.

    Nothing that was held out is in it, and nothing of the run, so that it may be used to predict either. The space is
    that of the run's people: runs of other people, or of another number of them, have another.
    """
    training = tuple(row for row in run.history if row.split == _TRAIN and row.text.strip())
    # Of people without histories the encoder would learn from the run.
    encoder = fit_encoder(replace(run, history=training)) if len(training) > 1 else None
    if encoder is None:
        return {}
    texts = [(row.user_id, row.text) for row in training]
    sums: defaultdict[int, Floats] = defaultdict(lambda: np.zeros(FEATURES))
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = texts[start : start + _TEXTS_AT_ONCE]
        vectors = encoder.encode([text for _, text in some])[:, :FEATURES]
        for (user, _), vector in zip(some, vectors, strict=True):
            sums[user][: len(vector)] += vector
    return {user: total / length for user, total in sums.items() if (length := float(np.linalg.norm(total))) > 0}
