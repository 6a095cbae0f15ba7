"""Adapters as PEFT directories that a server reads, each named by what is in it."""

from collections.abc import Sequence
from pathlib import Path

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.interchange import export_directory
from polyphony.adapters.bank.revision import Revision, digest_of
from polyphony.adapters.bank.stacking import complete

_PREFIX = "polyphony-"


def exported(directory: Path, bank: Bank, revisions: Sequence[Revision]) -> list[Path]:
    """Write the adapters that a directory does not hold yet; an adapter and what it stands on become one product.

    The directories name nobody: a server shows their names to all who ask.

    Args:
        directory: A directory that the server can read, too.
        bank: The bank that holds the adapters.
        revisions: The adapters.

    Returns:
        The directory of each.

    Raises:
        InputError: An adapter is damaged.
        OSError: The directory cannot be written.
    """
    paths: dict[str, Path] = {}
    for revision in revisions:
        name = export_name(bank, revision)
        if name not in paths:
            paths[name] = directory / name
            if not paths[name].exists():
                card = {"base_hash": revision.base_hash, "adapter": name}
                export_directory(paths[name], complete(bank, revision), base_name="", card=card)
    return [paths[export_name(bank, revision)] for revision in revisions]


def export_name(bank: Bank, revision: Revision) -> str:
    """A name by content: of the adapter's numbers and of those it stands on, with their scales."""
    parts = [[revision.base_hash, revision.object, revision.scale]]
    if revision.prior_object is not None:
        foundation = bank.foundation(revision)
        parts.append([foundation.base_hash, foundation.object, foundation.scale])
    return _PREFIX + digest_of(parts)[:24]
