"""What ``simulate personas`` tells of a file: who can be trained and why others cannot, language, posts a person."""

import json
from collections.abc import Callable
from pathlib import Path

from test_languages import TEXTS

from polyphony.personas.summary import FEW_ACTS, FEW_BEFORE, FEW_TEXTS, NO_ACTS

Simulate = Callable[..., tuple[int, str, list[str]]]


def rows(author: str, texts: list[str], day: int, **cells: object) -> list[dict[str, object]]:
    """A post an hour of one day."""
    return [
        {"author": author, "id": f"{author}{number}", "text": text, **cells,
         "created_at": f"2024-05-{day:02d}T{number:02d}:00:00Z"}
        for number, text in enumerate(texts)
    ]  # fmt: skip


def many(texts: list[str]) -> list[str]:
    return (texts * 4)[:20]


def corpus(path: Path) -> Path:
    """Two learners of the first day, one of the last day alone, one with likes alone, one with few posts."""
    ada, bo = TEXTS["de"]
    likes = [
        {
            "author": "dora",
            "id": f"l{number}",
            "created_at": f"2024-05-01T{number:02d}:30:00Z",
            "like_of": f"ada{number}",
        }
        for number in range(12)
    ]
    lines = [
        *rows("ada", many(ada), 1), *rows("bo", many(bo), 1), *rows("cy", many(ada)[:12], 3), *likes,
        *rows("eve", bo[:3], 1),
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_who_can_be_trained_and_why_others_cannot(simulate: Simulate, tmp_path: Path) -> None:
    path = corpus(tmp_path / "a.jsonl")
    code, out, _ = simulate("personas", path, "--json")
    told = json.loads(out)
    assert code == 0 and (told["people"], told["trainable_people"]) == (5, 2)
    assert told["not_trainable"] == {FEW_ACTS: 1, FEW_TEXTS: 1, FEW_BEFORE: 1}
    assert sum(told["not_trainable"].values()) + told["trainable_people"] == told["people"]
    assert told["posts_per_person"] == {
        "least": 0, "lower_quartile": 3, "median": 12, "upper_quartile": 20, "most": 20,
    }  # fmt: skip
    assert told["language"]["code"] == "de" and told["language"]["share"] > 0.9
    needs = told["training"]
    assert needs["people"] == 2 and needs["acts_per_person"] == 24
    assert 2 * 10 < needs["acts"] == needs["prior_acts"] < 2 * 20, "those before validation and what is held out"


def test_people_who_are_only_described_are_named_as_such(simulate: Simulate) -> None:
    told = json.loads(simulate("personas", Path(__file__).parent / "cases" / "o05-people-only.csv", "--json")[1])
    assert told["not_trainable"] == {NO_ACTS: told["people"]} and told["language"] is None
    assert told["training"]["people"] == told["training"]["acts"] == 0


def test_the_text_says_the_same_on_one_screen(simulate: Simulate, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = simulate("personas", corpus(tmp_path / "a.jsonl"))
    assert code == 0 and len(out.splitlines()) <= 24, out
    for said in (
        f"1 ({FEW_ACTS}), 1 ({FEW_TEXTS})",
        "German: 100% of",
        "median 12",
        "all 0 to 20",
        "2 people, at most 24",
    ):
        assert said in out.replace("\n", " "), out
    assert "trained mostly on English: what adapters carry in German has not been measured" in " ".join(out.split())
    assert "carries style and habits, not sense" in " ".join(out.split())


def test_of_an_english_corpus_nothing_is_said_about_other_languages(simulate: Simulate, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in rows("ada", many(TEXTS["en"][0]), 1)))
    told = json.loads(simulate("personas", path, "--json")[1])
    assert told["language"]["name"] == "English" and len(told["notes"]) == 1 and "English" not in told["notes"][0]
