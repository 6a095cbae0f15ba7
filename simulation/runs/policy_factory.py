"""The policies that decide in a run, made from its settings."""

from collections.abc import Sequence

from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.errors import InputError
from polyphony.personas.people.persona import Persona
from polyphony.simulation.policies.arms import Arm, arm_named
from polyphony.simulation.policies.engine_policy import EnginePolicy
from polyphony.simulation.policies.policy import Policy
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.weights import InstalledWeights

# Expected acts of an agent from which computing its constant prompt once pays.
WORTH_REMEMBERING = 2.0
# Agents of camel that ask a served model at the same time.
CONCURRENT_REQUESTS = 8


def model_policies(runs: Sequence[RunSettings], resources: Resources, weights: InstalledWeights) -> list[Policy]:
    """Make the policies of runs that differ in their seed alone, all over one engine.

    Args:
        runs: The settings of each run.
        resources: Population and base model.
        weights: Of all agents.

    Raises:
        InputError: camel-ai is asked for and not installed, or it cannot make the model.
    """
    settings, arm = runs[0], arm_named(runs[0].arm)
    base, kit = resources.base_and_kit(settings)
    engine = Engine(base, weights.adapted, kit, decoding=settings.decoding)
    if settings.policy == "camel":
        return [camel_policy(engine, kit, resources.personas, arm, run) for run in runs]
    policies = [
        EnginePolicy(engine, kit, resources.personas, arm, seed=run.seed, residency=weights.cache) for run in runs
    ]
    if len(runs) * settings.timesteps * settings.activation >= WORTH_REMEMBERING:
        with resources.timer.measure("simulation"):
            policies[0].remember()
    return list(policies)


def camel_policy(
    engine: Engine, kit: PromptKit, personas: Sequence[Persona], arm: Arm, settings: RunSettings
) -> Policy:  # fmt: skip
    """Make the policy of camel's agents, over our engine or a served model; importing camel-ai takes seconds.

    Raises:
        InputError: camel-ai is not installed, or it cannot make that model.
    """
    try:
        from polyphony.simulation.policies.camel_backend import engine_backends, served_backends
        from polyphony.simulation.policies.camel_policy import CamelPolicy
    except ModuleNotFoundError as error:
        raise InputError(
            f"--policy camel needs the package {error.name}: pip install 'polyphony-sim[camel]'"
        ) from error
    if settings.camel_model:
        served = served_backends(settings.camel_model, settings.camel_url, kit)
        return CamelPolicy(served, kit.builder, personas, arm, at_once=CONCURRENT_REQUESTS)
    return CamelPolicy(engine_backends(engine, kit, personas, arm, seed=settings.seed), kit.builder, personas, arm)
