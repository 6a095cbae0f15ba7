"""What people were shown when they acted: their corpus replayed through the platform and the feeds of a run."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from polyphony.adapters.prompting.moments import HistoryConfig, Request, ShownMoment
from polyphony.adapters.prompting.prompt import POSTS_ALONE, FeedItem
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.dealings import DEALINGS
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.showable import Showable
from polyphony.personas.population import Population
from polyphony.randomness import keyed_generator
from polyphony.simulation.feed.feed import FeedEntry, FeedMaker, FeedSettings, Page, PageRequest, Rankings
from polyphony.simulation.feed.items import feed_items
from polyphony.simulation.feed.text_vectors import texts_of
from polyphony.simulation.history.corpus_platform import CorpusPlatform
from polyphony.simulation.history.idle import idle_moments
from polyphony.simulation.history.screens import Screen, ScreenRules, screens
from polyphony.simulation.world.item import Item

# Acts with a target before those that are asked for: they say how far down the person looks.
PRELUDE = 4

Key = tuple[str, int, tuple[str, ...]]
"""A request as it is remembered: whose acts, most acts of a screen, ids of the acts."""


@dataclass
class _Viewer:
    """One person before the screens of one request.

    Attributes:
        persona: The person.
        screens: Their screens, in time order.
        depths: Depths of the screens so far that hold targets.
        seen: Posts that screens so far have shown.
        seen_comments: Comments that they have shown.
        moments: What they were shown so far.
    """

    persona: Persona
    screens: list[Screen]
    depths: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    seen_comments: list[int] = field(default_factory=list)
    moments: list[ShownMoment] = field(default_factory=list)


class ReplayedHistory:
    """Shows people's histories to them again; a `polyphony.adapters.prompting.moments.FeedHistory`.

    The corpus happens again on a platform, act by act. For each moment that is asked for, the feed maker of a run makes
    the screen: of an act with a target, the screen of the ranking that holds the target, as if the person had scrolled
    to it; of other moments, a screen as far down as one of the person's targets before, drawn, so that the depth of a
    screen does not tell what was done. What an earlier screen showed is not shown again, but for targets. A screen that
    several acts share holds the targets of all, and neighbours of theirs in the ranking.

    Attributes:
        not_ranked: See `FeedHistory`.
    """

    def __init__(self, population: Population, config: HistoryConfig, *, items: int) -> None:
        """Prepare a replay; nothing happens before moments are asked for.

        Args:
            population: The people and their corpus.
            config: How feeds are made, and how often people do nothing.
            items: Items of a feed.

        Raises:
            InputError: There is no such recommender.
        """
        self._population, self._config, self._items = population, config, items
        self._feeds = FeedSettings(recommender=config.recommender, followee_share=config.followee_share)
        self._showable = Showable(population.acts)
        self._done: dict[Key, list[ShownMoment]] = {}
        self.not_ranked: set[str] = set()

    def prepare(self, requests: Sequence[Request], together: int) -> None:
        """See `FeedHistory.prepare`: one pass over the corpus, whatever the number of people."""
        missing = {
            key: (persona, acts)
            for persona, acts in requests if (key := _key(persona, acts, together)) not in self._done
        }  # fmt: skip
        if not missing:
            return
        platform = CorpusPlatform(self._population, minutes=self._config.minutes)
        viewers = {
            key: _Viewer(persona, self._screens(platform, persona, acts, together))
            for key, (persona, acts) in missing.items()
        }
        self._replay(platform, list(viewers.values()))
        self._done |= {key: viewer.moments for key, viewer in viewers.items()}

    def moments(self, persona: Persona, acts: Sequence[Act], together: int) -> list[ShownMoment]:
        """See `FeedHistory.moments`."""
        self.prepare([(persona, acts)], together)
        return self._done[_key(persona, acts, together)]

    def _screens(
        self, platform: CorpusPlatform, persona: Persona, acts: Sequence[Act], together: int
    ) -> list[Screen]:  # fmt: skip
        shown = self._shown_acts(acts)
        rules = ScreenRules(together, self._items, platform, self._showable.about)
        before = persona.acts[: bisect_left(persona.acts, acts[0].at, key=lambda act: act.at)] if acts else ()
        aimed = [act for act in self._shown_acts(before) if act.verb.has_target][-PRELUDE:]
        later = screens(shown, idle_moments(persona, shown, self._config.nothing), rules)
        return [*(replace(screen, is_prelude=True) for screen in screens(aimed, (), rules)), *later]

    def _shown_acts(self, acts: Sequence[Act]) -> list[Act]:
        return [act for act in acts if self._showable.reason_against(act) is None]

    def _replay(self, platform: CorpusPlatform, viewers: Sequence[_Viewer]) -> None:
        """Go through the corpus once and make the screens on the way."""
        maker = FeedMaker(self._feeds, texts_of(self._population.personas), items=self._items, seed=0)
        due = [
            (screen.state, number, place)
            for number, viewer in enumerate(viewers)
            for place, screen in enumerate(viewer.screens)
        ]
        for state, group in groupby(sorted(due), key=lambda entry: entry[0]):
            platform.advance(state[0])
            rankings = maker.at(platform.platform, platform.moment(state[1]))
            for turn in _turns([(number, place) for _, number, place in group]):
                self._show(
                    platform, rankings, [(viewers[number], viewers[number].screens[place]) for number, place in turn]
                )

    def _show(
        self, platform: CorpusPlatform, rankings: Rankings, waiting: Sequence[tuple[_Viewer, Screen]]
    ) -> None:  # fmt: skip
        """Make one screen of each viewer."""
        requests = [self._requests(platform, viewer, screen) for viewer, screen in waiting]
        pages = iter(rankings.pages([request for some in requests for request in some]))
        for (viewer, screen), some in zip(waiting, requests, strict=True):
            own_pages = [next(pages) for _ in some]
            viewer.depths += [page.depth for page in own_pages if page.target is not None]
            entries = self._entries(screen, own_pages)
            viewer.seen += [entry.post_id for entry in entries if entry.comment_id is None]
            viewer.seen_comments += [entry.comment_id for entry in entries if entry.comment_id is not None]
            if not screen.is_prelude:
                viewer.moments += self._shown(platform, viewer.persona, screen, own_pages, entries)

    def _requests(self, platform: CorpusPlatform, viewer: _Viewer, screen: Screen) -> list[PageRequest]:
        plain = PageRequest(platform.numbers[viewer.persona.handle], viewer.seen, viewer.seen_comments)
        if screen.targets:
            return [
                replace(plain, targets=targets)
                for act in _by_target(screen).values() if (targets := self._targets(platform, act))
            ]  # fmt: skip
        depth = 0
        if viewer.depths:
            draw = keyed_generator(0, "depth", viewer.persona.handle, screen.id)
            depth = viewer.depths[int(draw.integers(len(viewer.depths)))]
        return [replace(plain, depth=depth)]

    @staticmethod
    def _targets(platform: CorpusPlatform, act: Act) -> Sequence[Item]:
        """What the item an act is about may be: a post of a followee, else their latest reply; or the target."""
        if act.verb is Verb.FOLLOW:
            words = platform.words_of[platform.numbers[act.target or ""]]
            return [item for item in words if item.comment_id is None] or words[-1:]
        item = platform.item_of.get(act.target or "")
        return () if item is None or (item.comment_id is not None and act.verb in POSTS_ALONE) else (item,)

    def _entries(self, screen: Screen, pages: Sequence[Page]) -> list[FeedEntry]:
        """What is on a screen: the one page, or the targets of several with neighbours of theirs."""
        if len(pages) <= 1:
            return [entry for page in pages for entry in page.entries]
        ranked = {
            entry.item: (page.depth, entry.position, entry) for page in reversed(pages) for entry in page.entries
        }  # fmt: skip
        targets = list(dict.fromkeys(page.target for page in pages if page.target is not None))
        others = [item for item in ranked if item not in targets]
        drawn = keyed_generator(0, "screen", screen.id).permutation(len(others))[: self._items - len(targets)]
        chosen = [*targets, *(others[index] for index in drawn)]
        return [ranked[item][2] for item in sorted(chosen, key=lambda item: ranked[item][:2])]

    def _shown(
        self, platform: CorpusPlatform, persona: Persona, screen: Screen, pages: Sequence[Page],
        entries: Sequence[FeedEntry],
    ) -> Iterator[ShownMoment]:  # fmt: skip
        items = [entry.item for entry in entries]
        ids = tuple(platform.act_of[item] for item in items)
        now = platform.moment(screen.state[1])
        shown = feed_items(platform.platform, platform.numbers[persona.handle], items, now)
        feed = tuple(self._before_screen(platform, screen, shown))
        if screen.is_idle:
            yield ShownMoment(persona.handle, screen.at, None, feed, ids, None)
        for act in screen.acts:
            position = None
            if act.verb.has_target:
                targets = set(self._targets(platform, act))
                target = next((page.target for page in pages if page.target in targets), None)
                if target is None:
                    self.not_ranked.add(act.id)
                    continue
                position = items.index(target) + 1
            yield ShownMoment(persona.handle, screen.at, act, feed, ids, position)

    def _before_screen(
        self, platform: CorpusPlatform, screen: Screen, items: Sequence[FeedItem]
    ) -> Iterator[FeedItem]:  # fmt: skip
        """Items without the dealings that the screen's own acts are: a shared screen stands as of the last of them."""
        acts = [act for act in screen.acts if act.verb in DEALINGS and platform.number(act) < screen.state[0]]
        counts = Counter(about.author for act in acts if (about := self._showable.about(act)) is not None)
        for item in items:
            yield replace(item, dealings=max(0, item.dealings - counts[item.handle])) if counts[item.handle] else item


def _by_target(screen: Screen) -> Mapping[str, Act]:
    """One act for each target of a screen."""
    return {act.target: act for act in reversed(screen.acts) if act.verb.has_target and act.target is not None}


def _turns(places: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Cut the screens of one state into turns in which each viewer has one at most, in their order."""
    turns: dict[int, list[tuple[int, int]]] = defaultdict(list)
    counts: dict[int, int] = defaultdict(int)
    for number, place in places:
        turns[counts[number]].append((number, place))
        counts[number] += 1
    yield from (turns[turn] for turn in sorted(turns))


def _key(persona: Persona, acts: Sequence[Act], together: int) -> Key:
    return persona.handle, together, tuple(act.id for act in acts)
