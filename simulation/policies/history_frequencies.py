"""How often people did what before the simulation."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polyphony.personas.people.acts import Verb
from polyphony.personas.people.persona import Persona


class HistoryFrequencies:
    """The shares of verbs in what each person's adapter learns: their latest acts, and moments without one."""

    def __init__(self, personas: Sequence[Persona], *, most: int, nothing: float) -> None:
        """Count everybody's acts; agent i is ``personas[i]``.

        Args:
            personas: The people.
            most: Most acts of each that count, the latest, see `personas.people.persona.Persona.learned`.
            nothing: Moments at which a person does nothing, for each of these acts.
        """
        self._counts: list[dict[Verb, float]] = []
        for persona in personas:
            acts = Counter(act.verb for act in persona.learned(most))
            self._counts.append({**acts, Verb.NOTHING: nothing * acts.total()})

    def shares(self, agent: int, verbs: Sequence[Verb]) -> NDArray[np.float64]:
        """Shares of the possible verbs, shape [verbs].

        A person who did none of them does nothing. Where the menu lacks that, all its verbs are equally likely.
        """
        counts = self._counts[agent]
        weights = np.array([counts.get(verb, 0.0) for verb in verbs], dtype=float)
        if not weights.any():
            weights = np.array([verb is Verb.NOTHING or Verb.NOTHING not in verbs for verb in verbs], dtype=float)
        return np.asarray(weights / weights.sum())
