"""The policies that decide in a run, made from its settings."""

from collections.abc import Sequence
from types import MappingProxyType

from polyphony.simulation.policies.arms import arm_named
from polyphony.simulation.policies.policy import Policy
from polyphony.simulation.policies.registry import PolicyContext, PolicyModel, make_policy
from polyphony.simulation.runs.installed_weights import InstalledWeights
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings

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
    settings = runs[0]
    model = _model(settings, resources, weights) if settings.needs_model else None
    policies = [make_policy(run.policy, _context(run, resources, model)) for run in runs]
    expected_acts = len(runs) * settings.timesteps * settings.activation
    if settings.policy == "engine" and expected_acts >= WORTH_REMEMBERING:
        with resources.timer.measure("simulation"):
            _remember(policies[0])
    return policies


def _model(settings: RunSettings, resources: Resources, weights: InstalledWeights) -> PolicyModel:
    from polyphony.adapters.engine.engine import Engine  # brings torch with it

    base, kit = resources.base_and_kit(settings)
    engine = Engine(base, weights.adapted, kit, decoding=settings.decoding)
    return PolicyModel(engine, kit, arm_named(settings.arm), weights.cache)


def _remember(policy: Policy) -> None:
    """Compute the beginnings of its prompts once, where it is the engine's own policy."""
    from polyphony.simulation.policies.engine_policy import EnginePolicy

    if isinstance(policy, EnginePolicy):
        policy.remember()


def _context(run: RunSettings, resources: Resources, model: PolicyModel | None) -> PolicyContext:
    settings = MappingProxyType(run.as_mapping())
    return PolicyContext(resources.personas, run.seed, resources.offered(run), settings, model)
