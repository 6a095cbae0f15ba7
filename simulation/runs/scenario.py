"""What an experimenter does to a run: seed posts, news, bots, suspensions, a switched recommender.

A scenario is a YAML or TOML file. It is checked as a whole before a run begins, and is recorded in the run's settings.
"""

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from polyphony.errors import InputError
from polyphony.printable import printable_path
from polyphony.simulation.feed.recommenders.recommender import RECOMMENDERS
from polyphony.simulation.world.actions import Action, CreatePost, Words, parse_action
from polyphony.validation import checked

Timestep = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SeedPost(_Part):
    """A post that is on the platform before the first timestep."""

    user: str
    text: Words


class News(_Part):
    """A post injected at the beginning of a timestep."""

    at: Timestep
    user: str
    text: Words


class Suspension(_Part):
    """Accounts that are suspended at the beginning of a timestep."""

    at: Timestep
    users: tuple[str, ...] = Field(strict=False)


class Switch(_Part):
    """A recommender that takes over at the beginning of a timestep."""

    at: Timestep
    recommender: str


class Bot(_Part):
    """An account that is no agent and follows a script.

    Attributes:
        name: Its user name.
        bio: Its description.
        acts: Mappings of ``at`` (the timestep) and an action with its fields, see `simulation.world.actions`.
    """

    name: Words
    bio: str = ""
    acts: tuple[dict[str, Any], ...] = Field(default=(), strict=False)


class Scenario(_Part):
    """All interventions; empty by default."""

    seed_posts: tuple[SeedPost, ...] = Field(default=(), strict=False)
    news: tuple[News, ...] = Field(default=(), strict=False)
    suspensions: tuple[Suspension, ...] = Field(default=(), strict=False)
    recommenders: tuple[Switch, ...] = Field(default=(), strict=False)
    bots: tuple[Bot, ...] = Field(default=(), strict=False)
    products: tuple[Words, ...] = Field(default=(), strict=False)

    def recommender_at(self, timestep: int, default: str) -> str:
        """Name of the recommender of a timestep."""
        switched = [switch for switch in self.recommenders if switch.at <= timestep]
        return max(switched, key=lambda switch: switch.at).recommender if switched else default

    def suspended_at(self, timestep: int) -> list[str]:
        """Everybody who is suspended in a timestep."""
        return [user for suspension in self.suspensions if suspension.at <= timestep for user in suspension.users]

    def acts_at(self, timestep: int) -> Iterator[tuple[str, Action]]:
        """Who does what at the beginning of a timestep: news first, then bots in their order."""
        for news in self.news:
            if news.at == timestep:
                yield news.user, CreatePost(content=news.text)
        for bot in self.bots:
            for script in bot.acts:
                if script["at"] == timestep:
                    yield bot.name, _scripted(script, bot.name)


def load_scenario(path: Path) -> Scenario:
    """Read a scenario.

    Args:
        path: A ``.yaml``, ``.yml`` or ``.toml`` file.

    Raises:
        InputError: It cannot be read, has unknown keys, or an action or recommender that does not exist.
    """
    where = printable_path(path)
    try:
        content = path.read_bytes().decode()
        value = tomllib.loads(content) if path.suffix == ".toml" else yaml.safe_load(content)
    except OSError as error:
        raise InputError(f"{where}: the scenario cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: not readable as {path.suffix or 'YAML'}: {reason}") from error
    return make_scenario(value or {}, where)


def make_scenario(value: object, where: str) -> Scenario:
    """Check a scenario's content; `where` names it in errors.

    Raises:
        InputError: As `load_scenario`.
    """
    scenario = checked(Scenario, value, where, "scenario", f"known are {', '.join(Scenario.model_fields)}")
    for switch in scenario.recommenders:
        RECOMMENDERS.get(switch.recommender, f"{where}: recommender")
    for bot in scenario.bots:
        for number, script in enumerate(bot.acts, 1):
            _scripted(script, f"{where}: bot {bot.name!r}, act {number}")
    names = [bot.name for bot in scenario.bots]
    if len(set(names)) < len(names):
        raise InputError(f"{where}: two bots have one name; give each its own")
    return scenario


def check_users(scenario: Scenario, handles: Sequence[str]) -> None:
    """Refuse a scenario that names an account that does not exist, or a bot with an agent's name.

    Raises:
        InputError: As described.
    """
    taken = sorted({bot.name for bot in scenario.bots} & set(handles))
    if taken:
        raise InputError(f"scenario: bot {taken[0]!r} has the name of an agent; give it another")
    known = {*handles, *(bot.name for bot in scenario.bots)}
    named = [
        *(post.user for post in scenario.seed_posts), *(news.user for news in scenario.news),
        *(user for suspension in scenario.suspensions for user in suspension.users),
    ]  # fmt: skip
    for user in named:
        if user not in known:
            raise InputError(f"scenario: {user!r} is neither one of the run's agents nor a bot; add a bot of that name")


def _scripted(script: dict[str, Any], where: str) -> Action:
    at = script.get("at")
    if not isinstance(at, int) or isinstance(at, bool) or at < 0:
        raise InputError(f"{where}: at {at!r} is not a timestep; give a whole number from 0")
    return parse_action({name: value for name, value in script.items() if name != "at"}, where)
