"""From the scores of single held-out acts to the estimates of an evaluation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from polyphony.adapters.evaluation.bootstrap import Estimate, estimate_over_people
from polyphony.adapters.evaluation.owned_examples import ActScores, OwnedExamples, sums_of
from polyphony.adapters.evaluation.responsiveness import Figures
from polyphony.adapters.prompting.act_scorer import VERBS

NOTHING = Estimate(None, 0, None)
CONTROLS = ("base", "prior", "pooled")


@dataclass(frozen=True)
class Evaluation:
    """How well adapters carry their people; negative log-likelihoods in nats per token, posts weighted equally.

    Attributes:
        people: People with at least one held-out text.
        held_out_posts: Held-out acts with text.
        nll: Text NLL under ``base``, ``prior`` (the prior alone), ``pooled`` (one adapter that learned from all these
            people), ``own`` and ``other`` (mean of the others tried).
        own_advantage: NLL under other people's adapters less that under the own one.
        own_beats_other: Share of (post, other adapter) pairs in which the person's own adapter is likelier.
        identification_top1: Share of people whose own adapter finds their first held-out posts likeliest among all
            candidates'.
        chance: What guessing would reach in identification and attribution.
        act_nll: NLL of verb and target on all held-out acts and moments without one, under ``base``, ``prior``,
            ``pooled`` and ``own``.
        act_distance: Total variation between a person's held-out verbs, doing nothing included, and the mean
            distribution predicted before them, by ``base``, ``prior``, ``pooled``, ``own``, and by the frequencies of
            what their adapter learned (``history``).
        attribution: Share of posts that a classifier of real posts gives to the right person: posts written by
            ``base``, ``pooled``, ``own``, and the ``real`` held-out ones.
        matrix: NLL of person i's first held-out posts under candidate j's adapter, for the first candidates.
        candidates: Handles of those.
        per_person: Handle to text NLL by name.
        responsiveness: What concerns feeds, see `responsiveness.responsiveness`; empty where it was left out.
    """

    people: int
    held_out_posts: int
    nll: dict[str, Estimate]
    own_advantage: Estimate
    own_beats_other: Estimate
    identification_top1: Estimate
    chance: float | None
    act_nll: dict[str, Estimate]
    act_distance: dict[str, Estimate]
    attribution: dict[str, Estimate]
    matrix: list[list[float]] = field(repr=False)
    candidates: list[str] = field(repr=False)
    per_person: dict[str, dict[str, float]] = field(repr=False)
    responsiveness: Figures = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The contract of ``simulate bank evaluate --json``: plain values, with all intervals beside them."""
        shown = {name: value for name, value in asdict(self).items() if name not in ("matrix", "candidates")}
        del shown["per_person"]
        shown |= shown.pop("responsiveness")
        plain: dict[str, Any] = {}
        intervals: dict[str, Any] = {}
        for name, value in shown.items():
            if not isinstance(value, dict):
                plain[name] = value
            elif set(value) == {"value", "n", "interval"}:
                plain[name], intervals[name] = value["value"], value["interval"]
            else:
                plain[name] = {key: estimate["value"] for key, estimate in value.items()}
                intervals[name] = {key: estimate["interval"] for key, estimate in value.items()}
        return {**plain, "intervals": intervals}


