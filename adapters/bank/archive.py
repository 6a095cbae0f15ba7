"""A whole bank as one file: a plain tar of its rows and its objects."""

import gzip
import hashlib
import io
import json
import math
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, select

from polyphony.adapters.bank import catalog, catalog_rows
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.coefficients import basis_named
from polyphony.adapters.bank.interchange import check_name
from polyphony.adapters.bank.lifecycle import Status, reason_against_probe
from polyphony.adapters.bank.peft_layout import parse_factors
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import (
    BASIS,
    FORGOTTEN,
    PERSONAL,
    POOLED,
    PRIOR,
    REINFORCED,
    START,
    Revision,
    digest_of,
)
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.errors import InputError
from polyphony.printable import printable, quoted
from polyphony.regular_file import open_regular
from polyphony.scratch import scratch_file
from polyphony.unforeseen import reading

ROWS = "bank.json"
FORMAT = 1
OBJECT = re.compile(r"objects/([0-9a-f]{64})\.safetensors")
NAME = re.compile(r"[0-9a-f]{64}")
# Most bytes of one member: some, and some for each byte of the archive. Weights and digests compress by less; a file
# made to fill the memory compresses by a thousand.
MOST_MEMBER_BYTES = 32 << 20
MOST_EXPANSION = 4


@dataclass(frozen=True)
class Moved:
    """How many revisions of an archive are new in the bank, and how many it had already."""

    new: int
    known: int


