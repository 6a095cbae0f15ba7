"""ZIP and tar archives: members are read by name as streams, and nothing in an archive ever becomes a path."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from polyphony.errors import CutError, InputError
from polyphony.personas.readers.json_stream import Readable
from polyphony.personas.readers.limited import PIECE, Allowance, LimitedStream
from polyphony.printable import quoted

MOST_DIRECTORY = 32 << 20
"""Most bytes of a ZIP archive's list of members: about 400,000 of them."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BLOCK = tarfile.BLOCKSIZE


class _PiecesOnly(io.BufferedReader):
    """A file of which a ZIP reader takes no more at once than a list of members may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        length = os.fstat(self.fileno()).st_size - self.tell() if size is None or size < 0 else size
        if length > MOST_DIRECTORY:
            raise InputError(f"its list of members is longer than {MOST_DIRECTORY:,} bytes, the limit")
        return super().read(size)


class ZipMembers:
    """The members of a ZIP archive by name, with slashes whatever program packed it."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, shown: str) -> None:
        """List what is in an open archive; `shown` names it in errors."""
        self._archive, self._shown = archive, shown
        self._allowance = Allowance(path, shown)
        self._members = [
            (info.filename.replace("\\", "/"), info) for info in archive.infolist()
            if not info.is_dir() and not info.filename.startswith("__MACOSX")
        ]  # fmt: skip

    def names(self) -> list[str]:
        """Names of all files, sorted; of equal names each."""
        return sorted(name for name, _ in self._members)

    def size(self, ending: str) -> int:
        """Bytes that the files of this ending have by the archive's own account, which may be untrue."""
        return sum(info.file_size for name, info in self._members if name.endswith(ending))

    def where(self, name: str) -> str:
        """A file's place for error texts."""
        return f"{self._shown}: {quoted(name)[1:-1]}"

    def streams(self, name: str) -> Iterator[LimitedStream]:
        """What the files of a name hold.

        Raises:
            CutError: It is damaged.
            InputError: It is encrypted, packed by another method than ZIP's usual one, or more than may come out.
        """
        where = self.where(name)
        for own, info in self._members:
            if own != name:
                continue
            if info.flag_bits & 1:
                raise InputError(f"{where}: is encrypted: pack the archive again without a password")
            if info.compress_type not in _METHODS:
                method = info.compress_type
                raise InputError(f"{where}: is packed by method {method}: pack the archive again in ZIP's usual way")
            try:
                member = self._archive.open(info)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
                raise CutError(f"{where}: cannot be read ({quoted(str(error))}): download it again") from error
            with member:
                yield LimitedStream(member.read, self._allowance, where)


@contextmanager
def open_zip(path: Path, shown: str) -> Iterator[ZipMembers]:
    """A ZIP archive's members.

    Raises:
        InputError: It is no ZIP archive, cut off, or its list of members cannot be read.
    """
    with _PiecesOnly(io.FileIO(path)) as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except InputError as error:
            raise InputError(f"{shown}: {error}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{shown}: the name of a file in it is not UTF-8: pack the archive again") from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
            stream.seek(0)
            reason = quoted(str(error))
            if stream.read(4) == b"PK\x03\x04" and "not a zip" in str(error):
                reason = "it is cut off: its end, where the list of members stands, is missing"
            raise InputError(f"{shown}: not a readable ZIP archive ({reason}): download it again") from error
        with archive:
            yield ZipMembers(archive, path, shown)


@contextmanager
def open_tar_member(path: Path, shown: str, is_wanted: Callable[[str], bool]) -> Iterator[Readable | None]:
    """The first regular file of a tar archive whose name is wanted; None where there is none.

    Headers are read one by one, and none tells how much memory to take. Longer names than a header holds are not
    looked at.

    Raises:
        CutError: The archive is cut off or damaged before that.
        InputError: More came out of it than may.
    """
    with path.open("rb") as file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        unpack = gzip.GzipFile(fileobj=file).read1 if packed else file.read1
        stream = io.BufferedReader(LimitedStream(unpack, Allowance(path, shown), shown), PIECE)
        size = _find(stream, shown, is_wanted)
        yield None if size is None else _Part(stream, size, shown)


def _find(stream: Readable, shown: str, is_wanted: Callable[[str], bool]) -> int | None:
    """Go to where a wanted file begins and return its size."""
    while block := stream.read(_BLOCK):
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if block.count(0) == _BLOCK:
                return None
            raise CutError(f"{shown}: not a readable archive ({quoted(str(error))}): download it again") from error
        if header.size < 0:
            raise CutError(f"{shown}: not a readable archive (a file of {header.size} bytes): download it again")
        if header.isreg() and is_wanted(header.name):
            return header.size
        _skip(stream, -(-header.size // _BLOCK) * _BLOCK, shown)
    return None


def _skip(stream: Readable, size: int, shown: str) -> None:
    while size:
        data = stream.read(min(size, 1 << 20))
        if not data:
            raise CutError(f"{shown}: is cut off: download it again")
        size -= len(data)


class _Part:
    """The next bytes of a stream."""

    def __init__(self, stream: "io.BufferedReader[LimitedStream]", size: int, shown: str) -> None:
        self._stream, self._left, self._shown = stream, size, shown

    def read(self, size: int) -> bytes:
        data = self._stream.read1(min(size, self._left))
        if not data and self._left and size:
            raise CutError(f"{self._shown}: is cut off: download it again")
        self._left -= len(data)
        return data
