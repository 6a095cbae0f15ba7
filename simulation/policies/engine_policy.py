"""The policy of the experiment: every agent decides with the weights of its arm."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from polyphony.adapters.engine.acts import ActChoice, ActFailure, ActRequest, draw_index
from polyphony.adapters.engine.adapter_cache import AdapterCache
from polyphony.adapters.engine.interface import ActEngine
from polyphony.adapters.prompting.prompt import prompt_digest
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.personas.people.acts import Verb
from polyphony.personas.people.persona import Persona
from polyphony.randomness import keyed_generator
from polyphony.simulation.policies.arms import AdapterUse, Arm
from polyphony.simulation.policies.history_frequencies import HistoryFrequencies
from polyphony.simulation.policies.policy import Decision, Observation

MIN_LENGTH_CAP = 8


class _Question(NamedTuple):
    """A request to the engine, and the shares from which the verb was drawn if the model does not choose it."""

    request: ActRequest
    shares: dict[Verb, float] | None


class EnginePolicy:
    """Asks the engine for all active agents in one call."""

    def __init__(
        self,
        engine: ActEngine,
        kit: PromptKit,
        personas: Sequence[Persona],
        arm: Arm,
        *,
        seed: int,
        adapter_cache: AdapterCache | None = None,
        frequencies: HistoryFrequencies | None = None,
    ) -> None:
        """Bind agents to slots: those of `adapter_cache`; without one agent i acts with slot i.

        An arm that draws acts from histories draws them from `frequencies`.
        """
        self._adapter_cache = adapter_cache
        self._engine, self._kit, self._personas, self._arm, self._seed = engine, kit, personas, arm, seed
        self._caps = [length_cap(persona, kit) for persona in personas]
        self._recent = [recent_texts(persona, arm) for persona in personas]
        self._frequencies = frequencies if arm.matched_acts else None
        self._constants = [
            kit.builder.constant(persona.handle, self._description(persona), recent)
            for persona, recent in zip(personas, self._recent, strict=True)
        ]

    def remember(self) -> None:
        """Have the engine compute the constant beginning of each agent's prompt once for the whole run.

        If agents take turns in the slots, nothing is remembered: the last bits of an answer would depend on who acted
        before.
        """
        if self._adapter_cache is None or self._adapter_cache.slots == len(self._personas):
            slots = self._slots(range(len(self._constants)))
            self._engine.cache_prefixes(list(zip(slots, self._constants, strict=True)))

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide for all observations, as many in one batch as there are slots."""
        size = len(observations) if self._adapter_cache is None else self._adapter_cache.slots
        decisions: list[Decision] = []
        for start in range(0, len(observations), max(1, size)):
            (some,) = decide_together([(self, observations[start : start + size])])
            decisions += some
        return decisions

    def _questions(self, observations: Sequence[Observation]) -> list[_Question]:
        slots = self._slots([observation.agent for observation in observations])
        return [self._question(observation, slot) for observation, slot in zip(observations, slots, strict=True)]

    def _question(self, observation: Observation, slot: int | None) -> _Question:
        matched = self._matched(observation)
        request = ActRequest(
            slot=slot,
            prompt=self.prompt(observation),
            constant=len(self._constants[observation.agent]),
            items=self._kit.items.states(observation.feed),
            opened=[self._kit.builder.opened(item) for item in observation.feed],
            targets=observation.targets if matched is None else {matched[0]: observation.targets[matched[0]]},
            length_cap=self._caps[observation.agent],
            uniforms=keyed_generator(self._seed, "act", observation.agent, observation.timestep).random(
                2 + self._kit.config.text_tokens
            ),
            most_copied=self._arm.most_copied,
        )
        return _Question(request, None if matched is None else matched[1])

    def _matched(self, observation: Observation) -> tuple[Verb, dict[Verb, float]] | None:
        """The verb drawn from the person's history, and the shares of all verbs; None if the model chooses."""
        if self._frequencies is None:
            return None
        verbs = list(observation.targets)
        shares = self._frequencies.shares(observation.agent, verbs)
        uniform = keyed_generator(self._seed, "matched act", observation.agent, observation.timestep).random()
        drawn = verbs[draw_index(shares, uniform)]
        return drawn, {verb: float(share) for verb, share in zip(verbs, shares, strict=True)}

    def prompt(self, observation: Observation) -> list[int]:
        """Render the prompt of one observation, as training does."""
        persona = self._personas[observation.agent]
        return self._kit.builder.prompt(
            persona.handle, self._description(persona), observation.feed, observation.memory,
            self._recent[observation.agent],
        )  # fmt: skip

    def _description(self, persona: Persona) -> str | None:
        return persona.description if self._arm.persona_prompt else None

    def _slots(self, agents: Sequence[int]) -> Sequence[int | None]:
        if self._arm.adapter is AdapterUse.NONE:
            return [None] * len(agents)
        return agents if self._adapter_cache is None else self._adapter_cache.bring(agents)


def decide_together(pending: Sequence[tuple[EnginePolicy, Sequence[Observation]]]) -> list[list[Decision]]:
    """Decide for the agents of several runs in one batch.

    Args:
        pending: Policies over one engine, each with the observations of its agents; at least one.

    Returns:
        For each policy, one decision per observation, in their order.
    """
    questions = [policy._questions(observations) for policy, observations in pending]
    engine = pending[0][0]._engine
    choices = iter(engine.decide([question.request for some in questions for question in some]))
    return [[_decision(question, next(choices)) for question in some] for some in questions]


def _decision(question: _Question, choice: ActChoice | ActFailure) -> Decision:
    prompt = question.request.prompt
    blank = Decision(verb=None, prompt_digest=prompt_digest(prompt), prompt_tokens=len(prompt))
    if isinstance(choice, ActFailure):
        return replace(blank, failure=choice.reason)
    return replace(
        blank,
        verb=choice.verb,
        position=choice.position,
        text=choice.text,
        distribution=(choice.distribution or None) if question.shares is None else question.shares,
        output_tokens=choice.output_tokens,
    )


def recent_texts(persona: Persona, arm: Arm) -> list[str]:
    """The person's own latest public texts that an arm's prompt shows, oldest first."""
    return [act.text for act in persona.public_train if act.text][-arm.recent_posts :] if arm.recent_posts else []


def length_cap(persona: Persona, kit: PromptKit) -> int:
    """The 95th percentile of the person's text lengths, in tokens; at most the prompt's text budget."""
    lengths = sorted(len(kit.builder.plain(" " + act.text)) for act in persona.train if act.text)
    if not lengths:
        return kit.config.text_tokens
    usual = lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
    return min(kit.config.text_tokens, max(MIN_LENGTH_CAP, usual + 1))
