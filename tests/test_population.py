"""From acts to personas: splits by time, descriptions, rhythms, follow graph, nested samples."""

import gzip
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from polyphony.errors import InputError
from polyphony.personas.people.sampling import sampling_order
from polyphony.personas.population import Population, load_population, split_ends
from polyphony.personas.summary import summarise


def history(author: str, acts: int = 20, *, text: str = "The compost is warm", day: int = 1) -> list[dict[str, Any]]:
    """Posts of one person, one a quarter of an hour from 18:00 on."""
    return [
        {
            "author": author,
            "id": f"{author}{number}",
            "created_at": f"2024-05-{day:02d}T{18 + number // 4:02d}:{number % 4 * 15:02d}:00Z",
            "text": text,
        }
        for number in range(acts)
    ]


def load(folder: Path, rows: Iterable[dict[str, Any]], name: str = "posts.jsonl") -> Population:
    path = folder / name
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return load_population(path)


def ring(people: int) -> list[dict[str, Any]]:
    """People who each write ten posts and answer their neighbour once."""
    rows = []
    for number in range(people):
        rows += history(f"p{number:02d}", 10, day=2)
        rows.append(
            {"author": f"p{number:02d}", "id": f"r{number}", "created_at": "2024-05-02T18:10:00Z", "text": "yes"}
            | {"reply_to": f"p{(number + 1) % people:02d}0"}
        )
    return rows


@pytest.mark.parametrize(("acts", "ends"), [(10, (7, 8)), (20, (14, 16)), (100, (68, 80)), (42, (29, 34))])
def test_the_last_fifth_is_held_out_and_an_eighth_before_it_validates(acts: int, ends: tuple[int, int]) -> None:
    assert split_ends(acts) == ends


def test_a_population_is_shown_in_one_line(town):
    assert repr(town) == f"Population('town': {len(town.personas)} people can be agents, {len(town.acts)} acts)"


def test_split_is_by_time(tmp_path: Path) -> None:
    (ada,) = load(tmp_path, reversed(history("ada"))).personas
    assert ada.train + ada.validation + ada.held_out == ada.acts
    assert ada.train and ada.validation and ada.held_out
    assert ada.train[-1].at < ada.validation[0].at < ada.held_out[0].at
    assert list(ada.acts) == sorted(ada.acts, key=lambda act: act.at)


def test_nothing_about_a_persona_comes_from_validation_or_held_out_acts(tmp_path: Path) -> None:
    rows = history("ada") + history("bo", text="Trains run late, why?")
    changed = [dict(row) for row in rows]
    for row in changed:
        number = int(row["id"].lstrip("adbo"))
        if number >= 14:
            row |= {"text": "WHAT? #football 🎉 goal goal", "created_at": f"2024-06-01T03:{number}:00Z"}
    changed[15]["reply_to"] = "bo0"
    before, after = load(tmp_path, rows), load(tmp_path, changed)
    assert before.digest != after.digest
    for persona in before.personas:
        (other,) = [each for each in after.personas if each.handle == persona.handle]
        assert persona.held_out != other.held_out
        assert (persona.description, persona.hours, persona.acts_per_day, persona.following) == (
            other.description,
            other.hours,
            other.acts_per_day,
            other.following,
        )


def test_description_tells_what_the_training_acts_show(tmp_path: Path) -> None:
    ada = history("ada", text="are the slugs in the compost again? #garden 🐌")
    bo = history("bo", text="The trains were late and The platform was full")
    for number, row in enumerate(bo[1:11]):
        row["reply_to"] = f"ada{number}"
    people = {persona.handle: persona.description for persona in load(tmp_path, ada + bo).personas}
    assert people["ada"] == (
        "Only original posts; about 9 words each; writes in lower case; often asks questions; uses hashtags and emoji; "
        "often says compost, garden, slugs; mostly active 16-22 h UTC."
    )
    assert people["bo"].startswith("Mostly replies; about 9 words each; often says late, platform, trains")


def test_description_stays_short_and_plain_whatever_people_write(tmp_path: Path) -> None:
    rows = history("ada", text="<|im_start|>system [url] https://evil.example/x @root <script> don't \u202e stop_it")
    (ada,) = load(tmp_path, rows).personas
    assert ada.description.isprintable()
    assert len(ada.description.split()) <= 35
    assert not set("<>|[]@_/\\") & set(ada.description)


def test_people_who_wrote_no_words_have_a_description_without_words(tmp_path: Path) -> None:
    (ada,) = load(tmp_path, history("ada", text="42 !!")).personas
    assert ada.description == "Only original posts; about 2 words each; mostly active 16-22 h UTC."


def test_hours_peak_where_people_act_and_no_hour_is_impossible(tmp_path: Path) -> None:
    (ada,) = load(tmp_path, history("ada")).personas
    assert len(ada.hours) == 24
    assert math.isclose(sum(ada.hours), 1.0)
    assert min(ada.hours) > 0
    assert max(ada.hours) == max(ada.hours[18:22])


def test_rate_counts_a_short_span_as_one_day(tmp_path: Path) -> None:
    (ada,) = load(tmp_path, history("ada")).personas
    assert ada.acts_per_day == len(ada.train) == 14
    slow = history("ada", 7) + history("ada", 13, day=8)
    for number, row in enumerate(slow):
        row["id"] = str(number)
    (ada,) = load(tmp_path, slow).personas
    assert ada.acts_per_day == pytest.approx(14 / (7 + 1.5 / 24))


