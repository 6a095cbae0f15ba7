"""Every act on the platform as a frozen value that checks itself; names and fields are OASIS's."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from polyphony.errors import InputError
from polyphony.personas.people.acts import MOST_CHARACTERS
from polyphony.printable import printable, quoted

LARGEST_ID = 2**63 - 1
MOST_PURCHASED = 1_000_000


def _words(text: str) -> str:
    clean = printable(text)
    if not clean:
        raise ValueError("no printable text")
    return clean


Id = Annotated[int, Field(ge=0, le=LARGEST_ID)]
Words = Annotated[str, Field(max_length=MOST_CHARACTERS), AfterValidator(_words)]


class Action(BaseModel):
    """One act; `name` is OASIS's value of the action type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: ClassVar[str]


class CreatePost(Action):
    """Publish a text."""

    name = "create_post"
    content: Words


class Repost(Action):
    """Share a post as it is."""

    name = "repost"
    post_id: Id


class QuotePost(Action):
    """Share a post with a text."""

    name = "quote_post"
    post_id: Id
    quote_content: Words


class CreateComment(Action):
    """Answer a post, or a comment under it; without the last field as in OASIS."""

    name = "create_comment"
    post_id: Id
    content: Words
    parent_comment_id: Id | None = None


class LikePost(Action):
    """Like a post."""

    name = "like_post"
    post_id: Id


class UnlikePost(Action):
    """Undo a like."""

    name = "unlike_post"
    post_id: Id


class DislikePost(Action):
    """Dislike a post."""

    name = "dislike_post"
    post_id: Id


class UndoDislikePost(Action):
    """Undo a dislike."""

    name = "undo_dislike_post"
    post_id: Id


class LikeComment(Action):
    """Like a comment."""

    name = "like_comment"
    comment_id: Id


class UnlikeComment(Action):
    """Undo a like of a comment."""

    name = "unlike_comment"
    comment_id: Id


class DislikeComment(Action):
    """Dislike a comment."""

    name = "dislike_comment"
    comment_id: Id


class UndoDislikeComment(Action):
    """Undo a dislike of a comment."""

    name = "undo_dislike_comment"
    comment_id: Id


class ReportPost(Action):
    """Report a post; enough reports keep it out of feeds."""

    name = "report_post"
    post_id: Id
    report_reason: Words


class Follow(Action):
    """Follow a user."""

    name = "follow"
    followee_id: Id


class Unfollow(Action):
    """Stop following a user."""

    name = "unfollow"
    followee_id: Id


class Mute(Action):
    """Hide everything that a user writes."""

    name = "mute"
    mutee_id: Id


class Unmute(Action):
    """Undo a mute."""

    name = "unmute"
    mutee_id: Id


class SearchPosts(Action):
    """Search for posts that contain a text."""

    name = "search_posts"
    query: Words


class SearchUser(Action):
    """Search for users by name or description."""

    name = "search_user"
    query: Words


class Trend(Action):
    """See the most liked posts of the last seven days."""

    name = "trend"


class CreateGroup(Action):
    """Create a chat group and join it."""

    name = "create_group"
    group_name: Words


class JoinGroup(Action):
    """Join a chat group."""

    name = "join_group"
    group_id: Id


class LeaveGroup(Action):
    """Leave a chat group."""

    name = "leave_group"
    group_id: Id


class SendToGroup(Action):
    """Write to a chat group of which the user is a member."""

    name = "send_to_group"
    group_id: Id
    message: Words


class ListenFromGroup(Action):
    """Read the messages of the user's chat groups."""

    name = "listen_from_group"


class PurchaseProduct(Action):
    """Buy a product."""

    name = "purchase_product"
    product_name: Words
    purchase_num: Annotated[int, Field(ge=1, le=MOST_PURCHASED)] = 1


class DoNothing(Action):
    """Do nothing."""

    name = "do_nothing"


ACTIONS: Mapping[str, type[Action]] = {kind.name: kind for kind in Action.__subclasses__()}


def parse_action(value: Mapping[str, Any], where: str) -> Action:
    """Make the act that a mapping describes: its ``action`` and that action's fields.

    Raises:
        InputError: The action is unknown, or its fields are wrong; `where` names the place in the text.
    """
    fields = dict(value)
    name = fields.pop("action", None)
    kind = ACTIONS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InputError(f"{where}: action {quoted(name)} is not one of {', '.join(ACTIONS)}")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = printable(".".join(map(str, first["loc"])))[:120] or "fields"
        raise InputError(f"{where}: {name}: {field}: {printable(first['msg'])}") from error
