"""Recommenders by name: each scores posts for agents; what may be shown at all is the feed's business.

A recommender of one's own is a class with `pool` and `scores`, registered under a name with `recommender`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from polyphony.errors import InputError
from polyphony.randomness import keyed_generator
from polyphony.simulation.feed.text_vectors import TextVectors
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

# Posts that are scored for each agent; a larger platform is narrowed down to these first.
POOL = 4096
REDDIT_EPOCH, REDDIT_SECONDS = 1_134_028_003, 45_000
FACTORS = 16
# As many factors as people would give back the matrix and predict nothing.
PEOPLE_A_FACTOR = 6


class Recommender(Protocol):
    """Scores posts.

    Before scoring, the feed asks for a pool: of more than `POOL` posts the most promising are kept.
    """

    def pool(self, rows: np.ndarray, candidates: np.ndarray, size: int) -> np.ndarray:
        """Narrow down.

        Args:
            rows: All posts, see `simulation.world.post_table.POST`.
            candidates: Rows that may be shown, ascending.
            size: How many to keep.

        Returns:
            Rows that are scored.
        """
        ...

    def scores(self, platform: Platform, agents: np.ndarray, pool: np.ndarray, now: Moment) -> np.ndarray:
        """Score the posts of a pool, higher is better: shape [agents, pool], or [1, pool] where all agents agree."""
        ...


_KINDS: dict[str, Callable[[int, TextVectors], Recommender]] = {}
_Made = TypeVar("_Made", bound=Callable[[int, TextVectors], Recommender])


def recommender(name: str) -> Callable[[_Made], _Made]:
    """Register a recommender under a name; it is made from the run's seed and the text vectors."""

    def register(kind: _Made) -> _Made:
        _KINDS[name] = kind
        return kind

    return register


def recommender_names() -> list[str]:
    """All registered names."""
    return sorted(_KINDS)


def make_recommender(name: str, seed: int, vectors: TextVectors) -> Recommender:
    """Make the recommender of that name.

    Raises:
        InputError: There is none.
    """
    check_recommender(name, "--recommender")
    return _KINDS[name](seed, vectors)


def check_recommender(name: str, where: str) -> None:
    """Refuse a name that no recommender has; `where` says in the error where it stands.

    Raises:
        InputError: There is none.
    """
    if name not in _KINDS:
        raise InputError(f"{where} {name!r} is not one of {', '.join(recommender_names())}")


class _Plain:
    """What most recommenders share: the latest posts are the pool."""

    def __init__(self, seed: int, vectors: TextVectors) -> None:
        """Keep what a recommender may need."""
        self._seed, self._vectors = seed, vectors

    def pool(self, rows: np.ndarray, candidates: np.ndarray, size: int) -> np.ndarray:
        """The latest posts."""
        return candidates[-size:]


@recommender("random")
class Random(_Plain):
    """Uniform for each agent anew."""

    def pool(self, rows: np.ndarray, candidates: np.ndarray, size: int) -> np.ndarray:
        """A uniform sample, the same for all agents of a moment."""
        if len(candidates) <= size:
            return candidates
        return np.sort(keyed_generator(self._seed, "pool", len(rows)).choice(candidates, size, replace=False))

    def scores(self, platform: Platform, agents: np.ndarray, pool: np.ndarray, now: Moment) -> np.ndarray:
        """All equal: the feed breaks ties by a draw of each agent's own."""
        return np.zeros((1, len(pool)))


@recommender("chronological")
class Chronological(_Plain):
    """The latest first."""

    def scores(self, platform: Platform, agents: np.ndarray, pool: np.ndarray, now: Moment) -> np.ndarray:
        """Seconds since 1970."""
        times: np.ndarray = platform.posts.rows["at"][pool].astype(float)
        return times[None]


@recommender("attention")
class Attention(_Plain):
    """Attention on a logarithmic scale against age in timesteps: seed posts of any date begin as equals.

    log10(1 + likes + comments + shares) − age / 6: a tenfold attention outweighs six timesteps.
    """

    STEPS_PER_DECADE = 6

    def pool(self, rows: np.ndarray, candidates: np.ndarray, size: int) -> np.ndarray:
        """Those with the best scores: age counts alike for all, so that the moment does not matter."""
        return _best(candidates, self._value(rows[candidates]), size)

    def scores(self, platform: Platform, agents: np.ndarray, pool: np.ndarray, now: Moment) -> np.ndarray:
        """As the class says."""
        return (self._value(platform.posts.rows[pool]) - now.timestep / self.STEPS_PER_DECADE)[None]

    def _value(self, rows: np.ndarray) -> np.ndarray:
        attention = np.log10(1.0 + rows["likes"] + rows["comments"] + rows["shares"])
        value: np.ndarray = attention + rows["timestep"] / self.STEPS_PER_DECADE
        return value


