"""Synthetic runs in which an effect is there at a known strength, or is not: ties and texts are drawn by a seed."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
from scipy.stats import binom

from polyphony.metrics.core.measurement import Measurement
from polyphony.metrics.runfile.rundata import Agent, Comment, HistoryText, Like, Post, RunData
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import Population, load_population

AGENTS = 64
ACTS = 365
STEPS = 24
TIME = datetime(2026, 3, 2, tzinfo=UTC)


@lru_cache(maxsize=1)
def town() -> Population:
    return load_population("town")


def people(agents: int = AGENTS) -> tuple[Persona, ...]:
    """The people of the built-in town whom a run of so many agents is made of."""
    return town().personas[:agents]


@lru_cache(maxsize=2)
def histories(agents: int = AGENTS) -> tuple[HistoryText, ...]:
    return tuple(
        HistoryText(user, split, act.verb, act.text, act.at)
        for user, person in enumerate(people(agents), 1)
        for split, acts in (("train", person.train), ("held_out", person.held_out))
        for act in acts
        if act.text.strip()
    )


def run_data(agents: int = AGENTS, communities: Iterable[int | None] | None = None, **tables) -> RunData:
    """A run of agents with user ids from 1 on, and what is given."""
    of_agent = [None] * agents if communities is None else list(communities)
    return RunData(
        name="synthetic", arm="lora", seed=0, timesteps=STEPS, completed_timesteps=STEPS, status="finished",
        population="town", population_digest="", base_model=None, config={}, bank_digest=None, versions={},
        started_at=TIME, users={user: f"user{user}" for user in range(1, agents + 1)},
        agents=tuple(Agent(user - 1, user, f"user{user}", "", None, None, of_agent[user - 1])
                     for user in range(1, agents + 1)),
        **{"posts": (), "comments": (), "likes": (), "follows": (), "activations": (), "exposures": (),
           "history": ()} | tables,
    )  # fmt: skip


def reacting_run(
    group_of: np.ndarray, write: Callable[[int], str], rng: np.random.Generator, *, inside: float, acts: int = ACTS,
    unevenness: float = 0.0, **tables,
) -> RunData:  # fmt: skip
    """A run in which a reaction stays inside the actor's own group with a probability, or goes to any post.

    A third of the acts are posts, a third replies and a third likes.

    Args:
        group_of: Planted group of each agent, shape [agents].
        write: Gives a text of the agent of that place.
        rng: Source of the draws.
        inside: That probability: 0 is no effect, 1 the strongest.
        acts: How many acts there are.
        unevenness: Standard deviation of the logarithms of how active agents, and how popular posts, are.
        tables: Further parts of the run.
    """
    activity = rng.lognormal(sigma=unevenness, size=len(group_of))
    kinds, actors = rng.integers(3, size=acts), rng.choice(len(group_of), acts, p=activity / activity.sum())
    authors = actors[kinds == 0]
    popularity = rng.lognormal(sigma=unevenness, size=len(authors))
    posts = tuple(
        Post(number, int(author) + 1, None, write(int(author)), None, False, number % STEPS)
        for number, author in enumerate(authors, 1)
    )
    comments, likes = [], []
    for kind, actor in zip(kinds[kinds > 0], actors[kinds > 0].tolist(), strict=True):
        others = authors != actor
        own = others & (group_of[authors] == group_of[actor])
        chances = popularity * (own if rng.random() < inside and own.any() else others)
        post = int(rng.choice(len(authors), p=chances / chances.sum())) + 1
        if kind == 1:
            number = len(comments) + 1
            comments.append(Comment(number, post, actor + 1, write(actor), number % STEPS))
        else:
            likes.append(Like(actor + 1, post))
    return run_data(len(group_of), posts=posts, comments=tuple(comments), likes=tuple(likes), **tables)


def is_found(figure: Measurement) -> bool:
    """Whether a figure's null model leaves it out, on either side."""
    return figure.null is not None and figure.null.z is not None and abs(figure.null.z) > 1.96


def most_alarms(runs: int) -> int:
    """How many of so many runs without an effect may be found at the 5% level, but for one time in a thousand."""
    return int(binom.ppf(0.999, runs, 0.05))
