"""A run as pandas data frames: what a researcher's script or a plug-in measurement reads.

Users are named by handle, posts and replies by the names of an exported data set (``p12``, ``c3``). Nullable whole
numbers have the pandas type ``Int64``; texts have ``str`` (pandas 2: ``object``). `pandas.isna` finds missing values.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from polyphony.errors import MetricsError
from polyphony.metrics.runfile.rundata import Activation, Agent, Comment, Post, RunData

if TYPE_CHECKING:
    import pandas as pd

_NULLABLE = ("agent_id", "source_agent_id", "target_agent_id", "revision", "community")


def posts(run: RunData) -> "pd.DataFrame":
    """Posts, reposts, quotes and replies, seed posts included; one row each, in the order of the file.

    ========== ======= ==========================================================================
    post       str     name: ``p`` and a number for posts, reposts and quotes, ``c`` for replies
    kind       str     ``post``, ``repost``, ``quote`` or ``reply``
    author     str     handle of the author
    agent_id   Int64   the author's number as an agent; missing for an account that is no agent
    text       str     the author's own words; empty for a repost
    parent     str     the post or reply that it repeats, quotes or answers; missing for an original post
    root       str     the first post of its thread
    timestep   int64   when it was written; -1 before the first timestep
    is_seed    bool    whether it stood there before the first timestep, or a scenario posted it
    likes      int64   likes at the end
    shares     int64   reposts and quotes of it at the end
    ========== ======= ==========================================================================
    """
    agent_of = _agent_ids(run)
    likes = Counter(item_name(like.post_id, like.comment_id) for like in run.likes)
    shares = Counter(post.original_post_id for post in run.posts if post.original_post_id is not None)
    root_of: dict[int, int] = {}
    rows: list[tuple[Any, ...]] = []
    for post in run.posts:
        parent = post.original_post_id
        root_of[post.post_id] = post.post_id if parent is None else root_of.get(parent, parent)
        rows.append((
            post_name(post.post_id), _kind(post), _handle(run, post.user_id), agent_of.get(post.user_id), post.own_text,
            None if parent is None else post_name(parent), post_name(root_of[post.post_id]), post.timestep,
            post.is_seed, likes[post_name(post.post_id)], shares[post.post_id],
        ))  # fmt: skip
    for reply in run.comments:
        rows.append((
            reply_name(reply.comment_id), "reply", _handle(run, reply.user_id), agent_of.get(reply.user_id),
            reply.content, _answered(run, reply), post_name(root_of.get(reply.post_id, reply.post_id)),
            reply.timestep, reply.timestep < 0, likes[reply_name(reply.comment_id)], 0,
        ))  # fmt: skip
    columns = ("post", "kind", "author", "agent_id", "text", "parent", "root", "timestep", "is_seed", "likes", "shares")
    return _frame(columns, rows, {"timestep": "int64", "is_seed": "bool", "likes": "int64", "shares": "int64"})


def acts(run: RunData) -> "pd.DataFrame":
    """Activations: each time an agent was asked what it does; one row each, in the order of the file.

    ============= ======= =======================================================================
    timestep      int64   when
    agent_id      Int64   number of the agent; missing for an account that is no agent
    agent         str     its handle
    act           str     ``post``, ``reply``, ``quote``, ``repost``, ``like``, ``follow`` or ``nothing``;
                          missing where the policy failed
    outcome       str     ``ok``, ``refused`` by the platform, or ``failed``
    reason        str     why it was refused or failed; missing where it ended well
    target        str     handle of the user acted upon; missing for ``post`` and ``nothing``
    target_post   str     the post or reply acted upon; missing for ``post``, ``follow`` and ``nothing``
    post          str     the post or reply that the act made; missing for other acts
    p_VERB        float64 the policy's own probability of the act VERB before sampling, a column for each
                          act that a policy logged, in alphabetical order; NaN where nothing was logged
    ============= ======= =======================================================================
    """
    agent_of = _agent_ids(run)
    verbs = sorted({verb for activation in run.activations for verb in activation.act_distribution or ()})
    rows = [
        (
            activation.timestep, agent_of.get(activation.user_id), _handle(run, activation.user_id), activation.act,
            activation.outcome, activation.reason, _target(run, activation),
            None if activation.target_post_id is None
            else item_name(activation.target_post_id, activation.target_comment_id),
            _result(activation), *_shares(activation, verbs),
        )
        for activation in run.activations
    ]  # fmt: skip
    columns = ("timestep", "agent_id", "agent", "act", "outcome", "reason", "target", "target_post", "post")
    shares = {f"p_{verb}": "float64" for verb in verbs}
    return _frame((*columns, *shares), rows, {"timestep": "int64", **shares})


def exposures(run: RunData) -> "pd.DataFrame":
    """Posts and replies that agents were shown; one row for each in each feed, in the order of the file.

    ========== ======= ================================================================
    timestep   int64   when
    agent_id   Int64   number of the agent
    agent      str     its handle
    post       str     the post or reply shown
    author     str     handle of its author; missing where the file does not hold the post
    position   int64   place in the feed, from 1
    source     str     why it was shown: ``notification``, ``followee``, ``recommended`` and so on
    score      float64 the recommender's score; NaN where it gave none
    ========== ======= ================================================================
    """
    agent_of = _agent_ids(run)
    rows = []
    for exposure in run.exposures:
        author = run.author_of_item(exposure.post_id, exposure.comment_id)
        rows.append((
            exposure.timestep, agent_of.get(exposure.user_id), _handle(run, exposure.user_id),
            item_name(exposure.post_id, exposure.comment_id), None if author is None else _handle(run, author),
            exposure.position, exposure.source, exposure.score,
        ))  # fmt: skip
    columns = ("timestep", "agent_id", "agent", "post", "author", "position", "source", "score")
    return _frame(columns, rows, {"timestep": "int64", "position": "int64", "score": "float64"})


def edges(run: RunData) -> "pd.DataFrame":
    """Acts of one user upon another, the starting graph included, those upon oneself left out; one row each.

    =============== ===== ==================================================================
    timestep        Int64 when; -1 for what stood there before the first timestep, missing where the file does not tell
    kind            str   ``follow``, ``reply``, ``repost``, ``quote`` or ``like``
    source          str   handle of the user who acted
    target          str   handle of the user acted upon
    source_agent_id Int64 the source's number as an agent; missing for an account that is no agent
    target_agent_id Int64 the same of the target
    post            str   the post or reply acted upon; missing for a follow
    made            str   the post or reply that the act made; missing for a follow or a like
    =============== ===== ==================================================================
    """
    agent_of = _agent_ids(run)
    liked_at = {
        (activation.user_id, activation.target_post_id, activation.target_comment_id): activation.timestep
        for activation in run.activations if (activation.act, activation.outcome) == ("like", "ok")
    }  # fmt: skip
    upon: list[tuple[int | None, str, int, int | None, str | None, str | None]] = [
        (follow.timestep, "follow", follow.follower_id, follow.followee_id, None, None) for follow in run.follows
    ]
    upon += [
        (
            reply.timestep, "reply", reply.user_id, run.answered_by(reply), _answered(run, reply),
            reply_name(reply.comment_id),
        )
        for reply in run.comments
    ]  # fmt: skip
    upon += [
        (
            post.timestep, _kind(post), post.user_id, run.author_of(post.original_post_id),
            post_name(post.original_post_id), post_name(post.post_id),
        )
        for post in run.posts if post.original_post_id is not None
    ]  # fmt: skip
    upon += [
        (
            liked_at.get(like), "like", like.user_id, run.author_of_item(like.post_id, like.comment_id),
            item_name(like.post_id, like.comment_id), None,
        )
        for like in run.likes
    ]  # fmt: skip
    rows = [
        (
            step, kind, _handle(run, source), _handle(run, target), agent_of.get(source), agent_of.get(target), post,
            result,
        )
        for step, kind, source, target, post, result in upon if target is not None and target != source
    ]  # fmt: skip
    columns = ("timestep", "kind", "source", "target", "source_agent_id", "target_agent_id", "post", "made")
    return _frame(columns, rows, {"timestep": "Int64"})


def agents(run: RunData) -> "pd.DataFrame":
    """The simulated people; one row each, in the order of the file.

    ========== ===== ===================================================================
    agent_id   Int64 number of the agent
    agent      str   its handle
    persona    str   description that its prompt carries
    adapter_id str   its adapter; missing where it has none
    revision   Int64 revision of the adapter; missing where it has none
    community  Int64 community that the population was made with; missing where unknown
    ========== ===== ===================================================================
    """
    rows = [
        (agent.agent_id, _handle(run, agent.user_id), agent.persona, agent.adapter_id, agent.revision, agent.community)
        for agent in run.agents
    ]
    return _frame(("agent_id", "agent", "persona", "adapter_id", "revision", "community"), rows, {})


def history(run: RunData) -> "pd.DataFrame":
    """What the people did before the simulation, as their adapters learnt it; one row an act.

    ========== =================== ================================================================
    agent_id   Int64               number of the agent
    agent      str                 its handle
    split      str                 ``train``, ``held_out`` and so on: what the act was used for
    act        str                 ``post``, ``reply``, ``quote``, ``repost``, ``like`` or ``follow``
    text       str                 the person's words; empty for an act without words
    created_at datetime64[us, UTC] when
    ========== =================== ================================================================
    """
    agent_of = _agent_ids(run)
    rows = [
        (agent_of.get(row.user_id), _handle(run, row.user_id), row.split, row.act, row.text, row.created_at)
        for row in run.history
    ]
    columns = ("agent_id", "agent", "split", "act", "text", "created_at")
    return _frame(columns, rows, {"created_at": "datetime64[us, UTC]"})


def texts(run: RunData, agent: str | int) -> "pd.DataFrame":
    """What one agent wrote during the run: posts, quotes and replies with words, by timestep.

    =========== ===== ===================================================================
    post        str   name of the post or reply, as in `posts`
    kind        str   ``post``, ``quote`` or ``reply``
    timestep    int64 when
    text        str   the agent's own words
    parent      str   the post or reply that it quotes or answers; missing for an original post
    parent_text str   the words of that; missing likewise
    =========== ===== ===================================================================

    Args:
        run: The run.
        agent: Handle or number of the agent.

    Raises:
        MetricsError: The run has no such agent.
    """
    user = find_agent(run, agent).user_id
    words = {post.post_id: post.own_text for post in run.posts}

    def answered_words(reply: Comment) -> str | None:
        parent = run.parent_of(reply)
        return words.get(reply.post_id) if parent is None else parent.content

    rows: list[tuple[Any, ...]] = [
        (
            post_name(post.post_id), _kind(post), post.timestep, post.own_text,
            None if post.original_post_id is None else post_name(post.original_post_id),
            None if post.original_post_id is None else words.get(post.original_post_id),
        )
        for post in run.own_posts if post.user_id == user and post.own_text
    ]  # fmt: skip
    rows += [
        (
            reply_name(reply.comment_id), "reply", reply.timestep, reply.content, _answered(run, reply),
            answered_words(reply),
        )
        for reply in run.own_comments if reply.user_id == user and reply.content
    ]  # fmt: skip
    rows.sort(key=lambda row: row[2])
    return _frame(("post", "kind", "timestep", "text", "parent", "parent_text"), rows, {"timestep": "int64"})


class RunFrames:
    """What a plug-in measurement is given: one run as data frames, each built when first asked for.

    Each frame is a copy of the caller's own: changing it changes no other measurement.
    """

    def __init__(self, data: RunData) -> None:
        """Hold a run that is read already."""
        self.data = data

    @property
    def arm(self) -> str:
        """The run's arm, as ``lora``."""
        return self.data.arm

    @property
    def seed(self) -> int:
        """The run's random seed."""
        return self.data.seed

    @property
    def timesteps(self) -> int:
        """Timesteps that are complete."""
        return self.data.completed_timesteps

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything else that decided the run, by name."""
        return dict(self.data.config)

    @property
    def agents(self) -> "pd.DataFrame":
        """See `agents`."""
        return self._agents.copy()

    @property
    def posts(self) -> "pd.DataFrame":
        """See `posts`."""
        return self._posts.copy()

    @property
    def acts(self) -> "pd.DataFrame":
        """See `acts`."""
        return self._acts.copy()

    @property
    def exposures(self) -> "pd.DataFrame":
        """See `exposures`."""
        return self._exposures.copy()

    @property
    def edges(self) -> "pd.DataFrame":
        """See `edges`."""
        return self._edges.copy()

    @property
    def history(self) -> "pd.DataFrame":
        """See `history`."""
        return self._history.copy()

    def texts(self, agent: str | int) -> "pd.DataFrame":
        """See `texts`."""
        return texts(self.data, agent)

    @cached_property
    def _agents(self) -> "pd.DataFrame":
        return agents(self.data)

    @cached_property
    def _posts(self) -> "pd.DataFrame":
        return posts(self.data)

    @cached_property
    def _acts(self) -> "pd.DataFrame":
        return acts(self.data)

    @cached_property
    def _exposures(self) -> "pd.DataFrame":
        return exposures(self.data)

    @cached_property
    def _edges(self) -> "pd.DataFrame":
        return edges(self.data)

    @cached_property
    def _history(self) -> "pd.DataFrame":
        return history(self.data)


def find_agent(run: RunData, agent: str | int) -> Agent:
    """The agent of a handle, with or without ``@``, or of a number.

    Raises:
        MetricsError: The run has no such agent.
    """
    for candidate in run.agents:
        if agent == candidate.agent_id or (
            isinstance(agent, str) and agent.removeprefix("@") == _handle(run, candidate.user_id)
        ):
            return candidate
    raise MetricsError(f"{run.name}: no agent {agent!r}; give one of the {len(run.agents)} handles or agent ids")


def post_name(post_id: int) -> str:
    """Name of a post, repost or quote."""
    return f"p{post_id}"


def reply_name(comment_id: int) -> str:
    """Name of a reply."""
    return f"c{comment_id}"


def item_name(post_id: int, comment_id: int | None) -> str:
    """Name of a reply, or, without one, of the post."""
    return post_name(post_id) if comment_id is None else reply_name(comment_id)


def _answered(run: RunData, reply: Comment) -> str:
    """Name of what a reply answers."""
    parent = run.parent_of(reply)
    return item_name(reply.post_id, None if parent is None else parent.comment_id)


def _agent_ids(run: RunData) -> dict[int, int]:
    return {agent.user_id: agent.agent_id for agent in run.agents}


def _handle(run: RunData, user: int) -> str:
    try:
        return run.users[user]
    except KeyError:
        raise MetricsError(
            f"{run.name}: user {user} is named but is not in table 'user'; the file is damaged"
        ) from None


def _kind(post: Post) -> str:
    return "post" if post.is_original else "quote" if post.is_quote else "repost"


def _target(run: RunData, activation: Activation) -> str | None:
    user = activation.target_user_id
    if user is None and activation.target_post_id is not None:
        user = run.author_of_item(activation.target_post_id, activation.target_comment_id)
    return None if user is None else _handle(run, user)


def _result(activation: Activation) -> str | None:
    if activation.post_id is not None:
        return post_name(activation.post_id)
    return None if activation.comment_id is None else reply_name(activation.comment_id)


def _shares(activation: Activation, verbs: Sequence[str]) -> list[float | None]:
    shares = activation.act_distribution
    return [None if shares is None else shares.get(verb, 0.0) for verb in verbs]


def _frame(columns: Sequence[str], rows: Sequence[tuple[Any, ...]], types: Mapping[str, str]) -> "pd.DataFrame":
    """A frame with the types of the tables above, also where it has no row; other columns hold texts."""
    import pandas as pd

    text = "str" if int(pd.__version__.split(".")[0]) >= 3 else "object"  # pandas 2 makes "None" of None
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    series = {
        column: pd.Series(list(cells), dtype=types.get(column, "Int64" if column in _NULLABLE else text))
        for column, cells in zip(columns, values, strict=True)
    }
    return pd.DataFrame(series)