@dataclass(frozen=True)
class Candidates:
    """Whom a person is identified among: people are cut into blocks of `size`, the last block reaching back."""

    size: int
    people: int

    def first(self, person: int) -> int:
        """The first of the candidates of a person, all being neighbours."""
        return min(person // self.size * self.size, self.people - self.size)


def summarise(
    held_out: OwnedExamples,
    learned: np.ndarray,
    scores: Mapping[str, ActScores],
    matrix: np.ndarray,
    candidates: Candidates,
    attribution: dict[str, Estimate],
    responsiveness: Figures,
) -> Evaluation:
    """Turn scores into estimates over people.

    Args:
        held_out: What was scored.
        learned: Share of each verb in what each person's adapter learned, shape [people, verbs].
        scores: By the names of `CONTROLS`, as far as they were scored, and ``shift0``, ``shift1``, … where person i has
            the adapter of person i + shift.
        matrix: NLL of each person's first held-out posts under each candidate's adapter, shape [people, candidates].
        candidates: Who these are.
        attribution: Estimates of the classifier.
        responsiveness: Figures that concern feeds.
    """
    text, owner, count = _text_nll(held_out, scores), held_out.owner[held_out.has_text], len(held_out.personas)
    advantage, beats = _against_others(scores, held_out, text)
    sums = {name: sums_of(values, owner, count) for name, values in text.items()}
    acts = {name: name for name in CONTROLS if name in scores} | {"own": "shift0"}
    several = candidates.size > 1
    return Evaluation(
        people=len(np.unique(owner)),
        held_out_posts=int(held_out.has_text.sum()),
        nll={name: estimate_over_people(*pair) for name, pair in sums.items()},
        own_advantage=advantage,
        own_beats_other=beats,
        identification_top1=estimate_over_people(_identified(matrix, candidates)) if several else NOTHING,
        chance=1 / candidates.size if several else None,
        act_nll={
            name: estimate_over_people(*sums_of(scores[key].act, held_out.owner, count)) for name, key in acts.items()
        },
        act_distance=_act_distance(held_out, learned, {name: scores[key].verbs for name, key in acts.items()}),
        attribution=attribution,
        matrix=[[round(float(nll), 4) for nll in row] for row in matrix[: candidates.size]],
        candidates=[person.handle for person in held_out.personas[: candidates.size]],
        per_person={
            held_out.personas[person].handle: {name: float(s[person] / n[person]) for name, (s, n) in sums.items()}
            for person in np.unique(owner)
        },
        responsiveness=responsiveness,
    )


def _text_nll(held_out: OwnedExamples, scores: Mapping[str, ActScores]) -> dict[str, np.ndarray]:
    """NLL of each text by name, shape [texts]; ``other`` is the mean over the other people's adapters."""
    written = held_out.has_text
    text = {name: scores[name].text[written] for name in CONTROLS if name in scores}
    text["own"] = scores["shift0"].text[written]
    if others := _other_text_nll(held_out, scores):
        text["other"] = np.array(others).mean(0)
    return text


def _other_text_nll(held_out: OwnedExamples, scores: Mapping[str, ActScores]) -> list[np.ndarray]:
    shifts = [name for name in scores if name.startswith("shift") and name != "shift0"]
    return [scores[name].text[held_out.has_text] for name in shifts]


def _against_others(
    scores: Mapping[str, ActScores], held_out: OwnedExamples, text: Mapping[str, np.ndarray]
) -> tuple[Estimate, Estimate]:
    """The advantage of the own adapter in nats per token, and the share of the pairs in which it is likelier."""
    others = _other_text_nll(held_out, scores)
    if not others:
        return NOTHING, NOTHING
    owner, count = held_out.owner[held_out.has_text], len(held_out.personas)
    wins = (text["own"] < np.array(others)).mean(0)
    advantage = text["other"] - text["own"]
    return estimate_over_people(*sums_of(advantage, owner, count)), estimate_over_people(*sums_of(wins, owner, count))


def _identified(matrix: np.ndarray, candidates: Candidates) -> list[float]:
    """Of each person with known posts whether the own adapter finds them likeliest: 1 or 0."""
    return [
        float(row.argmin() == person - candidates.first(person))
        for person, row in enumerate(matrix)
        if not np.isnan(row).any()
    ]


def _act_distance(
    held_out: OwnedExamples, learned: np.ndarray, predicted: Mapping[str, np.ndarray]
) -> dict[str, Estimate]:  # fmt: skip
    """Total variation between people's held-out verbs and a prediction, each person counting once."""
    distances: dict[str, list[float]] = {name: [] for name in (*predicted, "history")}
    verbs = np.array([VERBS.index(example.verb) for example in held_out.examples], dtype=int)
    for person in np.unique(held_out.owner):
        is_own = held_out.owner == person
        real = _frequencies(verbs[is_own])
        for name, shares in predicted.items():
            distances[name].append(float(np.abs(shares[is_own].mean(0) - real).sum() / 2))
        distances["history"].append(float(np.abs(learned[person] - real).sum() / 2))
    return {name: estimate_over_people(values) for name, values in distances.items()}


def _frequencies(verbs: np.ndarray) -> np.ndarray:
    return np.bincount(verbs, minlength=len(VERBS)) / len(verbs)
