"""All policies by name: how one is registered, what it is made from, and how it is made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.people.persona import Persona
from polyphony.plugins import failing_as
from polyphony.registry import Registry
from polyphony.simulation.policies.policy import Policy

if TYPE_CHECKING:
    from polyphony.adapters.engine.adapter_cache import AdapterCache
    from polyphony.adapters.engine.interface import ActEngine
    from polyphony.adapters.prompting.prompt_kit import PromptKit
    from polyphony.simulation.policies.arms import Arm


@dataclass(frozen=True)
class PolicyModel:
    """The model that a policy decides with.

    Attributes:
        engine: Base model and the arm's adapters.
        kit: Prompts and act scorer of the base model.
        arm: Says whose weights an agent acts with, and what its prompt says.
        cache: Where agents take turns in the engine's slots; None where agent i acts with slot i.
    """

    engine: "ActEngine"
    kit: "PromptKit"
    arm: "Arm"
    cache: "AdapterCache | None" = None


@dataclass(frozen=True)
class PolicyContext:
    """What a policy is made from.

    Attributes:
        personas: The agents; agent i is ``personas[i]``.
        seed: The run's seed, for `polyphony.randomness.keyed_generator`.
        verbs: Verbs that the run offers; an observation says which of them are possible.
        settings: The run's settings, as its file records them.
        model: What it decides with; None for a policy that was registered without ``needs_model``.
    """

    personas: Sequence[Persona]
    seed: int
    verbs: Sequence[Verb]
    settings: Mapping[str, Any]
    model: PolicyModel | None = None


PolicyFactory = Callable[[PolicyContext], Policy]
"""Makes the policy of one run; a class that takes a `PolicyContext` is one."""
Factory = TypeVar("Factory", bound=PolicyFactory)


@dataclass(frozen=True)
class PolicyKind:
    """A registered policy.

    Attributes:
        factory: Makes it.
        needs_model: Whether it decides with the base model and the arm's adapters. A run of any other policy loads and
            trains nothing, and its file names the policy as the arm.
    """

    factory: PolicyFactory
    needs_model: bool = False


POLICIES: Registry[PolicyKind] = Registry("policy")
"""All policies by name, those of plug-ins included."""


def policy(name: str, *, needs_model: bool = False) -> Callable[[Factory], Factory]:
    """Register a policy under a name, as a decorator of its class or factory.

    A rule-based policy in a plug-in, as an example::

        from polyphony.personas.people.acts import Verb
        from polyphony.simulation.policies.policy import Decision
        from polyphony.simulation.policies.registry import policy

        @policy("likes-first")
        class LikesFirst:
            def __init__(self, context):
                self.names = [persona.handle for persona in context.personas]

            def decide(self, observations):
                return [self.decision(observation) for observation in observations]

            def decision(self, observation):
                if Verb.LIKE in observation.targets:
                    return Decision(Verb.LIKE, position=observation.targets[Verb.LIKE][0])
                return Decision(Verb.POST, text=f"{self.names[observation.agent]} liked everything")

    Args:
        name: Lower-case words joined by ``-`` or ``_``.
        needs_model: See `PolicyKind`.

    Raises:
        InputError: The name is taken, or is not of that form.
    """

    def register(factory: Factory) -> Factory:
        POLICIES.register(name, PolicyKind(factory, needs_model), source=factory)
        return factory

    return register


def make_policy(name: str, context: PolicyContext) -> Policy:
    """Make the policy of one run.

    Raises:
        InputError: There is none of that name, it cannot be made, or what its factory returned has no ``decide``.
    """
    factory = POLICIES.get(name, "--policy").factory
    with failing_as(f"policy {name!r}", factory):
        created = factory(context)
    if not callable(getattr(created, "decide", None)):
        raise InputError(f"policy {name!r}: its factory returned a {type(created).__name__} without a method decide")
    return created
