"""What users remember of what they did and of what was done to them."""

from collections import defaultdict
from collections.abc import Mapping

from polyphony.personas.people.acts import Verb
from polyphony.personas.people.recollection import RECALLED, recollections
from polyphony.simulation.world import actions
from polyphony.simulation.world.accounts import Accounts
from polyphony.simulation.world.actions import Action
from polyphony.simulation.world.content import Content
from polyphony.simulation.world.item import Item

_REMEMBERED: Mapping[type[Action], Verb] = {
    actions.CreatePost: Verb.POST,
    actions.CreateComment: Verb.REPLY,
    actions.QuotePost: Verb.QUOTE,
    actions.Follow: Verb.FOLLOW,
}
REMEMBERED = frozenset(kind.name for kind in _REMEMBERED)
"""Names of the actions that somebody remembers."""


class Memory:
    """Lines by user, oldest first, see `personas.people.recollection`."""

    def __init__(self, accounts: Accounts, content: Content) -> None:
        """Start with nothing remembered."""
        self._accounts, self._content = accounts, content
        self.lines: dict[int, tuple[str, ...]] = defaultdict(tuple)

    def add(self, user: int, action: Action, timestep: int) -> None:
        """Let those whom an act concerns remember it; nobody remembers the starting follow graph."""
        verb = _REMEMBERED.get(type(action))
        if verb is None or (verb is Verb.FOLLOW and timestep < 0):
            return
        names = self._accounts.names
        words = str(getattr(action, "content", None) or getattr(action, "quote_content", ""))
        author = self._addressee(action)
        other = None if author is None or author == user else names[author]
        for name, line in recollections(verb, names[user], words, other):
            number = self._accounts.number(name)
            if number is not None:
                self.lines[number] = (*self.lines[number][1 - RECALLED :], line)

    def _addressee(self, action: Action) -> int | None:
        """Who was answered, quoted or followed."""
        if isinstance(action, actions.Follow):
            return action.followee_id
        if isinstance(action, actions.CreateComment):
            return self._content.author(Item(action.post_id, action.parent_comment_id))
        return self._content.author(Item(action.post_id)) if isinstance(action, actions.QuotePost) else None
