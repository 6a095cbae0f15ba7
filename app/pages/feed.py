"""The Feed page: the platform as its users read it, up to a timestep, and beside it the same moment in another arm."""

from collections.abc import Sequence

import streamlit as st

from polyphony.app.parts.cards import avatar, counted, open_page
from polyphony.app.parts.escape import markup, plain
from polyphony.app.parts.feed_posts import FeedPost, PlatformMoment, Reply, platform_moment, simulated_time
from polyphony.app.parts.library import FoundRun, Library, run_data
from polyphony.app.parts.page_parts import arm_name, block, note, notice, title
from polyphony.app.parts.style import arm_colours
from polyphony.errors import MetricsError
from polyphony.metrics.runfile.rundata import Post, RunData

_POSTS_ON_A_PAGE = 30
_OPEN_REPLIES = 2
_MOST_REPLIES = 200
_MOST_DEPTH = 4
_ALONE = ""


def draw(library: Library, run: FoundRun) -> None:
    """Draw the page."""
    data = run_data(run.path)
    title(
        "Feed",
        "All posts on the platform, newest first; feeds show each agent a few. Likes by agents, reposts and replies "
        "are counted up to the timestep that you choose.",
    )
    left, middle, right = st.columns(3)
    with middle:
        beside = _beside(library, run)
    others = [] if beside is None else [(beside, other)] if (other := _data_or_notice(beside)) is not None else []
    arms = [(run, data), *others]
    with left:
        until = _until([arm for _, arm in arms])
    with right:
        words = st.text_input("Search", placeholder="a word or a handle", key="feed words")
    moments = [platform_moment(arm, until) for _, arm in arms]
    matches = [moment.search(words) if words.strip() else moment.posts for moment in moments]
    page = _page(
        max(map(len, matches)), f"{library.name_of(run.path)} {beside and library.name_of(beside.path)} {until} {words}"
    )
    colours = arm_colours([shown_run.arm for shown_run, _ in arms])
    for column, (shown_run, _), moment, posts in zip(
        st.columns(len(arms), gap="large"), arms, moments, matches, strict=True
    ):
        with column:
            _arm(library, shown_run, colours[shown_run.arm], moment, posts, page, is_search=bool(words.strip()))


def _beside(library: Library, run: FoundRun) -> FoundRun | None:
    """Let the reader choose another arm with the same people and seed."""
    siblings = {library.name_of(sibling.path): sibling for sibling in library.siblings(run)}
    labels = {_ALONE: "nothing", **{name: plain(f"{sibling.arm} · {name}") for name, sibling in siblings.items()}}
    chosen = st.selectbox(
        "Beside", list(labels), format_func=lambda name: labels[name], key=f"beside {library.name_of(run.path)}",
        disabled=not siblings, help="Runs of other arms with the same people, seed and number of timesteps.",
    )  # fmt: skip
    return siblings.get(chosen)


def _data_or_notice(run: FoundRun) -> RunData | None:
    try:
        return run_data(run.path)
    except MetricsError as error:
        notice(str(error))
        return None


def _until(runs: Sequence[RunData]) -> int | None:
    """Let the reader choose the moment: the end of a timestep; None for the end of the run."""
    last = max(run.completed_timesteps for run in runs) - 1
    if last < 1:
        return None
    until = int(st.slider("Up to timestep", 0, last, last, key=f"feed until {last}"))
    return None if until == last else until


