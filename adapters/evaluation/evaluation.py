"""Scores held-out acts under the base, the prior, a person's own adapter and those of other people."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from polyphony.adapters.bank.revision import Revision, digest_of, revisions_digest
from polyphony.adapters.bank.stacking import complete, install
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.evaluation.act_scoring import ActScoring, Progress, install_prior
from polyphony.adapters.evaluation.attribution import attributed, write_posts
from polyphony.adapters.evaluation.bootstrap import Estimate, estimate_over_people
from polyphony.adapters.evaluation.counterfactuals import Counterfactuals
from polyphony.adapters.evaluation.feed_scoring import FeedScoring
from polyphony.adapters.evaluation.owned_examples import ActScores, laid_out, shown_alone, sums_of
from polyphony.adapters.evaluation.passes import Passes
from polyphony.adapters.evaluation.responsiveness import Figures, responsiveness
from polyphony.adapters.evaluation.resumable_passes import ResumablePasses
from polyphony.adapters.evaluation.summary import Candidates, Evaluation, summarise
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.provenance import code_version
from polyphony.personas.people.acts import Verb
from polyphony.personas.people.persona import Persona

# Passes that are scored before other feeds, too, and how their figures are called.
_RESPONDING = {"base": "base", "prior": "prior", "pooled": "pooled", "shift0": "own", "shift1": "other"}


@dataclass(frozen=True)
class EvaluationPlan:
    """What an evaluation compares.

    Attributes:
        others: How many other people's adapters each held-out post is scored under.
        candidates: How many people identification and attribution choose among.
        known_posts: From how many held-out posts a person is identified.
        identified: How many people, at most, are to be identified among their candidates.
        written_posts: How many posts each candidate writes under each arm for the attribution; 0 leaves it out.
        controls: Which of ``base``, ``prior`` and ``pooled`` are scored; ``base`` and ``pooled`` write, too. They are
            the same for all personal adapters over one prior.
        moments: How many held-out moments of a person are shown with other feeds; 0 leaves out all figures that concern
            feeds.
        seed: Key of the draws of written posts.
    """

    others: int = 4
    candidates: int = 32
    known_posts: int = 5
    identified: int = 128
    written_posts: int = 4
    controls: tuple[str, ...] = ("base", "prior", "pooled")
    moments: int = 4
    seed: int = 0


GATE = EvaluationPlan(others=0, candidates=1, identified=1, written_posts=0, controls=("prior",), moments=0)
"""The least that a promotion needs: text NLL under the prior and under the own adapter."""


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
        keep: A folder where each finished pass is stored until the evaluation is done; the same evaluation resumes from
            it after an interrupt. None stores nothing.
        progress: Receives the number of finished passes over the held-out acts, and of all.
    """
    plan = plan or EvaluationPlan()
    pooled = training.pooled(personas) if "pooled" in plan.controls else None
    passes = ResumablePasses(keep and keep / _identity(training, personas, revisions, plan))
    with training.config.adapted(training.base) as adapted, torch.no_grad():
        evaluation = _Evaluating(training, personas, revisions, pooled, adapted, plan, passes, progress).run()
    passes.drop()
    return evaluation


def _identity(
    training: PopulationTraining, personas: Sequence[Persona], revisions: Sequence[Revision], plan: EvaluationPlan
) -> str:
    """Digest of all that the results of an evaluation depend on."""
    base = training.base
    return digest_of(
        [base.hash, base.dtype, base.device.type, training.population.digest, asdict(training.config),
         [persona.handle for persona in personas], revisions_digest(revisions),
         [revision.scale for revision in revisions], asdict(plan), code_version()]
    )  # fmt: skip


