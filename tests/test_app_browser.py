"""The dashboard in a real browser: nothing a model wrote runs, pages follow a run, keys and small screens work."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_factory import HOSTILE, bank, two_arms
from null_run_factory import null_runner, null_settings

pytest.importorskip("streamlit", reason="the dashboard's extra is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Download, Locator
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from benchmarks.browser import PAGES, View, chromium, served

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if shutil.which("chromium") is None:
        pytest.skip("no chromium on this machine; install it with `apt-get install chromium`")
    with chromium() as opened:
        yield opened


def assert_clean(view: View) -> None:
    """No error, no request to another machine, nothing of a text became a part of the page."""
    assert view.troubles == []
    assert [each for each in view.outside if not each.startswith(("data:", "blob:", "ws://127.0.0.1"))] == []
    assert view.page.locator("[data-testid=stException]").count() == 0
    assert view.page.evaluate("window.hacked") is None
    assert view.page.locator("main script, .pp script, .pp i, .pp img, .pp a, .js-plotly-plot a").count() == 0
    made_bold = "all => all.filter(each => each.textContent === 'bold' || each.textContent === 'stars').length"
    assert view.page.locator("b, strong").evaluate_all(made_bold) == 0
    assert view.page.locator("img[src*='example.invalid'], a[href^='javascript']").count() == 0


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = two_arms(tmp_path_factory.mktemp("hostile"))
    bank(folder / "bank")
    (folder / "broken.db").write_bytes(b"not a database <script>window.hacked = 4</script>")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with served(folder) as server:
        yield server.url
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("name", PAGES)
def test_nothing_that_a_model_wrote_runs(browser, hostile: str, name: str) -> None:
    view = View(browser, hostile)
    view.open(name)
    if name == "Overview":
        view.page.get_by_text("broken.db: not an SQLite database").wait_for()
    if name == "Agent":
        view.page.get_by_text(f"post 1 {HOSTILE[:60]}").first.wait_for()
    if name in ("Compare", "Network", "Agent", "Timeline", "Topics", "Bank"):
        view.page.locator(".js-plotly-plot").first.wait_for()
    assert_clean(view)
    view.page.close()


def test_all_pages_are_reached_by_keys_alone(browser, hostile: str) -> None:
    view = View(browser, hostile)
    view.open("Overview")
    for name in PAGES[1:]:
        view.page.get_by_role("radio", name=name, exact=True).focus()
        view.page.keyboard.press("Enter")
        view.settle(name)
    assert_clean(view)
    view.page.close()


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_pages_fit_a_phone_in_light_and_dark(browser, hostile: str, scheme: str) -> None:
    view = View(browser, hostile, viewport={"width": 390, "height": 780}, color_scheme=scheme)
    for name in PAGES if scheme == "light" else PAGES[:2]:
        view.open(name)
        assert view.page.evaluate("document.documentElement.scrollWidth") <= 390, name
        ink, paper = view.page.evaluate(
            "['.pp h1', '.stApp'].map(each => getComputedStyle(document.querySelector(each)))"
            ".map((style, place) => place ? style.backgroundColor : style.color)"
        )
        assert (brightness(ink) < brightness(paper)) == (scheme == "light")
        assert abs(brightness(ink) - brightness(paper)) > 120
    assert_clean(view)
    view.page.close()


def brightness(colour: str) -> float:
    red, green, blue = (float(part) for part in colour.split("(")[1].rstrip(")").split(",")[:3])
    return 0.3 * red + 0.59 * green + 0.11 * blue


def test_a_click_in_the_network_opens_the_agent(browser, hostile: str) -> None:
    view = View(browser, hostile)
    view.open("Network")
    plot = view.page.locator(".js-plotly-plot").first
    plot.scroll_into_view_if_needed()
    place = plot.evaluate(
        """plot => {
            const trace = plot._fullData.find(each => each.mode === "markers"), layout = plot._fullLayout;
            const box = plot.getBoundingClientRect();
            return [box.x + layout.xaxis._offset + layout.xaxis.l2p(trace.x[0]),
                    box.y + layout.yaxis._offset + layout.yaxis.l2p(trace.y[0]), trace.customdata[0][1]];
        }"""
    )
    view.page.mouse.move(place[0], place[1])
    time.sleep(0.5)
    view.page.mouse.click(place[0], place[1])
    view.settle("Agent")
    handle = place[2].replace("&lt;", "<").replace("&gt;", ">")
    chosen = view.page.get_by_role("combobox", name="Agent")
    assert handle in chosen.first.input_value() + str(chosen.first.get_attribute("aria-label"))
    assert_clean(view)
    view.page.close()


def download_by(view: View, button: Locator) -> Download:
    """What a click downloads; a browser that lost the click, or its leave to download, on a busy machine gets more."""
    for _ in range(3):
        try:
            with view.page.expect_download(timeout=20_000) as download:
                button.click()
            return download.value
        except PlaywrightTimeout:
            continue
    raise AssertionError(f"no download after three clicks: {view.page.locator('main').inner_text()[-500:]}")


def test_tables_and_figures_can_be_taken_home(browser, hostile: str, tmp_path: Path) -> None:
    view = View(browser, hostile)
    view.open("Overview")
    view.page.get_by_text("All runs and studies as tables").click()
    for name, suffix in (("CSV", "csv"), ("Parquet", "parquet")):
        download = download_by(view, view.page.get_by_role("button", name=name, exact=True).first)
        file = tmp_path / download.suggested_filename
        download.save_as(file)
        assert file.name == f"runs.{suffix}" and file.stat().st_size > 50
    assert (tmp_path / "runs.csv").read_text().splitlines()[0].startswith("arm,agents,seed")
    view.open("Compare")
    for kind in ("SVG", "PNG"):
        view.page.get_by_role("radio", name=kind, exact=True).click()
        view.page.wait_for_function(
            "kind => document.querySelector('.js-plotly-plot')._context.toImageButtonOptions.format === kind",
            arg=kind.lower(),
        )
        view.settle("Compare")
        plot = view.page.locator(".js-plotly-plot").first
        plot.hover()
        download_by(view, plot.locator("[data-title*='ownload']").first).save_as(tmp_path / "figure")
        start = (tmp_path / "figure").read_bytes()[:200]
        assert start.startswith(b"<svg" if kind == "SVG" else b"\x89PNG")
    assert_clean(view)
    view.page.close()


@pytest.mark.slow
def test_overview_follows_a_run(browser, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "polyphony", "run", "--policy", "null", "--agents", "512", "--steps", "4000",
        "--out", str(tmp_path / "live.db"),
    ]  # fmt: skip
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "live.db").exists() and time.monotonic() < end:
            time.sleep(0.2)
        with served(tmp_path) as server:
            view = View(browser, server.url)
            view.open("Overview")
            progress = view.page.get_by_text("of 4000 timesteps").first
            progress.wait_for()
            first = progress.inner_text()
            assert "activations" in first
            view.page.wait_for_function(
                "before => ![...document.querySelectorAll('.pp .note')].some(each => each.innerText === before)",
                arg=first,
            )
            later = view.page.get_by_text("of 4000 timesteps").first.inner_text()
            assert done(later) > done(first) and "s a timestep" in later and "left" in later
            assert view.page.locator(".item").count() > 3
            assert_clean(view)
            view.page.close()
    finally:
        run.kill()
        run.wait()


def done(text: str) -> int:
    return int(text.split("running: ")[1].split(" of")[0])


@pytest.mark.slow
def test_a_run_of_512_agents_is_shown(browser, tmp_path: Path) -> None:
    null_runner(512).run(null_settings(agents=512, timesteps=12), tmp_path / "large.db", resume=False)
    with served(tmp_path / "large.db") as server:
        view = View(browser, server.url)
        for name in ("Compare", "Timeline", "Network"):
            view.open(name)
        drawn = view.page.locator(".js-plotly-plot").first.evaluate(
            "plot => plot._fullData.filter(each => each.mode === 'markers').map(each => each.x.length)"
            ".reduce((sum, each) => sum + each, 0)"
        )
        said = view.page.locator(".note", has_text="users").first.inner_text()
        assert drawn == int(said.split(" users")[0].replace(",", "")) > 400
        assert_clean(view)
        view.page.close()


@pytest.mark.slow
def test_the_demonstration_shows_every_page(browser, tmp_path: Path) -> None:
    with served(tmp_path) as server:
        view = View(browser, server.url)
        view.open("Overview")
        view.page.get_by_role("button", name="Open the demonstration study").click()
        view.page.get_by_text("6 runs and 1 study").wait_for()
        for name in PAGES[1:]:
            view.choose(name)
        assert_clean(view)
        view.page.close()
    plan = json.loads((ROOT / "data" / "demo" / "plan.json").read_text())
    assert len(plan["cells"]) == 6
