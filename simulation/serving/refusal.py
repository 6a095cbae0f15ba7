"""Requests that are refused, as OpenAI's error objects say it."""

from collections.abc import Mapping
from typing import Any

from polyphony.printable import printable

MOST_LENGTH = 1000
"""Most characters of an error's line."""


class Refusal(Exception):
    """A request that gets no answer; its text is one line for the client.

    Attributes:
        status: HTTP status.
        kind: OpenAI's error type.
        code: OpenAI's error code; None without one.
        param: The field of the request that is wrong; None where it is none.
        headers: Headers of the response.
    """

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None,
        param: str | None = None, headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(printable(message)[:MOST_LENGTH])
        self.status, self.kind, self.code, self.param, self.headers = status, kind, code, param, dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


def bad(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """A request that is wrong."""
    return Refusal(400, message, param=param, code=code)


def busy(seconds: int, what: str = "the queue is full") -> Refusal:
    """A server that has no place; the client may ask again after some seconds."""
    return Refusal(
        429, f"{what}; ask again in {seconds} s", kind="rate_limit_error", code="queue_full",
        headers={"Retry-After": str(seconds)},
    )  # fmt: skip


def too_late(seconds: float) -> Refusal:
    """A request that reached its time limit."""
    return Refusal(504, f"no answer within {seconds:g} s", kind="timeout", code="timeout")


def stopping() -> Refusal:
    """A server that was told to stop."""
    return Refusal(503, "the server is stopping", kind="server_error", code="stopping")


def broken(message: str) -> Refusal:
    """A fault of the server or of a stored adapter."""
    return Refusal(500, message, kind="server_error")
