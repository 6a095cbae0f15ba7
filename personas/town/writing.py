"""What people say: new posts, and answers that take up the thing and claim of the text they answer."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from polyphony.personas.town.draft import Draft, fitting_lines
from polyphony.personas.town.grammar import Pattern, parse, slots_of
from polyphony.personas.town.happenings import Story, load_stories
from polyphony.personas.town.interests import Interests
from polyphony.personas.town.lexicon import POST_KINDS, Lexicon, Line, Lines, Topic
from polyphony.personas.town.moment import TownMoment
from polyphony.personas.town.people import Person
from polyphony.personas.town.register import some, styled
from polyphony.personas.town.voice import Voice
from polyphony.randomness import keyed_generator

MIN_WORDS = 6
MAX_WORDS = 54
MOST_LINES = 64  # of one kind in a topic
KIND_SHARES = (0.22, 0.2, 0.32, 0.14, 0.12)  # of POST_KINDS
MOST_OPINIONS = 0.6  # of a person's posts, even when everybody talks of an issue
TONES = {  # of texts by the kind of their first line
    "good": 1.0, "bad": -1.0, "plan": 0.2, "tip": 0.3,
    "shared.react_good": 0.8, "shared.react_bad": -0.4, "shared.react_plan": 0.4, "shared.react_tip": 0.4,
    "shared.react_tell": 0.2, "shared.thanks": 1.0, "shared.quote": 0.3, "answer": 0.4, "opinion": -0.2,
    "agree": 0.7, "disagree": -0.9,
}  # fmt: skip


def _drawn(rng: Generator, weights: Mapping[str, float]) -> str:
    """Draw a name by weight."""
    totals = np.cumsum(list(weights.values()))
    place = int(np.searchsorted(totals, rng.random() * totals[-1], side="right"))
    return tuple(weights)[min(place, len(weights) - 1)]


class Writer:
    """Writes for one person and remembers which lines the person has used, so that they vary."""

    def __init__(
        self, seed: int, person: Person, interests: Interests, lexicon: Lexicon, names: frozenset[str]
    ) -> None:
        """Create the writer of a person with interests; ``names`` keep their capital inside a sentence."""
        self._seed = seed
        self._interests = interests
        self._person = person
        self._lexicon = lexicon
        self._names = names
        self._uses: Counter[str] = Counter()
        self._tastes: dict[str, np.ndarray] = {}
        self._heard: set[str] = set()

    def post(self, rng: Generator, moment: TownMoment, heard: set[str]) -> Draft:
        """Return a new text of the person's own; the lines it uses are added to ``heard``."""
        self._heard = heard
        issue = self._issue(rng, moment)
        if issue:
            return self._opinion(rng, moment, issue)
        topic = self._lexicon.topics[_drawn(rng, self._interests.topics(moment.at))]
        stories = self._interests.stories(topic.name, moment.at)
        if stories and rng.random() < sum(stories.values()):
            return self._report(rng, moment, topic, load_stories()[_drawn(rng, stories)])
        return self._tell(rng, moment, topic)

    def _issue(self, rng: Generator, moment: TownMoment) -> str | None:
        """Draw the issue of a post, or that it is about none; what happens makes people speak of theirs."""
        issues = [issue for issue, side in self._person.stances.items() if side]
        raised = {issue: self._interests.raised(issue, moment.at) for issue in issues}
        rate = min(MOST_OPINIONS, self._person.issue_rate + sum(raised.values()))
        draw = rng.random()
        if not issues or draw >= rate:
            return None
        if draw < self._person.issue_rate:
            return issues[int(rng.random() ** 2 * len(issues))]
        return _drawn(rng, raised)

    def _report(self, rng: Generator, moment: TownMoment, topic: Topic, story: Story) -> Draft:
        """Write of what happens in the town."""
        thing = story.things[int(rng.random() * len(story.things))]
        voice = self._voice(rng, moment, {"thing": thing}, {**topic.slots, **story.slots})
        sentences = [voice.say(self._line(rng, story.lines).pattern)]
        sentences += [voice.say(self._more(rng, topic, thing).pattern) for _ in range(self._extra(rng))]
        text = self._finish(rng, voice, sentences, self._tags(rng, topic.tags))
        kind = "good" if story.tone > 0.0 else "bad"
        return Draft(self._person.index, text, topic.name, thing, kind, tone=story.tone)

    def _tell(self, rng: Generator, moment: TownMoment, topic: Topic) -> Draft:
        asks = rng.random() < self._person.ask_rate
        kind = "ask" if asks else POST_KINDS[int(rng.choice(len(POST_KINDS), p=KIND_SHARES))]
        first = self._line(rng, topic.lines[kind])
        thing, bound = self._thing(rng, topic, first.pattern)
        voice = self._voice(rng, moment, bound, topic.slots)
        sentences = [voice.say(first.pattern)]
        sentences += [voice.say(self._more(rng, topic, thing).pattern) for _ in range(self._extra(rng))]
        if thing not in " ".join(sentences):
            thing = topic.about[int(rng.random() * len(topic.about))]
        text = self._finish(rng, voice, sentences, self._tags(rng, topic.tags))
        return Draft(
            self._person.index, text, topic.name, thing, kind, answers=first.answers, tone=TONES.get(kind, 0.0)
        )

    def _thing(self, rng: Generator, topic: Topic, pattern: Pattern) -> tuple[str, dict[str, str]]:
        """Draw what the pattern speaks of, mostly among what the person has, and the slots that this settles."""
        needed = sorted(slot for slot in slots_of(pattern) if slot in topic.classes)
        fitting = topic.classes[needed[0]] if needed else topic.things
        of_person = [thing for thing in self._person.things.get(topic.name, ()) if thing in fitting]
        options = of_person if of_person and rng.random() < 0.85 else fitting
        thing = options[int(rng.random() * len(options))]
        return thing, {"thing": thing, **dict.fromkeys(needed, thing)}

    def answer(
        self, rng: Generator, moment: TownMoment, parent: Draft, handle: str, heard: set[str], *, quote: bool
    ) -> Draft:
        """Return a reply to, or a quote of, another person's text.

        Args:
            rng: The text's generator.
            moment: When it is written.
            parent: What it answers.
            handle: Handle of the parent's author.
            heard: Lines that the thread has heard; they are avoided, and those used are added.
            quote: Whether the parent is shown with it.
        """
        self._heard = heard
        if parent.issue is not None and not parent.answers:
            draft = self._debate(rng, moment, parent, parent.issue)
        else:
            draft = self._respond(rng, moment, parent, quote=quote)
        if quote or rng.random() >= self._person.register.mention_rate:
            return draft
        return replace(draft, text=f"@{handle} {draft.text}")

    def _respond(self, rng: Generator, moment: TownMoment, parent: Draft, *, quote: bool) -> Draft:
        slots = self._lexicon.topics[parent.topic].slots if parent.topic else self._issue_slots(parent.issue)
        classes = self._lexicon.topics[parent.topic].classes if parent.topic else {}
        fitting = [slot for slot, things in classes.items() if parent.thing in things]
        bound = dict.fromkeys(("thing", "issue", *fitting), parent.thing)
        voice = self._voice(rng, moment, bound, slots)
        line, kind = self._response(rng, parent, quote=quote)
        sentences = [voice.say(line.pattern)]
        knows = parent.topic is not None and parent.topic in self._person.things
        for _ in range(self._extra(rng) if rng.random() < 0.6 else 0):
            topic = self._lexicon.topics[parent.topic] if knows and parent.topic else None
            more = self._more(rng, topic, parent.thing) if topic else self._aside(rng)
            sentences.append(voice.say(more.pattern))
        text = self._finish(rng, voice, sentences, "")
        tone = TONES.get(kind, TONES.get(line.id.rpartition(".")[0], 0.0))
        return Draft(
            self._person.index, text, parent.topic, parent.thing, kind, parent.issue, 0, line.answers, parent.author,
            tone,
        )  # fmt: skip

    def _response(self, rng: Generator, parent: Draft, *, quote: bool) -> tuple[Line, str]:
        shared = self._lexicon.lines
        knows = parent.topic is not None and parent.topic in self._person.things
        topic = self._lexicon.topics[parent.topic] if knows and parent.topic else None
        lines = fitting_lines(topic.lines["react"], topic, parent.thing) if topic else ()
        draw = rng.random()
        if parent.answers and parent.answered in (None, self._person.index) and not quote:
            return self._line(rng, parent.answers), "answer"
        if quote and draw < 0.6:
            return self._line(rng, shared["quote"]), "talk"
        if parent.kind == "answer" and parent.answered == self._person.index:
            return self._line(rng, shared["thanks"]), "talk"
        if parent.kind in POST_KINDS and draw < 0.18:
            return self._line(rng, shared["askback"]), "ask"
        if lines and draw < 0.55:
            return self._line(rng, lines), "talk"
        kind = f"react_{parent.kind}" if parent.kind in POST_KINDS else "carry"
        return self._line(rng, shared[kind]), "talk"

    def _opinion(self, rng: Generator, moment: TownMoment, name: str) -> Draft:
        issue = self._lexicon.issues[name]
        side = self._person.stances[name]
        voice = self._voice(rng, moment, {"thing": issue.title, "issue": issue.title}, issue.slots)
        sentences = [voice.say(self._line(rng, issue.claims[side]).pattern)]
        if self._extra(rng):
            sentences.append(voice.say(self._line(rng, issue.reasons[side]).pattern))
        text = self._finish(rng, voice, sentences, self._tags(rng, issue.tags))
        return Draft(self._person.index, text, None, issue.title, "opinion", name, side, tone=TONES["opinion"])

    def _debate(self, rng: Generator, moment: TownMoment, parent: Draft, name: str) -> Draft:
        issue = self._lexicon.issues[name]
        side = self._person.stances[name]
        voice = self._voice(rng, moment, {"thing": issue.title, "issue": issue.title}, issue.slots)
        manner = "unsure" if not side or not parent.side else "agree" if side == parent.side else "disagree"
        line = self._line(rng, self._lexicon.lines[manner])
        sentences = [voice.say(line.pattern)]
        if side and (rng.random() < 0.75 or self._extra(rng)):
            sentences.append(voice.say(self._line(rng, issue.reasons[side]).pattern))
        text = self._finish(rng, voice, sentences, "")
        return Draft(
            self._person.index, text, None, issue.title, "opinion", name, side, line.answers, parent.author,
            TONES.get(manner, 0.0),
        )  # fmt: skip

    def _issue_slots(self, name: str | None) -> Mapping[str, tuple[Pattern, ...]]:
        return self._lexicon.issues[name].slots if name else {}

    def _voice(
        self, rng: Generator, moment: TownMoment, bound: Mapping[str, str], slots: Mapping[str, tuple[Pattern, ...]]
    ) -> Voice:
        weather = tuple(parse(text) for text in self._lexicon.choices[f"weather_{moment.weather}"])
        words = {**self._person.words, **moment.words()}
        return Voice(rng, words, bound, (slots, {"weather": weather}, self._lexicon.slots))

    def _extra(self, rng: Generator) -> int:
        return min(3, int(rng.poisson(self._person.register.sentences - 1.0)))

    def _more(self, rng: Generator, topic: Topic, thing: str) -> Line:
        if rng.random() < 0.25:
            return self._aside(rng)
        return self._line(rng, fitting_lines(topic.lines["then"], topic, thing))

    def _aside(self, rng: Generator) -> Line:
        has_pet = "pet" in self._person.words and rng.random() < 0.4
        return self._line(rng, self._lexicon.lines["pet" if has_pet else "side"])

    def _line(self, rng: Generator, lines: Lines) -> Line:
        """Draw a line by the person's taste, those used before less often, those heard only if all are."""
        lines = tuple(line for line in lines if line.id not in self._heard) or lines
        used = np.array([self._uses[line.id] for line in lines])
        tastes = np.array([self._taste(line) for line in lines])
        totals = np.cumsum(tastes / (1.0 + 3.0 * used))
        line = lines[min(int(np.searchsorted(totals, rng.random() * totals[-1], side="right")), len(lines) - 1)]
        self._uses[line.id] += 1
        self._heard.add(line.id)
        return line

    def _taste(self, line: Line) -> float:
        """Return how much the person likes a line, the same at all times."""
        kind, _, number = line.id.rpartition(".")
        if kind not in self._tastes:
            taste = keyed_generator(self._seed, "town taste", self._person.index, kind)
            self._tastes[kind] = taste.random(MOST_LINES) ** 2 + 0.05
        return float(self._tastes[kind][int(number.removeprefix("a"))])

    def _tags(self, rng: Generator, tags: Sequence[str]) -> str:
        if rng.random() >= self._person.register.tag_rate:
            return ""
        return " ".join(f"#{tag}" for tag in some(rng, tags[:3], 1 + int(rng.random() < 0.3)))

    def _finish(self, rng: Generator, voice: Voice, sentences: list[str], tags: str) -> str:
        register = self._person.register
        while sum(len(sentence.split()) for sentence in sentences) < MIN_WORDS:
            sentences.append(voice.say(self._aside(rng).pattern))
        if rng.random() < register.catch_rate:
            sentences.append(register.catches[int(rng.random() * len(register.catches))])
        while len(sentences) > 1 and sum(len(sentence.split()) for sentence in sentences) > MAX_WORDS:
            sentences.pop()
        return styled(rng, register, sentences, self._names, tags)
