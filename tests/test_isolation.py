"""No command imports a file of the folder in which it is started, whatever that file is called."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import hear_interrupts

# Names of our own rooms, of libraries that our commands import at once or late, and of the standard library.
DECOYS = (
    "app", "metrics", "adapters", "personas", "simulation", "main", "server", "sitecustomize", "click", "typer", "rich",
    "streamlit", "plotly", "pandas", "numpy", "scipy", "sklearn", "torch", "transformers", "sqlalchemy", "socket",
    "random", "multiprocessing", "concurrent", "json", "sqlite3", "queue", "tomllib",
)  # fmt: skip
DECOY = "import os\nopen(os.path.abspath(__file__) + '.executed', 'w').close()\n"
SIMULATE = [str(Path(sys.executable).with_name("simulate"))]
POPULATION, RUNS = "posts.jsonl", ("base-24-0.db", "lora-24-0.db")
ROOT = Path(__file__).parent.parent
MODULE = [sys.executable, "-m", "polyphony"]

Run = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: files whose names are those of modules, posts of two people and runs of two arms."""
    path = tmp_path_factory.mktemp("user")
    posts = [
        {
            "id": f"{author}{day}",
            "author": author,
            "text": f"{words} {day}",
            "created_at": f"2026-01-{day:02}T10:00:00Z",
        }
        for day in range(1, 21)
        for author, words in (("ann", "a walk by the river"), ("bob", "bread from the oven"))
    ]
    (path / POPULATION).write_text("".join(json.dumps(post) + "\n" for post in posts))
    for name in RUNS:
        shutil.copy(ROOT / "data" / "demo" / "runs" / name, path)
    for name in DECOYS:
        (path / f"{name}.py").write_text(DECOY)
    return path


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    """Runs a command in that folder; afterwards no file of the folder has been executed."""

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    assert executed(folder) == []


def environment() -> dict[str, str]:
    """The environment of a user who has not told Python to leave the current folder out."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}


def executed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.executed"))


def test_a_decoy_is_executed_where_nothing_prevents_it(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(DECOY)
    subprocess.run([sys.executable, "-c", "import typer"], cwd=tmp_path, env=environment(), check=True)
    assert executed(tmp_path) == ["typer.py.executed"]


@pytest.mark.slow
def test_a_run_is_made_measured_and_compared(run: Run) -> None:
    options = ["--policy", "null", "--population", POPULATION, "--agents", "2", "--steps", "3"]
    run(*SIMULATE, "run", *options, "--out", "null.db")
    assert '"status": "finished"' in run(*SIMULATE, "metrics", "null.db", "--json")
    assert run(*SIMULATE, "compare", *RUNS)


@pytest.mark.parametrize("command", [SIMULATE, pytest.param(MODULE, marks=pytest.mark.slow)], ids=["script", "module"])
def test_processes_of_a_study_do_not_look_there_either(run: Run, folder: Path, command: list[str]) -> None:
    out = folder / ("script" if command is SIMULATE else "module")
    grid = ["--agents", "2", "--arms", "base,lora", "--seeds", "1"]
    options = [f"--set={option}" for option in ("policy=null", f"population={POPULATION}", "steps=3")]
    run(*command, "study", *grid, *options, "--at-once", "2", "--out", out.name)
    assert (out / "report.md").is_file() and len(list((out / "runs").glob("*.db"))) == 2


@pytest.mark.parametrize("module", ["polyphony", "polyphony.personas.town"], ids=["polyphony", "town"])
def test_modules_started_by_name_do_not_look_there(run: Run, module: str) -> None:
    assert "usage" in run(sys.executable, "-m", module, "--help").lower()


def test_the_dashboard_does_not_look_there(run: Run, folder: Path) -> None:
    pytest.importorskip("streamlit", reason="the dashboard's extra is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [*SIMULATE, "app", ".", "--no-browser", "--port", str(port)], cwd=folder, env=environment(),
        preexec_fn=hear_interrupts, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert "<title>" in fetched(f"http://127.0.0.1:{port}/")
    finally:
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=120)
    assert server.returncode == 0, errors


def fetched(url: str) -> str:
    """The page at an address, waited for."""
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