def test_people_without_enough_acts_stay_in_the_corpus_only(tmp_path: Path) -> None:
    likes = [row | {"like_of": "ada0", "text": ""} for row in history("bo", 14)]
    for row in likes[:5]:
        row |= {"like_of": None, "text": "hm"}
    follows = [row | {"follow_of": "ada", "text": ""} for row in history("cy", 12)]
    population = load(tmp_path, history("ada") + likes + follows + history("di", 9))
    assert [persona.handle for persona in population.personas] == ["ada"]
    assert {act.author for act in population.acts.values()} == {"ada", "bo", "cy", "di"}


def test_choosing_too_many_says_how_many_there_are_and_what_is_enough(tmp_path: Path) -> None:
    population = load(tmp_path, history("ada") + history("bo", 9))
    with pytest.raises(InputError, match=r"posts: 1 of 2 people have enough acts \(10 besides .* at most 1"):
        population.choose(2)
    for agents in (0, -1):
        with pytest.raises(InputError, match="at least 1"):
            population.choose(agents)


def test_nobody_with_enough_acts_can_be_summarised_but_not_chosen(tmp_path: Path) -> None:
    population = load(tmp_path, history("ada", 3))
    assert summarise(population)["eligible_people"] == 0
    with pytest.raises(InputError, match="0 of 1 people"):
        population.choose(1)


def test_without_follow_rows_people_follow_those_they_answered_while_training(tmp_path: Path) -> None:
    rows = history("ada") + history("bo", 20) + history("cy", 3)
    rows[25]["reply_to"] = "ada0"
    rows[26]["quote_of"] = "cy0"
    rows[27]["reply_to"] = "bo0"
    rows[39]["reply_to"] = "gone"
    rows[5]["reply_to"] = "cy0"
    rows[18]["reply_to"] = "bo0"
    people = {persona.handle: persona.following for persona in load(tmp_path, rows).personas}
    assert people == {"ada": ("cy",), "bo": ("ada", "cy")}


def test_recorded_follows_are_the_follow_graph(tmp_path: Path) -> None:
    rows = history("ada") + history("bo")
    rows[5]["reply_to"] = "bo0"
    rows.append({"author": "bo", "id": "f", "created_at": "2024-05-01T18:01:00Z", "follow_of": "ada"})
    people = {persona.handle: persona.following for persona in load(tmp_path, rows).personas}
    assert people == {"ada": (), "bo": ("ada",)}


def test_smaller_samples_are_part_of_larger_ones_and_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = ring(24)
    population, again = load(tmp_path, rows), load(tmp_path, reversed(rows))
    for agents in range(1, 24):
        assert population.choose(agents + 1)[:agents] == population.choose(agents)
    assert len(set(population.personas)) == 24
    assert population.digest == again.digest
    assert [one.handle for one in population.personas] == [one.handle for one in again.personas]


def test_samples_keep_neighbours_together() -> None:
    ring_of_rings = {
        f"{circle}-{place}": [f"{circle}-{(place + step) % 20}" for step in (-2, -1, 1, 2)]
        for circle in range(10)
        for place in range(20)
    }
    first = set(sampling_order(ring_of_rings, "any")[:40])
    kept = [sum(other in first for other in ring_of_rings[handle]) for handle in first]
    assert sum(kept) / len(kept) > 3, "a uniform sample of a fifth keeps 0.8 of 4 neighbours"


def test_isolated_people_are_sampled_too() -> None:
    assert sorted(sampling_order({"a": ["b"], "b": ["a"], "c": [], "d": []}, "any")) == ["a", "b", "c", "d"]


def test_planted_communities_come_from_the_ground_truth_beside_a_town(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(json.dumps({"people": {"ada": {"community": 3}}}), encoding="utf-8")
    people = load(tmp_path, history("ada") + history("bo"), "posts.jsonl.gz").personas
    assert {persona.handle: persona.community for persona in people} == {"ada": 3, "bo": None}
    assert all("3" not in persona.description for persona in people)


def test_broken_ground_truth_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"truth\.json: not a town's ground truth"):
        load(tmp_path, history("ada"), "posts.jsonl.gz")


def test_summary_is_json_and_counts(tmp_path: Path) -> None:
    rows = [*history("ada"), *history("bo", 4, day=2), history("cy", 1, day=3)[0] | {"text": ""}]
    rows[20]["reply_to"] = "ada0"
    summary = json.loads(json.dumps(summarise(load(tmp_path, rows))))
    assert summary["name"] == "posts"
    assert (summary["people"], summary["eligible_people"], summary["posts"]) == (2, 1, 24)
    assert summary["acts"] == {"post": 23, "reply": 1}
    assert summary["span"] == ["2024-05-01T18:00:00+00:00", "2024-05-02T18:45:00+00:00"]
    assert summary["median_texts_per_person"] == 12
    assert [(problem["kind"], problem["count"], problem["first_row"]) for problem in summary["problems"]] == [
        ("missing text", 1, 25)
    ]


def test_real_posts_become_personas_quickly(real_posts: Path) -> None:
    load_population(real_posts)
    started = time.perf_counter()
    population = load_population(real_posts)
    assert time.perf_counter() - started < 2
    assert len(population.choose(48)) == 48
    assert (len(population.personas), population.left_out) == (58, 3)
    by_person = load_population(real_posts, split="person")
    assert (len(by_person.personas), by_person.left_out) == (61, 0)
    assert all(len(persona.description.split()) <= 35 for persona in population.personas)
    assert summarise(population)["people"] == 202
