"""Does an adapter carry its person? Held-out acts under base, prior, own and other people's adapters."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyphony.adapters.bank.revision import Revision, digest_of, revisions_digest
from polyphony.adapters.bank.stacking import install
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.evaluation.attribution import attributed, write_posts
from polyphony.adapters.evaluation.bootstrap import Estimate, estimate_over_people
from polyphony.adapters.evaluation.resumable_passes import ResumablePasses
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.memory import budget_on
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring, act_nll, verb_log_shares
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.provenance import code_version
from polyphony.personas.people.persona import Persona

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EvaluationPlan:
    """What is compared with what.

    Attributes:
        others: How many other people's adapters each held-out post is scored under.
        candidates: How many people identification and attribution choose among.
        known_posts: From how many held-out posts a person is identified.
        identified: How many people, at most, are looked for among their candidates.
        written_posts: How many posts each candidate writes under each arm for the attribution; 0 leaves it out.
        controls: Which of ``base`` and ``pooled`` are scored and write too; they are the same for all personal adapters
            over one prior.
        seed: Key of the draws of written posts.
    """

    others: int = 4
    candidates: int = 32
    known_posts: int = 5
    identified: int = 128
    written_posts: int = 4
    controls: tuple[str, ...] = ("base", "pooled")
    seed: int = 0


GATE = EvaluationPlan(others=0, candidates=1, identified=1, written_posts=0, controls=("pooled",))
"""Only what a promotion asks for."""


@dataclass(frozen=True)
class Evaluation:
    """How well adapters carry their people; negative log-likelihoods in nats per token, posts weighted equally.

    Attributes:
        people: People with at least one held-out text.
        held_out_posts: Held-out acts with text.
        nll: Text NLL under ``base``, ``pooled`` (prior alone), ``own`` and ``other`` (mean of the others tried).
        own_advantage: NLL under other people's adapters less that under the own one.
        own_beats_other: Share of (post, other adapter) pairs in which the person's own adapter is likelier.
        identification_top1: Share of people whose own adapter finds their first held-out posts likeliest among all
            candidates'.
        chance: What guessing would reach in identification and attribution.
        act_nll: NLL of verb and target on all held-out acts, under ``base``, ``pooled`` and ``own``.
        act_distance: Total variation between a person's held-out verbs and the mean distribution predicted before
            them, by ``base``, ``pooled``, ``own``, and by the frequencies of their training acts (``history``).
        attribution: Share of posts that a classifier of real posts gives to the right person: posts written by
            ``base``, ``pooled``, ``own``, and the ``real`` held-out ones.
        matrix: NLL of person i's first held-out posts under candidate j's adapter, for the first candidates.
        candidates: Handles of those.
        per_person: Handle to text NLL by name.
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

    def to_json(self) -> dict[str, Any]:
        """The contract of ``simulate bank evaluate --json``: plain values, with all intervals beside them."""
        shown = {name: value for name, value in asdict(self).items() if name not in ("matrix", "candidates")}
        del shown["per_person"]
        plain: dict[str, Any] = {}
        intervals: dict[str, Any] = {}
        for name, value in shown.items():
            if not isinstance(value, dict):
                plain[name] = value
            elif set(value) == {"value", "n", "interval"}:
                plain[name], intervals[name] = value["value"], value["interval"]
            else:
                plain[name] = {key: figure["value"] for key, figure in value.items()}
                intervals[name] = {key: figure["interval"] for key, figure in value.items()}
        return {**plain, "intervals": intervals}


@dataclass(frozen=True)
class _Scores:
    """Of each example: NLL of verb and target, NLL of the text, and the distribution of verbs [examples, verbs]."""

    act: np.ndarray
    text: np.ndarray
    verbs: np.ndarray


