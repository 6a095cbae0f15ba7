"""Acts upon what an agent was shown, and the same acts with their targets drawn again among the items shown."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polyphony.metrics.figures.targets import Choice, Item
from polyphony.metrics.runfile.rundata import Activation, RunData

Ids = NDArray[np.int64]

TARGETED = ("reply", "quote", "repost", "like", "follow")
"""Acts that make a tie to the author of what they are about."""

# What an act of the agent found, after the choice.
_FOUND_BY_ACTS = ("search", "trend")
_OF_POSTS_ALONE = ("quote", "repost")


class RedrawnTies(NamedTuple):
    """Who acted upon whom in the run, and in draws of the targets among the items shown.

    Attributes:
        actors: User id of the agent of each act, shape [acts].
        authors: User id of whom it was upon, shape [acts].
        redrawn: The same in each draw, shape [draws, acts].
    """

    actors: Ids
    authors: Ids
    redrawn: Ids


def shown_acts(run: RunData) -> list[Choice]:
    """Every reply, quote, repost, like and follow upon an item shown, with the items that it could have been upon.

    Those are the items of the agent's feed in that timestep that the platform would have let this act be about: other
    people's; for a quote or repost posts alone, for a repost or like those that the agent had not reposted or liked
    before, for a follow those by authors whom it did not follow. Of a follow the target is the author's first item.
    Acts upon something that was not in the feed are left out, as in runs that record no exposures.
    """
    shown: defaultdict[tuple[int, int], list[tuple[int, Item]]] = defaultdict(list)
    for exposure in run.exposures:
        if exposure.source not in _FOUND_BY_ACTS:
            item = exposure.post_id, exposure.comment_id
            shown[exposure.timestep, exposure.user_id].append((exposure.position, item))
    followed = {(follow.follower_id, follow.followee_id): follow.timestep for follow in run.follows}
    done: set[tuple[int, str, Item]] = set()
    choices = []
    for activation in run.activations:
        if activation.outcome != "ok" or activation.act not in TARGETED:
            continue
        feed = [item for _, item in sorted(shown.get((activation.timestep, activation.user_id), ()))]
        target = _target(run, activation, feed)
        possible = [item for item in feed if item == target or _is_possible(run, activation, item, followed, done)]
        if target in possible:
            choices.append(Choice(activation, tuple(possible), possible.index(target)))
            done.add((activation.user_id, activation.act, target))
    return choices


def redrawn_ties(run: RunData, choices: Sequence[Choice], draws: int, rng: np.random.Generator) -> RedrawnTies:
    """Draw the target of every act again, each of the items that it could have been upon being equally likely."""
    authors = [[run.author_of_item(*item) or 0 for item in choice.shown] for choice in choices]
    sizes = np.array([len(row) for row in authors], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    flat = np.array([author for row in authors for author in row], dtype=np.int64)
    places = starts + np.array([choice.chosen for choice in choices], dtype=np.int64)
    again = starts + (rng.random((draws, len(choices))) * sizes).astype(np.int64)
    actors = np.array([choice.activation.user_id for choice in choices], dtype=np.int64)
    return RedrawnTies(actors, flat[places], flat[again])


def _target(run: RunData, activation: Activation, feed: Sequence[Item]) -> Item | None:
    if activation.act == "follow":
        return next((item for item in feed if run.author_of_item(*item) == activation.target_user_id), None)
    if activation.target_post_id is None:
        return None
    return activation.target_post_id, activation.target_comment_id


def _is_possible(
    run: RunData, activation: Activation, item: Item, followed: dict[tuple[int, int], int],
    done: set[tuple[int, str, Item]],
) -> bool:  # fmt: skip
    """Whether the platform would have let an act be about an item, as `simulation.world.action_menu` has it."""
    author, agent, act = run.author_of_item(*item), activation.user_id, activation.act
    if author is None or author == agent:
        return False
    if act in _OF_POSTS_ALONE and item[1] is not None:
        return False
    if act == "follow":
        return followed.get((agent, author), activation.timestep) >= activation.timestep
    return act not in ("repost", "like") or (agent, act, item) not in done
