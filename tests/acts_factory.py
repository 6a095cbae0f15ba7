"""Runs with a planted effect of known strength in what agents choose among the items shown, and in how they act."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from run_factory import RunFactory
from scipy.stats import binom

from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData

RUNS = 20
FOUND = 1.96
"""|z| from which a finding is one, at a level of 5%."""


def alarms(zs: Sequence[float]) -> int:
    """How many z are findings."""
    return int((np.abs(zs) > FOUND).sum())


def most_false_alarms(runs: int = RUNS) -> int:
    """Findings at a level of 5% that runs without an effect exceed once in a hundred times."""
    return int(binom.ppf(0.99, runs, 0.05))


def is_found(zs: Sequence[float]) -> bool:
    """Whether at least 80% of runs with an effect find it."""
    return alarms(zs) >= math.ceil(0.8 * len(zs))


def choosing_run(
    folder: Path, seed: int, *, own_community: float = 0.0, popular: float = 0.0, agents: int = 28, steps: int = 10
) -> RunData:
    """A run whose feeds show agents mostly their own community, and whose agents choose among the items shown.

    Args:
        folder: For the run file.
        seed: Of all draws.
        own_community: Log odds of an item of the own community against another one's.
        popular: Log odds for each reaction that an item has.
        agents: In four communities, each with one seed post and one reply to another.
        steps: Activations of each.
    """
    run, rng = RunFactory(agents, timesteps=steps), np.random.default_rng(seed)
    community = {user: user % 4 for user in range(1, agents + 1)}
    for row in run.rows["agent"]:
        row["community"] = community[row["agent_id"] + 1]
    items: list[tuple[int, int | None, int]] = [(run.seed_post(user), None, user) for user in community]
    reactions: dict[tuple[int, int | None], int] = {}
    done: set[tuple[int, str, int, int | None]] = set()
    followed: set[tuple[int, int]] = set()
    for step in range(steps):
        new: list[tuple[int, int | None, int]] = []
        for user in community:
            near = np.array([0.0 if who == user else 3.0 if community[who] == community[user] else 1.0
                             for _, _, who in items])  # fmt: skip
            places = rng.choice(len(items), 6, replace=False, p=near / near.sum())
            feed = [items[place] for place in places]
            for position, (post_id, comment_id, _) in enumerate(feed, 1):
                run.show(user, post_id, position, comment_id, timestep=step)
            verb = str(rng.choice(["reply", "like", "repost", "follow"], p=[0.4, 0.3, 0.2, 0.1]))
            possible = [
                item for item in feed
                if not (verb == "follow" and (user, item[2]) in followed)
                and not (verb == "repost" and item[1] is not None)
                and (user, verb, *item[:2]) not in done
            ]  # fmt: skip
            if not possible:
                run.nothing(user)
                continue
            odds = np.array([own_community * (community[who] == community[user])
                             + popular * min(4, reactions.get((post, comment), 0))
                             for post, comment, who in possible])  # fmt: skip
            chances = np.exp(odds - odds.max())
            chosen = possible[rng.choice(len(possible), p=chances / chances.sum())]
            new += _act(run, user, verb, chosen, step)
            if verb == "follow":
                followed.add((user, chosen[2]))
            else:
                reactions[chosen[:2]] = reactions.get(chosen[:2], 0) + 1
                if verb != "reply":
                    done.add((user, verb, *chosen[:2]))
        items += new
    return load_run(run.write(folder / f"{seed}-{own_community}-{popular}.db"))


def _act(
    run: RunFactory, user: int, verb: str, chosen: tuple[int, int | None, int], step: int
) -> list[tuple[int, int | None, int]]:
    """Carry an act out; return the reply as a new item, every fourth, so that feeds do not fill with replies."""
    post_id, comment_id, author = chosen
    if verb == "reply":
        number = run.comment(user, post_id, parent=comment_id)
        return [(post_id, number, user)] if number % 4 == 0 else []
    if verb == "repost":
        run.repost(user, post_id)
    elif verb == "follow":
        run.follow(user, author, step)
        run.act(user, "follow", target_user_id=author)
    elif comment_id is None:
        run.like(user, post_id)
    else:
        run.like_comment(user, comment_id)
    return []
