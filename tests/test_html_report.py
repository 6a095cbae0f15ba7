"""The report to share: one file that fetches nothing, and shows what came out of corpora and models as text alone."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from run_factory import RunFactory

from polyphony.metrics.core.registry import PRIMARY
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.studies.compare import Difference
from polyphony.metrics.studies.evidence import Evidence, FigureRow
from polyphony.metrics.studies.html_report import MARK, ReportContent, _chart, _threads, _words, report_page

DEMO = Path("data/demo")
HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(1)> $\\frac{1}{0}$ ![x](http://a.b/c.png) \x1b[31m \u202e"


class Page(HTMLParser):
    """The tags, attributes and words of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)


def written(path, arm, text="some words", **run):
    """A run with a thread."""
    factory = RunFactory(4, arm=arm, **run)
    post = factory.post(1, text)
    answer = factory.comment(2, post, "an answer")
    factory.comment(3, post, f"and {text}", parent=answer)
    factory.repost(4, post)
    return str(factory.write(path))


def page_of(path):
    """The page, which must fetch nothing."""
    text = path.read_text()
    page = Page(text)
    assert text.startswith("<!doctype html>") and MARK in text
    assert not {"script", "img", "iframe", "link", "object", "embed", "base"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
    assert all(value.startswith("#") for value in sources)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    styles = "".join(value for name, value in page.attributes if name == "style") + text[text.index("<style>") :]
    assert "url(" not in styles.split("</style>")[0] and "@import" not in text
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes
    return page, " ".join(" ".join(page.words).split())


def test_two_arms_are_told_in_one_file_that_fetches_nothing(simulate, tmp_path):
    files = [written(tmp_path / f"{arm}.db", arm, f"{arm} {HOSTILE}") for arm in ("base", "lora")]
    out = tmp_path / "report.html"
    code, printed, _ = simulate("report", *files, "--out", out)
    page, words = page_of(out)

    assert code == 0 and printed.strip() == f"report: {out}"
    assert "base, lora: 4 agents" in words and "One seed: this says nothing about other runs" in words
    assert page.tags.count("svg") >= 3 and "A text each of agents drawn by lot" in words
    assert "@user1 lora <script>alert(1)</script> <img src=x" in words and "![x](http://a.b/c.png)" in words
    assert "\x1b" not in words and "\u202e" not in words
    assert "@user3 reply to @user2 and" in words, "the deepest thread"
    assert "timesteps" in words and "share it as you would share their posts" in words
    assert "Student's t" in words and "digest of lora, 4 agents, seed 1" in words and "Effective communities" in words


def test_one_run_and_runs_that_differ_in_a_setting_are_told_too(simulate, tmp_path):
    one = written(tmp_path / "one.db", "lora", config='{"feed": {"recommender": "random"}}')
    other = written(tmp_path / "other.db", "lora", config='{"feed": {"recommender": "$x$"}}')
    assert simulate("report", one, "--out", tmp_path / "one.html")[0] == 0
    assert "This is one arm alone" in page_of(tmp_path / "one.html")[1]
    assert simulate("report", one, other, "--out", tmp_path / "two.html")[0] == 0
    words = page_of(tmp_path / "two.html")[1]
    assert "recommender=random, recommender=$x$: 4 agents" in words and "drawn by lot" in words


def test_a_study_is_told_from_its_directory(simulate, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(DEMO, study)
    for arm in ("base", "lora", "pooled"):
        (study / "runs" / f"{arm}-24-1.db").unlink()
    assert simulate("report", study, "--out", tmp_path / "study.html")[0] == 0
    page, words = page_of(tmp_path / "study.html")
    assert "base, lora, pooled: 24 agents" in words and "3 runs of the plan are not finished" in words
    assert "Against base, lora" in words or "Between lora and base" in words
    assert (
        len(re.findall(r"digest of (?:base|lora|pooled), 24 agents, seed 0", words)) == 3
        and page.tags.count("svg") == 10
    )


def test_a_study_without_its_reference_keeps_its_arms_and_says_why(simulate, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(DEMO, study)
    for path in (study / "runs").glob("*.db"):
        if path.name not in ("lora-24-0.db", "pooled-24-0.db"):
            path.unlink()
    assert simulate("report", study, "--out", tmp_path / "study.html")[0] == 0
    words = page_of(tmp_path / "study.html")[1]
    assert "lora, pooled: 24 agents" in words and "Nothing is compared: no run of the reference arm 'base'" in words
    assert "drawn by lot" in words and "less None" not in words and "less base" not in words


def test_runs_that_do_not_belong_together_are_refused(simulate, tmp_path):
    one = written(tmp_path / "one.db", "lora")
    for name, run in (
        ("people", {"population_digest": "p2", "seed": 2}), ("length", {"timesteps": 3, "seed": 2}), ("twice", {}),
    ):  # fmt: skip
        other = written(tmp_path / f"{name}.db", "lora", **run)
        code, _, err = simulate("report", one, other, "--out", tmp_path / "out.html")
        assert code == 2 and not (tmp_path / "out.html").exists(), err
    assert (
        simulate("report", one, written(tmp_path / "seed.db", "lora", seed=2), "--out", tmp_path / "out.html")[0] == 0
    )


def test_a_long_finding_is_whole_and_an_agents_text_is_cut():
    differences = tuple(
        Difference(name, "lora", "base", 8, 1.0, (0.5, 1.5), 1.0, 0.01, 0.02, 5, 4, None) for name in PRIMARY
    )
    evidence = Evidence("base", ("base", "lora" * 200), (8,), (), differences, None)
    page = report_page(ReportContent("title", evidence, {}, ["method " * 200 + "end of it"], []))
    assert "end of it" in page and "lora" * 200 in page
    assert _words("x" * 700).endswith("x…") and len(_words("x" * 700)) == 601


def test_a_thread_leads_to_its_deepest_answer_first(tmp_path):
    factory = RunFactory(4)
    post = factory.post(1, "first")
    for number in range(12):
        factory.comment(2 + number % 3, post, f"side {number}")
    deep = factory.comment(2, post, "deep")
    factory.comment(3, post, "deepest", parent=deep)
    text = _threads({"lora": load_run(factory.write(tmp_path / "run.db"))})
    shown = re.findall(r"first|side \d+|deepest|deep", text.split("</h3>")[1])
    assert shown[:3] == ["first", "deep", "deepest"] and len(shown) == 10
    assert "5 more are left out" in text


def test_an_interval_that_does_not_hold_its_value_is_drawn():
    rows = tuple(FigureRow(arm, 8, 0, "act_entropy_bits", 2.585, 1.25, 2.25) for arm in ("base", "a$b$" * 20))
    evidence = Evidence(None, ("base", "a$b$" * 20), (8,), rows, (), "why")
    assert _chart(evidence, "act_entropy_bits").count("a$b$") >= 10


@pytest.mark.parametrize("case", ["another file", "a folder beside a run", "no run"])
def test_what_cannot_be_is_one_line_and_writes_nothing(simulate, tmp_path, case):
    run, out = written(tmp_path / "run.db", "lora"), tmp_path / "out.html"
    words = ["report", run, "--out", out]
    if case == "another file":
        out.write_text("mine")
    elif case == "a folder beside a run":
        words.insert(1, tmp_path)
    else:
        words[1] = tmp_path / "absent.db"
    code, printed, err = simulate(*words)
    assert (code, printed, len(err)) == (2, "", 1)
    assert out.read_text() == "mine" if case == "another file" else not out.exists()
    out.unlink(missing_ok=True)
    assert simulate("report", run, "--out", out)[0] == 0
    assert simulate("report", run, "--out", out)[0] == 0, "an earlier report is replaced"


def test_on_paper_all_is_opened_black_on_white_and_nothing_is_cut(tmp_path):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("no chromium on this machine; install it with `apt-get install chromium`")
    from benchmarks.browser import chromium

    evidence = Evidence(None, ("lora",), (8,), (FigureRow("lora", 8, 0, "act_entropy_bits", 2.5, 1.5, 2.75),), (), None)
    runs = {"lora": load_run(written(tmp_path / "run.db", "lora"))}
    out = tmp_path / "report.html"
    out.write_text(report_page(ReportContent("title", evidence, runs, ["method"], [("seed", "1")])))
    hidden = "nodes => nodes.filter(node => !node.checkVisibility()).length"
    colours = "getComputedStyle(document.body).color + getComputedStyle(document.body).backgroundColor"
    breaks = "nodes => [...new Set(nodes.map(node => getComputedStyle(node).breakInside))]"
    with chromium() as browser:
        page = browser.new_page(color_scheme="dark")
        page.goto(out.as_uri())
        folded = page.locator("details > :not(summary)")
        assert folded.count() == 3 and folded.evaluate_all(hidden) == 3, "on the screen they are closed"
        page.emulate_media(media="print", color_scheme="dark")
        assert folded.evaluate_all(hidden) == 0
        assert page.evaluate(colours) == "rgb(0, 0, 0)rgb(255, 255, 255)"
        for part in (".chart", "tr", ".words"):
            assert page.locator(part).evaluate_all(breaks) == ["avoid"], part
        assert page.locator("summary >> visible=true").count() == 0, "nothing can be clicked"
