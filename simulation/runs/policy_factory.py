"""The policies that decide in a run, made from its settings."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from polyphony.simulation.policies.arms import arm_named
from polyphony.simulation.policies.policy import Policy
from polyphony.simulation.policies.registry import PolicyContext, PolicyModel, make_policy
from polyphony.simulation.runs.blocks import BlockPolicy
from polyphony.simulation.runs.installed_weights import InstalledWeights
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import RunSettings

if TYPE_CHECKING:
    from polyphony.adapters.engine.interface import EngineDescription

# Expected acts of an agent from which computing its constant prompt once pays.
WORTH_REMEMBERING = 2.0


@contextmanager
def policy_model(
    settings: RunSettings, resources: Resources, weights: InstalledWeights
) -> Iterator[PolicyModel | None]:  # fmt: skip
    """The model that a run's policy decides with, for as long as the block lasts; None where it needs none.

    Args:
        settings: Of the run.
        resources: Population, base model and bank.
        weights: Of all agents.

    Raises:
        InputError: The server that the settings name cannot be used.
    """
    if not settings.needs_model:
        yield None
        return
    from polyphony.simulation.runs.engines import make_engine  # brings torch with it

    _, kit = resources.base_and_kit(settings)
    with closing(make_engine(settings, resources, weights)) as engine:
        yield PolicyModel(engine, kit, arm_named(settings.arm), weights.cache)


def described_engine(settings: RunSettings, model: PolicyModel | None) -> "EngineDescription | None":
    """What the engine that decides says of itself; None where another model or none decides."""
    return None if model is None or settings.camel_model else model.engine.describe()


def run_policies(runs: Sequence[RunSettings], resources: Resources, model: PolicyModel | None) -> list[Policy]:
    """Make the policies of runs that differ in their seed alone, all over one engine where they need a model.

    Args:
        runs: The settings of each run.
        resources: Population and base model.
        model: What they decide with.

    Raises:
        InputError: A policy cannot be made.
    """
    settings = runs[0]
    policies = [make_policy(run.policy, _context(run, resources, model)) for run in runs]
    expected_acts = len(runs) * settings.timesteps * settings.activation
    if settings.policy == "engine" and expected_acts >= WORTH_REMEMBERING:
        with resources.timer.measure("simulation"):
            _remember(policies[0])
    return [BlockPolicy(policy, settings.block) for policy in policies] if settings.block else policies


def _remember(policy: Policy) -> None:
    """Compute the beginnings of its prompts once, where it is the engine's own policy."""
    from polyphony.simulation.policies.engine_policy import EnginePolicy

    if isinstance(policy, EnginePolicy):
        policy.remember()


def _context(run: RunSettings, resources: Resources, model: PolicyModel | None) -> PolicyContext:
    settings = MappingProxyType(run.as_mapping())
    return PolicyContext(resources.personas, run.seed, resources.offered(run), settings, model)
