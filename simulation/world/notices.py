"""What users are to be told: replies to their words, mentions of them, quotes of their posts."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from polyphony.personas.people.acts import Verb
from polyphony.personas.people.recollection import notices
from polyphony.simulation.world import actions
from polyphony.simulation.world.accounts import Accounts
from polyphony.simulation.world.content import Content
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.rows import Rows

_WRITTEN: Mapping[str, Verb] = {
    actions.CreatePost.name: Verb.POST,
    actions.CreateComment.name: Verb.REPLY,
    actions.QuotePost.name: Verb.QUOTE,
}


class Notices:
    """By user, what they have not been shown yet, oldest first."""

    def __init__(self, accounts: Accounts, content: Content) -> None:
        """Start with nothing to tell."""
        self._accounts, self._content = accounts, content
        self.pending: dict[int, dict[Item, str]] = defaultdict(dict)
        """User -> post or comment -> one of `personas.people.recollection.NOTICES`."""

    def add(self, action: str, info: Mapping[str, Any]) -> None:
        """Let those whom new words concern be told of them.

        Args:
            action: Name of the act.
            info: What its row of `trace` says of it.
        """
        verb = _WRITTEN.get(action)
        if verb is None:
            return
        content, names = self._content, self._accounts.names
        item = Item(info["post_id"], info.get("comment_id"))
        answered, author = content.answered(item), content.author(item)
        addressee = None if answered is None else content.author(answered)
        other = None if addressee is None or addressee == author else names[addressee]
        for name, notice in notices(verb, names[author], content.text(item), other):
            user = self._accounts.number(name)
            if user is not None:
                self.pending[user][item] = notice

    def shown(self, user: int, item: Item) -> None:
        """Forget what a user has been shown."""
        if user in self.pending:
            self.pending[user].pop(item, None)

    def restore(self, tables: Rows) -> None:
        """Rebuild what was to be told from the acts of the trace, in their order."""
        for row in tables["trace"]:
            if row["action"] in _WRITTEN:
                info = row["info"]
                self.add(row["action"], json.loads(info) if isinstance(info, str) else info)
