"""The policy of the experiment: every agent decides with its own weights."""

from collections.abc import Sequence

from adapters.engine import ActRequest, Engine
from adapters.prompt import prompt_digest
from adapters.prompt_kit import PromptKit
from personas.persona import Persona
from personas.randomness import keyed_generator
from simulation.arms import AdapterUse, Arm
from simulation.policy import Decision, Observation

MIN_LENGTH_CAP = 8


class EnginePolicy:
    """Asks the engine for all active agents in one call."""

    def __init__(self, engine: Engine, kit: PromptKit, personas: Sequence[Persona], arm: Arm, *, seed: int) -> None:
        """Bind agents to their slots: agent i acts with slot i."""
        self._engine, self._kit, self._personas, self._arm, self._seed = engine, kit, personas, arm, seed
        self._caps = [length_cap(persona, kit) for persona in personas]
        self._constants = [kit.builder.constant(persona.handle, self._description(persona)) for persona in personas]

    def remember(self) -> None:
        """Have the engine compute what is constant in the agents' prompts once and for all."""
        self._engine.remember([(self._slot(agent), tokens) for agent, tokens in enumerate(self._constants)])

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide for all observations in one batch."""
        prompts = [self.prompt(observation) for observation in observations]
        requests = [
            ActRequest(
                slot=self._slot(observation.agent),
                prompt=prompt,
                constant=len(self._constants[observation.agent]),
                targets=observation.targets,
                length_cap=self._caps[observation.agent],
                uniforms=keyed_generator(self._seed, "act", observation.agent, observation.timestep).random(
                    2 + self._kit.config.text_tokens
                ),
            )
            for observation, prompt in zip(observations, prompts, strict=True)
        ]
        return [
            Decision(
                verb=choice.verb,
                position=choice.position,
                text=choice.text,
                distribution=choice.distribution,
                prompt_digest=prompt_digest(prompt),
                prompt_tokens=len(prompt),
                output_tokens=choice.output_tokens,
            )
            for choice, prompt in zip(self._engine.decide(requests), prompts, strict=True)
        ]

    def prompt(self, observation: Observation) -> list[int]:
        """Render the prompt of one observation, as training does."""
        persona = self._personas[observation.agent]
        return self._kit.builder.prompt(
            persona.handle, self._description(persona), observation.feed, observation.memory
        )

    def _description(self, persona: Persona) -> str | None:
        return persona.description if self._arm.persona_prompt else None

    def _slot(self, agent: int) -> int | None:
        return None if self._arm.adapter is AdapterUse.NONE else agent


def length_cap(persona: Persona, kit: PromptKit) -> int:
    """Longest text the person writes but for one in twenty, in tokens; bounded by the prompt's text budget."""
    lengths = sorted(len(kit.builder.plain(" " + act.text)) for act in persona.train if act.text)
    if not lengths:
        return kit.config.text_tokens
    usual = lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
    return min(kit.config.text_tokens, max(MIN_LENGTH_CAP, usual + 1))