def write_archive(bank: Bank, path: Path) -> int:
    """Write a bank into one file, compressed where its name ends in ``.gz``; returns the number of revisions.

    The same bank always gives the same bytes.

    Raises:
        InputError: The file exists, or an object or row is damaged. No file is left then.
    """
    if path.exists():
        raise InputError(f"{path} exists already; choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = _rows(bank)
    with scratch_file(path.parent) as part:
        with (
            _compressing(part, path.suffix == ".gz") as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            _put(archive, ROWS, json.dumps(content, sort_keys=True).encode())
            for name in sorted({row["object"] for row in content["revisions"] if row["object"]}):
                _put(archive, f"objects/{name}.safetensors", bank.objects.read(name))
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    return len(content["revisions"])


@contextmanager
def _compressing(path: Path, compress: bool) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with path.open("wb") as handle:
        if not compress:
            yield handle
            return
        # Neither a name nor a time goes into the header.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=handle, mtime=0) as stream:
            yield stream


def _rows(bank: Bank) -> dict[str, Any]:
    """The rows of all revisions and of their steps at one moment, without the runs, which are files of this machine."""
    table = catalog.transition
    with bank.reading() as connection:
        rows = [dict(row) for row in connection.execute(catalog_rows.joined()).mappings()]
        steps = [dict(row) for row in connection.execute(select(table).order_by(table.c.transition_id)).mappings()]
    if (wrong := next(filter(None, map(catalog_rows.fault_of, rows)), None)) is not None:
        raise InputError(wrong)
    known = {(row["adapter_id"], row["number"]) for row in rows}
    rows.sort(key=lambda row: (row["adapter_id"], row["number"]))
    steps = [{**step, "transition_id": None} for step in steps if (step["adapter_id"], step["number"]) in known]
    return {"format": FORMAT, "digest": digest_of([rows, steps]), "revisions": rows, "steps": steps}


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def read_archive(bank: Bank, path: Path) -> Moved:
    """Add the whole of an archive to a bank, or nothing.

    An adapter that is new to the bank is added with all its steps. If the bank has the adapter, revisions of other
    trainings are added as new ones, which do not serve.

    Raises:
        InputError: The file is no archive of a bank, it holds links, other paths or damaged contents, or the bank is
            read-only.
    """
    with _opened(path) as members, bank.receiving() as (connection, keep):
        _, content = next(members, ("", b""))
        with reading(str(path)):
            rows, steps = _parsed(path, content)
        basis_of = {keep(content): basis_named(content) for _, content in members}
        arrived = set(basis_of)
        needed = {name for row in rows for name in (row.object, row.prior_object) if name}
        needed |= {name for name in basis_of.values() if name is not None}
        if missing := needed - arrived:
            raise InputError(f"{path}: the object {min(missing)[:12]} is missing; the archive is not whole")
        return _take(connection, rows, steps)


def _take(connection: Connection, rows: list[Revision], steps: list[dict[str, Any]]) -> Moved:
    new_adapters = {row.adapter_id for row in rows}
    new_adapters -= {name for name in new_adapters if catalog_rows.next_number(connection, name) > 1}
    new = 0
    numbers: dict[tuple[str, int], int] = {}
    for row in rows:
        if row.adapter_id in new_adapters:
            catalog_rows.add(connection, row, noted=False)
            new += 1
        elif (known := _known(connection, row)) is not None:
            numbers[row.adapter_id, row.number] = known.number
        elif not row.is_forgotten:
            numbers[row.adapter_id, row.number] = _add_as_new(connection, row, numbers)
            new += 1
    own_steps = [step for step in steps if step["adapter_id"] in new_adapters]
    if own_steps:
        connection.execute(catalog.transition.insert(), own_steps)
    return Moved(new, len(rows) - new)


def _known(connection: Connection, row: Revision) -> Revision | None:
    """The revision of the bank that equals one of the archive.

    A foundation is recognised by its weights: the same training gives other weights on another machine.
    """
    if row.is_forgotten:
        return None
    known = catalog_rows.trained(connection, row.training_digest, row.adapter_id)
    if known is None or row.kind in (PERSONAL, POOLED, REINFORCED) or known.object == row.object:
        return known
    return catalog_rows.trained(connection, _own_digest(row), row.adapter_id)


def _add_as_new(connection: Connection, row: Revision, numbers: Mapping[tuple[str, int], int]) -> int:
    number = catalog_rows.next_number(connection, row.adapter_id)
    parent = None if row.parent is None else numbers.get((row.adapter_id, row.parent))
    status = Status.EVALUATED if "nll" in (row.evaluation or {}) else Status.CANDIDATE
    taken = catalog_rows.trained(connection, row.training_digest, row.adapter_id) is not None
    digest = _own_digest(row) if taken else row.training_digest
    catalog_rows.add(connection, replace(row, number=number, parent=parent, status=status, training_digest=digest))
    return number


def _own_digest(row: Revision) -> str:
    return digest_of(["from an archive", row.training_digest, row.object])


def _parsed(path: Path, content: bytes) -> tuple[list[Revision], list[dict[str, Any]]]:
    try:
        fields = json.loads(content)
        if fields["format"] != FORMAT:
            raise InputError(f"{path}: of format {quoted(fields['format'])}; this version reads {FORMAT}")
        rows, steps = fields["revisions"], fields["steps"]
        if fields["digest"] != digest_of([rows, steps]):
            raise InputError(f"{path}: its rows are damaged; the archive is not whole")
        names = {column.name for table in (catalog.adapter, catalog.revision) for column in table.c}
        if any(set(row) != names or catalog_rows.fault_of(row) is not None for row in rows):
            raise InputError(f"{path}: the row of a revision is damaged; the archive is not whole")
        columns = {column.name for column in catalog.transition.c}
        if any(set(step) != columns for step in steps):
            raise InputError(f"{path}: the row of a step is damaged; the archive is not whole")
        revisions = [catalog_rows.opened(row) for row in rows]
        check_rows(path, revisions)
        return revisions, [_step(step) for step in steps]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InputError(f"{path}: does not begin with {ROWS}; give a file of `simulate bank archive`") from error


def check_rows(path: Path, revisions: Sequence[Revision]) -> None:
    """Refuse revisions that no bank writes: an archive can be forged with valid digests.

    Raises:
        InputError: A revision is out of range, appears twice, or serves beside another.
        ValueError: A value has another type than its name says.
    """
    seen: set[tuple[str, int]] = set()
    serving: set[str] = set()
    for revision in revisions:
        key, status = (revision.adapter_id, revision.number), Status(revision.status)
        sound = (
            isinstance(revision.number, int) and revision.number > 0
            and isinstance(revision.scale, float) and math.isfinite(revision.scale)
            and revision.kind in (BASIS, PERSONAL, POOLED, PRIOR, REINFORCED, START) and Precision(revision.precision)
            and (revision.is_forgotten or NAME.fullmatch(revision.object))
            and (revision.prior_object is None or NAME.fullmatch(revision.prior_object))
            and isinstance(revision.rank, int) and isinstance(revision.training_digest, str)
            and isinstance(revision.evaluation or {}, dict) and isinstance(revision.losses, dict)
        )  # fmt: skip
        if not sound or key in seen or (status is Status.SERVING and revision.adapter_id in serving):
            raise InputError(f"{path}: holds a revision that no bank writes; the archive is not used")
        if not revision.is_forgotten:
            LoraShape(**revision.config["shape"])
            reason_against_probe((revision.evaluation or {}).get("probe"))
        if revision.kind == PERSONAL and revision.person != FORGOTTEN:
            check_name(revision.person)
        seen.add(key)
        serving |= {revision.adapter_id} if status is Status.SERVING else set()


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    """A change of status as a row of the catalog."""
    return {
        "transition_id": None,
        "adapter_id": str(step["adapter_id"]),
        "number": int(step["number"]),
        "before": None if step["before"] is None else Status(step["before"]),
        "after": Status(step["after"]),
        "at": printable(str(step["at"])),
        "forced": None if step["forced"] is None else printable(str(step["forced"])),
    }


class _LimitedReads:
    """A stream of which nobody reads more than some bytes at once, as the headers of a tar file may ask for."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most = stream, most
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._most:
            raise tarfile.ReadError(f"a part of {size:,} bytes is over the limit of {self._most:,}")
        return self._stream.read(size)


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[tuple[str, bytes]]]:
    try:
        with open_regular(path) as (file, size), ExitStack() as stack:
            stream: Any = stack.enter_context(gzip.open(file)) if path.suffix == ".gz" else file
            most = MOST_MEMBER_BYTES + MOST_EXPANSION * size
            limited: Any = _LimitedReads(stream, most)
            with tarfile.open(fileobj=limited, mode="r:") as archive:
                yield _members(path, archive, most)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: no whole tar file ({error}); give a file of `simulate bank archive`") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _members(path: Path, archive: tarfile.TarFile, most: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member; no file is ever written under a name from the archive."""
    seen: set[str] = set()
    for entry in archive:
        named = OBJECT.fullmatch(entry.name)
        first = not seen
        if not entry.isreg() or entry.name in seen or (entry.name != ROWS if first else named is None):
            raise InputError(
                f"{path}: holds {quoted(entry.name)}, which is no plain file that `simulate bank archive` writes"
            )
        seen.add(entry.name)
        if entry.size > most:
            raise InputError(f"{path}: {quoted(entry.name)} of {entry.size:,} bytes is over the limit of {most:,}")
        handle = archive.extractfile(entry)
        content = b"" if handle is None else handle.read()
        if named is not None:
            if len(content) != entry.size or hashlib.sha256(content).hexdigest() != named.group(1):
                raise InputError(f"{path}: {entry.name[:24]}… is damaged; the archive is not whole")
            if basis_named(content) is None:
                parse_factors(content, f"{path}: {entry.name[:24]}…")
        yield entry.name, content
