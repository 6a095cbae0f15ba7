"""The platform as the acts of a corpus fill it, in the order of time."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.follow_graph import addressee, follow_graph
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.rhythm import credibly_dated
from polyphony.personas.population import Population
from polyphony.simulation.world.action_menu import ACTION_OF_VERB
from polyphony.simulation.world.actions import ACTIONS, Action, CreatePost, Follow
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.outcome import Outcome
from polyphony.simulation.world.platform import Platform

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Timesteps are 32 bits wide; before the first credible act everything is of the step before.
_FIRST, _LAST = -1, 2**31 - 1


class CorpusPlatform:
    """A platform on which a corpus happens again.

    Public acts alone are carried out. A post, a quote, and a reply whose target is not on the platform become posts;
    other replies become comments on the post at the root of their thread. A corpus that records follows says who
    follows whom from when on; in any other, X follows Y from X's first reaction to Y on.

    Attributes:
        platform: The platform as it stands.
        post_of: Id of an act with words -> the post that shows it, for a reply the root of its thread.
        act_of: Post -> id of its act.
    """

    def __init__(self, population: Population, *, minutes: int) -> None:
        """Start before the first act; a timestep has so many minutes."""
        self._corpus = population.acts
        self._acts = sorted(
            (act for act in population.acts.values() if not act.is_private), key=lambda act: (act.at, act.id)
        )
        people = {person.handle: person for person in population.personas}
        names = dict.fromkeys([*people, *(act.author for act in self._acts), *_followees(self._acts)])
        bios = [people[name].description if name in people else "" for name in names]
        self.numbers = {name: number for number, name in enumerate(names)}
        """Handle -> number of the account."""
        self.platform = Platform(list(names), bios)
        self.post_of: dict[str, int] = {}
        self.act_of: dict[int, str] = {}
        self.posts_by: dict[int, list[int]] = defaultdict(list)
        """Account -> its posts with words of its own."""
        self._records_follows = any(act.verb is Verb.FOLLOW for act in population.acts.values())
        self._minutes, self._done = minutes, 0
        dated = credibly_dated(self._acts)
        self._first_step = self._index(dated[0].at) if dated else 0
        self._follow_from_the_start(population.personas)

    def advance(self, until: datetime) -> None:
        """Carry out all acts from before a moment that are not carried out yet."""
        before = self._done
        while self._done < len(self._acts) and self._acts[self._done].at < until:
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
        when, post = self.moment(act.at), self.post_of.get(act.target or "")
        action = self._action(act, post)
        if action is None:
            return
        outcome = self._act(act.author, action, when)
        if outcome.refused is None and act.text:
            self._note(act, outcome.post_id, post)
        if not self._records_follows and (other := self._addressee(act)) is not None:
            self._act(act.author, Follow.model_construct(followee_id=self.numbers[other]), when)

    def _action(self, act: Act, post: int | None) -> Action | None:
        """What an act does on the platform; None where it does nothing that others could see."""
        if act.verb is Verb.FOLLOW:
            followee = self.numbers.get(act.target or "")
            return None if followee is None else Follow.model_construct(followee_id=followee)
        if act.text and (post is None or act.verb is Verb.POST):
            return None if act.verb is Verb.SEARCH else CreatePost.model_construct(content=act.text)
        if not act.verb.has_target or post is None:
            return None
        # What a reader has read is printable and short enough: checking it again would take most of the time.
        kind = ACTIONS[ACTION_OF_VERB[act.verb]]
        values = {
            "post_id": post, "content": act.text, "quote_content": act.text,
            "mutee_id": int(self.platform.posts[post]["user"]),
        }  # fmt: skip
        return kind.model_construct(**{name: values[name] for name in kind.model_fields})

    def _note(self, act: Act, post: int | None, root: int | None) -> None:
        """Remember which post shows an act's words."""
        shown = post if post is not None else root
        if shown is None:
            return
        self.post_of[act.id] = shown
        if post is not None:
            self.act_of[post] = act.id
            self.posts_by[self.numbers[act.author]].append(post)

    def _addressee(self, act: Act) -> str | None:
        if act.verb is Verb.FOLLOW or act.target not in self._corpus:
            return None
        return addressee(act, self._corpus)

    def _act(self, who: str, action: Action, when: Moment) -> Outcome:
        return self.platform.act(self.numbers[who], action, when)


def _followees(acts: Iterable[Act]) -> list[str]:
    return [act.target for act in acts if act.verb is Verb.FOLLOW and act.target is not None]
