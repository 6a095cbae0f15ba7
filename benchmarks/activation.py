"""Five hundred and twelve agents, each with its own adapter: all activated once, and the memory of their run."""

import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

from benchmarks.engine import random_stack
from benchmarks.results import Result
from benchmarks.timing import run_apart
from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.examples import ExampleBuilder
from polyphony.adapters.prompting.moments import HistoryConfig
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.personas.people.acts import USUAL
from polyphony.personas.population import Population
from polyphony.randomness import keyed_generator
from polyphony.simulation.history.replay import ReplayedHistory

AGENTS, FEED, STEPS = 512, 5, 2


def activation_results(base: BaseModel, population: Population) -> list[Result]:
    """Seconds of one decision each, with a feed of five and an act that has text."""
    kit = make_prompt_kit(base, PromptConfig(feed_items=FEED))
    history = ReplayedHistory(population, HistoryConfig(), items=FEED)
    examples = ExampleBuilder(population.acts, kit.builder, history)
    writing = {verb: list(range(1, FEED + 1)) if verb.has_target else [] for verb in USUAL if verb.has_text}
    people = population.choose(AGENTS)
    examples.prepare([(persona, persona.learned(1)) for persona in people], 1)
    requests = []
    for slot, persona in enumerate(people):
        feed = examples.moments(persona, persona.learned(1), 1)[-1].feed
        prompt = kit.builder.prompt(persona.handle, persona.description, feed)
        cap = int(np.median([len(kit.builder.plain(" " + act.text)) for act in persona.train if act.text] or [24]))
        uniforms = keyed_generator(0, "bench", slot).random(2 + cap)
        opened = [kit.builder.opened(item) for item in feed]
        requests.append(ActRequest(slot, prompt, writing, cap, uniforms, opened=opened))
    shape = LoraShape()
    with AdaptedModel(base, shape) as adapted:
        adapted.set_stack(random_stack(adapted, AGENTS), shape.scale)
        engine = Engine(base, adapted, kit)
        engine.decide(requests[:16])
        began = time.perf_counter()
        choices = engine.decide(requests)
        spent = time.perf_counter() - began
    prompts = sum(len(request.prompt) for request in requests) / AGENTS
    written = sum(choice.output_tokens for choice in choices) / AGENTS
    goal = "" if base.device.type == "cuda" else "≤ 120" if base.dtype == "bf16" else "≤ 240"  # goals are a laptop's
    return [
        Result(f"{AGENTS} agents activated once, feed of {FEED}", spent, "s", goal, 1),
        Result("the same: prompt tokens an agent", prompts, "tokens", "", 1),
        Result("the same: output tokens an agent", written, "tokens", "", 1),
        Result("the same: tokens read and written a second", AGENTS * (prompts + written) / spent, "tokens/s", "", 1),
        _memory(base),
    ]


def _memory(base: BaseModel) -> Result:
    """On a GPU what these decisions took of it, elsewhere what a run takes."""
    if base.device.type == "cuda":
        return Result("the same: most memory of the GPU", torch.cuda.max_memory_allocated() / 2**30, "GiB", "", 1)
    return Result(f"peak memory of a run of {AGENTS} agents, {STEPS} timesteps", run_memory(), "GiB", "≤ 4", 1)


def run_memory() -> float:
    """Peak GiB of ``simulate run`` with the adapters that a checkout brings, its measurements included."""
    simulate = [sys.executable, "-m", "polyphony"]
    with tempfile.TemporaryDirectory() as folder:
        bank = ["--bank", f"{folder}/bank"]
        subprocess.run([*simulate, "bank", "ready", *bank], check=True, stdout=subprocess.DEVNULL)
        run = f"run --agents {AGENTS} --steps {STEPS} --minutes-per-step 120 --weights serving --out".split()
        return run_apart([*simulate, *run, f"{folder}/run.db", *bank])[1]
