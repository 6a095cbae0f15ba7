"""Held-out moments and what might have been instead: another item answered, the feed of another community."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from polyphony.adapters.evaluation.owned_examples import OwnedExamples
from polyphony.adapters.prompting.examples import Example, ExampleBuilder
from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.follow_graph import interaction_graph
from polyphony.personas.people.persona import Persona

OWN, NEAR, FAR = "own", "near", "far"
"""A moment's own feed; that of a moment near in time in the same community; the same of another community."""


@dataclass(frozen=True)
class OtherParents:
    """The words of a held-out reply as an answer to each other item of its feed.

    Attributes:
        person: Number of the person.
        moment: Number of the reply among the held-out moments.
        examples: One for each other item.
    """

    person: int
    moment: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Shown:
    """A person at one moment before one feed.

    Attributes:
        person: Number of the person.
        moment: Number of the moment among the person's.
        feed: ``own``, ``near`` or ``far``.
        examples: One for each verb that has a target, cut after its head; they share one prompt.
    """

    person: int
    moment: int
    feed: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Counterfactuals:
    """What an evaluation scores beside the held-out posts.

    Attributes:
        moments: Held-out acts and moments without one, each before a screen of its own, as in a simulation.
        parents: Replies among them as answers to other items.
        shown: People at some of these moments before several feeds.
    """

    moments: OwnedExamples
    parents: Sequence[OtherParents]
    shown: Sequence[Shown]

    @property
    def _parts(self) -> "tuple[OtherParents | Shown, ...]":
        return (*self.parents, *self.shown)

    @property
    def examples(self) -> list[Example]:
        """All examples: moments, parents, shown."""
        return [*self.moments.examples, *(e for part in self._parts for e in part.examples)]

    @property
    def owner(self) -> np.ndarray:
        """Number of the person of each example, shape [examples]."""
        others = [part.person for part in self._parts for _ in part.examples]
        return np.array([*self.moments.owner, *others], dtype=int)

    @property
    def order(self) -> np.ndarray:
        """An order in which examples with the same prompt are neighbours, shape [examples]."""
        first: dict[tuple[int, tuple[int, ...]], int] = {}
        prompts = zip(self.owner.tolist(), (e.tokens[: e.prompt_length] for e in self.examples), strict=True)
        return np.argsort([first.setdefault(prompt, place) for place, prompt in enumerate(prompts)], kind="stable")

    def first_of_parents(self) -> list[int]:
        """Index of the first example of each of `parents`."""
        sizes = [len(part.examples) for part in self.parents]
        return [len(self.moments.examples) + sum(sizes[:place]) for place in range(len(sizes))]

    def first_of_shown(self) -> dict[tuple[int, int, str], int]:
        """Index of the first example of each person, moment and feed shown."""
        place, firsts = len(self.moments.examples) + sum(len(part.examples) for part in self.parents), {}
        for part in self.shown:
            firsts[part.person, part.moment, part.feed] = place
            place += len(part.examples)
        return firsts


def counterfactuals_of(
    builder: ExampleBuilder, moments: OwnedExamples, communities: Sequence[int], swapped: int
) -> Counterfactuals:
    """Lay out held-out moments with other parents and other feeds; the texts of what is no reply are left out.

    Args:
        builder: Makes prompts.
        moments: Each before a screen of its own.
        communities: Of each person.
        swapped: Most moments of a person that are shown with other feeds.
    """
    cut = OwnedExamples(moments.personas, moments.owner, [_without_text(example) for example in moments.examples])
    return Counterfactuals(cut, other_parents(cut, builder), swapped_feeds(cut, builder, communities, swapped))


def _without_text(example: Example) -> Example:
    """The example up to its head, but a reply as it is."""
    if example.text_start is None or example.verb is Verb.REPLY:
        return example
    return replace(example, tokens=example.tokens[: example.text_start], text_start=None)


def other_parents(held_out: OwnedExamples, builder: ExampleBuilder) -> list[OtherParents]:
    """Let each held-out reply answer each other item of its feed; only the act's head changes."""
    replies = []
    for moment, (person, example) in enumerate(zip(held_out.owner.tolist(), held_out.examples, strict=True)):
        if example.verb is Verb.REPLY and example.position is not None and example.text_start is not None:
            others = [place for place in range(1, example.items + 1) if place != example.position]
            if others:
                answers = tuple(_answering(example, place, builder) for place in others)
                replies.append(OtherParents(person, moment, answers))
    return replies


def _answering(example: Example, position: int, builder: ExampleBuilder) -> Example:
    """The same words as a reply to another item of the feed."""
    assert example.text_start is not None
    head = builder.builder.head(example.verb, position, example.feed)
    prompt, text = example.tokens[: example.prompt_length], example.tokens[example.text_start :]
    return replace(
        example, tokens=(*prompt, *head, *text), position=position, text_start=example.prompt_length + len(head)
    )


