"""Requests to an OpenAI-compatible server: tried again with growing waits, and errors that show no secret."""

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from polyphony.errors import InputError, PolyphonyError
from polyphony.printable import inert

# Importing it takes a while, and runs of the local engine do without.
if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "POLYPHONY_ENGINE_KEY"
"""The environment variable that holds the server's key. It is recorded and printed nowhere."""
AT_ONCE = 32
"""Most requests that wait for an answer at the same time."""
SECONDS = 600.0
"""How long an answer may take; requests that a slow server queues wait as long."""
WAITS = (0.5, 1.0, 2.0, 4.0)
"""Seconds before each new try; there is one try more than there are waits."""
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_MOST_REASON = 200


class ServerError(PolyphonyError):
    """A server did not answer as it should; the text says how, in one line."""


class Unreachable(ServerError):
    """No connection to the server."""


class Refused(ServerError):
    """The server refuses a request, and would refuse it again.

    Attributes:
        status: Its HTTP status.
    """

    def __init__(self, line: str, status: int) -> None:
        """Take the line and the status."""
        super().__init__(line)
        self.status = status


def checked_url(url: str) -> str:
    """The address of a server without ``/v1`` at its end.

    Raises:
        InputError: It is none of HTTP, or holds a user, a password or a query. The line does not quote it.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not url.isprintable() or " " in url:
        raise InputError("--engine-url is no address of a server; give one as http://127.0.0.1:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            "--engine-url holds a user, a password or a query, which the run file would record; leave it out, and put "
            f"a key into the environment variable {KEY_VARIABLE}"
        )
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class Client:
    """One server. Its methods may be called from several threads."""

    def __init__(self, url: str, *, seconds: float = SECONDS, waits: tuple[float, ...] = WAITS) -> None:
        """Nothing is sent yet.

        Args:
            url: See `checked_url`.
            seconds: How long an answer may take.
            waits: Seconds before each new try.

        Raises:
            InputError: The address cannot be, or the package httpx is not installed.
        """
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise InputError("--engine needs the package httpx: pip install 'polyphony-sim[engines]'") from error
        self.url, self._waits, self._seconds = checked_url(url), waits, seconds
        self._closed = threading.Event()
        self._key = os.environ.get(KEY_VARIABLE, "").strip()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        try:
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=seconds, limits=limits)
        except (httpx.InvalidURL, UnicodeEncodeError, ValueError) as error:
            raise InputError(f"--engine-url or {KEY_VARIABLE} holds what no request can carry") from error

    def close(self) -> None:
        """Close the connections; what waits for a new try gives up."""
        self._closed.set()
        self._http.close()

    def get(self, path: str) -> Any:
        """The JSON at a path.

        Raises:
            ServerError: As `post`.
        """
        return self._tried(lambda: self._http.get(path)).json()

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that answers a body.

        Raises:
            Unreachable: There was no connection, however often it was tried.
            Refused: The server refuses the request.
            ServerError: It answered too late, with a fault of its own, or with no JSON object.
        """
        answer = self._tried(lambda: self._http.post(path, json=body)).json()
        if not isinstance(answer, dict):
            raise ServerError("the server answered with no JSON object")
        return answer

    def order(self, path: str, body: Mapping[str, Any]) -> None:
        """Post a body whose answer is of no matter.

        Raises:
            ServerError: As `post`.
        """
        self._tried(lambda: self._http.post(path, json=body), as_json=False)

    def _tried(self, ask: "Callable[[], httpx.Response]", *, as_json: bool = True) -> "httpx.Response":
        for wait in self._waits:
            try:
                return self._answer(ask, as_json)
            except Refused:
                raise
            except ServerError:
                if self._closed.wait(wait):
                    break
        return self._answer(ask, as_json)

    def _answer(self, ask: "Callable[[], httpx.Response]", as_json: bool) -> "httpx.Response":
        import httpx

        try:
            response = ask()
        except httpx.ConnectError as error:
            raise Unreachable(self._line("no connection to the server", str(error))) from error
        except httpx.TimeoutException as error:
            raise ServerError(f"the server gave no answer in {self._seconds:g} s") from error
        except httpx.HTTPError as error:
            raise ServerError(self._line("the connection broke", type(error).__name__)) from error
        status = response.status_code
        if status in _PASSING:
            raise ServerError(self._line(f"the server answered with status {status}", _message(response)))
        if status != 200:
            raise Refused(self._line(f"the server refuses with status {status}", _message(response)), status)
        if as_json:
            try:
                response.json()
            except (ValueError, RecursionError) as error:
                raise ServerError("the server answered with no JSON") from error
        return response

    def _line(self, fact: str, reason: str) -> str:
        """A fault in one line; servers repeat what they were sent, the key included."""
        if self._key:
            reason = reason.replace(self._key, "***")
        reason = " ".join(inert(reason).split())[:_MOST_REASON]
        return f"{fact}: {reason}" if reason else fact


def _message(response: "httpx.Response") -> str:
    """What a server says of a refusal."""
    try:
        body = response.json()
        error = body.get("error", body)
        message = error.get("message", error.get("detail", "")) if isinstance(error, dict) else error
        return str(message)
    except (ValueError, AttributeError, RecursionError):
        return response.text
