"""Forks: a run continues another one from any of its timesteps under other settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyphony.errors import InputError
from polyphony.simulation.runs.replay import replay
from polyphony.simulation.runs.scenario import Scenario
from polyphony.simulation.runs.store import RunStore, name_of
from polyphony.simulation.world.platform import Platform
from polyphony.simulation.world.rows import Rows

_COPIED = ("activation", "exposure", "scripted", "checkpoint")


@dataclass(frozen=True)
class Fork:
    """Where a run branches off.

    Attributes:
        source: The other run.
        at: First timestep that is simulated anew.
    """

    source: Path | str
    at: int


def merged(source: Scenario, new: Scenario) -> Scenario:
    """The scenario of a fork: the source's accounts and products stay, the interventions are those of the new one."""
    names = {bot.name for bot in source.bots}
    bots = [next((bot for bot in new.bots if bot.name == old.name), old.model_copy(update={"acts": ()}))
            for old in source.bots]  # fmt: skip
    return new.model_copy(
        update={
            "bots": (*bots, *(bot for bot in new.bots if bot.name not in names)),
            "products": (*source.products, *(name for name in new.products if name not in source.products)),
            "seed_posts": source.seed_posts,
        }
    )


def replayed(platform: Platform, fork: Fork, run_row: dict[str, Any]) -> Rows:
    """Replay the other run on an empty platform up to the fork, and return its recorded rows up to then.

    Raises:
        InputError: The other run has another population, or has not come that far.
    """
    name = name_of(fork.source)
    store = RunStore.read(fork.source)
    try:
        source_row, timesteps = store.run_row(), store.next_timestep()
        if (source_row["population_digest"], source_row["agents"]) != (run_row["population_digest"], run_row["agents"]):
            raise InputError(f"{name}: holds other people; give the file it was run with as --population FILE")
        if not 0 <= fork.at <= timesteps:
            raise InputError(f"{name}: --at {fork.at} is not a timestep from 0 to {timesteps}, which are complete")
        tables = store.platform_tables()
        rows = {table: store.rows(table, fork.at) for table in _COPIED}
    finally:
        store.close()
    replay(platform, tables, fork.at)
    for exposure in rows["exposure"]:
        platform.expose(exposure["agent_id"], exposure["post_id"], exposure["source"], exposure["comment_id"])
    return rows
