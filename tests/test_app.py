"""The dashboard: content, hostile texts, a real browser, and the launcher."""

import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import hear_interrupts
from run_factory import RunFactory, planted_run

from app.errors import AppError
from app.escape import markup, plot_label
from app.launch import launch
from app.runs import find_runs, first_choice
from metrics.labels import number, signed

pytest.importorskip("streamlit", reason="the dashboard's extra is not installed")
from streamlit.testing.v1 import AppTest

MAIN = Path(__file__).parent.parent / "app" / "main.py"
HOSTILE = '<script>window.hacked = 1</script> <b>bold</b> **stars** ![x](http://example.invalid/x.png) "quoted" $x$'


def two_arms(folder: Path) -> Path:
    """A folder with two small arms whose agent 1 is as hostile as a text can be."""
    for arm in ("lora", "base"):
        run = planted_run(8, 5, arm=arm)
        run.rows["agent"][0] |= {"handle": "<i>eve</i>", "persona": f"persona {HOSTILE}"}
        run.rows["user"][0]["user_name"] = "<i>eve</i>"
        for number_of_post in range(4):
            run.post(1, f"post {number_of_post} {HOSTILE}")
        run.fail(2, "refused", f"reason {HOSTILE}")
        run.write(folder / f"{arm}.db")
    return folder


def drawn(path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["main.py", str(path)])
    test = AppTest.from_file(str(MAIN), default_timeout=60).run()
    assert not test.exception
    return test


def shown_html(test: AppTest) -> str:
    return "\n".join(element.proto.body for element in test.get("html"))


def test_page_shows_both_arms_and_the_headlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = shown_html(drawn(two_arms(tmp_path), monkeypatch))
    for words in (
        "side by side",
        "8 agents from the population “town”",
        "Original posts per activation",
        "±0",
        "One agent",
    ):
        assert words in body
    assert body.index(">base<") < body.index(">lora<")


def test_hostile_text_reaches_the_page_escaped_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = drawn(two_arms(tmp_path), monkeypatch)
    body = shown_html(test)
    assert markup(f"post 1 {HOSTILE}") in body and markup(f"persona {HOSTILE}") in body
    assert "<script" not in body and "<b>bold" not in body and "<i>" not in body
    assert not test.markdown


def test_another_agent_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = drawn(two_arms(tmp_path), monkeypatch)
    assert test.selectbox[0].options[2] == "@user3"
    body = shown_html(test.selectbox[0].select_index(2).run())
    assert "adapter a3, revision 1" in body and "post 1 " not in body


def test_empty_folder_says_how_to_make_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = shown_html(drawn(tmp_path, monkeypatch))
    assert "No runs here yet" in body and "simulate run" in body


def test_single_run_is_shown_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = shown_html(drawn(two_arms(tmp_path) / "lora.db", monkeypatch))
    assert "This is one run alone" in body and "What agents choose to do" in body


def test_run_in_which_nothing_happened_has_plain_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFactory(2)
    run.nothing(1)
    body = shown_html(drawn(run.write(tmp_path / "idle.db"), monkeypatch))
    assert "Nobody interacted in this run" in body and "no interaction between two users" in body


def test_runs_that_do_not_match_are_shown_without_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted_run(8, 5, arm="base").write(tmp_path / "base.db")
    planted_run(8, 5, arm="lora", population_digest="p2").write(tmp_path / "lora.db")
    test = drawn(tmp_path, monkeypatch)
    runs, _ = find_runs(tmp_path)
    body = shown_html(test.multiselect[0].set_value(runs).run())
    assert "another population" in body


def test_detail_of_another_seed_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arm in ("base", "lora", "pooled"):
        for seed in (1, 2):
            planted_run(8, 5, arm=arm, seed=seed).write(tmp_path / f"{arm}{seed}.db")
    test = drawn(tmp_path, monkeypatch)
    test.multiselect[0].set_value(find_runs(tmp_path)[0]).run()
    assert not test.exception
    assert "2 seeds" in shown_html(test) and "mean of 2 seeds" in shown_html(test)
    test.sidebar.selectbox[0].select(2).run()
    assert not test.exception


def test_files_that_are_no_runs_are_named_and_the_runs_offered(tmp_path: Path) -> None:
    two_arms(tmp_path)
    (tmp_path / "broken.db").write_bytes(b"not a database")
    planted_run(8, 5, arm="pooled", seed=9).write(tmp_path / "pooled.db")
    runs, problems = find_runs(tmp_path)
    assert [run.path.name for run in runs] == ["base.db", "lora.db", "pooled.db"]
    assert len(problems) == 1 and "broken.db" in problems[0]
    assert [run.header.arm for run in first_choice(runs)] == ["base", "lora"]


def test_plot_labels_and_numbers() -> None:
    assert plot_label("<b>x</b> & y") == "&lt;b&gt;x&lt;/b&gt; &amp; y"
    assert len(plot_label("x" * 500)) == 80
    assert [number(value) for value in (None, 0, -0.5, 1234.0, 0.1234, 12.345)] == [
        "–", "0", "−0.500", "1,234", "0.123", "12.35",
    ]  # fmt: skip
    assert [signed(value) for value in (0.0, 0.5, -2.0)] == ["±0", "+0.500", "−2"]


def test_launch_names_a_missing_path_and_a_taken_port(tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"absent: no such file or folder"):
        launch(tmp_path / "absent", 8501, open_browser=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AppError, match=f"port {port} cannot be used"):
            launch(tmp_path, port, open_browser=False)


@contextmanager
def served(path: Path) -> Iterator[str]:
    """The real server, started as the command line does, stopped as Ctrl-C does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import sys, pathlib, app.launch as a; sys.exit(a.launch(pathlib.Path(sys.argv[1]), int(sys.argv[2]), False))"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(port)],
        cwd=MAIN.parent.parent,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)
        try:
            assert server.wait(20) == 0
        finally:
            server.kill()


def wait_for(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"nothing answers at {url}")


def test_a_browser_shows_the_page_and_runs_nothing_a_model_wrote(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine; install it with `apt-get install chromium`")
    sync_playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").sync_playwright
    folder = two_arms(tmp_path)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with served(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        view = browser.new_page(viewport={"width": 1400, "height": 3600})
        outside: list[str] = []
        view.on("request", lambda request: outside.append(request.url) if url not in request.url else None)
        view.goto(url)
        view.get_by_text("What went wrong").wait_for(timeout=60_000)
        view.get_by_text("base and lora, side by side").wait_for()
        view.get_by_text(f"post 1 {HOSTILE}").first.wait_for()
        view.locator(".js-plotly-plot").nth(3).wait_for()
        assert view.evaluate("window.hacked") is None
        assert view.locator("main script, .pp script, .pp i, .pp img").count() == 0
        assert view.locator("b", has_text="bold").count() == view.locator("strong").count() == 0
        assert view.locator("img[src*='example.invalid']").count() == 0
        assert [each for each in outside if not each.startswith(("data:", "blob:", "ws://127.0.0.1"))] == []
        browser.close()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
