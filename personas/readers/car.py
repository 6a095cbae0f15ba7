"""Bluesky repositories: content-addressed blocks (CAR v1) that hold a Merkle search tree of records.

Formats: https://ipld.io/specs/transport/car/carv1/ and https://atproto.com/specs/repository.
"""

import hashlib
import io
from collections.abc import Iterator
from typing import IO, Any

from polyphony.errors import InputError
from polyphony.personas.readers.json_stream import INSTALL
from polyphony.printable import quoted

LARGEST_BLOCK = 2 << 20
CID_TAG = 42
SHA256 = 0x12


def read_repository(stream: IO[bytes], shown: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each record's address (``at://did/collection/key``) and content, in the order of the keys.

    Raises:
        InputError: It is no repository, a block does not match its checksum, or one is missing.
    """
    try:
        import cbor2
    except ImportError as error:
        raise InputError(f"{shown}: {INSTALL} to read Bluesky repositories") from error
    try:
        root, blocks = _blocks(stream, shown)
        commit = _decoded(blocks, root, shown)
        did = str(commit["did"])
        for key, cid in _entries(blocks, _cid(commit["data"]), shown, 0):
            yield f"at://{did}/{key}", _decoded(blocks, cid, shown)
    except (cbor2.CBORDecodeError, KeyError, TypeError, IndexError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{shown}: not a Bluesky repository ({quoted(str(error))}): export it again") from error


def _blocks(stream: IO[bytes], shown: str) -> tuple[bytes, dict[bytes, bytes]]:
    """The root's CID and all blocks by theirs."""
    header = _plain(_take(stream, _varint(stream, shown), shown))
    blocks: dict[bytes, bytes] = {}
    while (size := _varint(stream, shown, end=True)) is not None:
        block = _take(stream, size, shown)
        cid, content = _split_cid(block, shown)
        blocks[cid] = content
    return _cid(header["roots"][0]), blocks


def _split_cid(block: bytes, shown: str) -> tuple[bytes, bytes]:
    """A block's CID (version 1, SHA-256) and its content, which must match."""
    reader = io.BytesIO(block)
    version, _, kind, length = (_varint(reader, shown) for _ in range(4))
    if version != 1 or kind != SHA256 or length != hashlib.sha256().digest_size:
        raise InputError(f"{shown}: a block is not named by SHA-256: export the repository again")
    digest, end = reader.read(length), reader.tell()
    if hashlib.sha256(block[end:]).digest() != digest:
        raise InputError(f"{shown}: a block does not match its checksum: export the repository again")
    return block[:end], block[end:]


def _entries(blocks: dict[bytes, bytes], cid: bytes, shown: str, depth: int) -> Iterator[tuple[str, bytes]]:
    """Keys and CIDs of a subtree; each key repeats the beginning of the one before it."""
    if depth > 64:
        raise InputError(f"{shown}: its tree is too deep: export the repository again")
    node = _decoded(blocks, cid, shown)
    if node.get("l") is not None:
        yield from _entries(blocks, _cid(node["l"]), shown, depth + 1)
    key = b""
    for entry in node["e"]:
        key = key[: entry["p"]] + entry["k"]
        yield key.decode("ascii"), _cid(entry["v"])
        if entry.get("t") is not None:
            yield from _entries(blocks, _cid(entry["t"]), shown, depth + 1)


def _decoded(blocks: dict[bytes, bytes], cid: bytes, shown: str) -> dict[str, Any]:
    if cid not in blocks:
        raise InputError(f"{shown}: a block is missing: export the repository again")
    value = _plain(blocks[cid])
    if not isinstance(value, dict):
        raise TypeError("a block holds no map")
    return value


def _plain(content: bytes) -> Any:
    import cbor2

    return cbor2.loads(content)


def _cid(link: Any) -> bytes:
    """The CID that a DAG-CBOR link names; its first byte says that it is binary."""
    if getattr(link, "tag", None) != CID_TAG or not isinstance(link.value, bytes):
        raise TypeError("something else where a link should be")
    return link.value.removeprefix(b"\x00")


def _varint(stream: IO[bytes], shown: str, *, end: bool = False) -> Any:
    """An unsigned LEB128 number; None at the end of the stream where that may be."""
    value = shift = 0
    while True:
        byte = stream.read(1)
        if not byte:
            if end and shift == 0:
                return None
            raise InputError(f"{shown}: ends in the middle: export the repository again")
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
        shift += 7
        if shift > 63:
            raise InputError(f"{shown}: not a Bluesky repository: export it again")


def _take(stream: IO[bytes], size: int, shown: str) -> bytes:
    content = stream.read(size) if size <= LARGEST_BLOCK else b""
    if len(content) != size:
        raise InputError(f"{shown}: ends in the middle of a block: export the repository again")
    return content
