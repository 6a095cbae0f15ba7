"""The platform without a model: feeds of many agents, and timesteps under the null policy."""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median

import numpy as np

from benchmarks.results import Result
from polyphony.garbage import cycles_left
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.persona import Persona
from polyphony.randomness import keyed_generator
from polyphony.simulation.feed.feed import FeedMaker, FeedSettings
from polyphony.simulation.feed.recommenders.recommender import RECOMMENDERS
from polyphony.simulation.policies.null_policy import NullPolicy
from polyphony.simulation.runs.initial_state import beginning, people_rows, populated
from polyphony.simulation.runs.loop import Simulation, decide_apart, run_in_step
from polyphony.simulation.runs.scenario import Scenario
from polyphony.simulation.runs.store import RunStore
from polyphony.simulation.world.actions import CreatePost, Follow, LikePost
from polyphony.simulation.world.clock import iso, make_clock
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

AGENTS, POSTS, FOLLOWS, LIKES, ITEMS = 10_000, 50_000, 200_000, 100_000, 5
WORDS = [f"word{number}" for number in range(2000)]
_VERBS = (Verb.POST, Verb.REPLY, Verb.LIKE, Verb.REPOST, Verb.QUOTE, Verb.FOLLOW)
NOW = Moment(24, datetime(2026, 3, 3, 8, tzinfo=UTC))


def platform_results() -> list[Result]:
    """Timesteps of the null policy with everything that is recorded, in a process of their own; then feeds."""
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        return apart.submit(null_results).result() + feed_results()


def null_results() -> list[Result]:
    """Seconds of timesteps, and the peak memory of this process."""
    crowds = {agents: null_seconds(agents, activation=0.5, steps=6) for agents in (1_000, AGENTS)}
    all_active = null_seconds(512, activation=20.0, steps=6)
    each = {agents: seconds / activations for agents, (seconds, activations) in crowds.items()}
    # Not getrusage's figure, in which the memory of the process that started this one counts.
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20
    return [
        Result("null policy, 512 agents all active, a timestep", all_active[0], "s", "≤ 0.2", 6),
        Result(f"null policy, {AGENTS:,} agents, 24 timesteps", 24 * crowds[AGENTS][0], "s", "≤ 600", 6),
        Result(f"time of an activation, {AGENTS:,} ÷ 1,000 agents", each[AGENTS] / each[1_000], "×", "≤ 1.5", 6),
        Result("peak memory of those runs", peak, "GiB", "≤ 2", 1),
    ]


def null_seconds(
    agents: int, *, activation: float, steps: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """Median seconds and mean activations of a timestep, feed and transaction included, with people of random words."""
    spent, active = [], []
    with tempfile.TemporaryDirectory() as folder:
        store, simulation = null_simulation(Path(folder) / "run.db", random_people(agents), activation)
        for step in range(1 + steps):
            before = simulation.activations
            began = clock()
            run_in_step([simulation], step + 1, decide_apart, lambda done, total, activations: None)
            spent.append(clock() - began)
            active.append(simulation.activations - before)
        store.close()
    return median(spent[1:]), fmean(active[1:])


def random_people(agents: int) -> list[Persona]:
    """People with a dozen acts in random words and fifteen followees each."""
    random = keyed_generator(0, "null benchmark", agents)
    texts = [" ".join(words) for words in random.choice(WORDS, size=(1000, 8))]
    handles = [f"p{number}" for number in range(agents)]
    with cycles_left():
        return [_persona(handle, handles, texts, random) for handle in handles]


def null_simulation(out: Path | str, personas: list[Persona], activation: float) -> tuple[RunStore, Simulation]:
    """A run of the null policy with its beginning written, and the store to close after it."""
    with cycles_left():
        clock = make_clock(personas, minutes=60, activation=activation, seed=0)
        platform = Platform([persona.handle for persona in personas])
        weights = [None] * len(personas)
        steps = populated(platform, personas, at=clock.start, seed_posts=2, scenario=Scenario())
        rows = people_rows(personas, weights, at=iso(clock.start), history=False)
        parts = beginning(platform, rows, steps)
        del rows
        store = RunStore.create(out, parts)
        feeds = FeedMaker(FeedSettings(), [], items=ITEMS, seed=0)
        return store, Simulation(store, platform, clock, NullPolicy(personas, seed=0), feeds, weights)


def _persona(handle: str, handles: list[str], texts: list[str], random: np.random.Generator) -> Persona:
    verbs = [_VERBS[place] for place in random.integers(len(_VERBS), size=12).tolist()]
    at = datetime(2026, 3, 1, tzinfo=UTC)
    said = iter([texts[place] for place in random.integers(len(texts), size=12).tolist()])
    acts = tuple(
        Act(id=f"{handle}-{n}", author=handle, verb=verb, at=at, text=next(said) if verb.has_text else "")
        for n, verb in enumerate(verbs)
    )
    following = tuple(
        sorted({handles[number] for number in random.integers(len(handles), size=15).tolist()} - {handle})
    )
    return Persona(
        handle=handle, description="", acts=acts, train_end=12, validation_end=12, hours=(1 / 24,) * 24,
        acts_per_day=1.0, following=following,
    )  # fmt: skip


def feed_results() -> list[Result]:
    """Seconds to make everybody's feed with each recommender; the second feed, so that text vectors are there."""
    platform = filled_platform()
    found = []
    for name in sorted(RECOMMENDERS):
        maker = FeedMaker(FeedSettings(name), platform.posts.texts[:5000], items=ITEMS, seed=0)
        maker.feeds(platform, range(10), NOW)
        began = time.perf_counter()
        maker.feeds(platform, range(AGENTS), NOW)
        spent = time.perf_counter() - began
        found.append(Result(f"feeds of {AGENTS:,} agents over {POSTS:,} posts, {name}", spent, "s", "≤ 2", 1))
    return found


def filled_platform() -> Platform:
    """Ten thousand people with posts of random words, follows and likes."""
    random = keyed_generator(0, "platform benchmark")
    platform = Platform([f"p{user}" for user in range(AGENTS)])
    before = Moment(0, NOW.at)
    for author, words in zip(random.integers(AGENTS, size=POSTS), random.choice(WORDS, size=(POSTS, 8)), strict=True):
        platform.act(int(author), CreatePost(content=" ".join(words)), before)
    for who, whom in random.integers(AGENTS, size=(FOLLOWS, 2)).tolist():
        platform.act(who, Follow(followee_id=whom), before)
    liked = np.minimum(random.zipf(1.5, size=LIKES), POSTS)
    for who, post in zip(random.integers(AGENTS, size=LIKES).tolist(), liked.tolist(), strict=True):
        platform.act(who, LikePost(post_id=post), before)
    for agent in range(AGENTS):
        for post in random.integers(1, POSTS + 1, size=60).tolist():
            platform.expose(agent, post, "recommended")
    platform.take_changes()
    return platform
