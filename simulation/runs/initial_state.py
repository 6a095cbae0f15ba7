"""What a run begins with: its clock, its feeds, and a platform with users, the follow graph, seed posts, histories."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from polyphony.adapters.bank.revision import Revision
from polyphony.errors import InputError
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.dealings import dealing_counts
from polyphony.personas.people.persona import Persona
from polyphony.personas.readers.problems import Problem
from polyphony.printable import printable
from polyphony.simulation.feed.feed import FeedMaker
from polyphony.simulation.feed.text_vectors import texts_of
from polyphony.simulation.runs.scenario import Bot, Scenario
from polyphony.simulation.runs.settings import RunSettings
from polyphony.simulation.world.actions import CreateComment, CreatePost
from polyphony.simulation.world.clock import Clock, iso, make_clock, moment
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform
from polyphony.simulation.world.rows import Changes, Rows

BEFORE = -1
ACTS_AT_ONCE = 100_000


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
    if settings.needs_model:  # nothing else reads them
        platform.dealings.begin(past_dealings(personas))
    return platform


def past_dealings(personas: Sequence[Persona]) -> dict[tuple[int, int], int]:
    """How often agents acted on each other's words in the public training sides of their histories.

    Args:
        personas: The agents, in order.

    Returns:
        The pair of agents -> replies, quotes, reposts and likes between them, either way; one entry a pair.
    """
    numbers = {persona.handle: agent for agent, persona in enumerate(personas)}
    counts = dealing_counts(act for persona in personas for act in persona.public_train)
    return {(numbers[one], numbers[other]): count for (one, other), count in counts.items()}


def feed_maker(settings: RunSettings, personas: Sequence[Persona]) -> FeedMaker:
    """What makes the feeds of a run."""
    items = settings.training.prompt.feed_items
    return FeedMaker(settings.feed, texts_of(personas), items=items, seed=settings.seed)


def populate(
    platform: Platform, personas: Sequence[Persona], *, at: datetime, seed_posts: int, scenario: Scenario
) -> None:
    """Bring an empty platform to where a run begins; the arguments are those of `populated`."""
    for _ in populated(platform, personas, at=at, seed_posts=seed_posts, scenario=scenario):
        pass


def populated(
    platform: Platform, personas: Sequence[Persona], *, at: datetime, seed_posts: int, scenario: Scenario
) -> Iterator[None]:
    """Enter the starting follow graph, and publish seed posts: each agent's latest public ones, and the scenario's.

    Stops after every `ACTS_AT_ONCE` acts or so, for the rows to be taken before they need much memory.

    With a post comes what the agents answered in its thread. A person without posts is seeded with their latest other
    words: a reply comes with what it answers up to the thread's first post, if all of that may be shown and is of
    agents; otherwise it stands as a post of its own.

    Args:
        platform: An empty platform with one user per persona.
        personas: The agents, in order.
        at: Simulated start, the time of the starting follows.
        seed_posts: Seed posts of each agent.
        scenario: Its seed posts are published, too.
    """
    ids = {persona.handle: agent for agent, persona in enumerate(personas)}
    start, count = Moment(BEFORE, at), 0
    for agent, persona in enumerate(personas):
        platform.follow_before(agent, [ids[name] for name in persona.following if name in ids], start)
        if platform.acts - count >= ACTS_AT_ONCE:
            count = platform.acts
            yield
    published: dict[str, Item] = {}
    for act, answered in seed_acts(personas, seed_posts):
        parent = published.get(answered or "")
        if printable(act.text) and (parent is None) == (answered is None):  # nothing answers what cannot be shown
            action = _words(act.text, parent)
            outcome = platform.act(ids[act.author], action, Moment(BEFORE, act.at), seed=parent is None)
            post_id = outcome.post_id if parent is None else parent.post_id
            if post_id is not None:
                published[act.id] = Item(post_id, outcome.comment_id)
        if platform.acts - count >= ACTS_AT_ONCE:
            count = platform.acts
            yield
    users = {name: user for user, name in enumerate(platform.names)}
    for post in scenario.seed_posts:
        platform.act(users[post.user], CreatePost(content=post.text), start, seed=True)
    yield


def beginning(platform: Platform, rows: Rows, steps: Iterable[None]) -> Iterator[tuple[Changes, Rows]]:
    """The parts of what a run begins with: at first its people, at last what is counted of them.

    Args:
        platform: With its users; it has come to where the run begins when the last part is asked for.
        rows: Rows of the people and of the run.
        steps: What `populated` returned.
    """
    people = platform.take_rows(), rows
    del rows  # they need no memory once they are written
    yield people
    del people
    for _ in steps:
        yield platform.take_rows(), {}
    yield platform.take_changes(), {}


def seed_acts(personas: Sequence[Persona], seed_posts: int) -> list[tuple[Act, str | None]]:
    """The words that stand on the platform at the start, in the order in which they are published.

    Args:
        personas: The agents.
        seed_posts: Seed posts of each agent.

    Returns:
        Each act with the id of the act among them that it answers; None for what stands as a post.
    """
    if not seed_posts:
        return []
    texts = {act.id: act for persona in personas for act in persona.public_train if act.text}
    roots = thread_roots(texts)
    seeds = {act.id: act for persona in personas for act in _latest(persona, seed_posts)}
    for reply in [act for act in seeds.values() if roots[act.id] is not None]:
        answered = reply
        while answered.verb is Verb.REPLY and (answered := texts[answered.target or ""]).id not in seeds:
            seeds[answered.id] = answered
    first_posts = {act.id for act in seeds.values() if act.verb is not Verb.REPLY}
    seeds |= {act.id: act for act in texts.values() if (root := roots[act.id]) is not None and root[0] in first_posts}
    depth = {act: 0 if (root := roots[act]) is None else root[1] for act in seeds}
    ordered = sorted(seeds.values(), key=lambda act: (act.at, depth[act.id], act.id))
    return [(act, act.target if depth[act.id] else None) for act in ordered]


def thread_roots(texts: Mapping[str, Act]) -> dict[str, tuple[str, int] | None]:
    """For each act, the first post of its thread and how many replies lie between.

    Args:
        texts: Acts with words by id.

    Returns:
        The root's id and the distance, at least 1, of a reply; None for what is no reply, and for a reply of whose
        thread a part is missing. Readers let an act refer to earlier ones alone; replies that answer each other in a
        circle would have no first post.
    """
    roots: dict[str, tuple[str, int] | None] = {act.id: None for act in texts.values() if act.verb is not Verb.REPLY}
    first_posts = set(roots)
    for reply in texts.values():
        chain: dict[str, None] = {}
        act: Act | None = reply
        while act is not None and act.id not in roots and act.id not in chain:
            chain[act.id] = None
            act = texts.get(act.target or "")
        above = None if act is None or act.id in chain else (act.id, 0) if act.id in first_posts else roots[act.id]
        for identifier in reversed(chain):
            above = roots[identifier] = None if above is None else (above[0], above[1] + 1)
    return roots


def _words(text: str, parent: Item | None) -> CreatePost | CreateComment:
    if parent is None:
        return CreatePost(content=text)
    return CreateComment(post_id=parent.post_id, content=text, parent_comment_id=parent.comment_id)


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
    return {"user": users, "agent": agents, "history": _numbered(acts)}


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


def _history(agent: int, persona: Persona) -> list[tuple[Act, dict[str, Any]]]:
    parts = (("train", persona.train), ("validation", persona.validation), ("held_out", persona.held_out))
    return [
        (act, {"agent_id": agent, "split": split, "act": act.verb, "created_at": iso(act.at), "text": act.text})
        for split, acts in parts
        for act in acts
        if not act.is_private
    ]


def _numbered(history: Sequence[tuple[Act, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of all histories with their numbers, and with the number of what each act is about."""
    number_of = {act.id: number for number, (act, _) in enumerate(history, 1)}
    return [
        {
            "history_id": number, **row,
            "target_history_id": None if act.verb is Verb.FOLLOW else number_of.get(act.target or ""),
        }
        for number, (act, row) in enumerate(history, 1)
    ]  # fmt: skip