class _Evaluating:
    """The passes of one evaluation."""

    def __init__(
        self,
        training: PopulationTraining,
        personas: Sequence[Persona],
        revisions: Sequence[Revision],
        pooled: Revision | None,
        adapted: AdaptedModel,
        plan: EvaluationPlan,
        passes: ResumablePasses,
        progress: Progress,
    ) -> None:
        self._training, self._personas, self._revisions, self._pooled = training, personas, revisions, pooled
        self._adapted, self._plan, self._resumable = adapted, plan, passes
        count = Passes.of(plan, len(personas))
        self._others, self._candidates = count.others, Candidates(count.candidates, len(personas))
        self._scoring = ActScoring(training.scoring(adapted), passes, count.total, progress)
        builder, size = training.examples, training.config.sitting
        self._held_out = laid_out(builder, personas, lambda person: person.held_out, size)

    def _learned(self) -> np.ndarray:
        """Share of each verb in what each person's adapter learned, shape [people, verbs]."""
        config = self._training.config
        shares = np.zeros((len(self._personas), len(VERBS)))
        for row, person in zip(shares, self._personas, strict=True):
            acts = person.learned(config.max_examples)
            for act in acts:
                row[VERBS.index(act.verb)] += 1
            row[VERBS.index(Verb.NOTHING)] = config.history.nothing * len(acts)
        normalised: np.ndarray = shares / np.maximum(shares.sum(1, keepdims=True), 1e-9)
        return normalised

    def run(self) -> Evaluation:
        people, owner = range(len(self._personas)), self._held_out.owner
        store, feeds = self._scoring.stored(self._held_out.examples), self._feeds()
        scores: dict[str, ActScores] = {}
        responses: dict[str, ActScores] = {}
        posts: dict[str, list[tuple[int, str]]] = {}

        def score(name: str, slots: Sequence[int] | None) -> None:
            scores[name] = self._scoring.score(name, store, slots, owner)
            if feeds is not None and name in _RESPONDING:
                responses[_RESPONDING[name]] = feeds.score(f"feeds-{name}", slots)

        if "prior" in self._plan.controls:
            install_prior(self._adapted, self._training, self._revisions)
            score("prior", [0] * len(people))
        if self._pooled is not None:
            self._adapted.set_prior(complete(self._training.bank, self._pooled))
            posts = self._posts_of("pooled")
            score("pooled", [0] * len(people))
        install(self._adapted, self._training.bank, self._revisions)
        if "base" in self._plan.controls:
            posts |= self._posts_of("base")
            score("base", None)
        for shift in range(self._others + 1):
            score(f"shift{shift}", [(i + shift) % len(people) for i in people])
        matrix = self._matrix()
        posts |= self._posts_of("own")
        figures = {} if feeds is None else self._responsiveness(feeds.counterfactuals, responses)
        attribution = self._attribution(posts)
        return summarise(
            self._held_out, self._learned(), scores, matrix, self._candidates, attribution, figures
        )  # fmt: skip

    def _feeds(self) -> FeedScoring | None:
        """What is scored for the figures that concern feeds; None where the plan leaves them out."""
        if not self._plan.moments:
            return None
        return FeedScoring.of(self._training, self._personas, self._scoring, self._plan.moments)

    def _responsiveness(self, counterfactuals: Counterfactuals, scores: dict[str, ActScores]) -> Figures:
        training, most = self._training, self._training.config.max_examples
        learned = shown_alone(training.examples, self._personas, lambda person: person.learned(most))
        return responsiveness(training.population, learned, counterfactuals, scores)

    def _matrix(self) -> np.ndarray:
        """NLL of each person's first held-out posts under each of their candidates, shape [identified, candidates].

        The posts follow one shared prompt, as sittings do in training; without any, a person's row is NaN.
        """
        people = self._personas[: max(self._plan.identified, self._candidates.size)]
        builder, size = self._training.examples, self._plan.known_posts
        taken = [builder.known([act for act in person.held_out if act.text])[:size] for person in people]
        builder.prepare(list(zip(people, taken, strict=True)), size)
        examples = [
            (number, example)
            for number, (person, acts) in enumerate(zip(people, taken, strict=True))
            for example in builder.sittings(person, acts, size) if example.text_start is not None
        ]  # fmt: skip
        owner = np.array([number for number, _ in examples], dtype=int)
        store = self._scoring.stored([example for _, example in examples])
        matrix = np.full((len(people), self._candidates.size), np.nan)
        for candidate in range(self._candidates.size):
            slots = [self._candidates.first(person) + candidate for person in range(len(people))]
            text = self._scoring.score(f"candidate{candidate}", store, slots, owner).text
            for person in np.unique(owner):
                matrix[person, candidate] = text[owner == person].mean()
        return matrix

    def _posts_of(self, arm: str) -> dict[str, list[tuple[int, str]]]:
        """Posts that the first candidates write after the prompts of their first held-out acts, in one arm."""
        builder, people = self._training.examples, self._personas[: self._candidates.size]
        builder.prepare([(person, person.held_out) for person in people], 1)
        prompts = [
            (number, example)
            for number, person in enumerate(people)
            for example in builder.examples(person, person.held_out)[: self._plan.written_posts]
        ]
        texts = self._resumable(f"posts-{arm}", lambda: self._written_by(arm, prompts))
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
        if self._plan.written_posts == 0 or self._candidates.size < 2:
            return {}
        people = self._personas[: self._candidates.size]
        real = [(number, act.text) for number, person in enumerate(people) for act in person.held_out if act.text]
        posts = {**posts, "real": real}
        right = attributed(people, posts)
        return {
            name: estimate_over_people(*sums_of(right[name], np.array([author for author, _ in texts]), len(people)))
            for name, texts in posts.items()
        }
