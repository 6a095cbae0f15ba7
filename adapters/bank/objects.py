"""Immutable weights named by the checksum of their content: one file per object, or many objects in a shard."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from polyphony.adapters.bank.coefficients import Coefficients, basis_named, flat, read_coefficients
from polyphony.adapters.bank.object_layout import FlatFactors, header_end, header_entries, read_object
from polyphony.adapters.model.lora import Factors
from polyphony.adapters.model.reading_pool import reading_pool
from polyphony.durable import write_durably
from polyphony.errors import InputError

# Objects that one thread reads, checks and parses while another reads the next ones.
READ_TOGETHER = 32
READERS = 2


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """The shard and the range of bytes of an object."""

    shard: str
    start: int
    size: int


Span = dict[str, ObjectPlace]
"""Neighbouring objects in one shard: name -> place."""
Held = FlatFactors | bytes
"""A checked object in memory: the bytes of coefficients, or ordinary factors."""
Locate = Callable[[Sequence[str]], Mapping[str, ObjectPlace]]
"""Returns the places of those of some objects that lie in shards."""


class ObjectStore:
    """A folder of objects, each a safetensors file in PEFT's layout, named by the SHA-256 of its bytes.

    A shard is a safetensors file, too: each tensor in it holds the bytes of one object and has its name.
    """

    def __init__(self, directory: Path, locate: Locate = lambda names: {}) -> None:
        """Take the folder, which need not exist yet; `locate` knows which objects lie in shards."""
        self.directory = directory
        self._locate = locate
        self._bases: dict[str, Factors] = {}

    def path(self, name: str) -> Path:
        """The path of an object that has a file of its own."""
        return self.directory / name[:2] / f"{name}.safetensors"

    def shard_path(self, shard: str) -> Path:
        """The path of a shard."""
        return self.directory / "shards" / f"{shard}.safetensors"

    def files(self) -> list[Path]:
        """Every file that is no shard, including half-written ones."""
        return [path for path in self._all_files() if path.parent.name != "shards"]

    def shards(self) -> list[Path]:
        """Every shard, including half-written ones."""
        return [path for path in self._all_files() if path.parent.name == "shards"]

    def _all_files(self) -> list[Path]:
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    # Writing

    def keep(self, content: bytes, new: list[Path] | None = None) -> str:
        """Store the bytes of an object; returns its name.

        Args:
            content: The bytes.
            new: Receives the path of the object's file where it did not exist before.

        Raises:
            OSError: The disk is full, or cannot be written. Nothing is left then.
        """
        stored = hashlib.sha256(content).hexdigest()
        path = self.path(stored)
        if new is not None and not path.exists():
            new.append(path)
        write_durably(path, content)
        return stored

    def write_shard(self, names: Sequence[str]) -> dict[str, ObjectPlace]:
        """Write some stored objects into one shard; returns their places. Nothing is removed.

        Raises:
            InputError: One of them is missing or damaged.
        """
        return self.keep_shard({name: self.read(name) for name in names})

    def keep_shard(self, contents: Mapping[str, bytes]) -> dict[str, ObjectPlace]:
        """Write objects into one shard, from their names and bytes; returns their places."""
        bodies = {name: torch.frombuffer(bytearray(content), dtype=torch.uint8) for name, content in contents.items()}
        content = save(bodies, metadata={"format": "pt"})
        shard = hashlib.sha256(content).hexdigest()
        write_durably(self.shard_path(shard), content)
        return {name: ObjectPlace(shard, start, len(bodies[name])) for name, start in _starts(content).items()}

    # Reading

    def read(self, name: str) -> bytes:
        """The bytes of one object, checked against its name.

        Raises:
            InputError: It is missing, or its checksum differs.
        """
        (content,) = self._read_many([name])
        return content.tobytes()

    def load(self, name: str) -> FlatFactors:
        """Load one object and check it against its name.

        Raises:
            InputError: The object is missing, or its checksum differs.
        """
        return next(self.load_many([name]))

    def load_many(self, names: Sequence[str]) -> Iterator[FlatFactors]:
        """Load objects in the order of their names; the next ones are read while the caller uses these.

        Raises:
            InputError: One is missing, or its checksum differs.
        """
        return (self.opened(held, name) for held, name in zip(self.held_many(names), names, strict=True))

    def held_many(self, names: Sequence[str]) -> Iterator[Held]:
        """Load objects as memory holds them, see `opened`; otherwise as `load_many`."""
        chunks = _chunks(names)
        if len(chunks) < 2:
            yield from self._load_chunk(names)
            return
        with reading_pool(READERS) as pool:
            for chunk in _ahead(pool, self._load_chunk, chunks):
                yield from chunk

    def _load_chunk(self, names: Sequence[str]) -> list[Held]:
        return [
            read_object(content, name) if basis_named(content) is None else content.tobytes()
            for name, content in zip(names, self._read_many(names), strict=True)
        ]

    def opened(self, held: Held, name: str) -> FlatFactors:
        """The ordinary factors of an object; those of coefficients are made here, and are some hundred times larger.

        Raises:
            InputError: The coefficients are damaged, or their basis is not here.
        """
        if isinstance(held, FlatFactors):
            return held
        basis = self.basis(basis_named(held) or "", name)
        return flat(read_coefficients(held, basis, name), basis)

    def _coefficients(self, content: np.ndarray, name: str) -> Coefficients | None:
        """What an object in the coordinates of a basis holds; None for one that stands by itself."""
        basis = basis_named(content)
        return None if basis is None else read_coefficients(content.tobytes(), self.basis(basis, name), name)

    def weights(self, name: str) -> Factors | Coefficients:
        """One object as it is stored: the coefficients, where it is in the coordinates of a basis, else the factors.

        Raises:
            InputError: As `load`.
        """
        (content,) = self._read_many([name])
        coefficients = self._coefficients(content, name)
        return read_object(content, name).factors() if coefficients is None else coefficients

    def basis(self, name: str, needed_by: str) -> Factors:
        """A basis, read once; `needed_by` names in errors what is in its coordinates.

        Raises:
            InputError: This store does not hold it.
        """
        if name not in self._bases:
            if not self.path(name).is_file() and name not in self._locate([name]):
                raise InputError(
                    f"{self.directory}: object {needed_by[:12]} is in the coordinates of basis {name[:12]}, which is "
                    "not here; import the archive of the bank that trained it, or train again"
                )
            (content,) = self._read_many([name])
            self._bases[name] = read_object(content, name).factors()
        return self._bases[name]

    def _read_many(self, names: Sequence[str]) -> Iterator[np.ndarray]:
        span_of = {name: span for span in _spans(names, self._locate(names)) for name in span}
        held: dict[str, np.ndarray] = {}
        for name in names:
            if name not in held:
                held |= self._read_near(name, span_of)
            content = held[name]
            if (checksum := hashlib.sha256(content.data).hexdigest()) != name:
                where = self.shard_path(span_of[name][name].shard) if name in span_of else self.path(name)
                raise InputError(
                    f"{where}: the bank's object {name[:12]} is damaged (checksum {checksum[:12]}); "
                    "delete it and train again"
                )
            yield content

    def _read_near(self, name: str, span_of: Mapping[str, Span]) -> dict[str, np.ndarray]:
        """Read an object, with its neighbours if it lies in a shard; locate it again if it has moved meanwhile."""
        span = span_of.get(name)
        try:
            return self._read_at(name, span)
        except OSError as error:
            with suppress(OSError):
                return self._read_at(name, next(iter(_spans([name], self._locate([name]))), None))
            path, kind = (self.path(name), "object") if span is None else (self.shard_path(span[name].shard), "shard")
            raise InputError(f"{path}: the bank's {kind} cannot be read: {error.strerror}; train again") from error

    def _read_at(self, name: str, span: Span | None) -> dict[str, np.ndarray]:
        return {name: np.fromfile(self.path(name), dtype=np.uint8)} if span is None else self._read_span(span)

    def _read_span(self, span: Span) -> dict[str, np.ndarray]:
        """Read neighbours in one shard at once."""
        first = min(place.start for place in span.values())
        end = max(place.start + place.size for place in span.values())
        path = self.shard_path(next(iter(span.values())).shard)
        content = np.fromfile(path, dtype=np.uint8, count=end - first, offset=first)
        return {name: content[at.start - first : at.start - first + at.size] for name, at in span.items()}


def remove(paths: Iterable[Path]) -> tuple[int, int]:
    """Remove those of some files that exist; returns their number and bytes."""
    count = size = 0
    for path in paths:
        with suppress(FileNotFoundError):
            own = path.stat().st_size
            path.unlink()
            count, size = count + 1, size + own
    return count, size


def _chunks(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + READ_TOGETHER] for start in range(0, len(names), READ_TOGETHER)]


def _ahead(
    pool: ThreadPoolExecutor, load: Callable[[Sequence[str]], list[Held]], chunks: Sequence[Sequence[str]]
) -> Iterator[list[Held]]:
    """Load chunks in order, as many ahead of the caller as there are threads."""
    waiting = deque(pool.submit(load, chunk) for chunk in chunks[:READERS])
    for number in range(len(chunks)):
        loaded = waiting.popleft().result()
        if number + READERS < len(chunks):
            waiting.append(pool.submit(load, chunks[number + READERS]))
        yield loaded


def _spans(names: Sequence[str], places: Mapping[str, ObjectPlace]) -> list[Span]:
    """Group the objects that lie in shards into ranges without a gap."""
    spans: list[Span] = []
    end = ("", -1)
    for name in sorted({name for name in names if name in places}, key=lambda name: _order(places[name])):
        place = places[name]
        if (place.shard, place.start) == end:
            spans[-1][name] = place
        else:
            spans.append({name: place})
        end = (place.shard, place.start + place.size)
    return spans


def _order(place: ObjectPlace) -> tuple[str, int]:
    return place.shard, place.start


def _starts(content: bytes) -> dict[str, int]:
    """Where in a safetensors file the bytes of each tensor begin."""
    end = header_end(content)
    return {name: end + at["data_offsets"][0] for name, at in header_entries(content[:end]).items()}
