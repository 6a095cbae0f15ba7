"""The engine that a run's settings ask for: here, in a vLLM server, or in any OpenAI-compatible one."""

from contextlib import closing
from pathlib import Path

from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.engine.interface import ActEngine
from polyphony.adapters.engine.served.client import Client
from polyphony.adapters.engine.served.exports import exported, exported_zero
from polyphony.adapters.engine.served.http import http_engine
from polyphony.adapters.engine.served.vllm import vllm_engine
from polyphony.cache_directory import cache_directory
from polyphony.simulation.policies.arms import AdapterUse, arm_named
from polyphony.simulation.runs.installed_weights import InstalledWeights
from polyphony.simulation.runs.resources import Resources
from polyphony.simulation.runs.settings import PERSON, RunSettings

# Names of models of a Polyphony server.
_SERVED_NAMES = {AdapterUse.NONE: "base", AdapterUse.POOLED: "pooled"}
EXPORTS = "engine-adapters"


def make_engine(settings: RunSettings, resources: Resources, weights: InstalledWeights) -> ActEngine:
    """Make the engine of a run; the caller closes it.

    Args:
        settings: Of the run.
        resources: Population, base model and bank.
        weights: Of all agents.

    Raises:
        InputError: The server cannot be used.
    """
    base, kit = resources.base_and_kit(settings)
    if settings.engine == "local":
        return Engine(base, weights.adapted, kit, decoding=settings.decoding)
    client = Client(settings.engine_url)
    try:
        if settings.engine == "http":
            engine = http_engine(client, base, kit, served_names(settings, resources), settings.decoding)
        else:
            folder = Path(settings.engine_adapters) if settings.engine_adapters else cache_directory() / EXPORTS
            exports, zero = _exports(folder, resources, weights), exported_zero(folder, base, weights.adapted)
            engine = vllm_engine(client, base, kit, weights.adapted, exports, zero, settings.decoding)
    except BaseException:
        client.close()
        raise
    facts = engine.describe()
    resources.hooks.say(f"engine {facts.name} {facts.version}".rstrip() + f": choice of acts {facts.exact_choice}")
    return engine


def served_names(settings: RunSettings, resources: Resources) -> list[str]:
    """The name of each agent's model in an OpenAI-compatible server."""
    use, handles = arm_named(settings.arm).adapter, [persona.handle for persona in resources.personas]
    name = settings.engine_models or _SERVED_NAMES.get(use, PERSON)
    return [name.replace(PERSON, handles[use.owner(agent, len(handles))]) for agent in range(len(handles))]


def _exports(folder: Path, resources: Resources, weights: InstalledWeights) -> list[Path]:
    """The directory of each agent's adapter; nothing for the bare base."""
    if not weights.revisions:
        return []
    with resources.timer.measure("exporting adapters"), closing(resources.open_bank()) as bank:
        return exported(folder, bank, weights.revisions)
