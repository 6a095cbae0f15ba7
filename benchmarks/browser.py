"""The real dashboard in a real browser, for the tests, the figures and the screenshots."""

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
from typing import Any

from playwright.sync_api import Browser, sync_playwright

PAGES = ("Overview", "Feed", "Compare", "Network", "Agent", "Timeline", "Topics", "Bank")

_ROOT = Path(__file__).resolve().parent.parent
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-unsafe-swiftshader"]
_MILLISECONDS = 60_000
_DRAWN = """name => {
    const end = document.querySelector(`.pp-end[data-page=${name}]`);
    const coming = "[data-testid=stSpinner], [data-testid=stSkeleton]";
    const fresh = end && !end.closest("[data-stale=true]") && !document.querySelector(coming);
    return fresh && [...document.querySelectorAll("[data-testid=stPlotlyChart]")].every(
        each => each.querySelector(".js-plotly-plot .main-svg"));
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium.

    Raises:
        FileNotFoundError: It is not installed.
    """
    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("no chromium on this machine; install it with `apt-get install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


def _hear_interrupts() -> None:
    """A shell starts its background jobs, and so their children, deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Server:
    """A dashboard that runs.

    Attributes:
        url: Where it answers.
        process: `simulate app`; the server is its child.
    """

    def __init__(self, url: str, process: "subprocess.Popen[bytes]") -> None:
        self.url = url
        self.process = process

    def memory(self) -> float:
        """Resident memory of all its processes, in MiB."""
        tree = subprocess.run(
            ["ps", "-o", "rss=", "-g", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return sum(float(line) for line in tree.stdout.split()) / 1024


@contextmanager
def served(path: Path, *options: str) -> Iterator[Server]:
    """The server, started by the command line, stopped as Ctrl-C does; it must end with exit code 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "polyphony", "app", str(path), "--no-browser", "--port", str(port), *options],
        cwd=_ROOT, start_new_session=True, preexec_fn=_hear_interrupts, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        yield Server(f"http://127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            if (code := process.wait(20)) != 0:
                raise RuntimeError(f"the dashboard ended with exit code {code}")
        finally:
            process.kill()


def _wait_for(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nothing answers at {url}")


class View:
    """A page of the browser that remembers what went wrong and where it went.

    Attributes:
        page: Playwright's page.
        troubles: Errors of the console and of scripts.
        outside: Requests to anything but the server.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self._url = url
        self.page = browser.new_page(**({"viewport": {"width": 1280, "height": 800}} | options))
        self.page.set_default_timeout(_MILLISECONDS)
        self.troubles: list[str] = []
        self.outside: list[str] = []
        self.page.on("console", lambda said: self.troubles.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda asked: None if url in asked.url else self.outside.append(asked.url))

    def open(self, name: str) -> float:
        """Go straight to a page by its address; returns the seconds until all of it is drawn."""
        began = time.perf_counter()
        self.page.goto(f"{self._url}/?page={name}")
        self.settle(name)
        return time.perf_counter() - began

    def choose(self, name: str) -> float:
        """Go to a page by its button; returns the seconds until all of it is drawn."""
        began = time.perf_counter()
        self.page.get_by_role("radio", name=name, exact=True).first.click()
        self.settle(name)
        return time.perf_counter() - began

    def settle(self, name: str) -> None:
        """Wait until all of a page is drawn: its last element is there and fresh, and every figure has its picture."""
        self.page.wait_for_function(_DRAWN, arg=name)
