"""A population: the people of a posts file who can be agents, and everything they said to one another."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from statistics import median

from polyphony.errors import InputError
from polyphony.personas.people.acts import USUAL, Act, Verb
from polyphony.personas.people.describe import describe
from polyphony.personas.people.follow_graph import follow_graph, interaction_graph
from polyphony.personas.people.language import ALL_ENGLISH, Languages
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.profile import Profile
from polyphony.personas.people.rhythm import HOURS, PRIOR_ACTS, daily_rate, hourly_shares
from polyphony.personas.people.sampling import sampling_order
from polyphony.personas.people.showable import Showable
from polyphony.personas.people.split import (
    BY_DATE,
    MIN_BEFORE,
    USUAL_SPLIT,
    check_split,
    ends_at,
    split_date,
    split_ends,
)
from polyphony.personas.readers.about import ABOUT_TOWN, about_path, read_about
from polyphony.personas.readers.dates import UTC_NAME, zone_named
from polyphony.personas.readers.formats import READERS
from polyphony.personas.readers.posts import Corpus, read_posts
from polyphony.personas.readers.problems import Problem
from polyphony.personas.town.facts import TownFacts
from polyphony.personas.town.numbered import TOWN, numbered_town_path, town_name, town_number
from polyphony.printable import printable_path, storable_name
from polyphony.unforeseen import reading

MIN_ACTS = 10
MIN_TEXTS = 6
TRUTH_NAME = "truth.json"


@dataclass(frozen=True, repr=False)
class Population:
    """People who can be agents, and their corpus.

    Attributes:
        name: ``town``, ``town:7`` for another town, or the file's name without its extension.
        personas: Everybody with enough acts, in sampling order: each beginning is a small copy of the whole network.
            After them come people whom the file describes but who did too little to learn from.
        acts: Every act of the corpus by id in time order, also of authors without enough acts.
        problems: Counted, named warnings about the file.
        digest: SHA-256 over the acts, the same for the same acts in any format, and over what the file says of people.
        about: The corpus's own notes, see `personas.readers.about`.
        split_date: Everybody's acts from this moment on are held out; None where each person is split alone.
        left_out: People with enough acts, but fewer than 8 of them before that moment: they stay in the corpus only.
        truth: What the generator of a town tells measurements; empty for other people.
    """

    name: str
    personas: tuple[Persona, ...]
    acts: Mapping[str, Act]
    problems: tuple[Problem, ...]
    digest: str
    about: Mapping[str, str] = field(default_factory=dict)
    split_date: datetime | None = None
    left_out: int = 0
    truth: TownFacts = field(default_factory=TownFacts)

    @property
    def verbs(self) -> tuple[Verb, ...]:
        """The verbs of its people's histories, and doing nothing; the usual ones where there is no history."""
        verbs = {act.verb for person in self.personas for act in person.acts}
        return tuple(verb for verb in Verb if verb in verbs or verb is Verb.NOTHING) if verbs else USUAL

    @cached_property
    def private_acts(self) -> int:
        """How many acts their authors showed to some people only."""
        return sum(act.is_private for act in self.acts.values())

    def __repr__(self) -> str:
        """One line for a notebook; everything else is in the attributes."""
        return f"Population({self.name!r}: {len(self.personas)} people can be agents, {len(self.acts)} acts)"

    def choose(self, agents: int) -> tuple[Persona, ...]:
        """Return the first people in sampling order, so that a smaller choice is part of a larger one.

        Args:
            agents: How many, at least 1.

        Raises:
            InputError: There are fewer people with enough acts.
        """
        if agents < 1:
            raise InputError(f"{agents} agents: ask for at least 1")
        if agents > len(self.personas) > sum(person.is_trainable for person in self.personas):
            raise InputError(
                f"{self.name}: describes {len(self.personas)} people, {agents} agents are asked for: "
                f"ask for at most {len(self.personas)}"
            )
        if agents > len(self.personas):
            people = len({act.author for act in self.acts.values()})
            enough = f"enough acts ({MIN_ACTS} besides follows, {MIN_TEXTS} of them with text)"
            if self.left_out and self.split_date is not None:
                enough += f" and {MIN_BEFORE} before {self.split_date:%Y-%m-%d}, from when on all acts are held out"
            remedy = f"ask for at most {len(self.personas)}, or give more posts a person"
            if not self.personas:
                remedy = "give more posts a person"
            if self.left_out:
                remedy += f"; {self.left_out} more can be agents with --split person"
            raise InputError(
                f"{self.name}: {len(self.personas)} of {people} people have {enough}, "
                f"{agents} agents are asked for: {remedy}"
            )
        return self.personas[:agents]