@recommender("reddit-hot")
class RedditHot(_Plain):
    """Reddit's hot ranking as OASIS computes it.

    sign(s) · log10(max(|s|, 1)) + (t − 1134028003) / 45000 with s = likes − dislikes and t in seconds, to 7 decimals.
    """

    def pool(self, rows: np.ndarray, candidates: np.ndarray, size: int) -> np.ndarray:
        """The hottest."""
        return _best(candidates, self._hot(rows[candidates]), size)

    def scores(self, platform: Platform, agents: np.ndarray, pool: np.ndarray, now: Moment) -> np.ndarray:
        """As the class says."""
        return self._hot(platform.posts.rows[pool])[None]

    def _hot(self, rows: np.ndarray) -> np.ndarray:
        likes = rows["likes"].astype(float) - rows["dislikes"]
        order = np.sign(likes) * np.log10(np.maximum(np.abs(likes), 1.0))
        hot: np.ndarray = np.round(order + (rows["at"] - REDDIT_EPOCH) / REDDIT_SECONDS, 7)
        return hot


@recommender("followee-popular")
class FolloweePopular(_Plain):
    """By likes; OASIS fills the followees' part of a feed so, and a followee share of 1 makes it the whole."""

    def pool(self, rows: np.ndarray, candidates: np.ndarray, size: int) -> np.ndarray:
        """The most liked."""
        return _best(candidates, rows["likes"][candidates].astype(float), size)

    def scores(self, platform: Platform, agents: np.ndarray, pool: np.ndarray, now: Moment) -> np.ndarray:
        """Likes."""
        likes: np.ndarray = platform.posts.rows["likes"][pool].astype(float)
        return likes[None]


@recommender("similarity")
class Similarity(_Plain):
    """Cosine between a post and what the agent says of itself and said last."""

    def scores(self, platform: Platform, agents: np.ndarray, pool: np.ndarray, now: Moment) -> np.ndarray:
        """Cosine, from -1 to 1."""
        return self._vectors.cosine(platform, agents, pool)


@recommender("twhin")
class Twhin(_Plain):
    """OASIS's twhin: cosine(profile and recent post, post) · log((271.8 − age) / 100), age in timesteps.

    Posts as old as that count nothing. The term of an author's popularity is log(1 + followers) over its largest
    value, one tenth of the whole: OASIS states no weight.
    """

    LIFE, SCALE, POPULARITY = 271.8, 100.0, 0.1

    def scores(self, platform: Platform, agents: np.ndarray, pool: np.ndarray, now: Moment) -> np.ndarray:
        """As the class says."""
        rows = platform.posts.rows[pool]
        cosine = self._vectors.cosine(platform, agents, pool)
        left = np.maximum(self.LIFE - (now.timestep - rows["timestep"]), self.SCALE)
        fame = np.log1p([len(platform.followers[int(user)]) for user in rows["user"]])
        fame = fame / max(float(fame.max(initial=0.0)), 1e-9)
        scores: np.ndarray = cosine * np.log(left / self.SCALE) + self.POPULARITY * fame
        return scores


