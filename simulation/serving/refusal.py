"""Requests that are refused, as OpenAI's error objects say it."""

from collections.abc import Mapping
from typing import Any


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
        super().__init__(" ".join(message.split()))
        self.status, self.kind, self.code, self.param, self.headers = status, kind, code, param, dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


def bad(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """A request that is wrong."""
    return Refusal(400, message, param=param, code=code)


def busy(seconds: int) -> Refusal:
    """A server whose queue is full; the client may ask again after some seconds."""
    return Refusal(
        429, f"the queue is full; ask again in {seconds} s", kind="rate_limit_error", code="queue_full",
        headers={"Retry-After": str(seconds)},
    )  # fmt: skip


def too_late(seconds: float) -> Refusal:
    """A request that reached its time limit."""
    return Refusal(504, f"no answer within {seconds:g} s", kind="timeout", code="timeout")


def broken(message: str) -> Refusal:
    """A fault of the server or of a stored adapter."""
    return Refusal(500, message, kind="server_error")
