"""What a run file says of its own settings, for commands that open the run again."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from polyphony.errors import InputError
from polyphony.personas.people.split import BY_PERSON
from polyphony.personas.town.numbered import town_number
from polyphony.plugins import Plugin
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.runs.store import RunStore, name_of


def settings_of(source: Path | str) -> RunSettings:
    """Read back what decided a run.

    Raises:
        InputError: There is no such run, or its settings are not of this version.
    """
    store = RunStore.read(source, run_row_only=True)
    try:
        row = store.run_row()
    finally:
        store.close()
    named = {name: row[name] for name in ("population", "agents", "timesteps", "seed")}
    try:
        config = json.loads(row["config"])
        training = config.get("training")
        if isinstance(training, dict) and "split" not in training:  # before people were split at one date
            config["training"] = training | {"split": BY_PERSON, "history": {"nothing": 0.0}}
        arm = "lora" if row["arm"] == config.get("policy") else row["arm"]
        return TypeAdapter(RunSettings).validate_python({**config, **named, "arm": arm})
    except ValueError as error:
        raise InputError(f"{name_of(source)}: its settings are of another version; run it again") from error


def with_people(settings: RunSettings, source: Path | str, population: str | None) -> RunSettings:
    """The settings of a run that is opened again, with the place of its people's posts.

    Args:
        settings: As the run file holds them: of a posts file it holds the name alone.
        source: The run, which errors name.
        population: Where the posts are; None for a town, or where the run's own name leads.

    Raises:
        InputError: Nothing is given, and the name leads nowhere.
    """
    if population is not None:
        return replace(settings, population=population)
    if town_number(settings.population) is None and not Path(settings.population).is_file():
        raise InputError(
            f"{name_of(source)}: its people come from a file of posts called {settings.population!r}, which the run "
            "does not hold; give it as --population FILE"
        )
    return settings


def check_plugins(target: Path | str, plugins: Sequence[Plugin]) -> None:
    """Refuse to continue a run with other plug-ins than it was started with.

    Raises:
        InputError: As described, or there is no run to continue.
    """
    store = RunStore.open(target)
    try:
        config = json.loads(store.run_row()["config"])
        recorded = TypeAdapter(tuple[Plugin, ...]).validate_python(config.get("plugins", ()))
    except (ValueError, AttributeError) as error:
        raise InputError(f"{name_of(target)}: its settings are of another version; run it again") from error
    finally:
        store.close()
    if recorded != tuple(plugins):
        raise InputError(
            f"{name_of(target)}: was started with {described(recorded)}, not with {described(plugins)}; continue it "
            "with the same --plugin, unchanged"
        )


def described(plugins: Sequence[Plugin]) -> str:
    """Plug-ins in words, as ``mine.py (sha256 0123456789ab)``."""
    return ", ".join(f"{plugin.name} (sha256 {plugin.sha256[:12]})" for plugin in plugins) or "no plug-in"
