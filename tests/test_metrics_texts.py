"""Measurements of texts against answers known beforehand."""

from pathlib import Path

import numpy as np
import pytest
from run_factory import RunFactory
from sacrebleu import sentence_bleu
from sklearn.metrics import f1_score

from polyphony.metrics.figures.diversity import distinct, self_bleu, semantic_spread, vocabulary_growth
from polyphony.metrics.figures.recovery import mean_correlation, style_of, style_recovery, topic_recovery
from polyphony.metrics.figures.texts import encode_texts
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData
from polyphony.scores import macro_f1

RNG = np.random.default_rng


def posted(texts: list[str], tmp_path: Path, agents: int = 4) -> RunData:
    """A run in which agents write these texts in turn."""
    run = RunFactory(agents, timesteps=1 + len(texts) // agents)
    for number, text in enumerate(texts):
        run.post(1 + number % agents, text)
    return load_run(run.write(tmp_path / "run.db"))


def test_distinct_counts_words_and_triples(tmp_path: Path) -> None:
    found = distinct(posted(["a b c d", "a b c e"], tmp_path), RNG(0))
    assert found["distinct_1"].value == pytest.approx(5 / 8)
    assert found["distinct_3"].value == pytest.approx(3 / 4)  # a b c twice


def test_self_bleu_is_one_where_all_write_the_same_and_small_where_nobody_does(tmp_path: Path) -> None:
    same = self_bleu(posted(["the cat sat on the mat"] * 6, tmp_path), RNG(0))
    assert same.value == pytest.approx(1.0) and same.interval == pytest.approx((1.0, 1.0))
    (tmp_path / "other").mkdir()
    different = [" ".join(f"w{number}x{place}" for place in range(6)) for number in range(6)]
    assert self_bleu(posted(different, tmp_path / "other"), RNG(0)).value < 0.1


def test_self_bleu_is_the_mean_of_sacrebleus_sentences(tmp_path: Path) -> None:
    rng = RNG(0)
    texts = [" ".join(rng.choice(["a", "b", "c", "d", "e,"], size=rng.integers(1, 14))) for _ in range(40)] + ["?"] * 2
    words = [text.replace(",", " ,") for text in texts]
    scores = [
        sentence_bleu(text, words[:place] + words[place + 1 :], tokenize="none").score / 100
        for place, text in enumerate(words)
    ]
    assert self_bleu(posted(texts, tmp_path), RNG(0)).value == pytest.approx(np.mean(scores), abs=1e-12)


def test_vocabulary_grows_as_fast_as_words_are_new(tmp_path: Path) -> None:
    new = [" ".join(f"n{number}x{place}" for place in range(10)) for number in range(40)]
    found = vocabulary_growth(posted(new, tmp_path), RNG(0))
    assert found.value == pytest.approx(1.0) and found.n == 400
    (tmp_path / "old").mkdir()
    assert vocabulary_growth(posted(["a b c d e f g h i j"] * 40, tmp_path / "old"), RNG(0)).value == pytest.approx(0.0)


def test_spread_falls_where_the_later_texts_are_the_same(tmp_path: Path) -> None:
    rng = RNG(0)
    words = [f"word{number}" for number in range(60)]
    early = [" ".join(rng.choice(words, 5)) for _ in range(20)]
    run = posted(early + [early[0]] * 20, tmp_path)
    found = semantic_spread(encode_texts(run), RNG(0))
    assert found["semantic_drift"].value < -0.3 and found["semantic_drift"].null.z < -3
    (tmp_path / "same").mkdir()
    alike = semantic_spread(encode_texts(posted(early[:4] * 10, tmp_path / "same")), RNG(0))
    assert abs(alike["semantic_drift"].null.z) < 3
    assert 0 < alike["semantic_spread"].value < found["semantic_spread"].interval[1]


def test_macro_f1_is_the_librarys_over_the_acts_that_occur() -> None:
    rng = RNG(0)
    truth, guess = rng.choice(["post", "reply"], 60), rng.choice(["post", "reply", "like"], 60)
    expected = f1_score(truth, guess, labels=np.unique(truth), average="macro")
    assert macro_f1(truth, guess, np.ones((1, 60)))[0] == pytest.approx(expected)


def test_mean_correlation_is_that_of_the_columns_that_vary() -> None:
    left, right = RNG(0).normal(size=(30, 3)), RNG(1).normal(size=(30, 3))
    left[:, 2] = 1.0
    expected = np.mean([np.corrcoef(left[:, place], right[:, place])[0, 1] for place in (0, 1)])
    assert mean_correlation(left, right, np.ones((1, 30)))[0] == pytest.approx(expected)
    assert np.isnan(mean_correlation(left[:, 2:], right[:, 2:], np.ones((1, 30)))[0])


def test_marks_of_style() -> None:
    assert style_of("HELLO there! Really?") == pytest.approx((np.log(4), 2, 6 / 16, 0, 0, 0, 1, 1))
    assert style_of("ok \u2600 #sun") == pytest.approx((np.log(4), 0, 0, 1, 1, 1, 0, 0))
    assert style_of("") == pytest.approx((0,) * 8)


def writers(own: bool, tmp_path: Path) -> RunData:
    """People of two topics and many manners, who write in the run like themselves or like somebody else."""
    rng = RNG(3)
    topics = [["bread", "oven", "flour", "dough", "yeast"], ["engine", "wheel", "brake", "clutch", "gear"]]
    run = RunFactory(24)

    def text(person: int) -> str:
        words = " ".join(rng.choice(topics[person % 2], 2 + person % 5))
        return (words.upper() if person % 3 == 0 else words) + ("!" if person % 4 == 0 else "") * 2

    for person in range(24):
        run.rows["agent"][person]["community"] = person % 2
        for split in ("train",) * 4 + ("held_out",):
            run.history(person + 1, split, text(person))
    stranger = RNG(4).permutation(24)
    for person in range(24):
        for _ in range(2):
            run.post(person + 1, text(person if own else int(stranger[person])))
    return load_run(run.write(tmp_path / f"{own}.db"))


def test_topics_and_style_are_recovered_from_people_who_write_like_themselves_alone(tmp_path: Path) -> None:
    for recovery, ceiling, measure in (
        ("topic_recovery", "topic_ceiling", topic_recovery),
        ("style_recovery", "style_ceiling", style_recovery),
    ):
        found, other = (measure(writers(own, tmp_path), RNG(0)) for own in (True, False))
        (tmp_path / "True.db").unlink(), (tmp_path / "False.db").unlink()
        assert found[recovery].value == pytest.approx(found[ceiling].value, abs=0.15) and found[recovery].value > 0.8
        assert found[recovery].null.z > 4 and found[recovery].interval[0] > 0.7
        assert abs(other[recovery].null.z) < 3 and other[ceiling].value == found[ceiling].value


def test_without_known_communities_or_histories_nothing_is_recovered(tmp_path: Path) -> None:
    run = posted(["a b", "c d"], tmp_path)
    assert "no communities" in (topic_recovery(run, RNG(0))["topic_recovery"].reason or "")
    assert "fewer than 3 agents" in (style_recovery(run, RNG(0))["style_recovery"].reason or "")
