"""A real server of a real bank, in a thread of the test's process."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from polyphony.adapters.bank.archive import read_archive
from polyphony.adapters.bank.bank import Bank
from polyphony.bundled import bundled
from polyphony.simulation.serving.asking import ServingConfig
from polyphony.simulation.serving.listening import HEAD_SECONDS, GuardedProtocol, bound
from polyphony.simulation.serving.server import Capacity, Serving, serving
from polyphony.simulation.serving.uploads import Limits

ADA, BEN = "agenda_jonah", "anouk_stop"
"""Two people of the ready bank."""
TOOLS = [
    {"type": "function", "function": {"name": "create_post", "parameters": {
        "type": "object", "properties": {"content": {"type": "string"}}, "required": ["content"]}}},
    {"type": "function", "function": {"name": "like_post", "parameters": {
        "type": "object", "properties": {"post_id": {"type": "integer"}}, "required": ["post_id"]}}},
    {"type": "function", "function": {"name": "do_nothing", "parameters": {"type": "object", "properties": {}}}},
]  # fmt: skip


def ready_bank(directory: Path) -> Path:
    """The adapters of 64 people of the town that come with Polyphony."""
    with closing(Bank(directory, create=True)) as bank:
        read_archive(bank, bundled("banks", "town.tar.gz", remedy=""))
    return directory


@dataclass
class Client:
    """Asks one server.

    Attributes:
        url: Of the server.
        server: What answers.
    """

    url: str
    server: Serving

    def post(self, path: str, body: dict[str, Any], **more: Any) -> httpx.Response:
        """Post JSON; a proxy of the environment is not asked."""
        with httpx.Client(trust_env=False, timeout=120) as client:
            return client.post(self.url + path, json=body, **more)

    def get(self, path: str) -> httpx.Response:
        """Get a path."""
        with httpx.Client(trust_env=False, timeout=120) as client:
            return client.get(self.url + path)

    def chat(self, content: str = "Hello", **fields: Any) -> dict[str, Any]:
        """One answer of Ada to one message."""
        body = {"model": ADA, "messages": [{"role": "user", "content": content}], "seed": 1, "max_tokens": 6, **fields}
        response = self.post("/v1/chat/completions", body)
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def served(
    base: Any, bank: Path, capacity: Capacity | None = None, config: ServingConfig | None = None,
    limits: Limits | None = None, head_seconds: float = HEAD_SECONDS,
) -> Iterator[Client]:  # fmt: skip
    """Serve a bank until the block ends."""
    capacity, config = capacity or Capacity(rows=8, context=1024), config or ServingConfig(new_tokens=24)
    with (
        bound("127.0.0.1", 0) as listener,
        serving(base, bank, capacity, config, limits or Limits()) as server,
    ):
        protocol = type("Protocol", (GuardedProtocol,), {"head_seconds": head_seconds})
        settings = uvicorn.Config(server.app, http=protocol, ws="none", log_level="error", access_log=False)
        listening = uvicorn.Server(settings)
        thread = threading.Thread(target=listening.run, args=([listener],))
        thread.start()
        try:
            yield Client(f"http://127.0.0.1:{listener.getsockname()[1]}", server)
        finally:
            listening.should_exit = True
            thread.join()