def _page(count: int, key: str) -> int:
    """Let the reader turn pages, where there are more than one; returns the page from 0."""
    pages = -(-count // _POSTS_ON_A_PAGE)
    return int(st.pagination(pages, key=f"feed page {key}")) - 1 if pages > 1 else 0


def _arm(
    library: Library,
    run: FoundRun,
    colour: str,
    moment: PlatformMoment,
    posts: Sequence[Post],
    page: int,
    *,
    is_search: bool,
) -> None:
    """Draw one page of an arm's posts."""
    first = page * _POSTS_ON_A_PAGE
    shown = posts[first : first + _POSTS_ON_A_PAGE]
    total = f"{len(posts):,} of {len(moment.posts):,} posts" if is_search else f"{len(posts):,} posts"
    place = f", {first + 1:,} to {first + len(shown):,} shown" if len(shown) < len(posts) and shown else ""
    block(f'<div class="card-head">{arm_name(run.arm, colour)}<span class="note">{total}{place}</span></div>')
    if not shown:
        note("No post matches." if is_search else "No more posts." if posts else "Nobody has posted yet.")
    handles = {agent.user_id: agent.handle for agent in moment.run.agents}
    name = library.name_of(run.path)
    for post in shown:
        # The name of the container is a class of the style sheet, which puts the button beside the author.
        with st.container(border=True, key=f"feed-post {name} {post.post_id}", gap=None):
            block(_post(moment, moment.feed_post(post)))
            handle = handles.get(post.user_id)
            if handle is not None:
                st.button(
                    "Agent", key=f"author {name} {post.post_id}", type="tertiary", icon=":material/person:",
                    help="Open the page of this post's author", on_click=open_page, args=("Agent", name, handle),
                )  # fmt: skip


def _post(moment: PlatformMoment, entry: FeedPost) -> str:
    """Return a post with its counts and its thread as HTML."""
    run, post = moment.run, entry.post
    words = f'<div class="words">{markup(post.own_text)}</div>' if post.is_original or post.is_quote else ""
    original = "" if post.original_post_id is None else _original(run, post)
    kind = "" if post.is_original else " <span>quoted</span>" if post.is_quote else " <span>reposted</span>"
    counts = (
        _counted(entry.likes, "like"), _counted(entry.reposts, "repost"), _counted(entry.quotes, "quote"),
        _counted(len(entry.replies), "reply", "replies"),
    )  # fmt: skip
    reactions = " · ".join(count for count in counts if count)
    foot = f'<div class="counts">{reactions}</div>' if reactions else ""
    author = _handle(run, post.user_id)
    head = (
        f'<div class="feed-head"><b><bdi>@{markup(author)}</bdi></b>{kind}<br>'
        f"<span>{_when(run, post.timestep, post.is_seed)}</span></div>"
    )
    body = f"{head}{words}{original}{foot}{_replies(run, entry.replies)}"
    return f'<div class="feed-item">{avatar(author)}<div class="feed-body">{body}</div></div>'


def _original(run: RunData, post: Post) -> str:
    """Return what a post repeats or quotes as HTML."""
    original = run.post_by_id.get(post.original_post_id or 0)
    if original is None:
        return '<div class="box">The original post is not in the file.</div>'
    return (
        f'<div class="box original"><div class="head"><b><bdi>@{markup(_handle(run, original.user_id))}</bdi></b> · '
        f"{_when(run, original.timestep, original.is_seed)}</div>"
        f'<div class="words">{markup(original.own_text or post.content)}</div></div>'
    )


def _replies(run: RunData, replies: Sequence[Reply]) -> str:
    """Return a thread as HTML; folded but for its beginning where it is long."""
    if not replies:
        return ""
    drawn = [_reply(run, reply) for reply in replies[:_MOST_REPLIES]]
    if len(replies) > _MOST_REPLIES:
        drawn.append(f'<div class="reply">{len(replies) - _MOST_REPLIES:,} more replies.</div>')
    if len(drawn) <= _OPEN_REPLIES + 1:
        return f'<div class="replies">{"".join(drawn)}</div>'
    rest = len(replies) - _OPEN_REPLIES
    folded = f"<details><summary>{rest:,} more replies</summary>{''.join(drawn[_OPEN_REPLIES:])}</details>"
    return f'<div class="replies">{"".join(drawn[:_OPEN_REPLIES])}{folded}</div>'


def _reply(run: RunData, reply: Reply) -> str:
    likes = _counted(reply.likes, "like")
    indent = f' style="margin-left:{min(reply.depth, _MOST_DEPTH) * 0.9:.1f}rem"' if reply.depth else ""
    return (
        f'<div class="reply"{indent}><div class="head"><b><bdi>@{markup(_handle(run, reply.comment.user_id))}</bdi></b>'
        f" · {_when(run, reply.comment.timestep)}{' · ' + likes if likes else ''}</div>"
        f'<div class="words">{markup(reply.comment.content)}</div></div>'
    )


def _handle(run: RunData, user_id: int) -> str:
    return run.users.get(user_id, "?")


def _when(run: RunData, timestep: int, is_seed: bool = False) -> str:
    """Return when something was written: the timestep, and simulated time where the run tells it."""
    if timestep < 0:
        return "before the run"
    moment = simulated_time(run, timestep)
    clock = "" if moment is None else f" · {moment.day} {moment:%b %Y, %H:%M}"
    return f"timestep {timestep}{clock}{' · by the scenario' if is_seed else ''}"


def _counted(count: int, one: str, more: str = "") -> str:
    """A number with its noun; nothing for none."""
    return counted(count, one, more) if count else ""
