"""Stances of texts and agents, and their spread inside communities: what arXiv 2606.02437 reads as homophily there."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polyphony.metrics.core.measurement import (
    PERMUTATION_DRAWS,
    Floats,
    Measurement,
    agent_weights,
    missing,
    null_model,
    percentile_interval,
)
from polyphony.metrics.figures.communities import SMALLEST_COMMUNITY, interaction_communities
from polyphony.metrics.figures.texts import KEPT_HISTORIES, OwnText, own_texts
from polyphony.metrics.runfile.rundata import RunData

Labels = NDArray[np.int64]


def stance_spread(run: RunData, rng: np.random.Generator) -> Measurement:
    """Mean over communities of the standard deviation of their agents' stances; a high one is little homophily.

    The stance of a text is its place on the first discriminant axis (Fisher 1936) between the people's planted or known
    communities, fitted on the histories' training texts (TF-IDF of words, 64 latent dimensions), in units of the
    standard deviation there; an agent's is the mean over its texts in the run. Communities are Louvain's of the
    interaction graph with at least 3 agents that wrote, weighted by those agents. Null: stances permuted among the
    agents, so that z below 0 tells that communities are of one mind. Interval over communities. n = agents.
    """
    stances = agent_stances(run)
    if isinstance(stances, str):
        return missing(stances)
    partition = interaction_communities(run)
    users = [agent.user_id for agent in run.agents if agent.user_id in stances and agent.user_id in partition]
    labels = np.array([partition[user] for user in users], dtype=np.int64)
    large = [label for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
            if count >= SMALLEST_COMMUNITY]  # fmt: skip
    if not large:
        return missing(f"no community with {SMALLEST_COMMUNITY} agents that wrote", len(users))
    inside = np.isin(labels, large)
    values, labels = np.array([stances[user] for user in users])[inside], labels[inside]
    draws = [_weighted(rng.permutation(values), labels) for _ in range(PERMUTATION_DRAWS)]
    spread = _weighted(values, labels)
    weights = agent_weights(len(large), rng)
    interval = percentile_interval(_weighted(values, labels, weights)) if len(large) > 1 else None
    return Measurement(float(spread[0]), len(values), interval, null_model(float(spread[0]), np.concatenate(draws)))


def _weighted(values: Floats, labels: Labels, weights: Floats | None = None) -> Floats:
    """Mean standard deviation inside the labels, by their sizes, for each row of weights over them, shape [draws]."""
    parts = [values[labels == label] for label in np.unique(labels)]
    drawn = np.ones((1, len(parts))) if weights is None else weights
    sizes, spreads = np.array([len(part) for part in parts]), np.array([part.std(ddof=1) for part in parts])
    return np.asarray(drawn @ (sizes * spreads) / (drawn @ sizes))


def agent_stances(run: RunData) -> dict[int, float] | str:
    """Each agent's stance, the mean over its texts, by `user_id`; or why there is none."""
    scored = text_stances(run)
    return scored if isinstance(scored, str) else mean_by_author(scored)


def text_stances(run: RunData) -> list[tuple[OwnText, float]] | str:
    """Every text of the run with its stance, see `stance_spread`, or why there is none.

    The run must have been read with its histories.
    """
    side = {agent.user_id: agent.community for agent in run.agents if agent.community is not None}
    known = tuple(
        (row.text, side[row.user_id])
        for row in run.history if row.split == "train" and row.text.strip() and row.user_id in side
    )  # fmt: skip
    sides = {community for _, community in known}
    texts = own_texts(run)
    if len(sides) < 2:
        return "the population knows of no communities that a stance could be learned from"
    if len(known) < _LEAST_TEXTS or not texts:
        return f"fewer than {_LEAST_TEXTS} training texts, or no text in the run"
    scores = _scorer(known)([text.text for text in texts])
    return list(zip(texts, scores.tolist(), strict=True))


class MeanStance(NamedTuple):
    """Mean stance of some texts; `mean` is None where there are none."""

    mean: float | None
    texts: int


def stance_by_timestep(
    scored: Sequence[tuple[OwnText, float]], timesteps: int, authors: Collection[int] | None = None
) -> list[MeanStance]:
    """Mean stance of the texts of each timestep, of some authors or of all."""
    scores: list[list[float]] = [[] for _ in range(timesteps)]
    for text, score in scored:
        if 0 <= text.timestep < timesteps and (authors is None or text.user_id in authors):
            scores[text.timestep].append(score)
    return [MeanStance(float(np.mean(values)) if values else None, len(values)) for values in scores]


@lru_cache(maxsize=KEPT_HISTORIES)
def _scorer(known: tuple[tuple[str, int], ...]) -> Callable[[Sequence[str]], Floats]:
    """A scorer of texts, learned from texts and their people's communities."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    scorer = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, max_features=20_000), TruncatedSVD(_DIMENSIONS, random_state=0),
        LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=1),
    )  # fmt: skip
    texts, sides = zip(*known, strict=True)
    on_history = scorer.fit_transform(texts, sides)[:, 0]
    middle, width = on_history.mean(), on_history.std()
    return lambda written: np.asarray((scorer.transform(written)[:, 0] - middle) / width)


def mean_by_author(scored: Sequence[tuple[OwnText, float]]) -> dict[int, float]:
    """Mean stance of each author's texts, by `user_id`."""
    scores_of: defaultdict[int, list[float]] = defaultdict(list)
    for text, score in scored:
        scores_of[text.user_id].append(score)
    return {user: float(np.mean(values)) for user, values in scores_of.items()}


_DIMENSIONS = 64
_LEAST_TEXTS = 100
