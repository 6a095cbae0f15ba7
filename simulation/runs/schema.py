"""The run file's tables: OASIS's platform tables by name and column, and the ledger that Polyphony adds.

Times of the platform are simulated, UTC, ISO 8601 (``2026-03-02T08:00:00Z``). `timing` alone holds wall-clock
figures and stays outside the run's digest.
"""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)  # fmt: skip

from polyphony.digest_chain.links import chain_table

metadata = MetaData()


def _reference(name: str, target: str, *, optional: bool = False) -> "Column[int]":
    return Column(name, Integer, ForeignKey(target), nullable=optional)


user = Table(
    "user", metadata,
    Column("user_id", Integer, primary_key=True),
    Column("agent_id", Integer, unique=True),
    Column("user_name", String, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("bio", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("num_followings", Integer, nullable=False, default=0),
    Column("num_followers", Integer, nullable=False, default=0),
)  # fmt: skip

# A repost has `original_post_id` and no `quote_content`; a quote has both; an original post has neither.
# `is_seed` marks the posts published before the first timestep and those of a scenario: never counted as behaviour.
post = Table(
    "post", metadata,
    Column("post_id", Integer, primary_key=True),
    _reference("user_id", "user.user_id"),
    _reference("original_post_id", "post.post_id", optional=True),
    Column("content", Text, nullable=False),
    Column("quote_content", Text),
    Column("created_at", String, nullable=False),
    Column("num_likes", Integer, nullable=False, default=0),
    Column("num_dislikes", Integer, nullable=False, default=0),
    Column("num_shares", Integer, nullable=False, default=0),
    Column("num_reports", Integer, nullable=False, default=0),
    Column("is_seed", Boolean, nullable=False, default=False),
    Column("timestep", Integer, nullable=False),
    Index("post_by_user", "user_id"),
    Index("post_by_original", "original_post_id"),
)  # fmt: skip

comment = Table(
    "comment", metadata,
    Column("comment_id", Integer, primary_key=True),
    _reference("post_id", "post.post_id"),
    _reference("user_id", "user.user_id"),
    Column("content", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("num_likes", Integer, nullable=False, default=0),
    Column("num_dislikes", Integer, nullable=False, default=0),
    Column("timestep", Integer, nullable=False),
    _reference("parent_comment_id", "comment.comment_id", optional=True),  # none: it answers the post
)  # fmt: skip

like = Table(
    "like", metadata,
    Column("like_id", Integer, primary_key=True),
    _reference("user_id", "user.user_id"),
    _reference("post_id", "post.post_id"),
    Column("created_at", String, nullable=False),
)  # fmt: skip


def _reaction(name: str, target: str) -> Table:
    """A table of who reacted to what: OASIS's four, all alike."""
    return Table(
        name, metadata,
        Column(f"{name}_id", Integer, primary_key=True),
        _reference("user_id", "user.user_id"),
        _reference(f"{target}_id", f"{target}.{target}_id"),
        Column("created_at", String, nullable=False),
        UniqueConstraint("user_id", f"{target}_id"),
    )  # fmt: skip


dislike = _reaction("dislike", "post")
comment_like = _reaction("comment_like", "comment")
comment_dislike = _reaction("comment_dislike", "comment")

mute = Table(
    "mute", metadata,
    Column("mute_id", Integer, primary_key=True),
    _reference("muter_id", "user.user_id"),
    _reference("mutee_id", "user.user_id"),
    Column("created_at", String, nullable=False),
    UniqueConstraint("muter_id", "mutee_id"),
)  # fmt: skip

report = Table(
    "report", metadata,
    Column("report_id", Integer, primary_key=True),
    _reference("user_id", "user.user_id"),
    _reference("post_id", "post.post_id"),
    Column("report_reason", Text, nullable=False),
    Column("created_at", String, nullable=False),
    UniqueConstraint("user_id", "post_id"),
)  # fmt: skip

chat_group = Table(
    "chat_group", metadata,
    Column("group_id", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("created_at", String, nullable=False),
)  # fmt: skip

# OASIS keys this by group and agent alone; a number lets a member leave and come back within one run.
group_members = Table(
    "group_members", metadata,
    Column("membership_id", Integer, primary_key=True),
    _reference("group_id", "chat_group.group_id"),
    _reference("agent_id", "user.user_id"),
    Column("joined_at", String, nullable=False),
    UniqueConstraint("group_id", "agent_id"),
)  # fmt: skip

group_messages = Table(
    "group_messages", metadata,
    Column("message_id", Integer, primary_key=True),
    _reference("group_id", "chat_group.group_id"),
    _reference("sender_id", "user.user_id"),
    Column("content", Text, nullable=False),
    Column("sent_at", String, nullable=False),
)  # fmt: skip

product = Table(
    "product", metadata,
    Column("product_id", Integer, primary_key=True),
    Column("product_name", String, nullable=False, unique=True),
    Column("sales", Integer, nullable=False, default=0),
)  # fmt: skip

follow = Table(
    "follow", metadata,
    Column("follow_id", Integer, primary_key=True),
    _reference("follower_id", "user.user_id"),
    _reference("followee_id", "user.user_id"),
    Column("created_at", String, nullable=False),
    # Follows of the starting graph carry timestep -1, later ones the timestep in which they were made.
    Column("timestep", Integer, nullable=False),
)  # fmt: skip

# OASIS keys `trace` on all its columns, so that two equal acts of one timestep collide; a row number does not.
trace = Table(
    "trace", metadata,
    Column("trace_id", Integer, primary_key=True),
    _reference("user_id", "user.user_id"),
    Column("created_at", String, nullable=False),
    Column("action", String, nullable=False),
    Column("info", Text, nullable=False),
    Column("timestep", Integer),
)  # fmt: skip

rec = Table(
    "rec", metadata,
    Column("user_id", Integer, ForeignKey("user.user_id"), primary_key=True),
    Column("post_id", Integer, ForeignKey("post.post_id"), primary_key=True),
)  # fmt: skip

run = Table(
    "run", metadata,
    Column("run_id", Integer, primary_key=True),
    Column("arm", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("agents", Integer, nullable=False),
    Column("timesteps", Integer, nullable=False),
    Column("status", String, nullable=False),  # running, interrupted, finished
    Column("population", String, nullable=False),
    Column("population_digest", String, nullable=False),
    Column("base_model", String),
    Column("base_hash", String),
    Column("bank_digest", String),
    Column("config", Text, nullable=False),  # JSON: everything else that decides the run
    Column("versions", Text, nullable=False),  # JSON: package versions, processor, compute type
)  # fmt: skip

agent = Table(
    "agent", metadata,
    Column("agent_id", Integer, ForeignKey("user.agent_id"), primary_key=True),
    Column("handle", String, nullable=False),
    Column("persona", Text, nullable=False),
    Column("adapter_id", String),
    Column("revision", Integer),
    Column("community", Integer),  # planted community, where the population knows it
)  # fmt: skip

# One row for every activation of every agent, whatever came of it.
activation = Table(
    "activation", metadata,
    Column("activation_id", Integer, primary_key=True),
    Column("timestep", Integer, nullable=False),
    _reference("agent_id", "agent.agent_id"),
    Column("adapter_id", String),
    Column("revision", Integer),
    Column("prompt_digest", String),
    Column("prompt_tokens", Integer),
    Column("output_tokens", Integer),
    Column("act_distribution", Text),  # JSON: verb -> probability, the policy's own, before sampling
    Column("act", String),  # verb: post, reply, quote, repost, like, follow, nothing
    # What the act was about: a post for reply, quote, repost and like, a user for follow. Where it was about a comment,
    # that is `target_comment_id`, and the post is the one at the root of its thread.
    _reference("target_post_id", "post.post_id", optional=True),
    _reference("target_user_id", "user.user_id", optional=True),
    # What the act made: a row of `post` (post, quote, repost) or of `comment` (reply).
    _reference("post_id", "post.post_id", optional=True),
    _reference("comment_id", "comment.comment_id", optional=True),
    Column("outcome", String, nullable=False),  # ok, refused, failed
    Column("reason", Text),
    _reference("target_comment_id", "comment.comment_id", optional=True),
    Index("activation_by_timestep", "timestep", "agent_id", unique=True),
)  # fmt: skip

exposure = Table(
    "exposure", metadata,
    Column("exposure_id", Integer, primary_key=True),
    Column("timestep", Integer, nullable=False),
    _reference("agent_id", "agent.agent_id"),
    _reference("post_id", "post.post_id"),
    Column("position", Integer, nullable=False),  # 1 = first item of the feed
    # notification, followee, recommended, who_to_follow; search, trend: found by an act
    Column("source", String, nullable=False),
    Column("score", Float),
    _reference("comment_id", "comment.comment_id", optional=True),  # the comment shown, of that post's thread
    Index("exposure_by_timestep", "timestep", "agent_id"),
)  # fmt: skip

# Each person's own acts and words, so that a run file can be measured by itself; `--no-history` leaves it empty.
history = Table(
    "history", metadata,
    Column("history_id", Integer, primary_key=True),
    _reference("agent_id", "agent.agent_id"),
    Column("split", String, nullable=False),  # train, validation, held_out
    Column("act", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("text", Text, nullable=False),
    # Number of the row that it answers, repeats, quotes or likes, which may stand further down; none where it is about
    # nothing, or about what is not in the table.
    Column("target_history_id", Integer),
)  # fmt: skip

checkpoint = Table(
    "checkpoint", metadata,
    Column("timestep", Integer, primary_key=True),  # last timestep that is complete
    Column("activations", Integer, nullable=False),
    # JSON: last row number given in each table, so that no number of a deleted row is given again after a resume.
    Column("last_numbers", Text),
)  # fmt: skip

timing = Table(
    "timing", metadata,
    Column("timing_id", Integer, primary_key=True),
    Column("timestep", Integer),
    Column("stage", String, nullable=False),
    Column("seconds", Float, nullable=False),
)  # fmt: skip

# What was wrong with the file of posts, counted; no part of the run's digest, which holds that of the population.
input_warning = Table(
    "input_warning", metadata,
    Column("warning_id", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    Column("count", Integer, nullable=False),  # rows that it concerns
    Column("first_row", Integer, nullable=False),
    Column("message", Text, nullable=False),  # one line, without the place of the file
    Column("examples", Text, nullable=False),  # JSON: what is wrong with the first rows
)  # fmt: skip

# On which side a generated town's people and texts stand, for measurements only; no part of the run's digest, which
# holds that of the population. Empty for people whom no generator made.
planted_side = Table(
    "planted_side", metadata,
    Column("agent_id", Integer, ForeignKey("agent.agent_id"), primary_key=True),
    Column("issue", String, primary_key=True),
    Column("side", Integer, nullable=False),  # 1 for, -1 against, 0 undecided
)  # fmt: skip
# Texts of the whole town that take a side, also of people who are no agents of the run: few of a small run's own do.
sided_text = Table(
    "sided_text", metadata,
    Column("sided_text_id", Integer, primary_key=True),
    Column("issue", String, nullable=False),
    Column("side", Integer, nullable=False),  # 1 for, -1 against
    Column("split", String, nullable=False),  # train, held_out
    Column("text", Text, nullable=False),
)  # fmt: skip

# Acts that a scenario orders: news and bots. Those that were refused say why.
scripted = Table(
    "scripted", metadata,
    Column("scripted_id", Integer, primary_key=True),
    Column("timestep", Integer, nullable=False),
    _reference("user_id", "user.user_id"),
    Column("action", String, nullable=False),
    Column("outcome", String, nullable=False),  # ok, refused
    Column("reason", Text),
)  # fmt: skip

# Names of the changes to the tables that a file has been through, see `simulation.runs.store`.
migration = Table("migration", metadata, Column("name", String, primary_key=True))

# What each transaction vouches for, see `polyphony.digest_chain`.
digest_chain = chain_table(metadata)
