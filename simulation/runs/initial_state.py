"""What a run begins with: its clock, its feeds, and a platform with users, the follow graph, seed posts, histories."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from polyphony.adapters.bank.revision import Revision
from polyphony.errors import InputError
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.persona import Persona
from polyphony.personas.readers.problems import Problem
from polyphony.printable import printable
from polyphony.simulation.feed.feed import FeedMaker
from polyphony.simulation.runs.scenario import Bot, Scenario
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.world.actions import CreatePost, Follow
from polyphony.simulation.world.clock import Clock, iso, make_clock, moment
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform
from polyphony.simulation.world.rows import Rows

BEFORE = -1
TEXTS_A_PERSON = 20


def run_clock(settings: RunSettings, personas: Sequence[Persona]) -> Clock:
    """The clock of a run: who is active when.

    Raises:
        InputError: The settings give a clock that cannot be.
    """
    clock = make_clock(
        personas, minutes=settings.minutes, activation=settings.activation, seed=settings.seed,
        start=moment(settings.start) if settings.start else None, churn=settings.churn, late=settings.late,
    )  # fmt: skip
    try:
        clock.at(settings.timesteps)
    except OverflowError as error:
        raise InputError(
            f"the run would begin at {iso(clock.start)}, the morning after the people's last act, and end after the "
            "year 9999; give --start, or fewer --steps"
        ) from error
    return clock


def empty_platform(settings: RunSettings, personas: Sequence[Persona]) -> Platform:
    """A platform without posts: its users, agents first, and its products."""
    users = [(persona.handle, persona.description) for persona in personas]
    platform = Platform(*zip(*users, *((bot.name, bot.bio) for bot in settings.scenario.bots), strict=True))
    for name in settings.scenario.products:
        platform.add_product(name)
    return platform


def feed_maker(settings: RunSettings, personas: Sequence[Persona]) -> FeedMaker:
    """What makes the feeds of a run."""
    items = settings.training.prompt.feed_items
    return FeedMaker(settings.feed, feed_texts(personas), items=items, seed=settings.seed)


def populate(
    platform: Platform, personas: Sequence[Persona], *, at: datetime, seed_posts: int, scenario: Scenario
) -> None:
    """Enter the starting follow graph, and publish seed posts: each agent's latest public ones, and the scenario's.

    Args:
        platform: An empty platform with one user per persona.
        personas: The agents, in order.
        at: Simulated start, the time of the starting follows.
        seed_posts: Seed posts of each agent.
        scenario: Its seed posts are published, too.
    """
    ids = {persona.handle: agent for agent, persona in enumerate(personas)}
    for agent, persona in enumerate(personas):
        for followee in persona.following:
            if followee in ids:
                platform.act(agent, Follow(followee_id=ids[followee]), Moment(BEFORE, at))
    seeds = [(act, agent) for agent, persona in enumerate(personas) for act in _latest(persona, seed_posts)]
    for act, agent in sorted(seeds, key=lambda entry: (entry[0].at, entry[0].id)):
        if printable(act.text):
            platform.act(agent, CreatePost(content=act.text), Moment(BEFORE, act.at), seed=True)
    users = {name: user for user, name in enumerate(platform.names)}
    for post in scenario.seed_posts:
        platform.act(users[post.user], CreatePost(content=post.text), Moment(BEFORE, at), seed=True)


def feed_texts(personas: Sequence[Persona]) -> list[str]:
    """Texts from which content-based recommenders learn their text space: the agents' latest public training texts."""
    return [act.text for persona in personas for act in persona.public_train[-TEXTS_A_PERSON:] if act.text]


def people_rows(
    personas: Sequence[Persona],
    revisions: Sequence[Revision | None],
    *,
    at: str,
    history: bool,
    bots: Sequence[Bot] = (),
) -> Rows:
    """Rows of `user`, `agent` and, where wanted, `history`; the scenario's bots are users after those of the agents."""
    users, agents, acts = [], [], []
    for number, (persona, revision) in enumerate(zip(personas, revisions, strict=True)):
        users.append(
            {
                "user_id": number, "agent_id": number, "user_name": persona.handle, "name": persona.handle,
                "bio": persona.description, "created_at": at, "num_followings": 0, "num_followers": 0,
            }
        )  # fmt: skip
        agents.append(
            {
                "agent_id": number, "handle": persona.handle, "persona": persona.description,
                "adapter_id": revision.adapter_id if revision else None,
                "revision": revision.number if revision else None, "community": persona.community,
            }
        )  # fmt: skip
        if history:
            acts += _history(number, persona)
    for number, bot in enumerate(bots, len(personas)):
        users.append(
            {
                "user_id": number, "agent_id": None, "user_name": bot.name, "name": bot.name, "bio": bot.bio,
                "created_at": at, "num_followings": 0, "num_followers": 0,
            }
        )  # fmt: skip
    return {"user": users, "agent": agents, "history": acts}


def warning_rows(problems: Sequence[Problem]) -> Rows:
    """Rows of `input_warning`: what was wrong with the file of posts."""
    return {
        "input_warning": [
            {
                "kind": problem.kind, "count": problem.count, "first_row": problem.first_row,
                "message": problem.summary, "examples": json.dumps(problem.examples, ensure_ascii=False),
            }
            for problem in problems
        ]
    }  # fmt: skip


def _latest(persona: Persona, count: int) -> Sequence[Act]:
    posts = [act for act in persona.public_train if act.verb is Verb.POST]
    return (posts or [act for act in persona.public_train if act.text])[-count:] if count else []


def _history(agent: int, persona: Persona) -> list[dict[str, Any]]:
    parts = (("train", persona.train), ("validation", persona.validation), ("held_out", persona.held_out))
    return [
        {"agent_id": agent, "split": split, "act": act.verb, "created_at": iso(act.at), "text": act.text}
        for split, acts in parts
        for act in acts
        if not act.is_private
    ]
