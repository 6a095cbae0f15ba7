"""Interviews: a question to an agent, outside simulated time. The run file does not change."""

from pathlib import Path

from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.prompting.prompt import prompt_digest
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.printable import printable
from polyphony.randomness import keyed_generator
from polyphony.simulation.policies.arms import arm_named
from polyphony.simulation.runs.initial_state import empty_platform
from polyphony.simulation.runs.replay import replay
from polyphony.simulation.runs.runner import Runner
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.store import RunStore, name_of


def interview(
    runner: Runner, settings: RunSettings, source: Path | str, handle: str, question: str, *, at: int | None = None
) -> str:
    """Return an agent's answer, written with the weights that it acts with.

    Args:
        runner: A runner of the run's population.
        settings: The settings of the run.
        source: The run.
        handle: Handle of the agent.
        question: The question.
        at: The timestep at whose beginning the agent is asked; None for the end of the run.

    Raises:
        InputError: The runner holds other people, there is no such agent, or the question holds no printable text.
    """
    _check_people(runner, source)
    if settings.engine == "http":
        raise InputError(f"{name_of(source)}: its agents acted in a server, whose models an interview does not ask")
    places = {persona.handle: place for place, persona in enumerate(runner.personas)}
    if handle not in places:
        raise InputError(f"{name_of(source)}: no agent {handle!r}; see the table agent, or the dashboard")
    text = printable(question)
    if not text:
        raise InputError("the question holds no printable text")
    agent, arm = places[handle], arm_named(settings.arm)
    persona = runner.personas[agent]
    memory = _memory(runner, settings, source, agent, at)
    base, kit = runner.resources.base_and_kit(settings)
    system = f"You are @{handle}." + (f" {persona.description}" if arm.persona_prompt else "")
    prompt = kit.builder.chat(system, "\n".join([*memory, text]))
    cap = kit.config.text_tokens
    uniforms = keyed_generator(settings.seed, "interview", agent, prompt_digest(prompt)).random(2 + cap)
    with runner.weight_source.installed(settings, arm, [agent]) as weights:
        engine = Engine(base, weights.adapted, kit, decoding=settings.decoding)
        slot = None if weights.adapted is None else 0
        return engine.decide([ActRequest(slot, prompt, {Verb.POST: []}, cap, uniforms)])[0].text


def _check_people(runner: Runner, source: Path | str) -> None:
    store = RunStore.read(source)
    try:
        digest = store.run_row()["population_digest"]
    finally:
        store.close()
    if digest != runner.population.digest:
        raise InputError(f"{name_of(source)}: holds other people; give the file it was run with as --population FILE")


def _memory(runner: Runner, settings: RunSettings, source: Path | str, agent: int, at: int | None) -> list[str]:
    store = RunStore.read(source)
    try:
        tables = store.platform_tables()
        timesteps = store.next_timestep()
    finally:
        store.close()
    platform = empty_platform(settings, runner.personas)
    replay(platform, tables, timesteps if at is None else at)
    return list(platform.memory[agent])
