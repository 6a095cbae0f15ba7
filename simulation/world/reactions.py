"""Likes and dislikes of posts and comments, and reports."""

from collections.abc import Mapping
from typing import Any

from polyphony.simulation.world import actions
from polyphony.simulation.world.actions import Action
from polyphony.simulation.world.content import NO_COMMENT, NO_POST, Content
from polyphony.simulation.world.links import ALREADY_DONE, NOT_DONE_BEFORE, Links
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.part import CounterReader, Handler
from polyphony.simulation.world.rows import RowBuffer, Rows

# Reaction -> the table of its links, the counter it moves, and whether it adds a link or takes one away.
_TO_POSTS: Mapping[type[Action], tuple[str, str, bool]] = {
    actions.LikePost: ("like", "likes", True),
    actions.UnlikePost: ("like", "likes", False),
    actions.DislikePost: ("dislike", "dislikes", True),
    actions.UndoDislikePost: ("dislike", "dislikes", False),
}
_TO_COMMENTS: Mapping[type[Action], tuple[str, str, bool]] = {
    actions.LikeComment: ("comment_like", "likes", True),
    actions.UnlikeComment: ("comment_like", "likes", False),
    actions.DislikeComment: ("comment_dislike", "dislikes", True),
    actions.UndoDislikeComment: ("comment_dislike", "dislikes", False),
}


class Reactions:
    """What people did to posts and comments without words; the counters are those of `Content`."""

    def __init__(self, content: Content, links: Links, buffer: RowBuffer) -> None:
        """React to `content`; `buffer` takes the counters."""
        self._content, self._links, self._buffer = content, links, buffer

    def handlers(self) -> Mapping[type[Action], Handler]:
        """See `simulation.world.part.Part`."""
        return {
            **dict.fromkeys(_TO_POSTS, self._react_to_post),
            **dict.fromkeys(_TO_COMMENTS, self._react_to_comment),
            actions.ReportPost: self._report,
        }

    def counters(self) -> Mapping[str, CounterReader]:
        """None of its own."""
        return {}

    def restore(self, tables: Rows) -> None:
        """Links and content hold everything."""

    def _react_to_post(self, user: int, action: Any, when: Moment) -> Outcome:
        post_id = action.post_id
        if post_id not in self._content.posts:
            return NO_POST
        table, counter, on = _TO_POSTS[type(action)]
        if not self._links.switch(table, user, post_id, when, on=on):
            return Outcome(refused=ALREADY_DONE if on else NOT_DONE_BEFORE, target_post_id=post_id)
        self._content.count(post_id, counter, 1 if on else -1)
        return Outcome(target_post_id=post_id, trace={"post_id": post_id})

    def _react_to_comment(self, user: int, action: Any, when: Moment) -> Outcome:
        comment_id = action.comment_id
        if not self._content.is_comment(comment_id):
            return NO_COMMENT
        table, counter, on = _TO_COMMENTS[type(action)]
        comment = self._content.comments[comment_id - 1]
        if not self._links.switch(table, user, comment_id, when, on=on):
            refused = ALREADY_DONE if on else NOT_DONE_BEFORE
            return Outcome(refused=refused, target_post_id=comment.post_id, target_comment_id=comment_id)
        setattr(comment, counter, getattr(comment, counter) + (1 if on else -1))
        self._buffer.touch("comment", comment_id)
        trace = {"comment_id": comment_id}
        return Outcome(target_post_id=comment.post_id, target_comment_id=comment_id, trace=trace)

    def _report(self, user: int, action: actions.ReportPost, when: Moment) -> Outcome:
        post_id = action.post_id
        if post_id not in self._content.posts:
            return NO_POST
        if not self._links.switch("report", user, post_id, when, on=True, report_reason=action.report_reason):
            return Outcome(refused="already reported", target_post_id=post_id)
        self._content.count(post_id, "reports", 1)
        return Outcome(target_post_id=post_id, trace={"post_id": post_id})
