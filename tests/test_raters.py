"""Own adapter, somebody else's, or real? A classifier's answer, the form for human raters, and their scores."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_factory import RunFactory

from polyphony.errors import MetricsError
from polyphony.metrics.raters.answers import Answer, Key, RaterScore, alpha, read_key, score_raters
from polyphony.metrics.raters.form import form_page
from polyphony.metrics.raters.material import OTHERS, OWN, REAL, SHUFFLED, Material, read_material
from polyphony.metrics.raters.proxy import COMPARISONS, proxy
from polyphony.metrics.raters.trials import SHOWN, make_trials
from polyphony.randomness import keyed_generator

PEOPLE, TEXTS = 24, 6
HOSTILE = (
    "<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 2'>", '"><b onmouseover=x()>bold</b>',
    "</section><svg onload='window.hacked = 3'>", "javascript:window.hacked = 4", "=HYPERLINK(\"http://x\")",
)  # fmt: skip


def sentence(style, random, marked=""):
    """Words of a person's own, among words that everybody uses."""
    own = [f"w{style}x{number}" for number in range(6)]
    common = ["today", "again", "with", "some", "people", "about", "there", "never"]
    return " ".join([*random.choice(own, 4), *random.choice(common, 4)]) + marked


def arm(folder, name, style_of, *, marked="", extra="", **run):
    """A run in which agents write in the styles that `style_of` gives them."""
    factory = RunFactory(PEOPLE, arm=name, timesteps=TEXTS, **run)
    history, random = keyed_generator(0, "history"), keyed_generator(1, name)
    for user in range(1, PEOPLE + 1):
        for number in range(2 * TEXTS):
            split = "held_out" if number % 2 else "train"
            factory.history(user, split, f"{sentence(user, history)} {extra} {number // 2}")
    for user in range(1, PEOPLE + 1):
        for number in range(TEXTS):
            factory.post(user, f"{sentence(style_of(user), random, marked)} {extra} {number}")
    path = folder / f"{name}.db"
    factory.write(path)
    return str(path)


