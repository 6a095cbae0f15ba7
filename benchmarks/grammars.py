"""How far the bare base's choice of acts is an artefact of the labels: three label sets, calibrated and raw."""

from dataclasses import replace

import numpy as np

from benchmarks.results import Result
from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.head import Head
from polyphony.adapters.prompting.act_scorer import uncalibrated_scorer
from polyphony.adapters.prompting.examples import ExampleBuilder
from polyphony.adapters.prompting.grammar import LABEL_SETS
from polyphony.adapters.prompting.moments import HistoryConfig
from polyphony.adapters.prompting.prompt import PromptBuilder
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.personas.people.acts import USUAL
from polyphony.personas.population import Population
from polyphony.simulation.history.replay import ReplayedHistory

PEOPLE = 48


def grammar_results(base: BaseModel, population: Population) -> list[Result]:
    """Mean act distribution of the bare base under each label set; printed, with the largest distance kept."""
    means: dict[tuple[str, str], np.ndarray] = {}
    for name in LABEL_SETS:
        kit = make_prompt_kit(base, PromptConfig(grammar=name))
        raw = uncalibrated_scorer(base, kit.builder.grammar, Head(base), feed_items=kit.config.feed_items)
        requests = _requests(kit.builder, kit.config.feed_items, population)
        for kind, scorer in (("calibrated", kit.scorer), ("raw", raw)):
            made = Engine(base, None, replace(kit, scorer=scorer)).decide(requests)
            means[kind, name] = np.mean([[choice.distribution[verb] for verb in USUAL] for choice in made], axis=0)
            shares = "  ".join(f"{verb} {share:.3f}" for verb, share in zip(USUAL, means[kind, name], strict=True))
            print(f"{kind:10} {name:16} {shares}")
    return [
        Result(
            f"base act distribution, largest total variation between label sets, {kind}",
            _spread(means, kind),
            "",
            "",
            1,
        )
        for kind in ("calibrated", "raw")
    ]


def _spread(means: dict[tuple[str, str], np.ndarray], kind: str) -> float:
    found = [shares for (what, _), shares in means.items() if what == kind]
    return max(float(np.abs(one - other).sum() / 2) for one in found for other in found)


def _requests(builder: PromptBuilder, feed_items: int, population: Population) -> list[ActRequest]:
    history = ReplayedHistory(population, HistoryConfig(), items=feed_items)
    examples = ExampleBuilder(population.acts, builder, history)
    targets = {verb: list(range(1, feed_items + 1)) if verb.has_target else [] for verb in USUAL}
    people = population.personas[:PEOPLE]
    examples.prepare([(persona, persona.learned(1)) for persona in people], 1)
    requests = []
    for persona in people:
        feed = examples.moments(persona, persona.learned(1), 1)[-1].feed
        prompt = builder.prompt(persona.handle, persona.description, feed)
        requests.append(ActRequest(None, prompt, targets, 1, np.full(8, 0.5)))
    return requests
