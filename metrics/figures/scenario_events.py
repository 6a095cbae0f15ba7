"""What a scenario did to a run, and when, as the run's settings record it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from polyphony.metrics.runfile.rundata import RunData


class ScenarioEvent(NamedTuple):
    """One intervention at the beginning of a timestep; `detail` may hold foreign text."""

    timestep: int
    kind: str
    user: str
    detail: str


def scenario_events(run: RunData) -> list[ScenarioEvent]:
    """News, suspensions, switches of the recommender and acts of bots, by timestep; entries of another form are none.

    What stands on the platform before the first timestep is no event of the run, and neither is what would have come
    after its last completed timestep.
    """
    scenario = run.config.get("scenario")
    events = _events(scenario) if isinstance(scenario, dict) else ()
    return sorted((event for event in events if 0 <= event.timestep < run.completed_timesteps), key=lambda row: row[0])


def _events(scenario: dict[str, Any]) -> Iterator[ScenarioEvent]:
    for entry in _entries(scenario, "news"):
        yield ScenarioEvent(entry["at"], "news", str(entry.get("user", "")), str(entry.get("text", "")))
    for entry in _entries(scenario, "suspensions"):
        users = entry.get("users")
        for user in users if isinstance(users, list) else ():
            yield ScenarioEvent(entry["at"], "suspension", str(user), "")
    for entry in _entries(scenario, "recommenders"):
        yield ScenarioEvent(entry["at"], "recommender", "", str(entry.get("recommender", "")))
    bots = scenario.get("bots")
    for bot in bots if isinstance(bots, list) else ():
        if isinstance(bot, dict):
            for entry in _entries(bot, "acts"):
                words = str(entry.get("content") or entry.get("quote_content") or "")
                act = str(entry.get("action", "")).replace("_", " ")
                yield ScenarioEvent(entry["at"], "bot", str(bot.get("name", "")), f"{act}: {words}" if words else act)


def _entries(part: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The entries of a list that have a timestep."""
    entries = part.get(name)
    return [
        entry for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and type(entry.get("at")) is int
    ]  # fmt: skip
