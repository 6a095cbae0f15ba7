"""The policies that come with Polyphony; torch and camel-ai are imported where one is made."""

from typing import Any

from polyphony.errors import InputError
from polyphony.simulation.policies.history_frequencies import HistoryFrequencies
from polyphony.simulation.policies.policy import Policy
from polyphony.simulation.policies.registry import PolicyContext, PolicyModel, policy

# Agents of camel that ask a served model at the same time.
CONCURRENT_REQUESTS = 8


@policy("engine", needs_model=True)
def engine_policy(context: PolicyContext) -> Policy:
    """Every agent decides with its own weights, see `simulation.policies.engine_policy`."""
    from polyphony.simulation.policies.engine_policy import EnginePolicy

    model = _model(context)
    return EnginePolicy(
        model.engine, model.kit, context.personas, model.arm, seed=context.seed, adapter_cache=model.cache,
        frequencies=HistoryFrequencies(context.personas, **_learned(context)) if model.arm.matched_acts else None,
    )  # fmt: skip


@policy("camel", needs_model=True)
def camel_policy(context: PolicyContext) -> Policy:
    """camel-ai's agents, over our engine or a served model; importing camel-ai takes seconds.

    Raises:
        InputError: camel-ai is not installed, or it cannot make the model.
    """
    try:
        from polyphony.simulation.policies.camel_backend import engine_backends, served_backends
        from polyphony.simulation.policies.camel_policy import CamelPolicy
    except ModuleNotFoundError as error:
        raise InputError(
            f"--policy camel needs the package {error.name}: pip install 'polyphony-sim[camel]'"
        ) from error
    model, settings = _model(context), context.settings
    if settings["camel_model"]:
        backends = served_backends(settings["camel_model"], settings["camel_url"], model.kit)
        at_once = CONCURRENT_REQUESTS
    else:
        backends = engine_backends(model.engine, model.kit, context.personas, model.arm, seed=context.seed)
        at_once = 1
    return CamelPolicy(backends, model.kit.builder, context.personas, model.arm, at_once=at_once)


@policy("null")
def null_policy(context: PolicyContext) -> Policy:
    """Acts drawn from each person's own history, see `simulation.policies.null_policy`."""
    from polyphony.simulation.policies.null_policy import NullPolicy

    return NullPolicy(context.personas, seed=context.seed, **_learned(context))


def _learned(context: PolicyContext) -> dict[str, Any]:
    """What of the histories an adapter would learn: the frequencies are those of the same acts."""
    training = context.settings["training"]
    return {"most": training["max_examples"], "nothing": training["history"]["nothing"]}


def _model(context: PolicyContext) -> PolicyModel:
    if context.model is None:
        raise ValueError("this policy needs a model")
    return context.model
