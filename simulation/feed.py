"""What an agent is shown: posts of followees, filled up with what is popular."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from personas.randomness import keyed_generator
from simulation.platform import Platform, Post

# A tenfold attention outweighs this many timesteps of age.
STEPS_PER_DECADE = 6


@dataclass(frozen=True, slots=True)
class Exposure:
    """One shown post: where it stood, why it was shown, and with which score."""

    post_id: int
    position: int
    source: str
    score: float


def hotness(post: Post, timestep: int) -> float:
    """Attention on a logarithmic scale against age, in the manner of Reddit's hot ranking.

    log10(1 + likes + comments + shares) − age / 6, the age in timesteps; every seed post counts as one timestep old.
    """
    attention = math.log10(1 + post.likes + post.comments + post.shares)
    return attention - (timestep - post.timestep) / STEPS_PER_DECADE


def make_feed(platform: Platform, agent: int, *, timestep: int, items: int, seed: int) -> list[Exposure]:
    """Choose what an agent sees.

    Half of the feed (rounded up) are unseen posts of followees, or originals that followees reposted; the rest are
    unseen posts of other people; each half fills gaps of the other. Equal scores are broken by a keyed draw.
    """
    unseen = [
        post for post in platform.posts.values()
        if post.user_id != agent and post.post_id not in platform.seen[agent]
    ]  # fmt: skip
    ties = keyed_generator(seed, "feed", agent, timestep).random(len(unseen))
    scored = [(hotness(post, timestep), tie, post) for post, tie in zip(unseen, ties, strict=True)]
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    following = platform.following[agent]
    near: list[tuple[int, float]] = []
    far: list[tuple[int, float]] = []
    for score, _, post in scored:
        from_followee = post.user_id in following or not following.isdisjoint(post.reposters)
        (near if from_followee else far).append((post.post_id, score))
    from_near = max(min(len(near), (items + 1) // 2), min(len(near), items - len(far)))
    chosen = [
        *(("followee", *entry) for entry in near[:from_near]),
        *(("recommended", *entry) for entry in far[: items - from_near]),
    ]
    return list(_numbered(sorted(chosen, key=lambda entry: (-entry[2], entry[1]))))


def _numbered(chosen: Iterable[tuple[str, int, float]]) -> Iterable[Exposure]:
    for position, (source, post_id, score) in enumerate(chosen, 1):
        yield Exposure(post_id, position, source, score)
