"""How much each page of a Parquet file unpacks to: pyarrow unpacks a page as a whole, however large.

Sizes in the file's footer may be untrue. Those in the headers of the pages are what pyarrow makes room for.
"""

from collections.abc import Iterator
from typing import Protocol

# Compact protocol of Apache Thrift, in which the headers are written.
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_UNPACKED, _PACKED = 2, 3
_MOST_LEVELS = 16


class Bytes(Protocol):
    """A file as a sequence of bytes."""

    def __getitem__(self, place: int, /) -> int: ...
    def __len__(self) -> int: ...


def page_sizes(content: Bytes, start: int, length: int) -> Iterator[int]:
    """Bytes that each page of a column chunk unpacks to.

    Args:
        content: The file.
        start: Where the chunk begins.
        length: How many bytes it has in the file.

    Raises:
        ValueError: A header is none.
        IndexError: The chunk is not in the file.
    """
    place, end = start, start + length
    while place < end:
        header = _Header(content, place)
        sizes = header.sizes()
        if _UNPACKED not in sizes or sizes.get(_PACKED, -1) < 0 or sizes[_UNPACKED] < 0:
            raise ValueError("a page without its sizes")
        yield sizes[_UNPACKED]
        place = header.place + sizes[_PACKED]


class _Header:
    """One page header, of which only the sizes are looked at."""

    def __init__(self, content: Bytes, place: int) -> None:
        self._content, self.place = content, place

    def sizes(self) -> dict[int, int]:
        """Its whole numbers by field; `place` is then behind the header."""
        numbers: dict[int, int] = {}
        field = 0
        while (byte := self._byte()) != _STOP:
            kind = byte & 15
            field = field + (byte >> 4) if byte >> 4 else self._zigzag()
            if kind in _INTEGERS:
                numbers[field] = self._zigzag()
            else:
                self._skip(kind, 0, is_field=True)
        return numbers

    def _byte(self) -> int:
        if not 0 <= self.place < len(self._content):
            raise IndexError("the page is not in the file")
        self.place += 1
        return self._content[self.place - 1]

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise ValueError("a number without end")

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _skip(self, kind: int, level: int, *, is_field: bool = False) -> None:
        """Go behind a value; a field that is true or false has none."""
        if level > _MOST_LEVELS:
            raise ValueError("too deep")
        if kind in (_TRUE, _FALSE):
            self.place += not is_field
        elif kind == _BYTE:
            self.place += 1
        elif kind in _INTEGERS:
            self._varint()
        elif kind == _DOUBLE:
            self.place += 8
        elif kind == _BINARY:
            length = self._varint()
            self.place += length
        elif kind in (_LIST, _SET):
            byte = self._byte()
            for _ in range(self._varint() if byte >> 4 == 15 else byte >> 4):
                self._skip(byte & 15, level + 1)
        elif kind == _STRUCT:
            while (byte := self._byte()) != _STOP:
                if not byte >> 4:
                    self._zigzag()
                self._skip(byte & 15, level + 1, is_field=True)
        else:
            raise ValueError(f"a value of kind {kind}")
