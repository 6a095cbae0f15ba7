"""What an experimenter does to a run: seed posts, news, bots, suspensions, a switched recommender.

A scenario is a YAML or TOML file. It is checked as a whole before a run begins, and is recorded in the run's settings.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from polyphony.documents import read_document
from polyphony.errors import InputError
from polyphony.personas.people.acts import MOST_CHARACTERS
from polyphony.printable import printable_path, quoted
from polyphony.simulation.feed.recommenders.recommender import RECOMMENDERS
from polyphony.simulation.world.actions import Action, CreatePost, Words, parse_action
from polyphony.unforeseen import reading
from polyphony.validation import checked

MOST_TIMESTEP = 1_000_000
MOST_ENTRIES = 10_000

Timestep = Annotated[int, Field(ge=0, le=MOST_TIMESTEP)]
Name = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SeedPost(_Part):
    """A post that is on the platform before the first timestep."""

    user: Name
    text: Words


class News(_Part):
    """A post injected at the beginning of a timestep."""

    at: Timestep
    user: Name
    text: Words


class Suspension(_Part):
    """Accounts that are suspended at the beginning of a timestep."""

    at: Timestep
    users: tuple[Name, ...] = Field(strict=False, max_length=MOST_ENTRIES)


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
    bio: Annotated[str, Field(max_length=MOST_CHARACTERS)] = ""
    acts: tuple[dict[str, Any], ...] = Field(default=(), strict=False, max_length=MOST_ENTRIES)


class Scenario(_Part):
    """All interventions; empty by default. Of each kind there are at most 10,000."""

    seed_posts: tuple[SeedPost, ...] = Field(default=(), strict=False, max_length=MOST_ENTRIES)
    news: tuple[News, ...] = Field(default=(), strict=False, max_length=MOST_ENTRIES)
    suspensions: tuple[Suspension, ...] = Field(default=(), strict=False, max_length=MOST_ENTRIES)
    recommenders: tuple[Switch, ...] = Field(default=(), strict=False, max_length=MOST_ENTRIES)
    bots: tuple[Bot, ...] = Field(default=(), strict=False, max_length=MOST_ENTRIES)
    products: tuple[Words, ...] = Field(default=(), strict=False, max_length=MOST_ENTRIES)

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
    with reading(where):
        value = read_document(path, "see docs/platform.md")
        return make_scenario({} if value is None else value, where)


def make_scenario(value: object, where: str) -> Scenario:
    """Check a scenario's content; `where` names it in errors.

    Raises:
        InputError: As `load_scenario`.
    """
    scenario = checked(Scenario, value, where, "scenario", f"known are {', '.join(Scenario.model_fields)}")
    repeated = [name for name, times in Counter(scenario.products).items() if times > 1]
    if repeated:
        raise InputError(f"{where}: products: {quoted(repeated[0])} stands there twice; give each product once")
    for switch in scenario.recommenders:
        RECOMMENDERS.get(switch.recommender, f"{where}: recommender")
    for bot in scenario.bots:
        for number, script in enumerate(bot.acts, 1):
            _scripted(script, f"{where}: bot {quoted(bot.name)}, act {number}")
    names = [bot.name for bot in scenario.bots]
    if len(set(names)) < len(names):
        raise InputError(f"{where}: two bots have one name; give each its own")
    return scenario


def check_users(scenario: Scenario, handles: Sequence[str]) -> None:
    """Refuse a scenario that names an account that does not exist, or a bot with an agent's name.

    Raises:
        InputError: As described.
    """
    clashes = sorted({bot.name for bot in scenario.bots} & set(handles))
    if clashes:
        raise InputError(f"scenario: bot {quoted(clashes[0])} has the name of an agent; give it another")
    handles_and_bots = {*handles, *(bot.name for bot in scenario.bots)}
    named = [
        *(post.user for post in scenario.seed_posts), *(news.user for news in scenario.news),
        *(user for suspension in scenario.suspensions for user in suspension.users),
    ]  # fmt: skip
    for user in named:
        if user not in handles_and_bots:
            raise InputError(
                f"scenario: {quoted(user)} is neither one of the run's agents nor a bot; add a bot of that name"
            )


def _scripted(script: dict[str, Any], where: str) -> Action:
    at = script.get("at")
    if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at <= MOST_TIMESTEP:
        raise InputError(f"{where}: at {quoted(at)} is not a timestep; give a whole number from 0 to {MOST_TIMESTEP:,}")
    return parse_action({name: value for name, value in script.items() if name != "at"}, where)
