"""How long an evaluation of adapters will take on this machine: its passes are counted, and a little of each is timed.

Nothing is written, and no adapter is needed: a pass takes as long with factors of zero.
"""

import time
from collections.abc import Sequence

import torch

from polyphony.adapters.bank.stacking import empty_stack
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.evaluation.act_scoring import ActScoring
from polyphony.adapters.evaluation.attribution import write_posts
from polyphony.adapters.evaluation.counterfactuals import communities_of, counterfactuals_of
from polyphony.adapters.evaluation.evaluation import EvaluationPlan
from polyphony.adapters.evaluation.feed_scoring import MOST_ACTS
from polyphony.adapters.evaluation.owned_examples import laid_out
from polyphony.adapters.evaluation.passes import Passes
from polyphony.adapters.evaluation.resumable_passes import ResumablePasses
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.scoring import rows_of
from polyphony.adapters.training.forecast import Forecast, Stage, peak_memory
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.workload import parameters
from polyphony.personas.people.persona import Persona

# The prompts of a kind that are timed, the posts that are written, and the people whose feeds are laid out.
_PROBED_ROWS, _PROBED_POSTS, _PROBED_FEEDS = 6, 4, 64
# Bytes of an example in the stored result of a pass: some thirty numbers of a JSON file.
_BYTES_STORED = 30 * 22


def forecast_evaluation(
    training: PopulationTraining, personas: Sequence[Persona], plan: EvaluationPlan
) -> Forecast:  # fmt: skip
    """Count the passes of an evaluation of people's adapters, and time them on a few of the prompts.

    Args:
        training: Whose prompts and settings the adapters have.
        personas: The people.
        plan: What is compared.
    """
    passes, shape = Passes.of(plan, len(personas)), training.config.shape
    layout = _Layout(training, personas)
    held_out = layout.held_out()
    with training.config.adapted(training.base) as adapted, torch.no_grad():
        adapted.set_stack(empty_stack(adapted, 1, shape.rank), shape.scale)
        probe = _Probe(training, adapted)
        reading, a_pass = probe.seconds_a_token(held_out)
        known = layout.known(plan, passes.candidates)
        seconds = _tokens(held_out) * (reading + passes.held_out * a_pass)
        seconds += _tokens(known) * (reading + passes.candidates * a_pass)
        if passes.feeds:
            feeds, share = layout.feeds(plan)
            reading, a_pass = probe.seconds_a_token(feeds)
            seconds += _tokens(feeds) * (reading + passes.feeds * a_pass) / share
        seconds += passes.posts(plan) * probe.seconds_a_post(held_out) if passes.posts(plan) else 0.0
        adapted.set_stack(None, 1.0)
    work = f"{passes.total:,} passes over held-out acts of {len(personas):,} people, {passes.posts(plan):,} posts"
    factors = len(personas) * parameters(training.base, shape) * training.base.model.dtype.itemsize
    stages = {"evaluation": Stage(work, seconds, passes.total, "passes")}
    return Forecast(stages, 0.0, peak_memory() + factors, passes.total * len(held_out) * _BYTES_STORED)


def _tokens(examples: Sequence[Example]) -> int:
    return sum(len(row.tokens) for row in rows_of(examples))


class _Layout:
    """The examples of an evaluation."""

    def __init__(self, training: PopulationTraining, personas: Sequence[Persona]) -> None:
        self._training, self._personas, self._builder = training, personas, training.examples

    def held_out(self) -> Sequence[Example]:
        """All held-out acts."""
        size = self._training.config.sitting
        return laid_out(self._builder, self._personas, lambda person: person.held_out, size).examples

    def known(self, plan: EvaluationPlan, candidates: int) -> list[Example]:
        """What people are identified from."""
        people, size = self._personas[: max(plan.identified, candidates)], plan.known_posts
        posts = laid_out(
            self._builder, people,
            lambda person: self._builder.known([act for act in person.held_out if act.text])[:size], size,
        )  # fmt: skip
        return [example for example in posts.examples if example.text_start is not None]

    def feeds(self, plan: EvaluationPlan) -> tuple[list[Example], float]:
        """The moments that concern feeds, of the first people, and the share of the people that they are."""
        builder, people = self._builder, self._personas[:_PROBED_FEEDS]
        moments = laid_out(builder, people, lambda person: builder.known(person.held_out)[:MOST_ACTS], 1)
        communities = communities_of(people, self._training.population.acts)
        shown = counterfactuals_of(builder, moments, communities, plan.moments)
        examples = shown.examples
        return [examples[place] for place in shown.order], len(people) / len(self._personas)


class _Probe:
    """Times what an evaluation does."""

    def __init__(self, training: PopulationTraining, adapted: AdaptedModel) -> None:
        self._training, self._adapted = training, adapted
        self._scoring = ActScoring(training.scoring(adapted), ResumablePasses(None), 1, lambda done, total: None)

    def seconds_a_token(self, examples: Sequence[Example]) -> tuple[float, float]:
        """Seconds a token of running the frozen blocks once, and of each pass."""
        rows = rows_of(examples)
        step = max(1, len(rows) // _PROBED_ROWS)
        few = [examples[member] for row in rows[::step][:_PROBED_ROWS] for member in row.members]
        if not few:
            return 0.0, 0.0
        self._score(few[:1])  # the first meets cold caches
        reading, scoring = self._score(few)
        return reading / _tokens(few), scoring / _tokens(few)

    def _score(self, examples: Sequence[Example]) -> tuple[float, float]:
        moments = [time.perf_counter()]
        store = self._scoring.stored(examples)
        moments.append(time.perf_counter())
        self._scoring.score("probe", store, [0], torch.zeros(len(examples), dtype=torch.long).numpy())
        return moments[1] - moments[0], time.perf_counter() - moments[1]

    def seconds_a_post(self, examples: Sequence[Example]) -> float:
        """Seconds that writing a post takes."""
        kit = self._training.kit
        engine = Engine(self._training.base, self._adapted, kit)
        step = max(1, len(examples) // _PROBED_POSTS)
        prompts = [(number, example) for number, example in enumerate(examples[::step][:_PROBED_POSTS])]
        began = time.perf_counter()
        write_posts(engine, prompts, [0] * len(prompts), most_tokens=kit.config.text_tokens // 2, seed=0)
        self._adapted.forget_rows()
        return (time.perf_counter() - began) / max(1, len(prompts))