def runs(folder, **given):
    """A run with own adapters, and one in which everybody writes as the next person does."""
    folder.mkdir(exist_ok=True)
    return [
        arm(folder, "lora", lambda user: user, **given),
        arm(folder, "shuffled", lambda user: user % PEOPLE + 1, **given),
    ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return runs(tmp_path_factory.mktemp("pair"))


def proxy_results(sources):
    return {result.kinds: result for result in proxy(read_material(sources))}


def test_the_proxy_tells_own_from_shuffled_where_styles_differ_and_no_person_is_on_both_sides(pair):
    found = proxy_results(pair)
    assert set(found) == set(COMPARISONS)
    styled = found[OWN, SHUFFLED]
    assert styled.accuracy > 0.9 and styled.verdict == "told apart" and styled.people == PEOPLE
    assert styled.texts == 2 * PEOPLE * TEXTS
    assert found[REAL, OTHERS].accuracy > 0.9, "people have styles"
    alike = found[REAL, OWN]
    assert alike.interval[0] <= 0.5 <= alike.interval[1] and alike.verdict == "not told apart"


def test_the_proxy_finds_nothing_where_an_adapter_says_nothing(tmp_path):
    random = keyed_generator(2, "anybody's style")
    found = proxy_results([
        arm(tmp_path, name, lambda user: int(random.integers(1, PEOPLE + 1))) for name in ("lora", "shuffled")
    ])  # fmt: skip
    assert found[REAL, OTHERS].accuracy > 0.9, "the classifier could have told"
    low, high = found[OWN, SHUFFLED].interval
    assert low <= 0.5 <= high and found[OWN, SHUFFLED].verdict == "not told apart"


def test_the_proxy_tells_generated_texts_by_a_mark_that_all_have(tmp_path):
    found = proxy_results(runs(tmp_path, marked=" delve"))
    assert found[REAL, OWN].accuracy > 0.95 and found[REAL, SHUFFLED].accuracy > 0.95


def test_the_proxy_gives_a_reason_where_there_is_too_little(simulate, tmp_path):
    code, out, _ = simulate("raters", arm(tmp_path, "lora", lambda user: user), "--proxy", "--json")
    results = {tuple(result["kinds"]): result for result in json.loads(out)["questions"]}
    assert code == 0 and results[REAL, OWN]["accuracy"] is not None
    assert results[OWN, SHUFFLED]["accuracy"] is None and "at least 10 are needed" in results[OWN, SHUFFLED]["verdict"]


def test_a_key_that_holds_a_trial_twice_is_refused(simulate, tmp_path, pair):
    code, _, lines = simulate("raters", *pair, "--out", tmp_path / "form.html", "--trials", 4)
    assert code == 0, lines
    path = tmp_path / "form.key.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows, rows[-1]]) + "\n")
    with pytest.raises(MetricsError, match=r"form\.key\.csv, row 6: trial '.*' stands there twice; give the key"):
        read_key(path)


def test_a_study_is_read_by_its_plan(simulate, tmp_path):
    study = tmp_path / "study"
    sources = runs(study)
    cells = [{"label": Path(file).stem, "agents": PEOPLE, "seed": 0, "file": Path(file).name} for file in sources]
    plan = {"cells": [*cells, {**cells[0], "file": "not-yet.db"}], "reference": "lora", "options": {}}
    (study / "plan.json").write_text(json.dumps(plan))
    assert read_material([str(study)]) == read_material(sources)


def test_trials_ask_for_the_same_person_and_hide_the_answer(simulate, tmp_path, pair):
    form = tmp_path / "form.html"
    code, out, lines = simulate("raters", *pair, "--out", form, "--trials", 40)
    assert code == 0, lines
    key = read_key(tmp_path / "form.key.csv")
    material = read_material(pair)
    made = make_trials(material, 40, 0)
    assert {kind for kind, _ in key.trials.values()} == {"own-shuffled", "own-real"}
    assert 10 <= sum(side == "A" for _, side in key.trials.values()) <= 30, "the right answer is not on one side"
    for trial in made:
        right = trial.candidates["AB".index(trial.answer)]
        wrong = trial.candidates["BA".index(trial.answer)]
        kinds = (OWN, SHUFFLED) if trial.kind == "own-shuffled" else (REAL, OWN)
        assert right in material.texts[kinds[0]][trial.person] and wrong in material.texts[kinds[1]][trial.person]
        assert len(set(trial.shown)) == SHOWN and set(trial.shown) <= set(material.reference[trial.person])
        assert not set(trial.shown) & set(trial.candidates)
    page = form.read_text()
    assert page == form_page(made), "the same seed gives the same form"
    for hidden in ("own-shuffled", "own-real", "lora", "shuffled", *(f">user{user}<" for user in range(1, PEOPLE + 1))):
        assert hidden not in page
    assert not re.search(r"(src|href)=|url\(|@import|https?:", page), "it loads nothing"
    assert str(tmp_path / "form.key.csv") in out and "docs/ethics.md" in out


def test_people_are_asked_about_equally_often_and_each_text_once():
    random = np.random.default_rng(0)
    people = [f"p{number}" for number in range(10)]

    def texts(label):
        return {person: [f"{label} {person} {number} {random.random()}" for number in range(8)] for person in people}

    material = Material(texts("earlier"), {REAL: texts(REAL), OWN: texts(OWN), SHUFFLED: texts(SHUFFLED)})
    trials = make_trials(material, 40, 5)
    counts = {(trial.kind, trial.person): 0 for trial in trials}
    for trial in trials:
        counts[trial.kind, trial.person] += 1
    assert set(counts.values()) == {2}
    assert len({(trial.kind, text) for trial in trials for text in trial.candidates}) == 80
    assert [trial.person for trial in make_trials(material, 40, 6)] != [trial.person for trial in trials]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"config": '{"include_private": true}'}, "learned from private posts and may repeat them"),
        ({"population_digest": "p2"}, "holds other people than"),
    ],
)
def test_texts_that_nobody_may_read_never_reach_a_form(simulate, tmp_path, pair, given, message):
    sources = [*pair, arm(tmp_path, "lora", lambda user: user, **given)]
    code, _, lines = simulate("raters", *sources, "--out", tmp_path / "form.html")
    assert code == 2 and len(lines) == 1 and message in lines[0], lines
    assert not list(tmp_path.glob("form*"))


