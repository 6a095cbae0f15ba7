"""Chat groups and their messages; scripted accounts use them, no policy chooses them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from polyphony.simulation.world import actions
from polyphony.simulation.world.accounts import Accounts
from polyphony.simulation.world.actions import Action
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.part import CounterReader, Handler
from polyphony.simulation.world.relations import Relations
from polyphony.simulation.world.rows import RowBuffer, Rows

_NOT_A_MEMBER = Outcome(refused="not in that group")


@dataclass
class ChatGroup:
    """Members with the rows of their membership, and messages as (sender, words)."""

    members: dict[int, int] = field(default_factory=dict)
    messages: list[tuple[int, str]] = field(default_factory=list)


class ChatGroups:
    """All chat groups by id."""

    def __init__(self, accounts: Accounts, relations: Relations, buffer: RowBuffer) -> None:
        """Start without groups; messages of people whom a reader muted are not read."""
        self._accounts, self._relations, self._buffer = accounts, relations, buffer
        self.groups: dict[int, ChatGroup] = {}

    def handlers(self) -> Mapping[type[Action], Handler]:
        """See `simulation.world.part.Part`."""
        return {
            actions.CreateGroup: self._create,
            actions.JoinGroup: self._join,
            actions.LeaveGroup: self._leave,
            actions.SendToGroup: self._send,
            actions.ListenFromGroup: self._listen,
        }

    def counters(self) -> Mapping[str, CounterReader]:
        """None."""
        return {}

    def restore(self, tables: Rows) -> None:
        """See `simulation.world.part.Part`."""
        for row in tables["chat_group"]:
            self.groups[row["group_id"]] = ChatGroup()
        for row in tables["group_members"]:
            self.groups[row["group_id"]].members[row["agent_id"]] = row["membership_id"]
        for row in tables["group_messages"]:
            self.groups[row["group_id"]].messages.append((row["sender_id"], row["content"]))

    def _create(self, user: int, action: actions.CreateGroup, when: Moment) -> Outcome:
        row = {"name": action.group_name, "created_at": when.text}
        group_id = self._buffer.insert("chat_group", "group_id", row)
        self.groups[group_id] = ChatGroup()
        self._add_member(user, group_id, when)
        return Outcome(group_id=group_id, trace={"group_id": group_id})

    def _join(self, user: int, action: actions.JoinGroup, when: Moment) -> Outcome:
        group = self.groups.get(action.group_id)
        if group is None or user in group.members:
            return Outcome(refused="no such group, or already in it")
        self._add_member(user, action.group_id, when)
        return Outcome(group_id=action.group_id, trace={"group_id": action.group_id})

    def _add_member(self, user: int, group_id: int, when: Moment) -> None:
        row = {"group_id": group_id, "agent_id": user, "joined_at": when.text}
        self.groups[group_id].members[user] = self._buffer.insert("group_members", "membership_id", row)

    def _leave(self, user: int, action: actions.LeaveGroup, when: Moment) -> Outcome:
        group = self.groups.get(action.group_id)
        if group is None or user not in group.members:
            return _NOT_A_MEMBER
        self._buffer.delete("group_members", group.members.pop(user))
        return Outcome(group_id=action.group_id, trace={"group_id": action.group_id})

    def _send(self, user: int, action: actions.SendToGroup, when: Moment) -> Outcome:
        group = self.groups.get(action.group_id)
        if group is None or user not in group.members:
            return _NOT_A_MEMBER
        row = {"group_id": action.group_id, "sender_id": user, "content": action.message, "sent_at": when.text}
        message_id = self._buffer.insert("group_messages", "message_id", row)
        group.messages.append((user, action.message))
        return Outcome(group_id=action.group_id, trace={"group_id": action.group_id, "message_id": message_id})

    def _listen(self, user: int, action: actions.ListenFromGroup, when: Moment) -> Outcome:
        messages = tuple(
            f"{self._accounts.names[sender]}: {words}"
            for _, group in sorted(self.groups.items())
            if user in group.members
            for sender, words in group.messages
            if sender not in self._relations.muted[user]
        )
        return Outcome(messages=messages)