def evaluate(
    training: PopulationTraining,
    personas: Sequence[Persona],
    revisions: Sequence[Revision],
    *,
    plan: EvaluationPlan | None = None,
    keep: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Evaluate people's own adapters on their held-out acts.

    Held-out acts are laid out in sittings, as in training. The others of person i are persons i + 1, i + 2, … in the
    given order, wrapping round. Candidates are cut in the given order, so that person i chooses among the block of
    neighbours that they belong to.

    Args:
        training: Whose prior and settings the adapters have.
        personas: The people.
        revisions: Their own adapters, in the same order.
        plan: What is compared.
        keep: A folder where every finished pass stays until all are done; the same evaluation, asked for again after an
            interrupt, goes on from there.
        progress: Told of the passes over the held-out acts.
    """
    plan = plan or EvaluationPlan()
    kept = ResumablePasses(keep and keep / _identity(training, personas, revisions, plan))
    with training.config.adapted(training.base) as adapted, torch.no_grad():
        found = _Evaluating(training, personas, revisions, adapted, plan, kept, progress).run()
    kept.drop()
    return found


def _identity(
    training: PopulationTraining, personas: Sequence[Persona], revisions: Sequence[Revision], plan: EvaluationPlan
) -> str:
    """Digest of all that the figures of an evaluation depend on."""
    base = training.base
    return digest_of(
        [base.hash, base.dtype, base.device.type, training.population.digest, asdict(training.config),
         [persona.handle for persona in personas], revisions_digest(revisions),
         [revision.scale for revision in revisions], asdict(plan), code_version()]
    )  # fmt: skip


class _Evaluating:
    """One evaluation in work."""

    def __init__(
        self,
        training: PopulationTraining,
        personas: Sequence[Persona],
        revisions: Sequence[Revision],
        adapted: AdaptedModel,
        plan: EvaluationPlan,
        kept: ResumablePasses,
        progress: Progress,
    ) -> None:
        self._training, self._personas, self._revisions = training, personas, revisions
        self._adapted, self._plan, self._kept, self._progress = adapted, plan, kept, progress
        self._scoring = Scoring(adapted, training.split(), training.kit.scorer)
        self._others = min(plan.others, len(personas) - 1)
        self._candidates = min(plan.candidates, len(personas))
        self._passes = 1 + len(plan.controls) + self._others + self._candidates
        self._done = 0
        self._budget = budget_on(training.base.device)
        size = training.config.sitting
        made = [
            (number, example)
            for number, person in enumerate(personas)
            for example in training.examples.sittings(person, training.examples.known(person.held_out), size)
        ]
        self._owner = np.array([number for number, _ in made], dtype=int)
        self._examples = [example for _, example in made]
        self._written = np.array([example.text_start is not None for example in self._examples], dtype=bool)

    def run(self) -> Evaluation:
        people = range(len(self._personas))
        store = self._stored(self._examples)
        scores, posts = {}, {}
        if "pooled" in self._plan.controls:
            self._install_prior()
            posts = self._posts_of("pooled")
            scores["pooled"] = self._score("pooled", store, [0] * len(people), self._owner)
        install(self._adapted, self._training.bank, self._revisions)
        if "base" in self._plan.controls:
            posts |= self._posts_of("base")
            scores["base"] = self._score("base", store, None, self._owner)
        for shift in range(self._others + 1):
            name, slots = f"shift{shift}", [(i + shift) % len(people) for i in people]
            scores[name] = self._score(name, store, slots, self._owner)
        matrix = self._matrix()
        posts |= self._posts_of("own")
        return self._summary(scores, matrix, self._attribution(posts))

    def _install_prior(self) -> None:
        bank = self._training.bank
        prior = bank.prior(self._revisions[0]) or self._training.prior()  # of complete adapters, the training's
        self._adapted.set_prior(bank.factors(prior.object), prior.scale)

    def _score(self, name: str, store: ExampleStore, slot_of: Sequence[int] | None, owner: np.ndarray) -> _Scores:
        """Score all examples, those of person i under slot ``slot_of[i]``; None is the bare base."""
        found = self._kept(name, lambda: self._budget.run(lambda tokens: self._scored(store, slot_of, owner, tokens)))
        self._done += 1
        self._progress(self._done, self._passes)
        verbs = np.array(found["verbs"]).reshape(-1, len(VERBS))
        return _Scores(np.array(found["act"]), np.array(found["text"]), verbs)

    def _stored(self, examples: Sequence[Example]) -> ExampleStore:
        return self._budget.run(lambda tokens: ExampleStore(self._scoring.split, examples, token_budget=tokens))

    def _scored(
        self, store: ExampleStore, slot_of: Sequence[int] | None, owner: np.ndarray, tokens: int
    ) -> dict[str, list[Any]]:
        count = len(store.examples)
        act, text, verbs = np.zeros(count), np.zeros(count), np.zeros((count, len(VERBS)))
        for batch in store.batches(range(len(store.rows)), tokens):
            members = store.members(batch)
            slots = None if slot_of is None else [slot_of[owner[store.rows[row].members[0]]] for row in batch]
            hidden, places = self._scoring.hidden(store, batch, slots), store.places(batch)
            examples = [store.examples[member] for member in members]
            nll = act_nll(hidden, examples, self._scoring.scorer, places)
            shares = verb_log_shares(hidden, examples, places, self._scoring.scorer).exp()
            act[members], text[members] = (nll.verb + nll.target).cpu(), nll.text.cpu()
            verbs[members] = shares.cpu()
        return {"act": act.tolist(), "text": text.tolist(), "verbs": verbs.tolist()}

    def _block(self, person: int) -> int:
        """The first of the candidates that a person is found among."""
        size = self._candidates
        return min(person // size * size, len(self._personas) - size)

    def _matrix(self) -> np.ndarray:
        """NLL of each person's first held-out posts under each of their candidates, shape [identified, candidates].

        The posts follow one shared prompt, as sittings do in training; without any, a person's row is NaN.
        """
        people = self._personas[: max(self._plan.identified, self._candidates)]
        made: list[tuple[int, Example]] = []
        for number, person in enumerate(people):
            texts = self._training.examples.known([act for act in person.held_out if act.text])
            taken = texts[: self._plan.known_posts]
            made += [(number, e) for e in self._training.examples.sittings(person, taken, len(taken) or 1)]
        owner = np.array([number for number, _ in made], dtype=int)
        store = self._stored([example for _, example in made])
        matrix = np.full((len(people), self._candidates), np.nan)
        for candidate in range(self._candidates):
            slots = [self._block(person) + candidate for person in range(len(people))]
            text = self._score(f"candidate{candidate}", store, slots, owner).text
            for person in np.unique(owner):
                matrix[person, candidate] = text[owner == person].mean()
        return matrix

    def _prompts(self, person: Persona) -> list[Example]:
        return self._training.examples.examples(person, person.held_out)

    def _posts_of(self, arm: str) -> dict[str, list[tuple[int, str]]]:
        """Posts that the first candidates write after the prompts of their first held-out acts, in one arm."""
        prompts = [
            (person, example)
            for person in range(self._candidates)
            for example in self._prompts(self._personas[person])[: self._plan.written_posts]
        ]
        texts = self._kept(f"posts-{arm}", lambda: self._written_by(arm, prompts))
        return {arm: [(person, text) for (person, _), text in zip(prompts, texts, strict=True)]}

    def _written_by(self, arm: str, prompts: Sequence[tuple[int, Example]]) -> list[str]:
        kit = self._training.kit
        engine = Engine(self._training.base, self._adapted, kit)
        slots: dict[str, list[int | None]] = {
            "base": [None] * len(prompts), "pooled": [0] * len(prompts), "own": [person for person, _ in prompts]
        }  # fmt: skip
        texts = write_posts(
            engine, prompts, slots[arm], most_tokens=kit.config.text_tokens // 2, seed=self._plan.seed
        )  # fmt: skip
        self._adapted.forget_rows()
        return texts

    def _attribution(self, posts: dict[str, list[tuple[int, str]]]) -> dict[str, Estimate]:
        if self._plan.written_posts == 0 or self._candidates < 2:
            return {}
        people = self._personas[: self._candidates]
        real = [(number, act.text) for number, person in enumerate(people) for act in person.held_out if act.text]
        posts = {**posts, "real": real}
        right = attributed(people, posts)
        return {
            name: estimate_over_people(*_sums_of(right[name], np.array([author for author, _ in texts]), len(people)))
            for name, texts in posts.items()
        }

    def _summary(
        self, scores: dict[str, _Scores], matrix: np.ndarray, attribution: dict[str, Estimate]
    ) -> Evaluation:  # fmt: skip
        written, owner, count = self._written, self._owner[self._written], len(self._personas)
        own = scores["shift0"].text[written]
        others = np.array([scores[f"shift{shift}"].text[written] for shift in range(1, self._others + 1)])
        text = {name: scores[name].text[written] for name in ("base", "pooled") if name in scores} | {"own": own}
        beats = advantage = Estimate(None, 0, None)
        if self._others:
            text["other"] = others.mean(0)
            beats = estimate_over_people(*_sums_of((own < others).mean(0), owner, count))
            advantage = estimate_over_people(*_sums_of(text["other"] - own, owner, count))
        sums = {name: _sums_of(values, owner, count) for name, values in text.items()}
        identified = [
            float(row.argmin() == person - self._block(person))
            for person, row in enumerate(matrix)
            if not np.isnan(row).any()
        ]
        acts = {name: name for name in ("base", "pooled") if name in scores} | {"own": "shift0"}
        return Evaluation(
            people=len(np.unique(owner)),
            held_out_posts=int(written.sum()),
            nll={name: estimate_over_people(*pair) for name, pair in sums.items()},
            own_advantage=advantage,
            own_beats_other=beats,
            identification_top1=estimate_over_people(identified) if self._candidates > 1 else Estimate(None, 0, None),
            chance=1 / self._candidates if self._candidates > 1 else None,
            act_nll={
                name: estimate_over_people(*_sums_of(scores[key].act, self._owner, count)) for name, key in acts.items()
            },
            act_distance=self._act_distance({name: scores[key].verbs for name, key in acts.items()}),
            attribution=attribution,
            matrix=[[round(float(nll), 4) for nll in row] for row in matrix[: self._candidates]],
            candidates=[person.handle for person in self._personas[: self._candidates]],
            per_person={
                self._personas[person].handle: {name: float(s[person] / n[person]) for name, (s, n) in sums.items()}
                for person in np.unique(owner)
            },
        )

    def _act_distance(self, predicted: dict[str, np.ndarray]) -> dict[str, Estimate]:
        """Total variation between what people then did and what was predicted, each person counting once."""
        found: dict[str, list[float]] = {name: [] for name in (*predicted, "history")}
        done = np.array([VERBS.index(example.verb) for example in self._examples], dtype=int)
        for person in np.unique(self._owner):
            theirs = self._owner == person
            real = _frequencies(done[theirs])
            for name, shares in predicted.items():
                found[name].append(float(np.abs(shares[theirs].mean(0) - real).sum() / 2))
            known = _frequencies(np.array([VERBS.index(act.verb) for act in self._personas[person].train]))
            found["history"].append(float(np.abs(known - real).sum() / 2))
        return {name: estimate_over_people(distances) for name, distances in found.items()}


def _sums_of(values: np.ndarray, owner: np.ndarray, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of values of each person."""
    return np.bincount(owner, values, minlength=people), np.bincount(owner, minlength=people)


def _frequencies(verbs: np.ndarray) -> np.ndarray:
    return np.bincount(verbs, minlength=len(VERBS)) / len(verbs)
