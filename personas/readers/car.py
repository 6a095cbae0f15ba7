"""Bluesky repositories: content-addressed blocks (CAR v1) that hold a Merkle search tree of records.

Formats: https://ipld.io/specs/transport/car/carv1/ and https://atproto.com/specs/repository.
"""

import hashlib
import io
from collections.abc import Iterator
from typing import IO, Any

from polyphony.errors import CutError, InputError
from polyphony.personas.readers.json_stream import INSTALL

LARGEST_BLOCK = 2 << 20
MOST_BLOCKS = 2_000_000
"""Most blocks of a repository; each record is one."""
LONGEST_KEY = 1024
"""Most bytes of a key, as the specification has it."""
DEEPEST_TREE = 64
MOST_READINGS = 4
"""A repository may name the same blocks under several keys, but what is read must not exceed so many times its size."""
CID_TAG = 42
SHA256 = 0x12
_SHA256_OF_32_BYTES, _USUAL_CID = bytes((SHA256, 32)), 36


def read_repository(stream: IO[bytes], shown: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield each record's address (``at://did/collection/key``) and content, in the order of the keys.

    Where a record cannot be read, its content is the reason, a text.

    Raises:
        CutError: A part of the tree or the end of the file is missing or damaged; the other records are given first.
        InputError: It is no repository, or larger than one of the limits above.
    """
    try:
        import cbor2  # noqa: F401 - a clear line now, not in the middle
    except ImportError as error:
        raise InputError(f"{shown}: {INSTALL} to read Bluesky repositories") from error
    repository = _Repository(shown)
    root = repository.load(stream)
    commit = repository.node(root)
    did, data = commit.get("did"), _cid(commit.get("data"))
    if not isinstance(did, str) or data is None:
        raise repository.is_none("its commit names no account and no records")
    for key, cid in repository.entries(data, 0):
        yield f"at://{did}/{key}", repository.record(cid)
    if repository.missing:
        raise CutError(repository.missing)


class _Repository:
    """The blocks of a repository by their CIDs, and what is wrong with it.

    Attributes:
        missing: Why records are missing, one line; empty where none are.
    """

    def __init__(self, shown: str) -> None:
        self.missing = ""
        self._shown = shown
        self._blocks: dict[bytes, bytes] = {}
        self._damaged: set[bytes] = set()
        self._visited: set[bytes] = set()
        self._left = 0

    def is_none(self, reason: str) -> InputError:
        """It is no repository."""
        return InputError(f"{self._shown}: not a Bluesky repository ({reason}): export it again")

    def load(self, stream: IO[bytes]) -> bytes:
        """Read all blocks and return the root's CID."""
        size = _varint(stream)
        if size is None:
            raise InputError(f"{self._shown}: is empty, or ends in the middle: export the repository again")
        header = _plain(_take(stream, size) or b"")
        roots = header.get("roots") if isinstance(header, dict) else None
        root = _cid(roots[0]) if isinstance(roots, list) and roots else None
        if root is None:
            raise self.is_none("its header names no root")
        for block in self._packed_blocks(stream):
            cid, content = self._split(block)
            self._left += len(block)
            if hashlib.sha256(content).digest() == cid[-hashlib.sha256().digest_size :]:
                self._blocks[cid] = content
            else:
                self._damaged.add(cid)
            if len(self._blocks) + len(self._damaged) > MOST_BLOCKS:
                raise InputError(f"{self._shown}: holds over {MOST_BLOCKS:,} blocks, the limit")
        self._left *= MOST_READINGS
        return root

    def _packed_blocks(self, stream: IO[bytes]) -> Iterator[bytes]:
        while True:
            size = _varint(stream)
            if size is None:
                return
            block = _take(stream, size)
            if block is None:
                reason = f"ends in the middle of a block, or holds one of over {LARGEST_BLOCK:,} bytes"
                self.missing = f"{self._shown}: {reason}: export the repository again"
                return
            yield block

    def _split(self, block: bytes) -> tuple[bytes, bytes]:
        """A block's CID (version 1, SHA-256) and its content."""
        if block[:1] == b"\x01" and block[2:4] == _SHA256_OF_32_BYTES:
            return block[:_USUAL_CID], block[_USUAL_CID:]
        reader = io.BytesIO(block)
        version, _, kind, length = (_varint(reader) for _ in range(4))
        if version != 1 or kind != SHA256 or length != hashlib.sha256().digest_size:
            raise InputError(f"{self._shown}: a block is not named by SHA-256: export the repository again")
        end = reader.tell() + length
        return block[:end], block[end:]

    def entries(self, cid: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
        """Keys and CIDs of a subtree, each node read once; each key repeats the beginning of the one before it."""
        if cid in self._visited:
            return
        self._visited.add(cid)
        if depth > DEEPEST_TREE:
            raise InputError(f"{self._shown}: its tree is over {DEEPEST_TREE} levels deep, the limit")
        try:
            node = self.node(cid)
        except InputError as error:
            if depth == 0:
                raise
            self.missing = self.missing or str(error)
            return
        left = _cid(node.get("l"))
        if left is not None:
            yield from self.entries(left, depth + 1)
        key, entries = b"", node.get("e")
        for entry in entries if isinstance(entries, list) else []:
            key, value, right = self._entry(key, entry)
            if value is not None:
                yield key.decode("ascii", "replace"), value
            if right is not None:
                yield from self.entries(right, depth + 1)

    def _entry(self, key: bytes, entry: Any) -> tuple[bytes, bytes | None, bytes | None]:
        """An entry's key, the CID of its record, and the CID of the subtree after it."""
        shared, rest = (entry.get("p"), entry.get("k")) if isinstance(entry, dict) else (None, None)
        if not isinstance(shared, int) or not isinstance(rest, bytes) or not 0 <= shared <= LONGEST_KEY:
            raise self.is_none("an entry of its tree has no key")
        key = key[:shared] + rest
        if len(key) > LONGEST_KEY:
            raise InputError(f"{self._shown}: a key is longer than {LONGEST_KEY} bytes, the limit")
        return key, _cid(entry.get("v")), _cid(entry.get("t"))

    def node(self, cid: bytes) -> dict[str, Any]:
        """A block of the tree."""
        value = self.record(cid)
        if isinstance(value, str) and self.missing:
            raise InputError(self.missing)
        if isinstance(value, str):
            raise InputError(f"{self._shown}: {value}: export the repository again")
        return value

    def record(self, cid: bytes) -> dict[str, Any] | str:
        """What a block holds, or why that cannot be read."""
        content = self._blocks.get(cid)
        if content is None:
            return "a block does not match its checksum" if cid in self._damaged else "a block is missing"
        self._left -= len(content)
        if self._left < 0:
            raise InputError(f"{self._shown}: names the same blocks more than {MOST_READINGS} times over, the limit")
        value = _plain(content)
        return value if isinstance(value, dict) else "a block holds no record"


def _plain(content: bytes) -> Any:
    """What a block holds; None where it is not CBOR, or not such as can be read."""
    import cbor2

    try:
        return cbor2.loads(content)
    except Exception:  # what cbor2's readers of dates, fractions, addresses and patterns raise is not all its own
        return None


def _cid(link: Any) -> bytes | None:
    """The CID that a DAG-CBOR link names; its first byte says that it is binary."""
    if getattr(link, "tag", None) != CID_TAG or not isinstance(link.value, bytes):
        return None
    return link.value.removeprefix(b"\x00")


def _varint(stream: IO[bytes]) -> int | None:
    """An unsigned LEB128 number; None at the end of the stream, -1 where it is cut off or has over 63 bits."""
    value = 0
    for shift in range(0, 63, 7):
        byte = stream.read(1)
        if not byte:
            return -1 if shift else None
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    return -1


def _take(stream: IO[bytes], size: int) -> bytes | None:
    content = stream.read(size) if 0 <= size <= LARGEST_BLOCK else b""
    return content if len(content) == size else None
