"""How often people did what before the simulation."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polyphony.personas.people.acts import Verb
from polyphony.personas.people.persona import Persona


class HistoryFrequencies:
    """The shares of verbs in each person's training acts."""

    def __init__(self, personas: Sequence[Persona]) -> None:
        """Count everybody's acts; agent i is ``personas[i]``."""
        self._counts = [Counter(act.verb for act in persona.train) for persona in personas]

    def shares(self, agent: int, verbs: Sequence[Verb]) -> NDArray[np.float64]:
        """Shares of the possible verbs, shape [verbs].

        A person who did none of them does nothing. Where the menu lacks that, all its verbs are equally likely.
        """
        counts = self._counts[agent]
        weights = np.array([counts[verb] for verb in verbs], dtype=float)
        if not weights.any():
            weights = np.array([verb is Verb.NOTHING or Verb.NOTHING not in verbs for verb in verbs], dtype=float)
        return np.asarray(weights / weights.sum())
