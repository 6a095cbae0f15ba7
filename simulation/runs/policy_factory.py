"""The policies that decide in a run, made from its settings."""

from collections.abc import Sequence
from types import MappingProxyType

from polyphony.adapters.engine.engine import Engine
from polyphony.simulation.policies.arms import arm_named
from polyphony.simulation.policies.engine_policy import EnginePolicy
from polyphony.simulation.policies.policy import Policy
from polyphony.simulation.policies.registry import PolicyContext, PolicyModel, make_policy
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.weights import InstalledWeights
from polyphony.simulation.world.action_menu import offered_verbs

# Expected acts of an agent from which computing its constant prompt once pays.
WORTH_REMEMBERING = 2.0


def run_policies(runs: Sequence[RunSettings], resources: Resources, weights: InstalledWeights) -> list[Policy]:
    """Make the policies of runs that differ in their seed alone, all over one engine where they need a model.

    Args:
        runs: The settings of each run.
        resources: Population and base model.
        weights: Of all agents.

    Raises:
        InputError: A policy cannot be made.
    """
    settings, model = runs[0], None
    if settings.needs_model:
        base, kit = resources.base_and_kit(settings)
        engine = Engine(base, weights.adapted, kit, decoding=settings.decoding)
        model = PolicyModel(engine, kit, arm_named(settings.arm), weights.cache)
    policies = [make_policy(run.policy, _context(run, resources, model)) for run in runs]
    expected_acts = len(runs) * settings.timesteps * settings.activation
    if isinstance(policies[0], EnginePolicy) and expected_acts >= WORTH_REMEMBERING:
        with resources.timer.measure("simulation"):
            policies[0].remember()
    return policies


def _context(run: RunSettings, resources: Resources, model: PolicyModel | None) -> PolicyContext:
    verbs, settings = offered_verbs(run.actions), MappingProxyType(run.as_mapping())
    return PolicyContext(resources.personas, run.seed, verbs, settings, model)
