"""How close what agents do is to what their people did."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from polyphony.metrics.core.measurement import (
    PERMUTATION_DRAWS,
    Floats,
    Measurement,
    agent_weights,
    bootstrap_mean,
    missing,
    null_model,
    percentile_interval,
)
from polyphony.metrics.figures.acts import VERBS, ordered_verbs
from polyphony.metrics.figures.texts import KEPT_HISTORIES
from polyphony.metrics.runfile.rundata import HistoryText, RunData
from polyphony.scores import macro_f1

_NO_HISTORY = "the file holds no history; run without --no-history"
_SEED = 0
_TREES = 100
# Below this many held-out acts of the population a macro-F1 is one act's luck.
_LEAST_ACTS = 20
_BASELINES = ("next_act_f1_most_frequent", "next_act_f1_history", "next_act_f1_trees")
_OF_WINDOW = "_window"


def act_distance(run: RunData, rng: np.random.Generator) -> Measurement:
    """Mean total variation distance between an agent's acts in the run and its person's acts in the training history.

    `nothing` is left out on both sides, because a history does not hold it. Null: as many acts drawn from the person's
    own history, what a perfect simulation of so few acts would be off. n = agents with an act and a history.
    """
    known, done = _known_acts(run.history), _done_acts(run)
    both = [agent.user_id for agent in run.agents if agent.user_id in known and agent.user_id in done]
    if not both:
        return missing(_NO_HISTORY if not run.history else "no agent with a history acted")
    shares = [_shares(known[user]) for user in both]
    values = [float(np.abs(_shares(done[user]) - share).sum() / 2) for user, share in zip(both, shares, strict=True)]
    counts = [done[user].total() for user in both]
    draws = np.mean([
        np.abs(rng.multinomial(count, share, size=PERMUTATION_DRAWS) / count - share).sum(-1) / 2
        for count, share in zip(counts, shares, strict=True)
    ], axis=0)  # fmt: skip
    value = float(np.mean(values))
    return Measurement(value, len(values), bootstrap_mean(values, rng), null_model(value, draws))


def next_act(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """Macro-F1 of predicting the verbs of people's held-out acts, by the simulation and by classical baselines.

    - ``next_act_f1``: each held-out act is guessed to be the agent's most probable verb, by the mean of the policy's
      logged distributions (`nothing` left out), or by its acts where nothing was logged.
    - ``next_act_f1_most_frequent``: the population's most frequent training verb.
    - ``next_act_f1_history``: the person's own most frequent training verb.
    - ``next_act_f1_trees``: gradient-boosted trees (scikit-learn) on the person's training frequencies, the verb
      before, hour and weekday, trained on the training acts.

    The baselines know all training acts, the adapters the latest ones alone: see `next_act_of_window`, which mends it.

    Macro-F1 is the mean over the verbs that occur of the harmonic mean of precision and recall (Opitz & Burst 2019,
    "Macro F1 and Macro F1", eq. 1). Intervals: people drawn again. The four share their acts. n = held-out acts.
    """
    return _predictions(run, run.history, "", rng)


def next_act_of_window(run: RunData, rng: np.random.Generator) -> dict[str, Measurement]:
    """The baselines of `next_act` with the acts that the adapters were trained on, the latest of each person.

    Habits change: who joins a town follows people first, and a baseline that counts those days guesses `follow` for the
    weeks after. The window is that of the run's settings, the most training acts that an adapter learns from.

    - ``next_act_f1_most_frequent_window``, ``next_act_f1_history_window``, ``next_act_f1_trees_window``: as there.

    The window is of the acts that the file holds: private ones, and acts whose targets no feed could have shown, which
    an adapter does not learn either, are not told apart. n = held-out acts, those of `next_act`.
    """
    most = _learned_acts(run)
    if most is None:
        reason = "the run's settings do not say how many acts of a person an adapter learns from"
        return {f"{name}{_OF_WINDOW}": missing(reason) for name in _BASELINES}
    figures = _predictions(run, _latest(run.history, most), _OF_WINDOW, rng)
    return {name: figure for name, figure in figures.items() if name.endswith(_OF_WINDOW)}


def _predictions(
    run: RunData, history: tuple[HistoryText, ...], suffix: str, rng: np.random.Generator
) -> dict[str, Measurement]:
    """The macro-F1 of the simulation, and of the baselines with a suffix to their names."""
    names = ("next_act_f1", *(f"{name}{suffix}" for name in _BASELINES))
    train, simulated = _known_acts(history), _likeliest(run)
    owners = [agent.user_id for agent in run.agents if agent.user_id in train and agent.user_id in simulated]
    predicted = set(owners)
    held = [(row.user_id, row) for row in history if row.split == "held_out" and row.user_id in predicted]
    if len(held) < _LEAST_ACTS:
        reason = _NO_HISTORY if not history else f"fewer than {_LEAST_ACTS} held-out acts of agents that acted"
        return dict.fromkeys(names, missing(reason, len(held)))
    truth = np.array([row.act for _, row in held])
    people = np.array([user for user, _ in held])
    common = sum(train.values(), Counter[str]()).most_common(1)[0][0]
    favourite = {user: _favourite(train[user]) for user in owners}
    guesses: tuple[Sequence[str], ...] = (
        [simulated[user] for user, _ in held],
        [common] * len(held),
        [favourite[user] for user, _ in held],
        [guess for user, guess in _by_trees(history) if user in predicted],
    )
    weights = agent_weights(len(owners), rng)[:, np.searchsorted(sorted(owners), people)]
    return {
        name: Measurement(
            float(macro_f1(truth, np.array(guess), np.ones((1, len(truth))))[0]), len(truth),
            percentile_interval(macro_f1(truth, np.array(guess), weights)),
        )
        for name, guess in zip(names, guesses, strict=True)
    }  # fmt: skip


def _learned_acts(run: RunData) -> int | None:
    """How many of each person's acts an adapter learns from, the latest, as the run's settings have it."""
    training = run.config.get("training")
    most = training.get("max_examples") if isinstance(training, dict) else None
    return most if type(most) is int and most > 0 else None


@lru_cache(maxsize=KEPT_HISTORIES)
def _latest(history: tuple[HistoryText, ...], most: int) -> tuple[HistoryText, ...]:
    """The history without each person's training acts but the latest ones; other parts of it are kept."""
    number = Counter(row.user_id for row in history if _is_trained(row))
    seen: Counter[int] = Counter()
    rows = []
    for row in history:
        if _is_trained(row):
            seen[row.user_id] += 1
            if seen[row.user_id] <= number[row.user_id] - most:
                continue
        rows.append(row)
    return tuple(rows)


