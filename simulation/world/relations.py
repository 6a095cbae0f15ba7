"""Who follows and who mutes whom."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from polyphony.simulation.world import actions
from polyphony.simulation.world.accounts import Accounts
from polyphony.simulation.world.actions import Action
from polyphony.simulation.world.links import ALREADY_DONE, LINK_TABLES, NOT_DONE_BEFORE, LinkedTo, Links
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.part import CounterReader, Handler
from polyphony.simulation.world.rows import RowBuffer, Rows


class Relations:
    """Follows and mutes, looked up from either side."""

    def __init__(self, accounts: Accounts, links: Links, buffer: RowBuffer) -> None:
        """Start without relations; `links` holds their rows, `buffer` takes the counters."""
        self._accounts, self._links, self._buffer = accounts, links, buffer
        self.following = LinkedTo(links.tables["follow"])
        self.followers: dict[int, set[int]] = defaultdict(set)
        self.muted: dict[int, set[int]] = defaultdict(set)

    def handlers(self) -> Mapping[type[Action], Handler]:
        """See `simulation.world.part.Part`."""
        return {
            actions.Follow: lambda user, action, when: self.follow(user, action.followee_id, when),
            actions.Unfollow: lambda user, action, when: self._follow(user, action.followee_id, when, on=False),
            actions.Mute: lambda user, action, when: self._mute(user, action.mutee_id, when, on=True),
            actions.Unmute: lambda user, action, when: self._mute(user, action.mutee_id, when, on=False),
        }

    def counters(self) -> Mapping[str, CounterReader]:
        """See `simulation.world.part.Part`."""
        return {"user": self._user_counters}

    def restore(self, tables: Rows) -> None:
        """See `simulation.world.part.Part`; the links restore themselves."""
        for row in tables["follow"]:
            self.followers[row["followee_id"]].add(row["follower_id"])
        for row in tables["mute"]:
            self.muted[row["muter_id"]].add(row["mutee_id"])

    def follow(self, user: int, other: int, when: Moment) -> Outcome:
        """Let one user follow another; refused where it is so already."""
        return self._follow(user, other, when, on=True)

    def follow_each(self, user: int, others: Iterable[int], when: Moment) -> list[int]:
        """Let one user follow others; returns them without those for whom `follow` would refuse it."""
        known, followed = self._accounts, self.following[user]
        fresh = [other for other in dict.fromkeys(others) if other in known and other not in followed and other != user]
        if fresh:
            self._links.add("follow", user, fresh, when, timestep=when.timestep)
            self._buffer.touch("user", user, *fresh)
        for other in fresh:
            self.followers[other].add(user)
        return fresh

    def _follow(self, user: int, other: int, when: Moment, *, on: bool) -> Outcome:
        refusal = self._refusal("follow", user, other, on=on)
        if refusal is not None:
            return refusal
        columns = {"timestep": when.timestep} if on else {}
        self._links.switch("follow", user, other, when, on=on, **columns)
        (self.followers[other].add if on else self.followers[other].discard)(user)
        self._buffer.touch("user", user, other)
        return Outcome(target_user_id=other, trace={LINK_TABLES["follow"].what: other})

    def _mute(self, user: int, other: int, when: Moment, *, on: bool) -> Outcome:
        refusal = self._refusal("mute", user, other, on=on)
        if refusal is not None:
            return refusal
        self._links.switch("mute", user, other, when, on=on)
        (self.muted[user].add if on else self.muted[user].discard)(other)
        return Outcome(target_user_id=other, trace={LINK_TABLES["mute"].what: other})

    def _refusal(self, table: str, user: int, other: int, *, on: bool) -> Outcome | None:
        """Why nothing is done; None where it can be done."""
        if other not in self._accounts:
            return Outcome(refused="no such user")
        if other == user:
            return Outcome(refused="oneself", target_user_id=other)
        if self._links.has(table, user, other) == on:
            return Outcome(refused=ALREADY_DONE if on else NOT_DONE_BEFORE, target_user_id=other)
        return None

    def _user_counters(self, user: int) -> dict[str, int]:
        return {"num_followings": len(self.following[user]), "num_followers": len(self.followers[user])}