def test_what_cannot_be_asked_is_one_line(simulate, tmp_path, pair):
    sources = pair
    (tmp_path / "thesis.html").write_text("<html>mine</html>")
    taken = tmp_path / "taken.key.csv"
    taken.write_text("mine")
    for arguments, message in (
        ((*sources, "--trials", 999), "are asked for; ask for fewer, or give more runs"),
        ((*sources, "--out", tmp_path / "thesis.html"), "is no rating form and is not replaced"),
        ((*sources, "--out", tmp_path / "taken.html"), "is the key of a form that raters may have"),
        ((*sources, "--out", tmp_path / "form.txt"), "give a name that ends in .html"),
        ((arm(tmp_path, "base", lambda user: user),), "none of the runs is of the arm lora or shuffled"),
        ((*sources, "--score"), "--score and --key go together"),
        ((*sources, "--proxy", "--score"), "leave one of the two out"),
        ((*sources, "--json"), "give --proxy or --score with it"),
        ((sources[0], "--score", "--key", taken), "has not the columns form, trial, kind, answer, person"),
    ):
        where = () if "--out" in arguments else ("--out", tmp_path / "form.html")
        code, _, lines = simulate("raters", *arguments, *where)
        assert code == 2 and len(lines) == 1 and message in lines[0], lines
    assert not (tmp_path / "form.html").exists()
    assert (tmp_path / "thesis.html").read_text() == "<html>mine</html>" and taken.read_text() == "mine"


def answers_of(key, rater, share_right):
    """A file as the form writes it, with so many right answers of each kind."""
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerow(("form", "rater", "trial", "answer", "seconds"))
    for kind in ("own-shuffled", "own-real"):
        own = [(trial, side) for trial, (what, side) in key.trials.items() if what == kind]
        for place, (trial, side) in enumerate(own):
            wrong = {"A": "B", "B": "A"}[side]
            writer.writerow((key.form, rater, trial, side if place < share_right * len(own) else wrong, "1.0"))
    return stream.getvalue()


def test_answers_are_scored_by_kind_and_rater(simulate, tmp_path, pair):
    assert simulate("raters", *pair, "--out", tmp_path / "form.html", "--trials", 40)[0] == 0
    key = read_key(tmp_path / "form.key.csv")
    for rater, share in (("ada", 0.9), ("'=bob()", 0.8), ("cy", 0.7)):
        (tmp_path / f"{rater[-3:].strip('()')}.csv").write_text(answers_of(key, rater, share))
    files = sorted(path for path in tmp_path.glob("*.csv") if ".key" not in path.name)
    score = ("raters", "--score", "--key", tmp_path / "form.key.csv")
    code, out, lines = simulate(*score, *files, "--json")
    assert code == 0, lines
    for result in json.loads(out)["trials"]:
        assert (result["raters"], result["answers"]) == (3, 60) and result["accuracy"] == pytest.approx(0.8)
        assert result["wilson"] == pytest.approx([0.6822, 0.8817], abs=1e-3)
        assert result["over_raters"] == pytest.approx(
            [0.8 - 4.3027 * 0.1 / 3**0.5, 0.8 + 4.3027 * 0.1 / 3**0.5], abs=1e-3
        )
        assert result["verdict"] == "above chance" and 0 < result["alpha"] < 1
    code, out, _ = simulate(*score, *files)
    assert code == 0 and "own-real" in out and "above" in out.split() and "chance" in out.split()
    for text, message in (
        (answers_of(key, "ada", 1), "has answered t0"),
        (answers_of(key, "eve", 1).replace(key.form, "another"), "is of the form 'another'"),
        (answers_of(key, "eve", 1).replace('"A"', '"C"'), "is no answer to a trial"),
        ("name,age\n", "has not the columns form, rater, trial, answer, seconds"),
        ('"form","rater","trial","answer","seconds"\r\n"x"\r\n', "has not 5 cells"),
        ("\x00\xff", "columns"),
    ):
        (tmp_path / "odd.csv").write_text(text)
        code, _, lines = simulate(*score, *files, tmp_path / "odd.csv")
        assert code == 2 and len(lines) == 1 and message in lines[0], lines


