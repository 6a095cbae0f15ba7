"""What requests may take, and the reading of their bodies within it."""

import asyncio
from dataclasses import dataclass

from starlette.requests import Request

from polyphony.simulation.serving.refusal import Refusal, busy

# What a client whose body found no place is told to wait, in seconds.
BODY_RETRY_AFTER = 5


@dataclass(frozen=True)
class Limits:
    """What requests may take.

    Attributes:
        body_bytes: Most bytes of a request's body.
        api_key: What clients must send as bearer token; None where nothing is asked.
        body_seconds: Within how many seconds a body must come.
        coming_bytes: Most bytes of all bodies together that are not complete; one alone may have up to `body_bytes`.
        is_local: Whether clients must address the server by a number or as localhost. A web page whose name was made to
            lead to this machine would otherwise pass for one of it.
    """

    body_bytes: int = 4 << 20
    api_key: str | None = None
    body_seconds: float = 30.0
    coming_bytes: int = 256 << 20
    is_local: bool = False


class Uploads:
    """Reads bodies of requests; those that are not yet complete share a limit."""

    def __init__(self, limits: Limits) -> None:
        """Take the limits."""
        self._limits, self._coming = limits, 0

    async def body(self, request: Request) -> bytes:
        """Read a body, up to the limits.

        Raises:
            Refusal: It is too large, comes too slowly, or finds no place beside the bodies that are coming.
        """
        most = self._limits.body_bytes
        too_large = Refusal(413, f"the body is larger than {most:,} bytes", code="request_too_large")
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdecimal() and int(length[:18]) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                async for part in request.stream():
                    if len(body) + len(part) > most:
                        raise too_large
                    is_alone = self._coming == len(body)
                    if not is_alone and self._coming + len(part) > self._limits.coming_bytes:
                        raise busy(BODY_RETRY_AFTER, "too many bodies come at once")
                    self._coming += len(part)
                    body += part
        except TimeoutError:
            seconds = self._limits.body_seconds
            raise Refusal(408, f"the body did not come within {seconds:g} s", code="timeout") from None
        finally:
            self._coming -= len(body)
        return bytes(body)
