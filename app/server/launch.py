"""Starts the dashboard's server on this machine only."""

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from polyphony.errors import AppError

ADDRESS = "127.0.0.1"
PLUGINS = "POLYPHONY_DASHBOARD_PLUGINS"
"""Environment variable that tells the server its plug-ins as JSON; Streamlit keeps the command line for itself."""

_SECONDS_TO_STOP = 5


def launch(
    path: Path,
    port: int,
    open_browser: bool,
    *,
    bank: Path | None = None,
    address: str = ADDRESS,
    plugins: Sequence[str] = (),
) -> int:
    """Serve the dashboard until it is stopped, and return the server's exit code (0 after Ctrl-C).

    By default the server listens on 127.0.0.1 only. It sends no usage statistics and never writes to a run.

    Args:
        path: A run, or a folder with runs.
        port: Port to listen on.
        open_browser: Whether to open the page in the user's browser.
        bank: A bank of adapters; None to look for one in the folder and beside it.
        address: Address to listen on; everybody who can reach it can read every run of the folder.
        plugins: Modules or files that the server loads, as ``--plugin`` names them.

    Raises:
        AppError: The path or the bank is missing, Streamlit is not installed or the port is taken.
    """
    _check(path, bank, address, port)
    server = subprocess.Popen(
        command(path, port, open_browser, bank, address),
        env=os.environ | {PLUGINS: json.dumps([_absolute(plugin) for plugin in plugins])},
    )
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(server)


def command(path: Path, port: int, open_browser: bool, bank: Path | None, address: str) -> list[str]:
    """The command line of the server."""
    options = {
        "server.address": address,
        "server.port": str(port),
        "server.headless": str(not open_browser).lower(),
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "theme.light.primaryColor": "#0F62AC",
        "theme.dark.primaryColor": "#5AA9E6",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    script = str(Path(__file__).with_name("main.py"))
    places = [str(place.resolve()) for place in (path, bank) if place is not None]
    # -P: the current folder is not on the import path, whatever lies in it.
    return [sys.executable, "-P", "-m", "polyphony.app.server.server", "run", script, *flags, "--", *places]


def _absolute(plugin: str) -> str:
    return str(Path(plugin).resolve()) if plugin.endswith(".py") else plugin


def _check(path: Path, bank: Path | None, address: str, port: int) -> None:
    if not path.exists():
        raise AppError(f"{path}: no such file or folder; give a run or a folder with runs")
    if bank is not None and not (bank / "catalog.sqlite").is_file():
        raise AppError(f"{bank}: no bank of adapters; give the directory that `simulate train --bank` made")
    if importlib.util.find_spec("streamlit") is None:
        raise AppError("the dashboard needs Streamlit, which is not installed; run `pip install 'polyphony-sim[app]'`")
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        # The server itself reuses the address, so a port in its closing wait is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            raise AppError(
                f"port {port} cannot be used on {address} ({error}); give another --port or --address"
            ) from error


def _stop(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is not None:
        return
    server.terminate()
    with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
        server.wait(_SECONDS_TO_STOP)
    if server.poll() is None:
        server.kill()
        server.wait()