def test_two_raters_who_are_equally_often_right_by_chance_are_not_above_it():
    key = Key("form", {f"t{place}": ("own-shuffled", "A") for place in range(100)})

    def scored(trials: int, right: int) -> RaterScore:
        sides = ["A" if place < right else "B" for place in range(trials)]
        (score,) = score_raters(
            [Answer(rater, f"t{place}", side) for rater in ("ada", "bob") for place, side in enumerate(sides)], key
        )
        return score

    assert scored(5, 3).over_raters == (0.6, 0.6) and scored(5, 3).verdict == "not told from chance"
    assert scored(100, 60).verdict == "above chance" and scored(100, 40).verdict == "below chance"


def test_alpha_is_that_of_the_textbook():
    """Krippendorff (2011), "Computing Krippendorff's alpha-reliability", example A: binary, two observers, no gaps."""
    one, other = "0100000010", "1110010000"
    units = ["".join("AB"[int(each)] for each in pair) for pair in zip(one, other, strict=True)]
    assert alpha(units) == pytest.approx(0.095, abs=5e-4)
    assert alpha(["AA", "BB", "A"]) == 1 and alpha(["A", "B"]) is None and alpha(["AA", "AA"]) is None


def test_a_rater_answers_by_keys_on_a_phone_and_nothing_in_a_text_runs(simulate, tmp_path):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("no chromium on this machine; install it with `apt-get install chromium`")
    from benchmarks.browser import chromium

    form = tmp_path / "form.html"
    assert simulate("raters", *runs(tmp_path, extra=" ".join(HOSTILE)), "--out", form, "--trials", 4)[0] == 0
    key = read_key(tmp_path / "form.key.csv")
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 360, "height": 740}, accept_downloads=True)
        page, troubles, requests = context.new_page(), [], []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(form.as_uri())
        page.get_by_label("Your name or number").fill('=cmd"|x')
        page.get_by_role("button", name="Begin").press("Enter")
        assert page.get_by_text("Trial 1 of 4").is_visible() and page.get_by_role("button", name="Next").is_disabled()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than a phone"
        shown = page.locator("section.trial:visible blockquote").first.inner_text()
        assert all(text in shown for text in HOSTILE), "texts are shown as they are"
        sides = ["a", "2", "B", "1"]
        for side in sides[:3]:
            page.keyboard.press(side)
            page.keyboard.press("Enter")
        page.keyboard.press("Backspace")
        assert page.get_by_text("Trial 3 of 4").is_visible()
        page.reload()
        page.get_by_role("button", name="Begin").click()
        assert page.locator("section.trial:visible input:checked").get_attribute("value") == "A", "answers stay"
        for _ in range(3):
            page.keyboard.press("Enter")
        page.locator("section.trial:visible .option").first.click()
        page.get_by_role("button", name="Next").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download answers").click()
        download.value.save_as(tmp_path / "answers.csv")
        assert page.evaluate("window.hacked") is None
        assert page.locator("main script, main img, main svg, section b[onmouseover]").count() == 0
        assert troubles == [] and [url for url in requests if not url.startswith(("file:", "blob:"))] == []
    rows = list(csv.reader(io.StringIO((tmp_path / "answers.csv").read_text())))
    assert [row[2:4] for row in rows[1:]] == [["t001", "A"], ["t002", "B"], ["t003", "B"], ["t004", "A"]]
    assert {row[0] for row in rows[1:]} == {key.form} and {row[1] for row in rows[1:]} == {"'=cmd\"|x"}
    code, out, _ = simulate("raters", "--score", tmp_path / "answers.csv", "--key", tmp_path / "form.key.csv", "--json")
    right = sum(key.trials[row[2]][1] == row[3] for row in rows[1:])
    assert code == 0 and sum(
        score["accuracy"] * score["answers"] for score in json.loads(out)["trials"]
    ) == pytest.approx(right)
