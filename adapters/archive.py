"""A whole bank as one file: a plain tar of its rows and its objects."""

import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, select

from adapters import catalog, records
from adapters.bank import Bank
from adapters.lifecycle import Status
from adapters.peft_layout import parse_factors
from adapters.revision import Revision, digest_of
from personas.errors import InputError

ROWS = "bank.json"
FORMAT = 1
OBJECT = re.compile(r"objects/([0-9a-f]{64})\.safetensors")
MOST_ROWS_BYTES = 4 << 30
MOST_OBJECT_BYTES = 1 << 30


@dataclass(frozen=True)
class Moved:
    """What an archive brought: revisions that are new here, and those that were here already."""

    new: int
    known: int


def write_archive(bank: Bank, path: Path) -> int:
    """Write a bank into one file, compressed where its name ends in ``.gz``; returns the number of revisions.

    The same bank gives the same bytes.

    Raises:
        InputError: The file exists, or an object or row is damaged; nothing is left then.
    """
    if path.exists():
        raise InputError(f"{path} exists already; choose another --out")
    revisions = bank.revisions()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            _compressing(part, path.suffix == ".gz") as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            _put(archive, ROWS, json.dumps(_told(bank, revisions), sort_keys=True).encode())
            for name in sorted({revision.object for revision in revisions if revision.object}):
                _put(archive, f"objects/{name}.safetensors", bank.objects.read(name))
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return len(revisions)


@contextmanager
def _compressing(path: Path, compress: bool) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with path.open("wb") as handle:
        if not compress:
            yield handle
            return
        # Neither a name nor a time goes into the header.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=handle, mtime=0) as stream:
            yield stream


def _told(bank: Bank, revisions: list[Revision]) -> dict[str, Any]:
    """The rows of revisions and of their lives. Which runs used them is of this machine, and stays."""
    known = {(revision.adapter_id, revision.number) for revision in revisions}
    table = catalog.transition
    with bank.reading() as connection:
        steps = [dict(row) for row in connection.execute(select(table).order_by(table.c.transition_id)).mappings()]
        rows = [dict(row) for row in connection.execute(records.joined()).mappings()]
    rows.sort(key=lambda row: (row["adapter_id"], row["number"]))
    steps = [step for step in steps if (step["adapter_id"], step["number"]) in known]
    steps = [{**step, "transition_id": None} for step in steps]
    return {"format": FORMAT, "digest": digest_of([rows, steps]), "revisions": rows, "steps": steps}


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def read_archive(bank: Bank, path: Path) -> Moved:
    """Take everything of an archive into a bank, or nothing.

    An adapter that is new here comes with its whole life. Of one that is known here, revisions trained from something
    else come as new ones that do not serve.

    Raises:
        InputError: It is no archive of a bank, it holds links, other paths or damaged contents, or the bank is
            read-only.
    """
    with _opened(path) as members, bank.receiving() as (connection, keep):
        _, content = next(members, ("", b""))
        rows, steps = _parsed(path, content)
        arrived = {keep(content) for _, content in members}
        needed = {name for row in rows for name in (row.object, row.prior_object) if name}
        if missing := needed - arrived:
            raise InputError(f"{path}: the object {min(missing)[:12]} is missing; the archive is not whole")
        return _take(connection, rows, steps)


def _take(connection: Connection, rows: list[Revision], steps: list[Mapping[str, Any]]) -> Moved:
    strangers = {row.adapter_id for row in rows}
    strangers -= {name for name in strangers if records.next_number(connection, name) > 1}
    new = 0
    numbers: dict[tuple[str, int], int] = {}
    for row in rows:
        if row.adapter_id in strangers:
            records.add(connection, row, noted=False)
            new += 1
        elif row.training_digest and (there := records.trained(connection, row.training_digest)) is None:
            number = records.next_number(connection, row.adapter_id)
            parent = None if row.parent is None else numbers.get((row.adapter_id, row.parent))
            status = Status.CANDIDATE if row.evaluation is None else Status.EVALUATED
            records.add(connection, replace(row, number=number, parent=parent, status=status))
            numbers[row.adapter_id, row.number] = number
            new += 1
        elif row.training_digest and there is not None:
            numbers[row.adapter_id, row.number] = there.number
    lives = [dict(step) for step in steps if step["adapter_id"] in strangers]
    if lives:
        connection.execute(catalog.transition.insert(), [{**life, "transition_id": None} for life in lives])
    return Moved(new, len(rows) - new)


def _parsed(path: Path, content: bytes) -> tuple[list[Revision], list[Mapping[str, Any]]]:
    try:
        told = json.loads(content)
        if told["format"] != FORMAT:
            raise InputError(f"{path}: of format {told['format']!r}; this version reads {FORMAT}")
        rows, steps = told["revisions"], told["steps"]
        if told["digest"] != digest_of([rows, steps]):
            raise InputError(f"{path}: its rows are damaged; the archive is not whole")
        names = {column.name for table in (catalog.adapter, catalog.revision) for column in table.c}
        for row in rows:
            if set(row) != names or records.fault_of(row) is not None:
                raise InputError(f"{path}: the row of a revision is damaged; the archive is not whole")
        own = {column.name for column in catalog.transition.c}
        if any(set(step) != own for step in steps):
            raise InputError(f"{path}: the row of a step is damaged; the archive is not whole")
        return [records.opened(row) for row in rows], steps
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: does not begin with {ROWS}; give a file of `simulate bank archive`") from error


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[tuple[str, bytes]]]:
    try:
        with tarfile.open(path, "r:gz" if path.suffix == ".gz" else "r:") as archive:
            yield _members(path, archive)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: no whole tar file ({error}); give a file of `simulate bank archive`") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _members(path: Path, archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member; nothing is ever unpacked under the name that the archive gives it."""
    seen: set[str] = set()
    for entry in archive:
        named = OBJECT.fullmatch(entry.name)
        first = not seen
        if not entry.isreg() or entry.name in seen or (entry.name != ROWS if first else named is None):
            raise InputError(
                f"{path}: holds {ascii(entry.name)[:80]}, which is no plain file that `simulate bank archive` writes"
            )
        seen.add(entry.name)
        if entry.size > (MOST_ROWS_BYTES if first else MOST_OBJECT_BYTES):
            raise InputError(f"{path}: {entry.name[:80]} is larger than any that `simulate bank archive` writes")
        handle = archive.extractfile(entry)
        content = b"" if handle is None else handle.read()
        if named is not None:
            if len(content) != entry.size or hashlib.sha256(content).hexdigest() != named.group(1):
                raise InputError(f"{path}: {entry.name[:24]}… is damaged; the archive is not whole")
            parse_factors(content, f"{path}: {entry.name[:24]}…")
        yield entry.name, content
