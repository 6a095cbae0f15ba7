"""Lists in JSON documents, item by item: however large the list, one item is in memory.

Python's own decoder reads each item. It refuses what is nested too deeply, where streaming parsers go on, and an item
whose end has not come yet is read again with more of the stream, each time twice as much.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any, Protocol

from polyphony.errors import CutError, InputError
from polyphony.printable import quoted

INSTALL = "pip install 'polyphony-sim[readers]'"
MOST_RECORD = 8 << 20
"""Most characters of one record."""
_CHUNK = 1 << 18
_ENDS = tuple(",]}: \t\r\n")
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(strict=False)
# Python refuses whole numbers of over 4,300 digits: they stand for no id and no date.
_LONG_NUMBERS = json.JSONDecoder(strict=False, parse_int=lambda digits: int(digits) if len(digits) < 4300 else math.inf)


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; none at the end."""
        ...


class JsonStream:
    """A JSON document, read from its beginning to the end of one list in it."""

    def __init__(self, stream: Readable, where: str) -> None:
        """Begin to read; `where` names the document in errors."""
        self._stream, self._where = stream, where
        head = stream.read(_CHUNK)
        # Half a character and half an emoji stay what they are, for the reader of the cell to count and remove.
        self._decoder = codecs.getincrementaldecoder(json.detect_encoding(head))("surrogateescape")
        self._text, self._at, self._ended = self._decode(head), 0, not head

    def skip_to(self, sign: str) -> None:
        """Go to the first `sign`, which must stand near the beginning.

        Raises:
            CutError: It does not.
        """
        place = self._text.find(sign, self._at, 4096)
        if place < 0:
            raise CutError(f"{self._where}: no {sign} at its beginning: give the export as it came")
        self._at = place

    def skip(self, signs: int) -> None:
        """Go on by so many signs."""
        self._at += signs

    def begins_list(self) -> bool:
        """Whether a list begins here."""
        return self._next() == "["

    def enter(self, name: str) -> None:
        """Go to the value that the document, an object, has under `name`.

        Raises:
            CutError: The document breaks before that.
            InputError: It has none.
        """
        self._expect("{")
        while self._next() != "}":
            key = self.value()
            self._expect(":")
            if key == name:
                return
            self.value()
            if self._next() == ",":
                self._at += 1
        raise InputError(f"{self._where}: no {name} in it: give the export as it came")

    def items(self) -> Iterator[Any]:
        """The items of the list that begins here; what stands after it is not read.

        Raises:
            CutError: The list breaks; the items before that are given.
            InputError: One is longer than `MOST_RECORD`.
        """
        self._expect("[")
        while self._next() != "]":
            yield self.value()
            if self._next() == ",":
                self._at += 1
            elif self._next() != "]":
                raise self._broken("no comma between two items")

    def value(self) -> Any:
        """The value that begins here.

        Raises:
            CutError: It is broken or does not end.
            InputError: It is longer than `MOST_RECORD`.
        """
        self._next()
        while True:
            try:
                value, end = self._decoded()
            except RecursionError as error:
                raise self._broken("nested too deeply") from error
            except json.JSONDecodeError as error:
                if not self._is_incomplete(error):
                    raise self._broken(error.msg) from error
            else:
                # A number or a word may go on in what has not been read yet, as 1 in 1.5.
                is_whole = isinstance(value, dict | list | str) or self._text[end : end + 1] in _ENDS
                if is_whole or self._ended:
                    self._check_length(end)
                    self._at = end
                    return value
            self._check_length(len(self._text))
            if not self._grow():
                raise self._broken("it ends in the middle")

    def _check_length(self, end: int) -> None:
        if end - self._at > MOST_RECORD:
            raise InputError(f"{self._where}: a record is longer than {MOST_RECORD:,} characters, the limit")

    def _decoded(self) -> tuple[Any, int]:
        try:
            return _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError:
            raise
        except ValueError:
            return _LONG_NUMBERS.raw_decode(self._text, self._at)

    def _is_incomplete(self, error: json.JSONDecodeError) -> bool:
        """Whether more text could mend it: it broke where the text that was read ends."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - 16

    def _next(self) -> str:
        """The next sign that is no white space, which stays unread; empty at the end."""
        while True:
            self._at = _end(_SPACE.match(self._text, self._at))
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def _expect(self, sign: str) -> None:
        if self._next() != sign:
            raise self._broken(f"no {sign} where one should be")
        self._at += 1

    def _grow(self) -> bool:
        """Read on, twice as much each time that one record needs it; False at the end."""
        if self._ended:
            return False
        unread = self._text[self._at :]
        data = self._stream.read(max(_CHUNK, len(unread)))
        self._ended = not data
        self._text, self._at = unread + self._decode(data), 0
        return not self._ended

    def _decode(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise self._broken(f"not {error.encoding}") from error

    def _broken(self, reason: str) -> CutError:
        return CutError(f"{self._where}: broken JSON ({quoted(reason)}): download it again")


def _end(match: re.Match[str] | None) -> int:
    assert match is not None  # the pattern matches the empty text
    return match.end()


def json_items(stream: Readable, name: str, where: str) -> Iterator[Any]:
    """Items of the list that a JSON document has under `name`; with an empty name, of the list that it is.

    Raises:
        CutError: The document breaks; the items before that are given.
        InputError: It has no such list, or an item is longer than `MOST_RECORD`.
    """
    document = JsonStream(stream, where)
    if name:
        document.enter(name)
    yield from document.items()
