"""The first texts of a run, shown long before it ends."""

from collections.abc import Callable, Sequence
from typing import Any

from polyphony.personas.people.acts import Verb
from polyphony.printable import printable
from polyphony.simulation.policies.policy import Decision, Observation

Decide = Callable[[Sequence[tuple[Any, Sequence[Observation]]]], list[list[Decision]]]
"""Given each run's policy and observations, returns the decisions of each run."""

WRITTEN = (Verb.POST, Verb.REPLY, Verb.QUOTE)
# Texts that are shown, all of one timestep.
SHOWN = 3


def with_first_texts(decide: Decide, names: Sequence[str], wrote: Callable[[str, str], None]) -> Decide:
    """Decide as `decide` does, and report the first texts that agents write.

    Args:
        decide: Decides for the agents of a timestep.
        names: Handles of the agents, by number.
        wrote: Called with the handle and the text of up to three agents of the first timestep in which anyone writes.
    """
    has_shown = False

    def deciding(pending: Sequence[tuple[Any, Sequence[Observation]]]) -> list[list[Decision]]:
        nonlocal has_shown
        decisions = decide(pending)
        if not has_shown:
            pairs = [
                (observation.agent, decision.text)
                for (_, observations), decided in zip(pending, decisions, strict=True)
                for observation, decision in zip(observations, decided, strict=True)
                if decision.verb in WRITTEN and printable(decision.text)
            ]
            has_shown = bool(pairs)
            for agent, text in pairs[:SHOWN]:
                wrote(names[agent], text)
        return decisions

    return deciding
