"""JSON documents item by item, however large."""

from collections.abc import Iterator
from typing import IO, Any

from polyphony.errors import InputError
from polyphony.printable import quoted

INSTALL = "pip install 'polyphony-sim[readers]'"


def json_items(stream: Any, prefix: str, where: str) -> Iterator[Any]:
    """Stream the items of a list in a JSON document."""
    try:
        import ijson
    except ImportError as error:
        raise InputError(f"{where}: {INSTALL} to read exports") from error
    try:
        yield from ijson.items(stream, prefix, use_float=True)
    except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{where}: broken JSON ({quoted(str(error))}): download it again") from error


class Joined:
    """Bytes that were read already, and the rest of their stream."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes."""
        if self._head and size:
            part, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
            return part + (self._rest.read() if size < 0 else b"")
        return self._rest.read(size)
