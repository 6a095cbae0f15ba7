"""Streams that count what they yield: what a file claims of its own size is never believed."""

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from polyphony.errors import CutError, InputError
from polyphony.printable import quoted

MOST_BYTES = 4 << 30
"""Most bytes that an archive may unpack to."""
MOST_RATIO, LEAST_ALLOWANCE = 300, 300 << 20
"""A packed file may unpack to so many times its own size, or to so many bytes; exports reach about 30 times."""
PIECE = 1 << 16
"""Most bytes taken at once: what an unpacker gave before it met damage is lost with the piece that it was to fill."""
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What unpacking raises where the packed bytes are cut off or damaged."""


class Allowance:
    """How many bytes may still come out of one packed file, over all that is read of it."""

    def __init__(self, path: Path, shown: str, *, most: int = MOST_BYTES) -> None:
        """Allow what a platform's export of the file's size can hold; `shown` names the file in errors."""
        self.limit = min(most, max(LEAST_ALLOWANCE, MOST_RATIO * path.stat().st_size))
        self._left, self._shown = self.limit, shown

    def spend(self, size: int) -> None:
        """Count bytes that came out.

        Raises:
            InputError: They are more than the file may hold.
        """
        self._left -= size
        if self._left < 0:
            raise InputError(
                f"{self._shown}: unpacks to more than {self.limit:,} bytes, the limit for a file of its size: "
                "not an export that a platform made"
            )


class LimitedStream(io.RawIOBase):
    """Bytes of a packed stream, counted; damage in it becomes a `CutError`."""

    def __init__(self, read: Callable[[int], bytes], allowance: Allowance, where: str) -> None:
        """Read through `read`, which takes the most bytes wanted; `where` names the stream in errors."""
        super().__init__()
        self._read, self._allowance, self._where = read, allowance, where

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, which must be given.

        Raises:
            CutError: What is packed is damaged here or cut off.
            InputError: More came out than the file may hold.
        """
        if size < 0:
            raise ValueError("a limited stream is read in pieces")
        try:
            data = self._read(min(size, PIECE))
        except BROKEN as error:
            raise CutError(f"{self._where}: is cut off or damaged ({quoted(str(error))}): download it again") from error
        self._allowance.spend(len(data))
        return data

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        """Read as much as fits, as `io.BufferedReader` asks."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
