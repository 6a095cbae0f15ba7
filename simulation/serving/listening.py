"""Listening: uvicorn, with a time limit on connections that send nothing."""

import asyncio
import errno
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.simulation.serving.scheduler import Scheduler

# A connection that has not sent the head of a request by then is closed, in seconds. OpenAI's client gives up an idle
# connection after 5: a server that closes it at that moment makes a request fail.
HEAD_SECONDS = 15
# How long answers in work may take once the server was told to stop, in seconds.
GRACE_SECONDS = 20
# A client that has read nothing of its response for so long is cut off, in seconds.
UNREAD_SECONDS = 60
MOST_OPEN_FILES = 65_536
# Connections that wait to be taken.
BACKLOG = 1024


class GuardedProtocol(H11Protocol):
    """HTTP of one connection, which is closed where no request comes, or nobody reads the response.

    uvicorn limits how long a connection may idle after a response, but not before its first request, nor in the middle
    of the head of one, nor how long a response waits to be read.

    Attributes:
        head_seconds: Within how many seconds the head of a request must come.
        unread_seconds: For how many seconds a client may read nothing of a response.
    """

    head_seconds: float = HEAD_SECONDS
    unread_seconds: float = UNREAD_SECONDS
    _silence: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head of the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read; once the head of a request has come, its time limit ends."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Begin to wait for the head of the next request."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        for timer in (self._silence, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    @property
    def _waits(self) -> bool:
        """Whether no request is in work."""
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        if not self._waits and self._silence is not None:
            self._silence.cancel()
            self._silence = None
        elif self._waits and self._silence is None:
            self._silence = self.loop.call_later(self.head_seconds, self._close_silent)

    def _close_silent(self) -> None:
        self._silence = None
        if self._waits and not self.transport.is_closing():
            if self.transport.get_write_buffer_size():
                self._look_later()
            self.transport.close()

    def _look_later(self) -> None:
        """Cut the connection if its client has read nothing of what waits by then."""
        unsent = self.transport.get_write_buffer_size()
        if self._unread is not None:
            self._unread.cancel()
        self._unread = self.loop.call_later(self.unread_seconds, self._cut_unread, unsent)

    def _cut_unread(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._look_later()
        else:
            self.transport.abort()


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at an address, before anything slow is loaded.

    Raises:
        InputError: The address is taken, or is none of this machine's.
    """
    try:
        if not host:
            raise OSError("it is empty; 0.0.0.0 stands for all")
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
            listener.listen(BACKLOG)  # of two servers that begin at once, one is refused now
        except OSError as error:
            remedy = "--host" if error.errno == errno.EADDRNOTAVAIL else "--port"
            raise InputError(f"{quoted(host)}, port {port}: {error.strerror}; give another {remedy}") from error
        yield listener


def serve_at(app: FastAPI, scheduler: Scheduler, listener: socket.socket) -> None:
    """Serve until the process is told to stop: answers in work are finished, for a while, and no more are taken.

    The model computes on this thread, the main one, see `simulation.serving.scheduler.Scheduler.run`; the clients'
    connections are on another. A second signal ends both at once.
    """
    _allow_many_connections()
    config = uvicorn.Config(
        app, http=GuardedProtocol, ws="none", log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS, timeout_keep_alive=HEAD_SECONDS, backlog=BACKLOG,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def listen() -> None:
        try:
            server.run([listener])
        finally:
            scheduler.close()

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.force_exit, server.should_exit = server.should_exit, True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    scheduler.reserve()
    connections = threading.Thread(target=listen, name="connections")
    connections.start()
    scheduler.run()
    connections.join()


def _allow_many_connections() -> None:
    """Raise the number of open files as far as the system lets a process do it by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
