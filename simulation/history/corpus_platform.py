"""The platform as the acts of a corpus fill it, in the order of time."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.follow_graph import addressee, follow_graph
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.rhythm import credibly_dated
from polyphony.personas.population import Population
from polyphony.simulation.world.action_menu import ACTION_OF_VERB, ON_COMMENTS
from polyphony.simulation.world.actions import ACTIONS, Action, CreateComment, CreatePost, Follow
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.platform import Platform

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Timesteps are 32 bits wide; before the first credible act everything is of the step before.
_FIRST, _LAST = -1, 2**31 - 1


class CorpusPlatform:
    """A platform on which a corpus happens again.

    Public acts alone are carried out. A reply becomes a comment on what it answers. What answers or quotes something
    that is not on the platform becomes a post. A corpus that records follows says who follows whom from when on; in any
    other, X follows Y from X's first reaction to Y on. Whoever acts is there, and has then seen what concerns them.

    Attributes:
        platform: The platform as it stands.
        item_of: Id of an act with words -> the post or comment that shows it.
        act_of: Post or comment -> id of its act.
        words_of: Account -> the posts and comments with words of its own, the latest last.
    """

    def __init__(self, population: Population, *, minutes: int) -> None:
        """Start before the first act; a timestep has so many minutes."""
        self._corpus = population.acts
        self._acts = sorted((act for act in population.acts.values() if not act.is_private), key=lambda act: act.at)
        self._numbers_of_acts = {act.id: number for number, act in enumerate(self._acts)}
        people = {person.handle: person for person in population.personas}
        names = dict.fromkeys([*people, *(act.author for act in self._acts), *_followees(self._acts)])
        bios = [people[name].description if name in people else "" for name in names]
        self.numbers = {name: number for number, name in enumerate(names)}
        """Handle -> number of the account."""
        self.platform = Platform(list(names), bios)
        self.item_of: dict[str, Item] = {}
        self.act_of: dict[Item, str] = {}
        self.words_of: dict[int, list[Item]] = defaultdict(list)
        self._records_follows = any(act.verb is Verb.FOLLOW for act in population.acts.values())
        self._minutes, self._done = minutes, 0
        dated = credibly_dated(self._acts)
        self._first_step = self._index(dated[0].at) if dated else 0
        self._follow_from_the_start(population.personas)

    def before(self, at: datetime) -> int:
        """How many acts are from before a moment."""
        return bisect_left(self._acts, at, key=lambda act: act.at)

    def number(self, act: Act) -> int:
        """How many acts stand before an act: of one moment, those before it in the corpus."""
        number = self._numbers_of_acts.get(act.id)
        return self.before(act.at) if number is None else number

    def advance(self, number: int) -> None:
        """Carry out acts until so many are carried out."""
        before = self._done
        while self._done < number:
            self._carry_out(self._acts[self._done])
            self._done += 1
        if self._done > before:
            self.platform.take_changes()  # nothing is written

    def moment(self, at: datetime) -> Moment:
        """A moment with its timestep."""
        return Moment(min(max(self._index(at) - self._first_step, _FIRST), _LAST), at)

    def step_start(self, at: datetime) -> datetime:
        """When the timestep of a moment begins."""
        return _EPOCH + timedelta(minutes=self._index(at) * self._minutes)

    def _index(self, at: datetime) -> int:
        return (at - _EPOCH) // timedelta(minutes=self._minutes)

    def _follow_from_the_start(self, personas: Iterable[Persona]) -> None:
        """Follows that a file states of its people, as far as they do not follow from what they did."""
        personas = tuple(personas)
        derived = follow_graph({person.handle: person.public_train for person in personas}, self._corpus)
        for person in personas:
            for other in set(person.following) - set(derived[person.handle]):
                if other in self.numbers:
                    self._act(
                        person.handle, Follow.model_construct(followee_id=self.numbers[other]), Moment(_FIRST, _EPOCH)
                    )

    def _carry_out(self, act: Act) -> None:
        when, target = self.moment(act.at), self.item_of.get(act.target or "")
        action = self._action(act, target)
        self.platform.notices.pop(self.numbers[act.author], None)
        if action is None:
            return
        outcome = self._act(act.author, action, when)
        if outcome.refused is None and act.text:
            self._note(act, outcome, target)
        if not self._records_follows and (other := self._addressee(act)) is not None:
            self._act(act.author, Follow.model_construct(followee_id=self.numbers[other]), when)

    def _action(self, act: Act, target: Item | None) -> Action | None:
        """What an act does on the platform; None where it does nothing that others could see.

        What a reader has read is printable and short enough: checking it again would take most of the time.
        """
        if act.verb is Verb.FOLLOW:
            followee = self.numbers.get(act.target or "")
            return None if followee is None else Follow.model_construct(followee_id=followee)
        if act.verb is Verb.REPLY and target is not None:
            return CreateComment.model_construct(
                post_id=target.post_id, content=act.text, parent_comment_id=target.comment_id
            )
        on_post = target is not None and target.comment_id is None
        if act.text and act.verb is not Verb.SEARCH and (act.verb is Verb.POST or not on_post):
            return CreatePost.model_construct(content=act.text)
        if not act.verb.has_target or target is None:
            return None
        if target.comment_id is not None and act.verb in ON_COMMENTS:
            return ON_COMMENTS[act.verb].model_construct(comment_id=target.comment_id)
        if target.comment_id is not None and act.verb is not Verb.MUTE:
            return None
        kind = ACTIONS[ACTION_OF_VERB[act.verb]]
        values: dict[str, Any] = {
            "post_id": target.post_id,
            "quote_content": act.text,
            "mutee_id": self.platform.author(target),
        }
        return kind.model_construct(**{name: values[name] for name in kind.model_fields})

    def _note(self, act: Act, outcome: Outcome, target: Item | None) -> None:
        """Remember what shows an act's words."""
        if outcome.post_id is not None:
            item = Item(outcome.post_id)
        elif outcome.comment_id is not None and target is not None:
            item = Item(target.post_id, outcome.comment_id)
        else:
            return
        self.item_of[act.id], self.act_of[item] = item, act.id
        self.words_of[self.numbers[act.author]].append(item)

    def _addressee(self, act: Act) -> str | None:
        if act.verb is Verb.FOLLOW or act.target not in self._corpus:
            return None
        return addressee(act, self._corpus)

    def _act(self, who: str, action: Action, when: Moment) -> Outcome:
        return self.platform.act(self.numbers[who], action, when)


def _followees(acts: Iterable[Act]) -> list[str]:
    return [act.target for act in acts if act.verb is Verb.FOLLOW and act.target is not None]