def load_population(
    source: str | Path,
    *,
    include_private: bool = False,
    columns: str = "",
    timezone: str = UTC_NAME,
    split: str = USUAL_SPLIT,
    held_out_from: datetime | None = None,
) -> Population:
    """Read a population.

    Args:
        source: ``town`` for the built-in one, ``town:7`` for the town of another number, which is made on first use
            and kept in the user's cache, or the path of a posts file (see `personas.readers.posts.read_posts`).
        include_private: Whether posts that their authors showed to some people only are read, to train on.
        columns: What a table calls our columns, as ``author=user,text=content``.
        timezone: The zone of a table's dates that have no offset: a name of the IANA database, as ``Europe/Berlin``, or
            an offset, as ``+02:00``.
        split: ``date``: everybody's acts from one moment on are held out, see `personas.people.split.split_date`;
            people without any of them stay, with nothing held out. ``person``: each person's latest are.
        held_out_from: The moment from which on everybody's acts are held out, in place of what `split` gives.

    Raises:
        InputError: The file cannot be read, or there is no such split or zone.
    """
    check_split(split)
    zone_named(timezone)  # before a town is made
    path, name = _locate(source)
    with reading(printable_path(path)):
        corpus = read_posts(path, include_private=include_private, columns=columns, timezone=timezone)
        return _loaded(source, path, name, corpus, split, held_out_from)


def _loaded(
    source: str | Path, path: Path, name: str, corpus: Corpus, split: str, held_out_from: datetime | None
) -> Population:
    about = ABOUT_TOWN if town_number(source) is not None else read_about(about_path(path, name))
    name = storable_name(name)
    profiles, (truth, communities) = corpus.profiles, _truth(path)
    digest = acts_digest(corpus.acts.values()) if corpus.acts else ""
    if profiles:
        digest = _profiles_digest(profiles.values(), digest)
    histories = {handle: acts for handle, acts in by_author(corpus.acts.values()).items() if _is_enough(acts)}
    date = held_out_from or (split_date(histories) if split == BY_DATE else None)
    ends = {
        handle: split_ends(len(acts)) if date is None else ends_at(date, acts) for handle, acts in histories.items()
    }
    languages = None if town_number(source) is None else ALL_ENGLISH
    showable = Showable(corpus.acts)
    unshown = {handle: showable.unshown(acts) for handle, acts in histories.items()}
    enough = {
        handle: acts for handle, acts in histories.items()
        if date is None or ends[handle][1] >= MIN_BEFORE
    }  # fmt: skip
    known = [_with_profile(replace(person, unshown=unshown[person.handle]), profiles.get(person.handle))
             for person in _personas(enough, ends, corpus.acts, communities, digest, languages)]  # fmt: skip
    described = _described(profiles, corpus.acts, known, digest, date)
    left_out = len(histories) - len(enough)
    return Population(name, (*known, *described), corpus.acts, corpus.problems, digest, about, date, left_out, truth)


def _with_profile(person: Persona, profile: Profile | None) -> Persona:
    """What a file says of somebody goes before what is derived from their acts."""
    if profile is None:
        return person
    following = profile.following or person.following
    described = replace(person, description=profile.description or person.description, following=following)
    if profile.activity is None:
        return described
    total = sum(profile.activity)
    floor = PRIOR_ACTS / HOURS
    shares = tuple((share + floor) / (total + PRIOR_ACTS) for share in profile.activity)
    return replace(described, hours=shares, acts_per_day=total)


def _described(
    profiles: Mapping[str, Profile],
    acts: Mapping[str, Act],
    known: Sequence[Persona],
    digest: str,
    date: datetime | None,
) -> tuple[Persona, ...]:
    """People whom a file describes and who did too little to learn from: they can act with the shared base.

    They come after those with a history, in sampling order of the follows that the file gives, or else in the order of
    the file. They act as often as the person in the middle of those with a history. Their acts from `date` on are left
    out.
    """
    trained = {person.handle for person in known}
    others = {handle: profile for handle, profile in profiles.items() if handle not in trained}
    if not others:
        return ()
    if any(profile.following for profile in others.values()):
        others = {handle: others[handle] for handle in sampling_order(_neighbours(others), digest)}
    histories = by_author(act for act in acts.values() if date is None or act.at < date)
    even = (1 / HOURS,) * HOURS
    rate = median(person.acts_per_day for person in known) if known else 1.0
    return tuple(
        _with_profile(
            Persona(
                handle=handle, description=profile.description, acts=tuple(own), train_end=len(own),
                validation_end=len(own), hours=even, acts_per_day=rate, following=(),
            ),
            profile,
        )
        for handle, profile in others.items() for own in [histories.get(handle, ())]
    )  # fmt: skip


