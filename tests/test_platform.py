"""The platform: whatever is done to it in whatever order, counters, rows and trace stay in step."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test
from pydantic import ValidationError
from sqlalchemy import select

from polyphony.errors import InputError
from polyphony.simulation.runs import schema
from polyphony.simulation.runs.store import RunStore
from polyphony.simulation.world import actions
from polyphony.simulation.world.action_menu import ACTION_OF_VERB, offered_verbs, possible_targets
from polyphony.simulation.world.actions import ACTIONS, parse_action
from polyphony.simulation.world.content import REPORT_THRESHOLD
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import RESTORED, Platform

PEOPLE = 5
START = datetime(2026, 3, 2, 8, tzinfo=UTC)
NAMES_OF_PEOPLE = [f"p{number}" for number in range(PEOPLE)]


def now(timestep=0):
    return Moment(timestep, START + timedelta(hours=timestep))


@pytest.fixture
def platform():
    made = Platform(NAMES_OF_PEOPLE)
    made.act(0, actions.CreatePost(content="good morning"), now())
    return made


def test_every_action_of_oasis_exists():
    platform_actions = {
        "create_post", "repost", "quote_post", "create_comment", "like_post", "unlike_post", "dislike_post",
        "undo_dislike_post", "like_comment", "unlike_comment", "dislike_comment", "undo_dislike_comment",
        "report_post", "follow", "unfollow", "mute", "unmute", "search_posts", "search_user", "trend", "create_group",
        "join_group", "leave_group", "send_to_group", "listen_from_group", "purchase_product", "do_nothing",
    }  # fmt: skip
    assert set(ACTIONS) == platform_actions


@pytest.mark.parametrize(
    "value, reason",
    [
        ({"action": "fly"}, "action 'fly' is not one of create_post"),
        ({"action": "like_post"}, "post_id"),
        ({"action": "like_post", "post_id": "1"}, "post_id"),
        ({"action": "like_post", "post_id": -1}, "post_id"),
        ({"action": "create_post", "content": " \u202e\x00 "}, "no printable text"),
        ({"action": "create_post", "content": "x", "colour": "red"}, "colour"),
        ({"action": ["like_post"]}, "is not one of"),
    ],
)
def test_wrong_actions_are_one_line(value, reason):
    with pytest.raises(InputError, match=f"seed.yaml: .*{reason}"):
        parse_action(value, "seed.yaml")


def test_actions_are_frozen_and_clean():
    made = parse_action({"action": "create_post", "content": "a\x1b[31m \u202eb\n c"}, "here")
    assert made.content == "a[31m b c"
    with pytest.raises(ValidationError):
        made.content = "other"


def test_refused_acts_change_nothing(platform):
    platform.take_changes()
    refused = [
        actions.LikePost(post_id=9), actions.UnlikePost(post_id=1), actions.Repost(post_id=0),
        actions.CreateComment(post_id=2, content="x"), actions.Follow(followee_id=0), actions.Follow(followee_id=99),
        actions.Unfollow(followee_id=1), actions.Mute(mutee_id=0), actions.LikeComment(comment_id=1),
        actions.JoinGroup(group_id=1), actions.LeaveGroup(group_id=1), actions.SendToGroup(group_id=1, message="x"),
        actions.PurchaseProduct(product_name="tea"), actions.Repost(post_id=1),
    ]  # fmt: skip
    for action in refused:
        assert platform.act(0, action, now()).refused, action
    assert platform.act(PEOPLE, actions.DoNothing(), now()).refused == "no such user"
    changes = platform.take_changes()
    assert not any(changes.inserted.values()) and not any(changes.updated.values()) and not changes.deleted


def test_undoing_within_one_transaction_leaves_only_the_trace(platform):
    platform.take_changes()
    platform.act(1, actions.LikePost(post_id=1), now())
    platform.act(1, actions.UnlikePost(post_id=1), now())
    changes = platform.take_changes()
    assert not changes.inserted.get("like") and not changes.deleted
    assert [row["action"] for row in changes.inserted["trace"]] == ["like_post", "unlike_post"]
    assert changes.updated["post"][0]["num_likes"] == 0


def test_sharing_a_repost_shares_what_it_repeats(platform):
    repost = platform.act(1, actions.Repost(post_id=1), now()).post_id
    assert platform.act(2, actions.Repost(post_id=repost), now()).target_post_id == 1
    assert platform.posts[1]["shares"] == 2


def test_search_finds_what_may_be_seen(platform):
    platform.act(1, actions.CreatePost(content="Good evening"), now())
    platform.act(2, actions.Mute(mutee_id=1), now())
    assert platform.act(3, actions.SearchPosts(query="GOOD"), now()).shown == (2, 1)
    assert platform.act(2, actions.SearchPosts(query="good"), now()).shown == (1,)
    assert platform.act(2, actions.SearchUser(query="P3"), now()).people == (3,)


def test_trend_is_the_last_week_by_likes(platform):
    later = now(24 * 8)
    for text in ("one", "two"):
        platform.act(0, actions.CreatePost(content=text), later)
    platform.act(1, actions.LikePost(post_id=2), later)
    assert platform.act(3, actions.Trend(), later).shown == (2, 3), "the first post is older than a week"


def test_reported_and_suspended_posts_are_hidden(platform):
    for user in range(1, 1 + REPORT_THRESHOLD):
        assert not platform.is_hidden(1)
        platform.act(user, actions.ReportPost(post_id=1, report_reason="spam"), now())
    assert platform.is_hidden(1)
    platform.act(1, actions.CreatePost(content="x"), now())
    platform.suspended.add(1)
    assert platform.is_hidden(2)
    assert platform.act(1, actions.DoNothing(), now()).refused == "suspended"


def test_groups_and_products(platform):
    group = platform.act(0, actions.CreateGroup(group_name="tea"), now()).group_id
    assert not platform.act(1, actions.JoinGroup(group_id=group), now()).refused
    platform.act(1, actions.SendToGroup(group_id=group, message="hello"), now())
    assert platform.act(0, actions.ListenFromGroup(), now()).messages == ("p1: hello",)
    platform.act(0, actions.Mute(mutee_id=1), now())
    assert platform.act(0, actions.ListenFromGroup(), now()).messages == ()
    assert platform.act(2, actions.ListenFromGroup(), now()).messages == ()
    platform.add_product("kettle")
    platform.act(1, actions.PurchaseProduct(product_name="kettle", purchase_num=3), now())
    assert platform.take_changes().inserted["product"][0]["sales"] == 3


def test_action_sets_by_name():
    assert {ACTION_OF_VERB[verb] for verb in offered_verbs("twitter")} == {
        "create_post", "like_post", "repost", "follow", "do_nothing", "quote_post",
    }  # fmt: skip
    assert len(offered_verbs("all")) == len(ACTION_OF_VERB)
    assert {verb.value for verb in offered_verbs("post, like_post")} == {"post", "like"}
    for text, reason in (
        ("fly", "'fly': not known; give population, default"),
        ("join_group", "policies choose among"),
        ("", "''"),
    ):
        with pytest.raises(InputError, match=reason):
            offered_verbs(text)


def test_only_what_is_offered_is_possible(platform):
    assert set(possible_targets(platform, 1, [Item(1)], offered_verbs("like"))) == {"like"}
    platform.act(1, actions.LikePost(post_id=1), now())
    assert possible_targets(platform, 1, [Item(1)], offered_verbs("like")) == {"nothing": []}


class Acting(RuleBasedStateMachine):
    """Random acts of everybody, written to a real run file after random numbers of them."""

    posts, comments, groups = Bundle("posts"), Bundle("comments"), Bundle("groups")
    users = st.integers(0, PEOPLE - 1)
    total = 0

    def __init__(self):
        super().__init__()
        self.platform = Platform(NAMES_OF_PEOPLE)
        self.done = Counter()
        self.folder = TemporaryDirectory()
        self.store = RunStore.create(Path(self.folder.name) / "run.db")
        people = [
            {"user_id": n, "agent_id": n, "user_name": name, "name": name, "bio": "", "created_at": "x"}
            for n, name in enumerate(NAMES_OF_PEOPLE)
        ]
        agents = [{"agent_id": n, "handle": name, "persona": ""} for n, name in enumerate(NAMES_OF_PEOPLE)]
        with self.store.transaction() as connection:
            self.store.insert(connection, {"user": people, "agent": agents})

    def teardown(self):
        self.store.close()
        self.folder.cleanup()

    def perform(self, user, action):
        Acting.total += 1
        outcome = self.platform.act(user, action, now())
        if outcome.refused is None:
            self.done[action.name] += 1
        return outcome

    @rule(target=posts, user=users)
    def post(self, user):
        return self.perform(user, actions.CreatePost(content="words")).post_id

    @rule(target=posts, user=users, post=posts, quoted=st.booleans())
    def share(self, user, post, quoted):
        action = actions.QuotePost(post_id=post, quote_content="so") if quoted else actions.Repost(post_id=post)
        made = self.perform(user, action).post_id
        return made if made is not None else multiple()

    @rule(target=comments, user=users, post=posts)
    def comment(self, user, post):
        return self.perform(user, actions.CreateComment(post_id=post, content="yes")).comment_id

    @rule(target=comments, user=users, comment=comments)
    def answer(self, user, comment):
        post = self.platform.comments[comment - 1].post_id
        action = actions.CreateComment(post_id=post, content="no, @p1", parent_comment_id=comment)
        return self.perform(user, action).comment_id

    @rule(user=users, post=posts, kind=st.sampled_from(
        [actions.LikePost, actions.UnlikePost, actions.DislikePost, actions.UndoDislikePost]))  # fmt: skip
    def react(self, user, post, kind):
        self.perform(user, kind(post_id=post))

    @rule(user=users, comment=comments, kind=st.sampled_from(
        [actions.LikeComment, actions.UnlikeComment, actions.DislikeComment, actions.UndoDislikeComment]))  # fmt: skip
    def react_to_comment(self, user, comment, kind):
        self.perform(user, kind(comment_id=comment))

    @rule(user=users, post=posts)
    def report(self, user, post):
        self.perform(user, actions.ReportPost(post_id=post, report_reason="spam"))

    @rule(user=users, other=users, makes=st.booleans(), muted=st.booleans())
    def meet(self, user, other, makes, muted):
        kinds = (actions.Unmute, actions.Mute) if muted else (actions.Unfollow, actions.Follow)
        self.perform(user, kinds[makes](**{"mutee_id" if muted else "followee_id": other}))

    @rule(target=groups, user=users)
    def found(self, user):
        return self.perform(user, actions.CreateGroup(group_name="tea")).group_id

    @rule(user=users, group=groups, what=st.integers(0, 2))
    def group(self, user, group, what):
        self.perform(user, (actions.JoinGroup(group_id=group), actions.LeaveGroup(group_id=group),
                            actions.SendToGroup(group_id=group, message="hello"))[what])  # fmt: skip

    @rule(user=users, post=st.integers(0, 10_000))
    def miss(self, user, post):
        """Acts on what is not there."""
        if post not in self.platform.posts:
            assert self.perform(user, actions.LikePost(post_id=post)).refused

    @rule()
    def write(self):
        """End a transaction, and compare everything with a platform that is read from the file."""
        with self.store.transaction() as connection:
            self.store.write(connection, self.platform.take_changes(), {})
        tables = self.store.platform_tables()
        again = Platform(NAMES_OF_PEOPLE)
        again.restore(tables, self.platform.last_numbers)
        for name in ("comments", "following", "followers", "muted", "reposters"):
            ours, theirs = getattr(self.platform, name), getattr(again, name)
            if isinstance(ours, Mapping):
                ours, theirs = ({k: v for k, v in side.items() if v} for side in (ours, theirs))
            assert ours == theirs, name
        pending = [{user: list(told) for user, told in side.notices.items() if told} for side in (self.platform, again)]
        assert pending[0] == pending[1]
        pairs = [(one, other) for one in range(PEOPLE) for other in range(one)]
        ties = [[side.dealings.between(*pair) for pair in pairs] for side in (self.platform, again)]
        assert ties[0] == ties[1]
        assert self.platform.links.tables == again.links.tables
        assert self.platform.chat_groups.groups == again.chat_groups.groups
        assert (self.platform.posts.rows == again.posts.rows).all() and self.platform.posts.texts == again.posts.texts
        self.check_rows(tables)

    def check_rows(self, tables):
        likes = Counter(row["post_id"] for row in tables["like"])
        shares = Counter(row["original_post_id"] for row in tables["post"])
        for row in tables["post"]:
            assert (row["num_likes"], row["num_shares"]) == (likes[row["post_id"]], shares[row["post_id"]])
        assert not [row for row in tables["follow"] if row["follower_id"] == row["followee_id"]]
        with self.store._engine.connect() as connection:
            traced = Counter(connection.scalars(select(schema.trace.c.action)))
            assert traced == self.done, "every act that was done is in the trace, and no other"
            followers = Counter(row["followee_id"] for row in tables["follow"])
            for user, count in connection.execute(select(schema.user.c.user_id, schema.user.c.num_followers)):
                assert count == followers[user]

    @invariant()
    def counters_are_never_negative(self):
        rows = self.platform.posts.rows
        assert all((rows[name] >= 0).all() for name in ("likes", "dislikes", "shares", "reports", "comments"))
        assert all(comment.likes >= 0 <= comment.dislikes for comment in self.platform.comments)
        assert all(user not in followed for user, followed in self.platform.following.items())


@pytest.mark.parametrize(("rounds", "acts"), [(30, 1_500), pytest.param(150, 10_000, marks=pytest.mark.slow)])
def test_thousands_of_random_acts_keep_everything_in_step(rounds, acts):
    Acting.total = 0
    run_state_machine_as_test(
        Acting, settings=settings(max_examples=rounds, stateful_step_count=120, deadline=None, derandomize=True)
    )
    assert Acting.total >= acts
    assert set(RESTORED) <= set(schema.metadata.tables)
