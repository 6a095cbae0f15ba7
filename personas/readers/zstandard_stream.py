"""Files packed with zstandard, unpacked as they are read, with a bounded window; where they are cut off is said."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from polyphony.errors import CutError, InputError
from polyphony.personas.readers.json_stream import INSTALL
from polyphony.personas.readers.limited import Allowance, LimitedStream
from polyphony.printable import quoted

if TYPE_CHECKING:
    import zstandard

LARGEST_WINDOW = 1 << 31
"""What ``zstd --long=31`` uses, as dumps of Reddit do."""
MOST_MEMORY = 512 << 20
"""Most bytes of a window beyond the size of the file. Windows fill up as they are used."""
# A block of 128 KiB can be packed into 4 bytes: so much packed input gives at most 256 MiB at once.
_PIECE = 8 << 10
_LONGEST_HEADER = 18


@contextmanager
def open_zstandard(path: Path, shown: str) -> Iterator[IO[bytes]]:
    """Open a file to read what is packed in it.

    Reading raises `CutError` where the file is cut off or damaged, and `InputError` where it needs more memory or gives
    more bytes than it may.

    Raises:
        InputError: The library is not installed.
    """
    try:
        import zstandard  # noqa: F401 - a clear line now, not in the middle
    except ImportError as error:
        raise InputError(f"{shown}: {INSTALL} to read zstandard files") from error
    allowance = Allowance(path, shown, most=1 << 62)
    with path.open("rb") as packed:
        frames = _Frames(packed, path.stat().st_size, shown)
        yield io.BufferedReader(LimitedStream(frames.read, allowance, shown), 1 << 20)


class _Frames:
    """The content of a file's frames, one after the other."""

    def __init__(self, packed: IO[bytes], size: int, shown: str) -> None:
        import zstandard

        self._file, self._shown = packed, shown
        self._memory = size + MOST_MEMORY
        self._unpacker = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._window = self._produced = 0
        self._packed, self._ready = b"", memoryview(b"")

    def read(self, size: int) -> bytes:
        """At most `size` bytes of content; none at the end."""
        while not self._ready:
            self._packed = self._packed or self._file.read(_PIECE)
            if not self._packed and self._frame is not None:
                raise CutError(f"{self._shown}: is cut off, its end is missing: download it again")
            if not self._packed:
                return b""
            self._ready = memoryview(self._unpack())
        data, self._ready = self._ready[:size], self._ready[size:]
        return bytes(data)

    def _unpack(self) -> bytes:
        """What the packed bytes that were read last hold."""
        import zstandard

        try:
            frame = self._frame = self._frame or self._begin()
            content = frame.decompress(self._packed)
            self._produced += len(content)
            self._packed = frame.unused_data if frame.eof else b""
            if frame.eof:
                self._frame = None
        except zstandard.ZstdError as error:
            if "memory" in str(error):
                raise self._needs_memory() from error
            raise CutError(
                f"{self._shown}: not a readable zstandard file ({quoted(str(error))}): download it again"
            ) from error
        if min(self._window, self._produced) > self._memory:
            raise self._needs_memory()
        return content

    def _begin(self) -> "zstandard.ZstdDecompressionObj":
        import zstandard

        self._packed += self._file.read(max(0, _LONGEST_HEADER - len(self._packed)))
        self._produced = 0
        try:
            self._window = zstandard.get_frame_parameters(self._packed[:_LONGEST_HEADER]).window_size
        except zstandard.ZstdError:
            self._window = 0  # a frame that is skipped, or none: the unpacker says which
        return self._unpacker.decompressobj()

    def _needs_memory(self) -> InputError:
        return InputError(
            f"{self._shown}: needs a window of {self._window:,} bytes; the limit is {MOST_MEMORY:,} above the file's "
            "size: pack it again with zstd -d --long=31 FILE -c | zstd -o SMALLER.zst"
        )
