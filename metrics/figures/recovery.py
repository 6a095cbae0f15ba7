"""Whether a run brings back what its people's texts are known by: the topics of their community, and their style."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from polyphony.metrics.core.measurement import (
    PERMUTATION_DRAWS,
    Floats,
    Measurement,
    agent_weights,
    missing,
    null_model,
    percentile_interval,
)
from polyphony.metrics.figures.attribution import nearest_profiles, recognised, some_texts
from polyphony.metrics.figures.planted import planted_communities
from polyphony.metrics.figures.texts import history_texts, own_texts
from polyphony.metrics.runfile.rundata import RunData

_SENTENCE_END = re.compile(r"[.!?…]+(?:\s|$)")
_HASHTAG = re.compile(r"#\w")
_LEAST_AGENTS = 3


def topic_recovery(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How often a text is recognised as its author's community's, by the words it is about.

    The nearest profile of TF-IDF words, one for each planted or known community, made of the people's training texts
    (Rocchio's classifier with cosine similarity; Manning, Raghavan & Schütze 2008, section 14.2).

    - ``topic_recovery``: share of the run's texts, at most 5,000, drawn by seed. n = texts.
    - ``topic_ceiling``: the same of the people's real held-out texts; a simulation cannot be asked for more.

    Null: the texts' communities permuted. Interval over agents.
    """
    names, known = ("topic_recovery", "topic_ceiling"), planted_communities(run)
    train: dict[int, list[str]] = {}
    for user, texts in history_texts(run, "train").items():
        if user in known:
            train.setdefault(known[user], []).extend(texts)
    if len(train) < 2:
        reason = "the population knows of no communities" if not known else "no training texts of two communities"
        return dict.fromkeys(names, missing(reason))
    tests: tuple[Iterable[tuple[int, str]], ...] = (
        ((own.user_id, own.text) for own in own_texts(run)),
        ((user, text) for user, texts in history_texts(run, "held_out").items() for text in texts),
    )
    figures = {}
    for name, test in zip(names, tests, strict=True):
        taken = some_texts([(user, text) for user, text in test if user in known], rng)
        guesses = nearest_profiles(train, [text for _, text in taken], "word")
        users = np.array([user for user, _ in taken], dtype=int)
        truth = np.array([known[user] for user, _ in taken], dtype=int)
        reason = "no text of an agent whose community is known"
        figures[name] = recognised(run, users, truth, guesses, rng, reason)
    return figures


def style_recovery(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """How far agents' manner of writing is their own people's, whatever they write about.

    Mean over the marks of style (`style_of`) of the Pearson correlation over agents between an agent's mean in the run
    and its person's in the training history; marks that do not vary are left out. 1 where everybody writes as before, 0
    where manner and person have nothing to do with each other.

    - ``style_recovery``: of the run's texts. n = agents with a text in both.
    - ``style_ceiling``: of the people's real held-out texts.

    Null: the agents' histories permuted. Interval over agents.
    """
    agents = {agent.user_id for agent in run.agents}
    before = {user: texts for user, texts in history_texts(run, "train").items() if user in agents}
    written: dict[int, list[str]] = {}
    for text in own_texts(run):
        written.setdefault(text.user_id, []).append(text.text)
    known = {user: _manner(texts) for user, texts in before.items()}
    return {
        "style_recovery": _alike(known, written, rng),
        "style_ceiling": _alike(known, history_texts(run, "held_out"), rng),
    }


def style_of(text: str) -> tuple[float, ...]:
    """Marks of style of a text.

    Logarithm of its words, sentences, share of letters in capitals, whether it begins in small letters, whether it has
    an emoji, a hashtag, an exclamation mark and a question mark.
    """
    letters = [char for char in text if char.isalpha()]
    return (
        float(np.log1p(len(text.split()))),
        float(len(_SENTENCE_END.findall(text))),
        sum(char.isupper() for char in letters) / max(1, len(letters)),
        float(bool(letters) and letters[0].islower()),
        float(any(unicodedata.category(char) == "So" for char in text)),
        float(_HASHTAG.search(text) is not None),
        float("!" in text),
        float("?" in text),
    )


def _manner(texts: Sequence[str]) -> Floats:
    return np.asarray(np.mean([style_of(text) for text in texts], axis=0))


def _alike(known: dict[int, Floats], written: dict[int, list[str]], rng: np.random.Generator) -> Measurement:
    users = sorted(set(known) & set(written))
    if len(users) < _LEAST_AGENTS:
        return missing(f"fewer than {_LEAST_AGENTS} agents with a text and a training history", len(users))
    own = np.array([known[user] for user in users])
    now = np.array([_manner(written[user]) for user in users])
    value = float(mean_correlation(own, now, np.ones((1, len(users))))[0])
    if not np.isfinite(value):
        return missing("no mark of style varies between the agents", len(users))
    once = np.ones((1, len(users)))
    draws = np.array([mean_correlation(rng.permutation(own), now, once)[0] for _ in range(PERMUTATION_DRAWS)])
    interval = percentile_interval(mean_correlation(own, now, agent_weights(len(users), rng)))
    return Measurement(value, len(users), interval, null_model(value, draws[np.isfinite(draws)]))


def mean_correlation(left: Floats, right: Floats, weights: Floats) -> Floats:
    """Mean over columns of their Pearson correlations, for each row of weights over the rows, shape [draws].

    Columns that do not vary are left out; NaN where none does.
    """
    shares = weights / weights.sum(1, keepdims=True)
    middle, centre = shares @ left, shares @ right
    spread = (shares @ np.square(left) - np.square(middle)) * (shares @ np.square(right) - np.square(centre))
    varies = spread > 1e-12
    together = np.where(varies, shares @ (left * right) - middle * centre, 0.0)
    count = varies.sum(1)
    sums = (together / np.sqrt(np.where(varies, spread, 1.0))).sum(1)
    return np.asarray(np.where(count > 0, sums / np.maximum(count, 1), np.nan))
