"""Histories replayed through the platform: what people were shown when they acted, and when they did nothing."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from polyphony.adapters.prompting.moments import HistoryConfig
from polyphony.adapters.prompting.prompt import NOTICES, FeedItem
from polyphony.errors import InputError
from polyphony.personas.people.acts import Act, Verb
from polyphony.personas.people.persona import Persona
from polyphony.personas.people.showable import NOT_A_POST, NOT_BEFORE, OWN, PRIVATE, SILENT, UNKNOWN, Showable, counted
from polyphony.personas.population import Population, load_population
from polyphony.simulation.feed.feed import FeedMaker, FeedSettings, PageRequest
from polyphony.simulation.feed.items import feed_items
from polyphony.simulation.feed.text_vectors import texts_of
from polyphony.simulation.history.corpus_platform import CorpusPlatform
from polyphony.simulation.history.idle import SESSION, idle_moments
from polyphony.simulation.history.replay import ReplayedHistory
from polyphony.simulation.world.item import Item
from polyphony.simulation.world.moment import Moment
from polyphony.simulation.world.platform import Platform

START = datetime(2024, 5, 1, 8, tzinfo=UTC)


def act(name, author, verb, minutes, target=None, *, text=None, private=False):
    words = f"words of {name}" if text is None and verb.has_text else text or ""
    at = START + timedelta(minutes=minutes)
    return Act(id=name, author=author, verb=verb, at=at, text=words, target=target, is_private=private)


def people_of(*acts, train_end=None):
    """A population of whoever acts, everything in the training side."""
    acts = sorted(acts, key=lambda one: (one.at, one.id))
    personas = tuple(
        Persona(
            handle=author, description=f"{author} likes tea.", acts=own, train_end=len(own), validation_end=len(own),
            hours=(1 / 24,) * 24, acts_per_day=1.0, following=(),
        )
        for author in sorted({one.author for one in acts})
        for own in [tuple(one for one in acts if one.author == author)]
    )  # fmt: skip
    return Population("made", personas, {one.id: one for one in acts}, (), "digest")


def busy(posts=40, people=8):
    """People who post in turn every ten minutes; the last one then likes, answers, quotes and follows."""
    acts = [act(f"p{n}", f"h{n % people}", Verb.POST, 10 * n) for n in range(posts)]
    late = 10 * posts + 65
    return people_of(
        *acts,
        act("own", "reader", Verb.POST, late), act("like", "reader", Verb.LIKE, late + 20, "p1"),
        act("reply", "reader", Verb.REPLY, late + 50, f"p{posts - 2}"),
        act("quote", "reader", Verb.QUOTE, late + 4000, "p5"), act("follow", "reader", Verb.FOLLOW, late + 4010, "h3"),
    )  # fmt: skip


def person(population, handle):
    return next(one for one in population.personas if one.handle == handle)


def history(population, **config):
    return ReplayedHistory(population, HistoryConfig(**({"nothing": 0.0} | config)), items=4)


def test_the_target_is_on_the_screen_and_nothing_comes_from_later():
    people = busy()
    reader = person(people, "reader")
    moments = history(people).moments(reader, reader.acts, 1)
    assert [moment.act.id for moment in moments] == ["own", "like", "reply", "quote", "follow"]
    for moment in moments:
        assert len(moment.feed) == 4 or moment.act.id == "quote", "the last screen of a ranking may be short"
        assert all(people.acts[name].at < moment.at for name in moment.item_ids)
        assert not any(item.handle == "reader" for item in moment.feed)
    about = {moment.act.id: moment.item_ids[moment.position - 1] for moment in moments if moment.position}
    assert about["like"] == "p1" and about["reply"] == "p38" and about["quote"] == "p5"
    assert people.acts[about["follow"]].author == "h3"
    assert moments[0].position is None


def test_what_others_are_asked_for_changes_nothing():
    people = busy()
    alone, together = history(people, nothing=0.5), history(people, nothing=0.5)
    together.prepare([(one, one.acts) for one in people.personas], 4)
    for one in people.personas:
        assert alone.moments(one, one.acts, 4) == together.moments(one, one.acts, 4)


@pytest.mark.parametrize(
    "recommender", ["attention", "chronological", "random", "similarity", "twhin", "collaborative"]
)
def test_feeds_of_histories_are_those_of_the_simulation(recommender):
    """A post without a target, before anything was seen: the first screen is the feed of a run."""
    people = busy()
    reader = person(people, "reader")
    (moment,) = history(people, recommender=recommender).moments(reader, reader.acts[:1], 1)
    platform = CorpusPlatform(people, minutes=60)
    platform.advance(platform.before(moment.at.replace(minute=0)))
    maker = FeedMaker(FeedSettings(recommender), texts_of(people.personas), items=4, seed=0)
    agent = platform.numbers["reader"]
    (feed,) = maker.feeds(platform.platform, [agent], platform.moment(moment.at)).values()
    assert moment.item_ids == tuple(platform.act_of[entry.item] for entry in feed)


def test_another_recommender_shows_other_posts():
    people = busy()
    reader = person(people, "reader")
    first, second = (history(people, recommender=name).moments(reader, reader.acts[:1], 1)[0].item_ids
                     for name in ("chronological", "random"))  # fmt: skip
    assert first == ("p39", "p38", "p37", "p36") and first != second
    with pytest.raises(InputError, match="no such recommender|not one of"):
        history(people, recommender="magic").moments(reader, reader.acts, 1)


def test_what_was_seen_is_not_shown_again_but_for_targets():
    people = busy()
    reader = person(people, "reader")
    shown = Counter()
    for moment in history(people, nothing=1.0).moments(reader, reader.acts, 1):
        about = moment.item_ids[moment.position - 1] if moment.position else None
        assert not {name for name in moment.item_ids if name != about} & set(shown)
        shown.update(moment.item_ids)
    assert len(shown) > 20


def test_screens_without_a_target_are_as_far_down_as_those_with_one(town):
    """Under a ranking by time the age of what is shown tells the depth: it must not tell what was done."""
    shown = ReplayedHistory(town, HistoryConfig(recommender="chronological", nothing=1.0), items=4)
    people = town.personas[:40]
    shown.prepare([(one, one.learned(24)) for one in people], 1)
    ages = {True: [], False: []}
    for one in people:
        for moment in shown.moments(one, one.learned(24), 1):
            for place, name in enumerate(moment.item_ids, 1):
                if place != moment.position:
                    hours = (moment.at - town.acts[name].at) / timedelta(hours=1)
                    ages[moment.position is not None].append(hours)
    aimed, free = (np.median(ages[which]) for which in (True, False))
    assert len(ages[True]) > 1000 and len(ages[False]) > 1000
    assert 0.6 < free / aimed < 1.6


def test_acts_that_share_a_screen_find_all_their_targets_there():
    people = busy()
    reader = person(people, "reader")
    moments = history(people).moments(reader, reader.acts, 4)
    assert len({moment.item_ids for moment in moments[:3]}) == 1 and moments[3].item_ids != moments[0].item_ids
    ids = moments[0].item_ids
    assert (ids[moments[1].position - 1], ids[moments[2].position - 1]) == ("p1", "p38")
    assert len(set(ids)) == 4


def test_acts_are_left_out_by_reason():
    people = people_of(
        act("a", "ann", Verb.POST, 0), act("b", "bob", Verb.POST, 1, private=True), act("c", "bob", Verb.POST, 90),
        act("gone", "ann", Verb.LIKE, 91, None), act("self", "ann", Verb.LIKE, 92, "a"),
        act("secret", "ann", Verb.LIKE, 93, "b"), act("early", "ann", Verb.LIKE, 50, "c"),
        act("answer", "cy", Verb.REPLY, 94, "c"), act("again", "ann", Verb.REPOST, 95, "answer"),
        act("silent", "ann", Verb.FOLLOW, 80, "bob"), act("fine", "ann", Verb.FOLLOW, 99, "bob"),
    )  # fmt: skip
    ann = person(people, "ann")
    reasons = Showable(people.acts).unshown(ann.acts)
    assert reasons == {
        "gone": UNKNOWN,
        "self": OWN,
        "secret": PRIVATE,
        "early": NOT_BEFORE,
        "silent": SILENT,
        "again": NOT_A_POST,
    }
    assert counted([reasons, {"x": OWN}])[OWN] == 2
    assert [moment.act.id for moment in history(people).moments(ann, ann.acts, 1)] == ["a", "fine"]
    ann = replace(ann, unshown=reasons)
    assert [one.id for one in ann.learned(9)] == ["a", "fine"] and [one.id for one in ann.learned(1)] == ["fine"]


def test_replies_are_shown_with_what_they_answer_and_can_be_answered():
    people = people_of(
        act("root", "ann", Verb.POST, 0), act("one", "bob", Verb.REPLY, 61, "root"),
        act("two", "cy", Verb.REPLY, 130, "one"), act("orphan", "di", Verb.REPLY, 131),
        act("three", "bob", Verb.REPLY, 200, "orphan"),
    )  # fmt: skip
    cy, bob = person(people, "cy"), person(people, "bob")
    (moment,) = history(people).moments(cy, cy.acts, 1)
    item = moment.feed[moment.position - 1]
    assert moment.item_ids[moment.position - 1] == "one", "opened from its thread: cy follows nobody"
    assert (item.handle, item.answers.handle, item.answers.text) == ("bob", "ann", "words of root")
    second = history(people).moments(bob, bob.acts, 1)[1]
    notified = [item for item in second.feed if item.notice]
    assert [(item.handle, item.notice) for item in notified] == [("cy", "replied to you")]
    assert second.item_ids[second.position - 1] == "orphan", "a reply to nothing stands as a post"


def test_training_shows_what_a_reply_answers_unless_that_is_private():
    made = [
        act("0", "ada", Verb.POST, 0), act("1", "bo", Verb.REPLY, 0, "0"), act("3", "ada", Verb.POST, 0, private=True),
        act("4", "bo", Verb.REPLY, 0, "3"), act("2", "cy", Verb.REPLY, 0, "1"), act("5", "di", Verb.REPLY, 0),
        act("6", "di", Verb.QUOTE, 0, "0"),
    ]  # fmt: skip
    replayed = CorpusPlatform(replace(people_of(*made), acts={one.id: one for one in made}), minutes=60)
    replayed.advance(6)

    def shown(name, reader):
        now = replayed.moment(replayed_until)
        return feed_items(replayed.platform, replayed.numbers[reader], [replayed.item_of[name]], now)[0]

    replayed_until = max(one.at for one in made)
    assert shown("1", "cy") == FeedItem("bo", "words of 1", FeedItem("ada", "words of 0"), is_followed=True, dealings=1)
    assert shown("2", "bo") == FeedItem("cy", "words of 2", FeedItem("bo", "words of 1"), NOTICES[0], dealings=1)
    for name in ("0", "4", "5", "6"):
        assert shown(name, "cy").answers is None
    assert "3" not in replayed.item_of


def test_answers_to_own_words_come_first_until_the_person_was_there():
    people = people_of(
        act("root", "ann", Verb.POST, 0), *(act(f"p{n}", "bob", Verb.POST, n) for n in range(1, 9)),
        act("one", "cy", Verb.REPLY, 20, "root"), act("two", "di", Verb.QUOTE, 30, "root"),
        act("back", "ann", Verb.REPLY, 90, "one"), act("later", "ann", Verb.POST, 200),
    )  # fmt: skip
    ann = person(people, "ann")
    first, back, later = history(people).moments(ann, ann.acts, 1)
    assert [item.notice for item in back.feed] == ["quoted you", "replied to you", "", ""]
    assert back.item_ids[back.position - 1] == "one" and first.feed == ()
    assert not any(item.notice for item in later.feed)


def test_threads_in_a_circle_or_without_a_beginning_are_shown_as_far_as_they_are_there():
    circle = people_of(
        act("x", "ann", Verb.REPLY, 0, "y"), act("y", "bob", Verb.REPLY, 10, "x"), act("z", "cy", Verb.LIKE, 70, "x"),
    )  # fmt: skip
    cy = person(circle, "cy")
    (moment,) = history(circle).moments(cy, cy.acts, 1)
    assert moment.item_ids[moment.position - 1] == "x"


def test_one_person_alone_and_acts_of_one_moment_have_empty_or_earlier_feeds():
    alone = people_of(*(act(f"p{n}", "ann", Verb.POST, n) for n in range(12)))
    (ann,) = alone.personas
    moments = history(alone, nothing=0.5).moments(ann, ann.acts, 4)
    assert len(moments) in (17, 18, 19) and all(moment.feed == () for moment in moments)
    same = people_of(*(act(f"p{n}", f"h{n % 3}", Verb.POST, 0) for n in range(12)))
    first = same.personas[0]
    moments = history(same, nothing=1.0).moments(first, first.acts, 4)
    assert len(moments) == 8 and all(moment.feed == () for moment in moments)


def test_a_moment_without_an_act_shares_the_screen_of_the_acts_before_it_unless_each_has_its_own():
    people = people_of(
        *(act(f"p{n}", "bob", Verb.POST, n) for n in range(8)), act("like", "ann", Verb.LIKE, 100, "p1"),
        act("post", "ann", Verb.POST, 120), *(act(f"a{n}", "ann", Verb.POST, 6000 + 10 * n) for n in range(6)),
    )  # fmt: skip
    ann = person(people, "ann")
    moments = history(people, nothing=0.5).moments(ann, ann.acts, 4)
    idle = [moment for moment in moments if moment.act is None]
    done = {(moment.at, moment.item_ids) for moment in moments if moment.act is not None}
    shared = [moment for moment in idle if (moment.at, moment.item_ids) in done]
    assert len(idle) == 4 and len(shared) >= 2, "one of each screen"
    assert len(done) == 3, "eight acts, of which neighbours share screens of at most four"
    alone = history(people, nothing=0.5).moments(ann, ann.acts, 1)
    times = [moment.at for moment in alone]
    assert len(times) == len(set(times)) == len(moments)


def test_of_acts_of_one_moment_the_order_of_the_corpus_counts():
    made = [act(f"p{n}", f"h{n % 2}", *((Verb.REPLY, 0, f"p{n - 1}") if n % 4 else (Verb.POST, 0))) for n in range(12)]
    people = replace(people_of(*made), acts={one.id: one for one in made})
    first = people.personas[1]
    for moment in history(people).moments(first, first.acts, 1):
        assert moment.item_ids[moment.position - 1] == moment.act.target
        assert all(int(name[1:]) < int(moment.act.id[1:]) for name in moment.item_ids)


def test_people_do_nothing_between_acts_of_a_session_or_at_their_own_hours():
    acts = [act(f"p{n}", "ann", Verb.POST, minutes) for n, minutes in enumerate((0, 20, 2000, 2010, 9000))]
    (ann,) = people_of(*acts).personas
    between = {START + timedelta(minutes=10), START + timedelta(minutes=2005)}
    assert set(idle_moments(ann, acts, 0.4)) == between
    evening = replace(ann, hours=tuple(1.0 if hour == 20 else 0.0 for hour in range(24)))
    many = idle_moments(evening, acts, 20.0)
    assert len(many) == 100 and between < set(many) and many == sorted(many)
    drawn = [at for at in many if at not in between]
    assert sum(at.hour == 20 for at in drawn) > 60 and all(acts[0].at <= at <= acts[-1].at for at in many)
    assert len(idle_moments(ann, acts, 0.0)) == 0 and timedelta(minutes=30) == SESSION
    counts = [len(idle_moments(ann, acts[:size], 0.5)) for size in (1, 2, 3, 4, 5)]
    assert all(size / 2 - 1 < count < size / 2 + 1 for size, count in enumerate(counts, 1))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.75, 1.0])
def test_screens_part_a_ranking(share):
    """Screen after screen shows every post once, as many of followees as the share keeps; a target finds its screen."""
    platform = Platform([f"u{n}" for n in range(6)])
    from polyphony.simulation.world.actions import CreatePost, Follow

    when = Moment(0, START)
    platform.act(0, Follow(followee_id=1), when)
    for number in range(50):
        platform.act(1 + number % 5, CreatePost(content=f"post {number}"), Moment(number, START))
    maker = FeedMaker(FeedSettings("chronological", share), [], items=4, seed=1)
    rankings = maker.at(platform, Moment(60, START))
    pages = rankings.pages([PageRequest(0, depth=depth) for depth in range(13)])
    shown = [entry.post_id for page in pages[:12] for entry in page.entries]
    assert len(set(shown)) == len(shown) == 48
    quota = int(np.ceil(4 * share))
    assert sum(entry.source == "followee" for entry in pages[0].entries) == min(quota, 4)
    for depth, page in enumerate(pages[:12]):
        assert page.depth == depth and len(page.entries) == 4
        for entry in page.entries:
            (found,) = rankings.pages([PageRequest(0, targets=[entry.item])])
            assert (found.depth, found.target) == (depth, entry.item) and found.entries == page.entries
    assert pages[12].entries in (pages[11].entries, rankings.pages([PageRequest(0, depth=99)])[0].entries)
    (barred,) = rankings.pages([PageRequest(0, seen=shown[:40], targets=[Item(shown[0])])])
    assert barred.target == Item(shown[0]) and not {entry.post_id for entry in barred.entries} & set(shown[1:40])
    assert rankings.pages([PageRequest(0, targets=[])])[0].depth == 0


def rows(author, number, start, *, step=60, **fields):
    return [
        {"author": author, "id": f"{author}{n}", "text": f"text {n} of {author}",
         "created_at": (START + timedelta(minutes=start + step * n)).isoformat()} | fields for n in range(number)
    ]  # fmt: skip


def load(folder, made, **options):
    path = folder / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return load_population(path, **options)


def test_held_out_acts_are_later_than_one_date_for_everybody(tmp_path):
    made = [row for n in range(4) for row in rows(f"h{n}", 30, 7 * n)] + rows("late", 20, 30 * 60 - 200)
    people = load(tmp_path, made, split="date")
    date = people.split_date
    assert [one.handle for one in people.personas if one.handle == "late"] == [] and people.left_out == 1
    assert all(act.at >= date for one in people.personas for act in one.held_out)
    assert all(act.at < date for one in people.personas for act in (*one.train, *one.validation))
    held_out = sum(act.at >= date for act in people.acts.values())
    assert held_out / len(people.acts) == pytest.approx(0.2, abs=0.02)
    with pytest.raises(InputError, match="8 before 2024-05-.*1 more can be agents with --split person"):
        people.choose(5)
    apart = load(tmp_path, made, split="person")
    assert len(apart.personas) == 5 and apart.split_date is None and all(one.held_out for one in apart.personas)


def test_people_who_left_before_the_date_are_learned_with_nothing_held_out(tmp_path):
    people = load(
        tmp_path, [row for n in range(4) for row in rows(f"h{n}", 30, 7 * n)] + rows("early", 12, 0), split="date"
    )
    early = next(one for one in people.personas if one.handle == "early")
    assert early.is_trainable and early.held_out == () and len(early.validation) == 2


def test_where_no_date_parts_the_people_each_is_split_alone(tmp_path):
    together = load(tmp_path, [row for n in range(3) for row in rows(f"h{n}", 12, 0, step=0)], split="date")
    assert together.split_date is None and len(together.personas) == 3
    assert all(len(one.held_out) == 2 for one in together.personas)
    after_another = load(tmp_path, [row for n in range(5) for row in rows(f"h{n}", 12, 2000 * n)], split="date")
    assert after_another.split_date is not None and len(after_another.personas) == 4 and after_another.left_out == 1


def test_the_menu_is_what_the_people_do(tmp_path):
    from polyphony.simulation.world.action_menu import named_verbs, offered_verbs

    people = load(tmp_path, rows("ann", 12, 0) + [row | {"like_of": "ann0", "text": ""} for row in rows("bob", 3, 900)])
    assert people.verbs == (Verb.POST, Verb.NOTHING), "whoever is no agent has no say"
    assert offered_verbs("population", people.verbs) == named_verbs("population", people.verbs) == people.verbs
    assert offered_verbs("post,reply", people.verbs) == (Verb.POST, Verb.REPLY)
    assert named_verbs("reply", people.verbs) == (Verb.POST, Verb.REPLY, Verb.NOTHING)