@recommender("collaborative")
class Collaborative(_Plain):
    """Implicit feedback: who reacted to whom, reduced to a few factors by a truncated singular value decomposition.

    A post inherits its author's factors, so that a new one can be recommended; likes break ties. The matrix counts
    likes, reposts and follows (Hu, Koren & Volinsky 2008 on implicit feedback; Sarwar et al. 2000 for the SVD).
    """

    _made: tuple[int, tuple[np.ndarray, np.ndarray]] | None = None

    def scores(self, platform: Platform, agents: np.ndarray, pool: np.ndarray, now: Moment) -> np.ndarray:
        """Predicted affinity of agent and author, plus a thousandth of the likes' logarithm."""
        rows = platform.posts.rows[pool]
        left, right = self._factors(platform)
        popular = 1e-3 * np.log1p(rows["likes"])
        scores: np.ndarray = left[agents] @ right[rows["user"]].T + popular
        return scores

    def _factors(self, platform: Platform) -> tuple[np.ndarray, np.ndarray]:
        """Factors of people who react, and of those who are reacted to; made anew only after something was done."""
        if self._made is None or self._made[0] != platform.acts:
            self._made = platform.acts, self._decomposed(platform)
        return self._made[1]

    def _decomposed(self, platform: Platform) -> tuple[np.ndarray, np.ndarray]:
        people = len(platform.names)
        pairs = [*platform.reactions()]
        rank = min(FACTORS, people // PEOPLE_A_FACTOR)
        if not pairs or rank < 1:
            return np.zeros((people, 1)), np.zeros((people, 1))
        who, whom = np.array(pairs).T
        matrix = sparse.coo_array((np.ones(len(who)), (who, whom)), shape=(people, people)).tocsr()
        matrix.data = np.log1p(matrix.data)
        start = keyed_generator(self._seed, "collaborative").standard_normal(people)
        left, values, right = svds(matrix, k=rank, v0=start)
        return left * values, right.T


def _best(candidates: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """The candidates with the highest values, ascending; later posts win ties."""
    if len(candidates) <= size:
        return candidates
    return np.sort(candidates[np.lexsort((candidates, values))[-size:]])


# Who to follow

_SUGGESTERS: dict[str, Callable[["_Network"], np.ndarray]] = {}


class _Network:
    """Follows as sparse matrices, and text vectors, for some agents."""

    def __init__(self, platform: Platform, agents: np.ndarray, vectors: TextVectors, seed: int, now: Moment) -> None:
        self.platform, self.agents, self.vectors, self.seed, self.now = platform, agents, vectors, seed, now
        self.people = len(platform.names)
        edges = [(who, whom) for who, followees in platform.following.items() for whom in followees]
        who, whom = np.array(edges, dtype=int).reshape(-1, 2).T
        follows = sparse.coo_array((np.ones(len(who)), (who, whom)), shape=(self.people, self.people)).tocsr()
        self.follows = follows
        self.ties = ((follows + follows.T) > 0).astype(float).tocsr()


def _suggester(name: str) -> Callable[[Callable[[_Network], np.ndarray]], Callable[[_Network], np.ndarray]]:
    def register(scores: Callable[[_Network], np.ndarray]) -> Callable[[_Network], np.ndarray]:
        _SUGGESTERS[name] = scores
        return scores

    return register


@_suggester("random")
def _random(network: _Network) -> np.ndarray:
    return np.array(
        [
            keyed_generator(network.seed, "suggestion", int(agent), network.now.timestep).random(network.people)
            for agent in network.agents
        ]
    )


@_suggester("popularity")
def _popularity(network: _Network) -> np.ndarray:
    return np.broadcast_to(network.follows.sum(axis=0), (len(network.agents), network.people)).astype(float)


@_suggester("common-neighbours")
def _common_neighbours(network: _Network) -> np.ndarray:
    """Number of people that both are tied to (Liben-Nowell & Kleinberg 2007, section 3)."""
    found: np.ndarray = (network.ties[network.agents] @ network.ties).toarray()
    return found


@_suggester("adamic-adar")
def _adamic_adar(network: _Network) -> np.ndarray:
    """Sum over common neighbours z of 1 / log(degree of z) (Adamic & Adar 2003)."""
    degree = np.asarray(network.ties.sum(axis=1)).ravel()
    weight = np.divide(1.0, np.log(np.maximum(degree, 2.0)), where=degree > 1, out=np.zeros_like(degree))
    found: np.ndarray = (network.ties[network.agents] @ sparse.diags_array(weight) @ network.ties).toarray()
    return found


@_suggester("similar-content")
def _similar_content(network: _Network) -> np.ndarray:
    everybody = np.arange(network.people)
    own = network.vectors.of_agents(network.platform, network.agents)
    found: np.ndarray = own @ network.vectors.of_agents(network.platform, everybody).T
    return found


def suggester_names() -> list[str]:
    """All ways to suggest whom to follow."""
    return sorted(_SUGGESTERS)


def suggest_people(
    name: str,
    platform: Platform,
    agents: Sequence[int],
    vectors: TextVectors,
    *,
    seed: int,
    now: Moment,
    count: int = 1,
) -> dict[int, list[tuple[int, float]]]:
    """Suggest whom each agent might follow, the best first, with scores: nobody followed, muted or suspended.

    Args:
        name: ``random``, ``popularity``, ``common-neighbours``, ``adamic-adar`` or ``similar-content``.
        platform: Where they are.
        agents: For whom.
        vectors: Text vectors.
        seed: Key of draws and ties.
        now: The moment.
        count: How many for each.

    Raises:
        InputError: There is no such way.
    """
    if name not in _SUGGESTERS:
        raise InputError(f"--who-to-follow {name!r} is not one of {', '.join(suggester_names())}")
    wanted = np.asarray(agents, dtype=int)
    scores = np.array(_SUGGESTERS[name](_Network(platform, wanted, vectors, seed, now)), dtype=float)
    found: dict[int, list[tuple[int, float]]] = {}
    for row, agent in enumerate(agents):
        barred = [agent, *platform.following[agent], *platform.muted[agent], *platform.suspended]
        scores[row, barred] = -math.inf
        ties = keyed_generator(seed, "suggestion ties", agent, now.timestep).random(scores.shape[1])
        order = np.lexsort((ties, -scores[row]))[:count]
        found[agent] = [(int(who), float(scores[row, who])) for who in order if scores[row, who] > -math.inf]
    return found
