"""Agent-based social simulation in which every agent owns its own trained weights.

The names below are the public API, described in docs/python.md. What they need is imported when one is first used, so
that ``import polyphony`` takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyphony.adapters.bank.bank import Bank
    from polyphony.api.comparing import compare
    from polyphony.api.running import run
    from polyphony.api.runs import Run
    from polyphony.api.settings import Settings
    from polyphony.api.studying import study
    from polyphony.api.swapping import feed_swap
    from polyphony.errors import InputError, MetricsError, PolyphonyError
    from polyphony.metrics.core.measurement import Measurement, missing
    from polyphony.metrics.core.registry import measurement
    from polyphony.personas.people.acts import Verb
    from polyphony.personas.people.persona import Persona
    from polyphony.personas.population import Population, load_population
    from polyphony.plugins import load_plugins
    from polyphony.simulation.feed.recommenders.recommender import Recommender, recommender
    from polyphony.simulation.policies.policy import Decision, Observation, Policy
    from polyphony.simulation.policies.registry import PolicyContext, policy

    __version__: str

_MODULES = {
    "Bank": "adapters.bank.bank",
    "Decision": "simulation.policies.policy",
    "InputError": "errors",
    "MetricsError": "errors",
    "Measurement": "metrics.core.measurement",
    "Observation": "simulation.policies.policy",
    "Persona": "personas.people.persona",
    "Policy": "simulation.policies.policy",
    "PolicyContext": "simulation.policies.registry",
    "PolyphonyError": "errors",
    "Population": "personas.population",
    "Recommender": "simulation.feed.recommenders.recommender",
    "Run": "api.runs",
    "Settings": "api.settings",
    "Verb": "personas.people.acts",
    "compare": "api.comparing",
    "feed_swap": "api.swapping",
    "load_plugins": "plugins",
    "load_population": "personas.population",
    "measurement": "metrics.core.registry",
    "missing": "metrics.core.measurement",
    "policy": "simulation.policies.registry",
    "recommender": "simulation.feed.recommenders.recommender",
    "run": "api.running",
    "study": "api.studying",
}

__all__ = [
    "Bank",
    "Decision",
    "InputError",
    "Measurement",
    "MetricsError",
    "Observation",
    "Persona",
    "Policy",
    "PolicyContext",
    "PolyphonyError",
    "Population",
    "Recommender",
    "Run",
    "Settings",
    "Verb",
    "__version__",
    "compare",
    "feed_swap",
    "load_plugins",
    "load_population",
    "measurement",
    "missing",
    "policy",
    "recommender",
    "run",
    "study",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("polyphony-sim")
    if name not in _MODULES:
        raise AttributeError(f"module 'polyphony' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"polyphony.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