def swapped_feeds(
    held_out: OwnedExamples, builder: ExampleBuilder, communities: Sequence[int], moments: int
) -> list[Shown]:
    """Show people at held-out moments their own feed, one of their own community, and one of another.

    The other feeds are those of the nearest held-out moments in time with as many items, none of them the person's own
    words. The moments of a person are spread evenly over the held-out ones; a moment without both other feeds is left
    out.

    Args:
        held_out: The held-out acts; acts that share a prompt are one moment.
        builder: Makes prompts.
        communities: Of each person.
        moments: Most moments of one person.
    """
    firsts = _moments(held_out)
    shown = []
    for person in range(len(held_out.personas)):
        examples = [example for owner, example in firsts if owner == person]
        for number, place in enumerate(
            np.unique(np.linspace(0, len(examples) - 1, moments).astype(int)) if examples else ()
        ):
            feeds = _feeds(person, examples[place], firsts, held_out.personas, communities)
            if feeds is not None:
                shown += [
                    Shown(person, number, name, _probes(held_out.personas[person], examples[place], other, builder))
                    for name, other in feeds.items()
                ]
    return shown


def _moments(held_out: OwnedExamples) -> list[tuple[int, Example]]:
    """The first example of each prompt with a feed and a time, with its person."""
    moments: dict[tuple[int, tuple[int, ...]], Example] = {}
    for person, example in zip(held_out.owner.tolist(), held_out.examples, strict=True):
        if example.item_ids and example.at is not None:
            moments.setdefault((person, example.tokens[: example.prompt_length]), example)
    return [(person, example) for (person, _), example in moments.items()]


def _feeds(
    person: int,
    moment: Example,
    moments: Sequence[tuple[int, Example]],
    personas: Sequence[Persona],
    communities: Sequence[int],
) -> dict[str, Example] | None:
    def nearest(is_eligible: Callable[[int], bool]) -> Example | None:
        handle = personas[person].handle
        eligible = [
            example
            for owner, example in moments
            if is_eligible(owner)
            and example.item_ids != moment.item_ids
            and example.items == moment.items
            and all(item.handle != handle for item in example.feed)
        ]
        return min(eligible, key=lambda example: abs(_seconds(example) - _seconds(moment)), default=None)

    near = nearest(lambda owner: communities[owner] == communities[person])
    far = nearest(lambda owner: communities[owner] != communities[person])
    return None if near is None or far is None else {OWN: moment, NEAR: near, FAR: far}


def _seconds(example: Example) -> float:
    assert example.at is not None
    return example.at.timestamp()


def _probes(persona: Persona, moment: Example, other: Example, builder: ExampleBuilder) -> tuple[Example, ...]:
    """The heads of all acts with a target by a person at a moment before the feed of another example."""
    assert moment.at is not None
    feed = other.feed if other is moment else tuple(_before(persona, item, moment.at, builder) for item in other.feed)
    prompt = builder.prompt_before(persona, moment.at, feed)
    grammar = builder.builder.grammar
    verbs = [verb for verb in grammar.verb_ids if verb.has_target]
    return tuple(
        Example(
            moment.act_id, (*prompt, *grammar.head(verb, 1)), len(prompt), verb, 1, other.items, None, feed,
            other.item_ids, moment.at,
        )
        for verb in verbs
    )  # fmt: skip


def _before(persona: Persona, item: FeedItem, at: datetime, builder: ExampleBuilder) -> FeedItem:
    """An item of another person's feed as this one would see it: it concerns nobody, and its author may be known."""
    return replace(
        item, notice="", answers=item.answers if item.is_reply else None,
        is_followed=item.handle in persona.following,
        dealings=builder.dealings.before(persona.handle, item.handle, at),
    )  # fmt: skip


def communities_of(personas: Sequence[Persona], corpus: Mapping[str, Act] | None = None) -> list[int]:
    """The community of each person: the planted one where it is known of all, else Louvain's of their training acts.

    Blondel et al. 2008, with networkx, on the undirected graph of follows and interactions.
    """
    planted = [person.community for person in personas]
    if all(community is not None for community in planted):
        return [int(community or 0) for community in planted]
    import networkx as nx

    neighbours = interaction_graph({person.handle: person.train for person in personas}, corpus or {})
    graph = nx.Graph((handle, other) for handle, others in neighbours.items() for other in others)
    graph.add_nodes_from(neighbours)
    label = {
        handle: number
        for number, members in enumerate(nx.community.louvain_communities(graph, seed=0))
        for handle in members
    }
    return [label[person.handle] for person in personas]
