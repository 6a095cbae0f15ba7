"""Listening: uvicorn, with a time limit on connections that send nothing."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from polyphony.errors import InputError
from polyphony.printable import quoted

# A connection that has not sent the head of a request by then is closed, in seconds.
HEAD_SECONDS = 15
# How long answers in work may take once the server was told to stop, in seconds.
GRACE_SECONDS = 20
MOST_OPEN_FILES = 65_536


class GuardedProtocol(H11Protocol):
    """HTTP of one connection, which is closed where no request comes.

    uvicorn limits how long a connection may idle after a response, but not before its first request.
    """

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head of the first request."""
        super().connection_made(transport)
        self._limit = self.loop.call_later(HEAD_SECONDS, self._close_silent)

    def data_received(self, data: bytes) -> None:
        """Read; once the head of a request has come, its time limit ends."""
        super().data_received(data)
        if self.cycle is not None and self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._limit is not None:
            self._limit.cancel()
        super().connection_lost(exc)

    def _close_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at an address, before anything slow is loaded.

    Raises:
        InputError: The address is taken, or is none of this machine's.
    """
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )  # fmt: skip
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {quoted(host)}: no address of this machine: {error}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise InputError(f"{host}:{port} cannot be used: {error.strerror}; give another --port") from error
        yield listener


def serve_at(app: FastAPI, listener: socket.socket) -> None:
    """Serve until the process is told to stop: answers in work are finished, for a while, and no more are taken."""
    _allow_many_connections()
    config = uvicorn.Config(
        app, http=GuardedProtocol, ws="none", log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )  # fmt: skip
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listener])


def _allow_many_connections() -> None:
    """Raise the number of open files as far as the system lets a process do it by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
