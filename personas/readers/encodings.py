"""How the bytes of a table are read as text: UTF-8, UTF-16 as Excel writes it, or Windows-1252."""

import codecs
import re
from pathlib import Path
from typing import NamedTuple

from polyphony.errors import InputError

_BLOCK = 1 << 20
_ASCII = bytes(range(128))
_NO_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())
_UTF8_SEQUENCE = re.compile(rb"[\xc3-\xf4][\x80-\xbf]")
# Of the letters of a text in a western language hardly one in ten has an accent; in others most are outside ASCII.
MOST_ACCENTED = 0.2


class Encoding(NamedTuple):
    """How a file is read.

    Attributes:
        name: Python's name of it.
        is_guess: Whether the file does not say so itself.
    """

    name: str
    is_guess: bool = False


def encoding_of(path: Path, shown: str) -> Encoding:
    """Return the encoding of a table: UTF-8 where all of it is, UTF-16 by its mark or its zero bytes, or Windows-1252.

    The file is read through once; memory does not grow with it.

    Raises:
        InputError: It is none of these, or UTF-8 with a broken byte; the line names it.
    """
    with path.open("rb") as stream:
        head = stream.read(1024)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return Encoding("utf-32" if head.startswith(codecs.BOM_UTF32_LE) else "utf-16")
        zeros = [head[start::2].count(0) for start in (0, 1)]
        if max(zeros) > len(head) // 4 and min(zeros) == 0:
            return Encoding("utf-16-le" if zeros[1] else "utf-16-be", is_guess=True)
        stream.seek(0)
        decoder, line = codecs.getincrementaldecoder("utf-8-sig")(), 1
        while block := stream.read(_BLOCK):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                return _windows(path, f"{shown}:{line}: not UTF-8 (byte 0x{error.object[error.start]:02x})")
            line += block.count(b"\n")
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            return _windows(path, f"{shown}:{line}: not UTF-8 (byte 0x{error.object[error.start]:02x})")
    return Encoding("utf-8-sig")


def _windows(path: Path, reason: str) -> Encoding:
    """Windows-1252, if the file can be a western text in it: every byte is a letter or sign, and few are accented."""
    accented = letters = sequences = 0
    decode = codecs.getdecoder("cp1252")
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            try:
                decode(block)
            except UnicodeDecodeError as error:
                raise InputError(f"{reason}: save the file as UTF-8") from error
            accented += len(block.translate(None, _ASCII))
            letters += len(block.translate(None, _NO_LETTERS))
            sequences += len(_UTF8_SEQUENCE.findall(block))
    if 4 * sequences > accented or accented > MOST_ACCENTED * letters:
        raise InputError(f"{reason}: save the file as UTF-8")
    return Encoding("cp1252", is_guess=True)