def _neighbours(profiles: Mapping[str, Profile]) -> dict[str, tuple[str, ...]]:
    """Who follows or is followed by whom among these people, sorted."""
    neighbours: dict[str, set[str]] = {handle: set() for handle in profiles}
    for handle, profile in profiles.items():
        for other in profile.following:
            if other in neighbours:
                neighbours[handle].add(other)
                neighbours[other].add(handle)
    return {handle: tuple(sorted(others)) for handle, others in neighbours.items()}


def _profiles_digest(profiles: Iterable[Profile], acts: str) -> str:
    facts = [[profile.handle, profile.description, profile.activity] for profile in profiles]
    return hashlib.sha256(json.dumps([acts, facts], ensure_ascii=False).encode()).hexdigest()


def _locate(source: str | Path) -> tuple[Path, str]:
    number = town_number(source)
    if number is not None:
        return numbered_town_path(number), town_name(number)
    path = Path(source)
    if not path.name:
        raise InputError(f"--population {str(source)!r} names no file: give a file of posts, or {TOWN}")
    extension = max((ending for ending in READERS if path.name.lower().endswith(ending)), key=len, default="")
    return path, path.name[: len(path.name) - len(extension)]


def _truth(path: Path) -> tuple[TownFacts, dict[str, int]]:
    """Read the ground truth that a generated town keeps beside its posts, and the communities in it."""
    file = path.with_name(TRUTH_NAME)
    if path.name != "posts.jsonl.gz" or not file.is_file():
        return TownFacts(), {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("no object")
        truth = TownFacts(content, path.parent)
        return truth, truth.communities()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{printable_path(file)}: not a town's ground truth: write the town again or remove it"
        ) from error


def _personas(
    histories: Mapping[str, Sequence[Act]],
    ends: Mapping[str, tuple[int, int]],
    acts: Mapping[str, Act],
    communities: Mapping[str, int],
    digest: str,
    languages: Languages | None,
) -> tuple[Persona, ...]:
    train = {handle: own[: ends[handle][0]] for handle, own in histories.items()}
    # What others are shown of a person, their description and whom they follow, comes from public acts alone.
    public = {handle: [act for act in own if not act.is_private] for handle, own in train.items()}
    descriptions = describe({handle: own for handle, own in public.items() if own}, languages)
    following = follow_graph(public, acts)
    return tuple(
        Persona(
            handle=handle,
            description=descriptions.get(handle, ""),
            acts=tuple(histories[handle]),
            train_end=ends[handle][0],
            validation_end=ends[handle][1],
            hours=hourly_shares(train[handle]),
            acts_per_day=daily_rate(train[handle]),
            following=following[handle],
            community=communities.get(handle),
        )
        for handle in sampling_order(interaction_graph(train, acts), digest)
    )


def by_author(acts: Iterable[Act]) -> dict[str, list[Act]]:
    """Return everybody's acts by handle, in the order of `acts`."""
    histories: dict[str, list[Act]] = {}
    for act in acts:
        histories.setdefault(act.author, []).append(act)
    return histories


def _is_enough(acts: Sequence[Act]) -> bool:
    return sum(act.verb is not Verb.FOLLOW for act in acts) >= MIN_ACTS and len(posts_of(acts)) >= MIN_TEXTS


def posts_of(acts: Iterable[Act]) -> tuple[Act, ...]:
    """Return the acts that carry words of one's own: posts, replies and quotes."""
    return tuple(act for act in acts if act.text)


def acts_digest(acts: Iterable[Act]) -> str:
    """Return the SHA-256 over the acts, one JSON array a line, ordered by time and id."""
    digest = hashlib.sha256()
    for act in sorted(acts, key=lambda act: (act.at, act.id)):
        fields = [act.id, act.author, act.verb.value, act.at.isoformat(), act.text, act.target]
        if act.is_private:
            fields.append("private")
        digest.update(json.dumps(fields, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()
