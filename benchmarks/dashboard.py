"""How soon the dashboard's pages stand in a real browser, what it takes of memory, how far it slows a run; exports."""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser

from benchmarks.browser import PAGES, View, chromium, served
from benchmarks.measurements import null_run
from benchmarks.results import Result
from benchmarks.timing import run_apart
from polyphony.personas.town.generate import generate_town, write_town

RUNS_IN_FOLDER = 30
REPEATS = 5
WATCHED_PAIRS = 3
WATCHED_AGENTS, WATCHED_STEPS = 32, 6
EXPORT = """
import sys, time
from pathlib import Path
from polyphony.metrics.dataset.export import export_dataset
from polyphony.metrics.dataset.options import ExportOptions
began = time.perf_counter()
export_dataset([sys.argv[1]], Path(sys.argv[2]), ExportOptions())
print(time.perf_counter() - began)
"""


def dashboard_results() -> list[Result]:
    """All figures; the runs are the null policy's, but the one that is watched."""
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        town = null_run(folder / "town.db", "town", 512)
        posts, *_ = write_town(generate_town(7, 10_000), folder)
        crowd = null_run(folder / "crowd.db", str(posts), 10_000)
        return [
            *_folder(browser, folder),
            *_pages(browser, town),
            *_network(browser, crowd),
            _watched(browser, folder),
            *_exports(town, crowd, folder),
        ]


def _folder(browser: Browser, folder: Path) -> list[Result]:
    many = folder / "many"
    many.mkdir()
    small = null_run(folder / "small.db", "town", 128)
    for number in range(RUNS_IN_FOLDER):
        shutil.copy(small, many / f"{number}.db")
    with served(many) as server:
        first = View(browser, server.url).open("Overview")
        later = [View(browser, server.url).open("Overview") for _ in range(REPEATS)]
    return [
        Result(f"first page of a folder with {RUNS_IN_FOLDER} runs, server just started", first, "s", "≤ 2", 1),
        Result("the same later, in a new window", median(later), "s", "≤ 2", REPEATS),
    ]


def _pages(browser: Browser, town: Path) -> list[Result]:
    """Cold: the first page that is chosen after the overview, on a server of its own. Warm: chosen again later."""
    cold, warm, direct = {}, {}, {}
    for page in PAGES[1:]:
        with served(town) as server:
            view = View(browser, server.url)
            view.open("Overview")
            cold[page] = view.choose(page)
            again = []
            for _ in range(REPEATS):
                view.choose("Overview")
                again.append(view.choose(page))
            warm[page] = median(again)
        with served(town) as server:
            direct[page] = View(browser, server.url).open(page)
    with served(town) as server:
        view = View(browser, server.url)
        for page in PAGES:
            view.open(page)
        memory = server.memory()
    slowest = max(direct, key=lambda page: direct[page])
    return [
        *(Result(f"512 agents, {page}, cold", seconds, "s", "≤ 5", 1) for page, seconds in cold.items()),
        *(Result(f"512 agents, {page}, warm", seconds, "s", "≤ 2", REPEATS) for page, seconds in warm.items()),
        Result(f"{slowest} by its address in a new window, server just started", direct[slowest], "s", "", 1),
        Result("network of 512 agents, cold", cold["Network"], "s", "≤ 3", 1),
        Result("memory of the dashboard, all pages of 512 agents", memory, "MiB", "≤ 700", 1),
    ]


def _network(browser: Browser, crowd: Path) -> list[Result]:
    with served(crowd) as server:
        view = View(browser, server.url)
        view.open("Overview")
        cold = view.choose("Network")
        for page in ("Agent", "Timeline"):
            view.choose(page)
        memory = server.memory()
    return [
        Result("network of 10,000 agents, cold", cold, "s", "≤ 8", 1),
        Result("memory of the dashboard, 10,000 agents", memory, "MiB", "≤ 700", 1),
    ]


def _watched(browser: Browser, folder: Path) -> Result:
    """The same run of the engine alone and with a reader on the overview, taking turns."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(WATCHED_PAIRS):
        for watched in (False, True):
            place = folder / f"watched-{turn}-{watched}"
            place.mkdir()
            if watched:
                with served(place) as server:
                    view = View(browser, server.url)
                    view.open("Overview")
                    seconds[watched].append(_simulated(place / "run.db", view))
                    view.page.close()
            else:
                seconds[watched].append(_simulated(place / "run.db", None))
    ratio = median(seconds[True]) / median(seconds[False])
    return Result(f"run of {WATCHED_AGENTS} agents watched ÷ alone", ratio, "×", "≤ 1.05", WATCHED_PAIRS)


def _simulated(out: Path, view: View | None) -> float:
    command = [sys.executable, "-m", "polyphony", "run", "--arm", "base", "--agents", str(WATCHED_AGENTS)]
    began = time.perf_counter()
    run = subprocess.Popen(
        [*command, "--steps", str(WATCHED_STEPS), "--minutes-per-step", "120", "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    if view is not None:
        while not out.exists() and run.poll() is None:
            time.sleep(0.2)
        view.open("Overview")
    if run.wait() != 0:
        raise RuntimeError(f"the watched run ended with exit code {run.returncode}")
    return time.perf_counter() - began


def _exports(town: Path, crowd: Path, folder: Path) -> list[Result]:
    found = []
    for run, agents, goal in ((town, "512", "≤ 10"), (crowd, "10,000", "≤ 120")):
        command = [sys.executable, "-c", EXPORT, str(run), str(folder / f"set {agents}")]
        seconds, memory = run_apart(command)
        found += [
            Result(f"export of {agents} agents, 24 timesteps", float(seconds), "s", goal, 1),
            Result(f"peak memory of the export of {agents} agents", memory, "GiB", "≤ 1", 1),
        ]
    return found
