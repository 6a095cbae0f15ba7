"""Runs commands of `simulate` in forked processes, and kills them with SIGKILL at chosen moments.

A process of its own, which has imported everything and started no thread: what it forks begins at once. It reads one
JSON object a line from stdin and answers with one line each.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import Engine, event

from polyphony.adapters.model.base_model import embedded_directory
from polyphony.simulation.cli import runs
from polyphony.simulation.cli.main import main

# Audit events (https://docs.python.org/3/library/audit_events.html) that change files or open them.
CHANGES = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}


HEAVY = (
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "pandas", "torch",
    "polyphony.adapters.bank.archive", "polyphony.adapters.bank.compaction", "polyphony.adapters.bank.interchange",
    "polyphony.adapters.bank.verification", "polyphony.adapters.training.population_training",
    "polyphony.metrics.dataset.croissant", "polyphony.metrics.dataset.export",
    "sacrebleu", "graspologic_native", "scipy.stats", "sklearn.feature_extraction.text", "sklearn.linear_model",
    "sklearn.decomposition", "polyphony.simulation.runs.runner", "polyphony.metrics.measure",
    "polyphony.metrics.figures.attribution", "polyphony.metrics.studies.report",
    "polyphony.simulation.cli.training_session", "polyphony.simulation.study.study",
)  # fmt: skip


class Moments:
    """Counts the moments at which a process changes something below a folder, and kills it before one of them."""

    def __init__(self, folder: str, deadly: int | None) -> None:
        self.folder, self.deadly, self.count = folder, deadly, 0
        sys.addaudithook(self._audit)
        event.listen(Engine, "before_cursor_execute", self._execute)
        event.listen(Engine, "commit", lambda _connection: self._pass())

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name not in CHANGES or not arguments:
            return
        place = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        is_relative = name == "os.remove" and len(arguments) > 1 and arguments[1] != -1
        if place.startswith(self.folder) or is_relative:
            self._pass()

    def _execute(self, _connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA QUICK", "PRAGMA MAIN")):
            self._pass()

    def _pass(self) -> None:
        self.count += 1
        if self.count == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)


def work(request: dict[str, Any], answer: int) -> None:
    """Be the command: in a forked process, which this ends."""
    output = os.open(request["output"], os.O_CREAT | os.O_TRUNC | os.O_RDWR)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(request["folder"])
    os.environ.update(request.get("environment", {}))
    os.write(answer, b"begun ")
    # An interrupt inside the hooks of `Moments` would be one that no user can make.
    moments = None if "signal" in request else Moments(request["folder"], request.get("moment"))
    code = 0
    try:
        if request["arguments"] == ["conversion"]:
            os.environ["POLYPHONY_CACHE"] = f"{request['folder']}/cache"
            embedded_directory()
        else:
            main(request["arguments"])
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os.write(answer, str(moments.count if moments else 0).encode())
    os._exit(code)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Run one command; returns its exit code (None where it was killed), its moments, seconds and output."""
    reading, writing = os.pipe()
    began = time.monotonic()
    Path(request["output"]).unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.close(reading)
        work(request, writing)
    os.close(writing)
    os.read(reading, len(b"begun "))
    if "seconds" in request:
        end = time.monotonic() + 0.01 + request["seconds"]
        while time.monotonic() < end and not _has_ended(child):
            time.sleep(0.0005)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, request.get("signal", signal.SIGKILL))
    count = os.read(reading, 100)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    output = Path(request["output"])
    return {
        "code": None if code == -signal.SIGKILL else code,
        "moments": int(count or 0),
        "seconds": time.monotonic() - began,
        "output": output.read_text() if output.exists() else "",
    }


def _has_ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def prepare() -> None:
    """Import what commands need."""
    for module in HEAVY:
        importlib.import_module(module)
    # Measuring only reads, after the run is whole; it would take most of the time. `metrics` is a command of its own.
    runs.print_measurements = lambda *_: None
    gc.freeze()  # or each child's collector walks all of it
    torch.set_num_threads(1)


if __name__ == "__main__":
    prepare()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
