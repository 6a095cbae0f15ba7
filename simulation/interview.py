"""Asking an agent something, outside simulated time: nothing is written, and the run goes on as if nobody had asked."""

from pathlib import Path

from adapters.engine import ActRequest, Engine
from adapters.prompt import prompt_digest
from adapters.stacking import install
from personas.acts import Verb
from personas.errors import InputError
from personas.printable import printable
from personas.randomness import keyed_generator
from simulation.arms import AdapterUse, arm_named
from simulation.platform import RESTORED
from simulation.replay import replay
from simulation.runner import Runner, RunSettings
from simulation.store import RunStore, name_of


def interview(
    runner: Runner, settings: RunSettings, source: Path | str, handle: str, question: str, *, at: int | None = None
) -> str:
    """Return an agent's answer, in its own words and with the weights it acts with.

    Args:
        runner: Of the run's population.
        settings: Of the run.
        source: The run.
        handle: Who is asked.
        question: What.
        at: As of the beginning of which timestep it remembers; None for the end.

    Raises:
        InputError: There is no such agent, or nothing is asked.
    """
    places = {persona.handle: place for place, persona in enumerate(runner.personas)}
    if handle not in places:
        raise InputError(f"{name_of(source)}: no agent {handle!r}; see the table agent, or the dashboard")
    words = printable(question)
    if not words:
        raise InputError("the question holds no printable text")
    agent, arm = places[handle], arm_named(settings.arm)
    persona = runner.personas[agent]
    memory = _memory(runner, settings, source, agent, at)
    base, kit = runner.base_and_kit(settings)
    system = f"You are @{handle}." + (f" {persona.description}" if arm.persona_prompt else "")
    prompt = kit.builder.chat(system, "\n".join([*memory, words]))
    cap = kit.config.text_tokens
    uniforms = keyed_generator(settings.seed, "interview", agent, prompt_digest(prompt)).random(2 + cap)
    if arm.adapter is AdapterUse.NONE:
        engine = Engine(base, None, kit, decoding=settings.decoding)
        return engine.decide([ActRequest(None, prompt, {Verb.POST: []}, cap, uniforms)])[0].text
    bank = runner.open_bank()
    try:
        training = runner.training(settings, bank)
        with settings.training.adapted(base) as adapted:
            if arm.adapter is AdapterUse.POOLED:
                prior = training.prior()
                adapted.set_prior(bank.factors(prior.object), prior.scale)
            else:
                install(adapted, bank, training.personal([runner.personas[_weights_of(arm.adapter, agent, runner)]]))
            engine = Engine(base, adapted, kit, decoding=settings.decoding)
            return engine.decide([ActRequest(0, prompt, {Verb.POST: []}, cap, uniforms)])[0].text
    finally:
        bank.close()


def _weights_of(use: AdapterUse, agent: int, runner: Runner) -> int:
    return agent if use is AdapterUse.OWN else (agent + 1) % len(runner.personas)


def _memory(runner: Runner, settings: RunSettings, source: Path | str, agent: int, at: int | None) -> list[str]:
    store = RunStore.read(source)
    try:
        tables = {table: store.rows(table) for table in (*RESTORED, "trace")}
        done = store.next_timestep()
    finally:
        store.close()
    platform = runner.empty_platform(settings)
    replay(platform, tables, done if at is None else at)
    return list(platform.memory[agent])
