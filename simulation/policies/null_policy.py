"""The classical baseline: acts drawn from each person's own history, no model."""

from collections.abc import Sequence

from polyphony.adapters.engine.acts import draw_index
from polyphony.errors import InputError
from polyphony.garbage import cycles_left
from polyphony.personas.people.persona import Persona
from polyphony.printable import quoted
from polyphony.randomness import keyed_generator
from polyphony.simulation.policies.history_frequencies import HistoryFrequencies
from polyphony.simulation.policies.policy import Decision, Observation


class NullPolicy:
    """Draws the verb as `HistoryFrequencies` has it, the target uniformly, and the text from old posts.

    A person without old posts has no text: the platform refuses the act, and the run file records that.
    """

    def __init__(self, personas: Sequence[Persona], *, seed: int, most: int = 24, nothing: float = 0.0) -> None:
        """Count everybody's acts.

        Args:
            personas: The agents.
            seed: The run's seed.
            most: As `HistoryFrequencies` takes it.
            nothing: As for that.

        Raises:
            InputError: All texts of somebody are private; this policy would have to publish them.
        """
        self._seed = seed
        self._frequencies = HistoryFrequencies(personas, most=most, nothing=nothing)
        self._texts = [[act.text for act in persona.public_train if act.text] for persona in personas]
        for persona, texts in zip(personas, self._texts, strict=True):
            if not texts and any(act.text for act in persona.train):
                raise InputError(
                    f"--policy null repeats people's public posts, and all of {quoted(persona.handle)} are private: "
                    "choose another policy"
                )

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide for each observation alone."""
        with cycles_left():
            return [self._decide(observation) for observation in observations]

    def _decide(self, observation: Observation) -> Decision:
        random = keyed_generator(self._seed, "null act", observation.agent, observation.timestep)
        verbs = list(observation.targets)
        shares = self._frequencies.shares(observation.agent, verbs)
        verb = verbs[draw_index(shares, random.random())]
        places, texts = observation.targets[verb], self._texts[observation.agent]
        return Decision(
            verb=verb,
            position=places[int(random.integers(len(places)))] if verb.has_target else None,
            text=texts[int(random.integers(len(texts)))] if verb.has_text and texts else "",
            distribution={verb: float(share) for verb, share in zip(verbs, shares, strict=True) if share > 0},
        )
