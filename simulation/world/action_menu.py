"""The menu of a policy: the verbs that a run offers, those possible for an agent, and the actions that they mean."""

from collections.abc import Callable, Sequence

from polyphony.errors import InputError
from polyphony.personas.people.acts import USUAL, Verb
from polyphony.simulation.world import actions as act
from polyphony.simulation.world.actions import ACTIONS, Action
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.platform import Platform

ACTION_OF_VERB = {
    Verb.POST: act.CreatePost.name,
    Verb.REPLY: act.CreateComment.name,
    Verb.QUOTE: act.QuotePost.name,
    Verb.REPOST: act.Repost.name,
    Verb.LIKE: act.LikePost.name,
    Verb.FOLLOW: act.Follow.name,
    Verb.NOTHING: act.DoNothing.name,
    Verb.DISLIKE: act.DislikePost.name,
    Verb.MUTE: act.Mute.name,
    Verb.SEARCH: act.SearchPosts.name,
    Verb.TREND: act.Trend.name,
}
"""Verb -> OASIS's name of the action."""
ON_COMMENTS: dict[Verb, type[act.LikeComment | act.DislikeComment]] = {
    Verb.LIKE: act.LikeComment, Verb.DISLIKE: act.DislikeComment
}  # fmt: skip

POPULATION = "population"
"""The menu of all verbs that occur in the people's histories, and doing nothing."""

# OASIS's default sets, and ours. Actions that no verb means are for scripted accounts alone.
ACTION_SETS = {
    "default": tuple(ACTION_OF_VERB[verb] for verb in USUAL),
    "twitter": ("create_post", "like_post", "repost", "follow", "do_nothing", "quote_post"),
    "reddit": (
        "like_post", "dislike_post", "create_post", "create_comment", "like_comment", "dislike_comment",
        "search_posts", "search_user", "trend", "do_nothing", "follow", "mute",
    ),
    "all": tuple(ACTIONS),
}  # fmt: skip


def offered_verbs(text: str, done: Sequence[Verb] = USUAL) -> tuple[Verb, ...]:
    """Return the verbs that a set's name, or a list of actions separated by commas, offers to a policy.

    Args:
        text: ``population``, the name of a set, or a list.
        done: What ``population`` stands for: the verbs that occur in the people's histories, and doing nothing.

    Raises:
        InputError: An action is unknown, or policies can choose none of them.
    """
    if text == POPULATION:
        return tuple(done)
    names = ACTION_SETS.get(text) or tuple(name.strip() for name in text.split(",") if name.strip())
    known = {**dict.fromkeys(ACTIONS), **{verb.value: verb for verb in Verb}}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(
            f"--actions {', '.join(unknown) or text!r}: not known; give {', '.join((POPULATION, *ACTION_SETS))} or "
            f"some of {', '.join(known)}"
        )
    offered = tuple(verb for verb, name in ACTION_OF_VERB.items() if name in names or verb.value in names)
    if not offered:
        raise InputError(
            f"--actions {text}: policies choose among {', '.join(ACTION_OF_VERB.values())}; name one of them"
        )
    return offered


def named_verbs(text: str, done: Sequence[Verb] = USUAL) -> tuple[Verb, ...]:
    """Return the verbs that prompts name where these actions are offered: those of the histories, and what goes beyond.

    Args:
        text: As for `offered_verbs`.
        done: As for it. A run that offers fewer has the prompts that its adapters were trained with.
    """
    named = {*done, *offered_verbs(text, done)}
    return tuple(verb for verb in Verb if verb in named)


_CAN_TARGET: dict[Verb, Callable[[Platform, int, Item, int], bool]] = {
    Verb.REPLY: lambda platform, agent, item, author: True,
    Verb.QUOTE: lambda platform, agent, item, author: item.comment_id is None,
    Verb.REPOST: lambda platform, agent, item, author: (
        item.comment_id is None and agent not in platform.reposters.get(item.post_id, ())
    ),
    Verb.LIKE: lambda platform, agent, item, author: not _linked(platform, "like", agent, item),
    Verb.FOLLOW: lambda platform, agent, item, author: author not in platform.following.get(agent, ()),
    Verb.DISLIKE: lambda platform, agent, item, author: not _linked(platform, "dislike", agent, item),
    Verb.MUTE: lambda platform, agent, item, author: author not in platform.muted.get(agent, ()),
}


def possible_targets(
    platform: Platform, agent: int, shown: Sequence[Item], offered: Sequence[Verb] = USUAL
) -> dict[Verb, list[int]]:
    """Return the verbs that are offered and possible, each with the feed positions (from 1) that can be its target.

    The list is empty for verbs without a target. Comments can be answered, liked and disliked, and their authors
    followed and muted; quotes and reposts are of posts alone. If nothing else is possible, doing nothing is.
    """
    others = [
        (place, item, author)
        for place, item in enumerate(shown, 1)
        if (author := platform.author(item)) != agent
    ]  # fmt: skip
    targets: dict[Verb, list[int]] = {verb: [] for verb in offered if not verb.has_target}
    for verb, can_target in _CAN_TARGET.items():
        if verb in offered and (
            places := [place for place, item, author in others if can_target(platform, agent, item, author)]
        ):
            targets[verb] = places
    return targets or {Verb.NOTHING: []}


def _linked(platform: Platform, table: str, agent: int, item: Item) -> bool:
    """Whether an agent liked or disliked a post or comment already."""
    if item.comment_id is None:
        return platform.linked(table, agent, item.post_id)
    return platform.linked(f"comment_{table}", agent, item.comment_id)


def action_of(verb: Verb, item: Item | None, author: int | None, text: str) -> Action:
    """Make the action that a verb means; `item` is the one chosen and `author` who wrote it.

    Raises:
        ValueError: The words are not printable, or a target is missing (pydantic's ValidationError).
    """
    post_id, comment_id = item or (None, None)
    if comment_id is not None and verb in ON_COMMENTS:
        return ON_COMMENTS[verb](comment_id=comment_id)
    values = {
        Verb.POST: {"content": text},
        Verb.REPLY: {"post_id": post_id, "content": text, "parent_comment_id": comment_id},
        Verb.QUOTE: {"post_id": post_id, "quote_content": text},
        Verb.REPOST: {"post_id": post_id},
        Verb.LIKE: {"post_id": post_id},
        Verb.FOLLOW: {"followee_id": author},
        Verb.NOTHING: {},
        Verb.DISLIKE: {"post_id": post_id},
        Verb.MUTE: {"mutee_id": author},
        Verb.SEARCH: {"query": text},
        Verb.TREND: {},
    }[verb]
    return ACTIONS[ACTION_OF_VERB[verb]].model_validate(values)
