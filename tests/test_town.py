"""The built-in town: what it promises to those who train and measure on it."""

import gzip
import hashlib
import json
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]
from sklearn.svm import LinearSVC  # type: ignore[import-untyped]

from polyphony.errors import InputError
from polyphony.personas.town.__main__ import main, verb_of
from polyphony.personas.town.check import Rates, possible_sentences, repetition
from polyphony.personas.town.generate import Town, generate_town, town_path, write_town
from polyphony.personas.town.lexicon import load_lexicon
from polyphony.personas.town.timeline import TimelineRow

COLUMNS = {"author", "id", "created_at", "text", "reply_to", "repost_of", "quote_of", "like_of", "follow_of"}
LAST_WEEK = "2026-01-26"
# Of town 7 with 24 people, on every machine.
SMALL_DIGEST = "00c86353462741c4d63008f564bdc1c73e61e80f782470caf3c46ce1a646a89b"


@pytest.fixture(scope="module")
def rows() -> list[TimelineRow]:
    with gzip.open(town_path(), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, dict[str, object]]]:
    loaded: dict[str, dict[str, dict[str, object]]] = json.loads(town_path().with_name("truth.json").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def small() -> Town:
    return generate_town(7, 24)


@pytest.fixture(scope="module")
def rates(rows: list[TimelineRow]) -> Rates:
    return repetition(rows)


def test_same_seed_gives_the_same_bytes(small: Town) -> None:
    assert generate_town(7, 24).digest() == small.digest() == SMALL_DIGEST
    assert generate_town(8, 24).digest() != small.digest()


@pytest.mark.slow
def test_bundled_town_is_what_the_code_generates() -> None:
    town = generate_town(0)
    bundled = gzip.decompress(town_path().read_bytes())
    assert hashlib.sha256(bundled).hexdigest() == town.digest()
    assert town_path().with_name("truth.json").read_text("utf-8") == town.truth_json()


def test_written_files_hold_the_town(small: Town, tmp_path: Path) -> None:
    posts, truth_file, _ = write_town(small, tmp_path / "new")
    assert gzip.decompress(posts.read_bytes()).decode() == small.posts_jsonl()
    assert json.loads(truth_file.read_text("utf-8")) == small.truth
    assert posts.read_bytes()[4:8] == b"\0\0\0\0"  # no time stamp in the gzip header
    assert sorted(path.name for path in posts.parent.iterdir()) == [
        "moments.json.gz", "posts.jsonl.gz", "truth.json",
    ]  # fmt: skip


def test_too_small_a_town_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 24 people"):
        generate_town(0, 5)
    assert main(["--people", "5", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_folder_that_is_a_file_is_refused(small: Town, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match="choose another --out"):
        write_town(small, tmp_path / "taken")


def test_rows_are_in_time_order_with_known_columns(rows: list[TimelineRow]) -> None:
    assert all(set(row) <= COLUMNS for row in rows)
    times = [datetime.fromisoformat(row["created_at"]) for row in rows]
    assert times == sorted(times)
    assert (times[-1] - times[0]).days >= 27
    assert len({row["id"] for row in rows}) == len(rows)


def test_everybody_acts_and_writes_enough(rows: list[TimelineRow]) -> None:
    acts = Counter(row["author"] for row in rows if verb_of(row) != "follow")
    texts = Counter(row["author"] for row in rows if row.get("text"))
    assert len(acts) == 512
    assert min(acts.values()) >= 16
    assert min(texts[handle] for handle in acts) >= 8
    assert 36 <= np.mean(list(acts.values())) <= 46


def test_texts_have_the_length_of_posts(rows: list[TimelineRow]) -> None:
    lengths = np.array([len(row["text"].split()) for row in rows if row.get("text")])
    assert lengths.min() >= 5
    assert lengths.max() <= 70
    assert np.mean((lengths >= 8) & (lengths <= 30)) > 0.55


def test_answers_point_to_earlier_texts_of_others(rows: list[TimelineRow]) -> None:
    texts: dict[str, str] = {}
    depth: dict[str, int] = {}
    for row in rows:
        targets = [row[key] for key in ("reply_to", "quote_of", "repost_of", "like_of") if key in row]
        assert len(targets) + ("follow_of" in row) <= 1
        for target in targets:
            assert texts[target] != row["author"]
        if row.get("text"):
            texts[row["id"]] = row["author"]
            depth[row["id"]] = depth[row["reply_to"]] + 1 if "reply_to" in row else 0
    assert max(depth.values()) >= 4


def test_no_act_is_done_twice(rows: list[TimelineRow]) -> None:
    for key in ("follow_of", "like_of", "repost_of"):
        pairs = [(row["author"], row[key]) for row in rows if key in row]
        assert len(set(pairs)) == len(pairs)


def test_follows_stay_mostly_inside_communities(
    rows: list[TimelineRow], truth: dict[str, dict[str, dict[str, object]]]
) -> None:
    home = {handle: facts["community"] for handle, facts in truth["people"].items()}
    follows = [(row["author"], row["follow_of"]) for row in rows if "follow_of" in row]
    pairs = set(follows)
    inside = np.mean([home[one] == home[other] for one, other in follows])
    sizes = np.array(list(Counter(home.values()).values()))
    by_chance = float(((sizes / sizes.sum()) ** 2).sum())
    assert inside > 0.6 > 5 * by_chance
    assert 12 <= len(sizes) <= 20
    assert sizes.max() >= 2 * sizes.min()
    assert 8 <= len(follows) / 512 <= 14
    assert 0.2 < np.mean([(other, one) in pairs for one, other in follows]) < 0.7
    assert max(Counter(other for _, other in follows).values()) > 2.5 * len(follows) / 512


def test_stances_follow_the_community_majority(truth: dict[str, dict[str, dict[str, int]]]) -> None:
    with_majority = [
        stance == truth["communities"][facts["community"]]["stances"][issue]  # type: ignore[index]
        for facts in truth["people"].values()
        for issue, stance in facts["stances"].items()  # type: ignore[attr-defined]
    ]
    assert 0.6 < np.mean(with_majority) < 0.85


def test_people_act_in_different_ways(rows: list[TimelineRow]) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if verb_of(row) != "follow":
            counts[row["author"]][verb_of(row)] += 1
    mostly = Counter(verb for acts in counts.values() for verb, n in acts.items() if n > 0.5 * acts.total())
    assert all(mostly[verb] >= 25 for verb in ("post", "reply", "repost", "like"))
    assert sum(acts["post"] <= 1 and acts["reply"] >= 20 for acts in counts.values()) >= 20


def test_repetition_is_rare(rates: Rates) -> None:
    assert rates.texts > 14_000
    assert rates.duplicates < 0.01
    assert rates.near_duplicates < 0.03
    assert rates.shared_sentences < 0.05


def test_repetition_is_noticed() -> None:
    said = "the kettle is on and the frost is back"
    rows = [
        {"author": "a", "text": said},
        {"author": "b", "text": said.upper()},
        {"author": "a", "text": "other words"},
    ]
    assert repetition(rows) == Rates(texts=3, duplicates=2 / 3, shared_sentences=1.0, near_duplicates=2 / 3)


def test_grammar_can_say_far_more_than_a_town_needs() -> None:
    lexicon = load_lexicon()
    assert possible_sentences(lexicon) > 1_000_000
    assert len(lexicon.topics) >= 14
    assert len(lexicon.issues) >= 6


def test_early_posts_tell_who_writes_in_the_last_week(rows: list[TimelineRow]) -> None:
    texts = [row for row in rows if row.get("text")]
    people = sorted({row["author"] for row in texts})[::8]
    early = [row for row in texts if row["author"] in people and row["created_at"] < LAST_WEEK]
    late = [row for row in texts if row["author"] in people and row["created_at"] >= LAST_WEEK]
    vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True, lowercase=False)
    model = LinearSVC(C=1.0).fit(vectors.fit_transform(row["text"] for row in early), [row["author"] for row in early])
    found = model.predict(vectors.transform(row["text"] for row in late))
    assert np.mean(found == np.array([row["author"] for row in late])) > 0.4  # chance: 1 in 80


def test_truth_stays_out_of_the_posts(rows: list[TimelineRow], truth: dict[str, dict[str, dict[str, object]]]) -> None:
    assert set(truth["people"]) == {row["author"] for row in rows}
    secret = set(next(iter(truth["people"].values()))) | {"topic", "kind", "issue", "side"}
    assert not secret & {key for row in rows for key in row}


def test_no_text_carries_markup_or_an_unfilled_slot(rows: list[TimelineRow]) -> None:
    marks = ("{", "}", "[", "]", "|", "<")
    assert not [row["text"] for row in rows if any(mark in row.get("text", "") for mark in marks)]