@lru_cache(maxsize=KEPT_HISTORIES)
def _by_trees(history: tuple[HistoryText, ...]) -> tuple[tuple[int, str], ...]:
    """Each held-out act of people with training acts, as its person and the verb that the trees guess."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    train = _known_acts(history)
    features: dict[str, list[list[float]]] = {"train": [], "held_out": []}
    targets: list[str] = []
    people: list[int] = []
    before: dict[int, str] = {}
    for row in history:
        if row.user_id not in train:
            continue
        last = VERBS.index(before[row.user_id]) if before.get(row.user_id) in VERBS else -1
        before[row.user_id] = row.act
        if row.split in features:
            shares = _shares(train[row.user_id])
            features[row.split].append([*shares, last, row.created_at.hour, row.created_at.weekday()])
            if row.split == "train":
                targets.append(row.act)
            else:
                people.append(row.user_id)
    if len(set(targets)) < 2:
        return tuple((user, targets[0]) for user in people)
    model = HistGradientBoostingClassifier(max_iter=_TREES, early_stopping=False, random_state=_SEED)
    guessed = model.fit(features["train"], targets).predict(features["held_out"])
    return tuple(zip(people, guessed.tolist(), strict=True))


def _likeliest(run: RunData) -> dict[int, str]:
    """Each agent's most probable verb besides `nothing`."""
    sums: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for activation in run.activations:
        for verb, share in (activation.act_distribution or {}).items():
            sums[activation.user_id][verb] += share  # type: ignore[assignment]
    logged = {user: _without_nothing(shares) for user, shares in sums.items()}
    return {user: _favourite(shares) for user, shares in (_done_acts(run) | logged).items() if shares}


def _favourite(counts: "Counter[str]") -> str:
    """The most frequent verb; of equals the first of the grammar."""
    return max(ordered_verbs(counts), key=lambda verb: counts[verb])


def _known_acts(history: Iterable[HistoryText]) -> dict[int, "Counter[str]"]:
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for row in history:
        if _is_trained(row):
            counts[row.user_id][row.act] += 1
    return dict(counts)


def _is_trained(row: HistoryText) -> bool:
    return row.split == "train" and row.act in VERBS


def _done_acts(run: RunData) -> dict[int, "Counter[str]"]:
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for activation in run.activations:
        if activation.outcome == "ok" and activation.act in VERBS and activation.act != "nothing":
            counts[activation.user_id][activation.act] += 1
    return dict(counts)


def _without_nothing(counts: "Counter[str]") -> "Counter[str]":
    return Counter({verb: count for verb, count in counts.items() if verb != "nothing" and count > 0})


def _shares(counts: "Counter[str]") -> Floats:
    row = np.array([counts[verb] for verb in VERBS], dtype=float)
    return np.asarray(row / row.sum())
