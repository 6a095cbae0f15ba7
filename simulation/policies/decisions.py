"""Whether decisions are possible: a policy of one's own is checked before anything is done.

A decision that its observation does not allow is a fault of the policy's code and ends the run before the timestep is
written. A policy that cannot decide returns a `Decision` with a ``failure``, which the run file records. Words without
printable text are neither: the platform refuses the act, and the run file records that, too.
"""

import math
from collections.abc import Mapping, Sequence

from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.simulation.policies.policy import Decision, Observation

# How far from 1 the sum of a distribution may be: engines compute in single precision.
TOLERANCE = 0.01


def check_decisions(name: str, observations: Sequence[Observation], decisions: Sequence[Decision]) -> None:
    """Refuse what a policy cannot have meant.

    Args:
        name: Name of the policy, for errors.
        observations: What it was asked.
        decisions: What it returned.

    Raises:
        InputError: There is not one decision for each observation, a verb or position was not offered, or a
            distribution is none over the verbs offered; the text names the policy, the agent and the timestep.
    """
    if not isinstance(decisions, Sequence) or len(decisions) != len(observations):
        count = len(decisions) if isinstance(decisions, Sequence) else f"a {type(decisions).__name__}"
        raise InputError(
            f"policy {name!r}: decide returned {count} for {len(observations)} observations; it must return a list of "
            "one Decision for each"
        )
    for observation, decision in zip(observations, decisions, strict=True):
        fault = _fault(observation, decision)
        if fault is not None:
            where = f"policy {name!r}, agent {observation.agent}, timestep {observation.timestep}"
            raise InputError(f"{where}: {fault}")


def _fault(observation: Observation, decision: Decision) -> str | None:
    """What is impossible about a decision; None where nothing is."""
    if not isinstance(decision, Decision):
        return f"{type(decision).__name__} is not a Decision"
    if decision.failure is not None and not isinstance(decision.failure, str):
        return f"failure is a {type(decision.failure).__name__}, not a str"
    if decision.verb is None:
        return None if decision.failure else "a Decision without a verb must say in `failure` why"
    targets = observation.targets
    if not isinstance(decision.verb, Verb):
        return f"verb {decision.verb!r} is not a Verb"
    verb, position = decision.verb, decision.position
    if verb not in targets:
        return f"the verb {verb.value!r} is not possible now; possible are {', '.join(targets)}"
    if verb.has_target and position not in targets[verb]:
        places = ", ".join(map(str, targets[verb]))
        return f"position {position!r} is not possible for {verb.value!r}; possible are {places}"
    if not verb.has_target and position is not None:
        return f"the verb {verb.value!r} has no target, but position is {position!r}"
    if not isinstance(decision.text, str):
        return f"text is a {type(decision.text).__name__}, not a str"
    return None if decision.distribution is None else _distribution_fault(observation, decision.distribution)


def _distribution_fault(observation: Observation, distribution: object) -> str | None:
    if not isinstance(distribution, Mapping):
        return f"distribution is a {type(distribution).__name__}, not a dict of shares by verb"
    unknown = [str(verb) for verb in distribution if verb not in observation.targets]
    if unknown:
        return f"the distribution names {', '.join(sorted(unknown))}, which is not possible now"
    shares = list(distribution.values())
    if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares):
        return f"the distribution must hold Python floats from 0 to 1; its values are {', '.join(map(repr, shares))}"
    if not math.isclose(sum(shares), 1, abs_tol=TOLERANCE):
        return f"the distribution must sum to 1; its sum is {sum(shares):g}"
    return None
