"""The `simulate bank` commands that take adapters out of a bank and into it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyphony.bundled import bundled
from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.scratch import scratch_folder
from polyphony.simulation.cli.bank import NumberOption, bank_app, chosen_revision, opened_bank
from polyphony.simulation.cli.options import BankOption, BaseOption, in_range, path
from polyphony.simulation.cli.printing import say, stderr

if TYPE_CHECKING:
    from polyphony.adapters.bank.bank import Bank
    from polyphony.adapters.bank.revision import Revision

__all__ = ["bank_app"]


@bank_app.command("export")
def bank_export(
    person: Annotated[str | None, typer.Argument(help="Handle of a person. Leave it out with --all.")] = None,
    out: Annotated[Path, typer.Option(help="Directory to write to.", parser=path)] = Path("export"),
    everybody: Annotated[
        bool, typer.Option("--all", help="Export everybody: one directory each, inside --out.")
    ] = False,
    number: NumberOption = None,
    bank: BankOption = Path("bank"),
) -> None:
    """Write complete adapters as directories that PEFT and vLLM load, each with its model card."""
    if (person is None) != everybody:
        raise InputError("bank export takes a handle, or --all")
    with opened_bank(bank) as opened:
        if person is not None:
            _export(opened, chosen_revision(opened, person, number), out)
            say(out)
            return
        if out.exists():
            raise InputError(f"{out} exists already; choose another --out")
        chosen = _everybody(opened)
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out.parent) as folder:
            for revision in chosen:
                _export(opened, revision, folder / f"{revision.adapter_id}-r{revision.number}")
            folder.replace(out)
    say(f"{len(chosen)} adapters are in {out}")


def _everybody(bank: "Bank") -> "list[Revision]":
    """Of each person the serving revision, else the latest that is not retired."""
    from polyphony.adapters.bank.revision import PERSONAL

    identities = dict.fromkeys(revision.adapter_id for revision in bank.revisions(kind=PERSONAL) if revision.object)
    return [revision for name in identities if (revision := bank.newest(name)) is not None]


def _export(bank: "Bank", revision: "Revision", out: Path) -> None:
    from polyphony.adapters.bank.interchange import card_of, export_directory
    from polyphony.adapters.bank.stacking import complete

    export_directory(out, complete(bank, revision), base_name="", card=card_of(revision))


@bank_app.command("archive")
def bank_archive(
    out: Annotated[Path, typer.Argument(help="File to write.", parser=path)], bank: BankOption = Path("bank")
) -> None:  # fmt: skip
    """Write the whole bank into one file; the same bank gives the same bytes."""
    from polyphony.adapters.bank.archive import write_archive

    with opened_bank(bank) as opened:
        count = write_archive(opened, out)
    say(f"{count} revisions are in {out}")


@bank_app.command("compact")
def bank_compact(
    out: Annotated[Path, typer.Argument(help="Directory of the new bank, or of a bank to add to.", parser=path)],
    rank: Annotated[int, typer.Option(**in_range(1, 4096, "Largest rank of an adapter."))] = 2,
    storage: Annotated[str, typer.Option(help="Number format of stored adapters: fp32, bf16, int8 or int4.")] = "int4",
    bank: BankOption = Path("bank"),
) -> None:
    """Copy everybody's serving or latest adapter into another bank in a smaller form. They are candidates there."""
    from polyphony.adapters.bank.compaction import compact_bank
    from polyphony.adapters.bank.precision import precision_named

    precision = precision_named(storage)
    with opened_bank(bank) as opened:
        chosen = _everybody(opened)
        with opened_bank(out, create=True) as target:
            compact_bank(opened, target, chosen, rank, precision)
            target.pack()
    say(f"{len(chosen)} adapters of rank {rank} in {storage} are in {out}")


@bank_app.command("ready")
def bank_ready(bank: BankOption = Path("bank")) -> None:
    """Import the compact adapters of the town that come with Polyphony. Then use `run --weights serving`."""
    from polyphony.adapters.bank.archive import read_archive

    remedy = (
        "take the file from the repository and give `simulate bank import town.tar.gz`, or train with `simulate train`"
    )
    archive = bundled("banks", "town.tar.gz", remedy=remedy)
    with opened_bank(bank, create=True) as opened:
        moved = read_archive(opened, archive)
        opened.pack()
    say(f"{moved.new} revisions are new in {bank}, {moved.known} were there; run with --weights serving")


@bank_app.command("import")
def bank_import(
    source: Annotated[Path, typer.Argument(help="An archive, a PEFT directory, or a directory of those.", parser=path)],
    person: Annotated[
        str | None, typer.Option(help="Handle of the person.", show_default="as the adapter's card says")
    ] = None,
    population: Annotated[str, typer.Option(help="Name of the population that the person belongs to.")] = "town",
    force_base: Annotated[
        bool,
        typer.Option(
            "--force-base",
            help="Import adapters although their configuration names another base model. The bank records that.",
        ),
    ] = False,
    bank: BankOption = Path("bank"),
    base_model: BaseOption = None,
) -> None:
    """Import adapters, all or none. They are candidates until they are promoted."""
    from polyphony.adapters.bank.archive import read_archive

    if not source.exists():
        raise InputError(f"{source}: no such file or directory")
    if not source.is_dir():
        with opened_bank(bank, create=True) as opened:
            moved = read_archive(opened, source)
        say(f"{moved.new} revisions are new in {bank}, {moved.known} were there")
        return
    imported = _read_directories(source, person, population, base_model, force_base)
    with opened_bank(bank, create=True) as opened:
        revisions = opened.add_all(imported)
    for revision in revisions:
        say(f"{revision.adapter_id} revision {revision.number}: {revision.status}")


def _read_directories(
    source: Path, person: str | None, population: str, base_model: Path | None, force_base: bool
) -> list[Any]:
    from polyphony.adapters.bank.interchange import foreign_revision, read_directory
    from polyphony.adapters.bank.peft_config import CONFIG, shown_base
    from polyphony.simulation.runs.loading import current_loader

    inside = [source] if (source / CONFIG).exists() else sorted(path.parent for path in source.glob(f"*/{CONFIG}"))
    if not inside:
        raise InputError(f"{source}: no {CONFIG} here or in its directories: give what PEFT's save_pretrained wrote")
    if person is not None and len(inside) > 1:
        raise InputError(f"{source} holds {len(inside)} adapters: leave --person out, or give one of its directories")
    base = current_loader().base_model(base_model, device="auto", dtype="fp32")
    imported = []
    for directory in inside:
        foreign = read_directory(directory, base, force_base=force_base)
        if foreign.other_base is not None:
            other_base = quoted(foreign.other_base)
            stderr().print(
                f"warning: {directory}: was trained on {other_base}, not on {shown_base(base)}", markup=False
            )
        name = person or str(foreign.card.get("person") or directory.name)
        imported.append((foreign_revision(base, population, name, foreign, directory.name), foreign.factors))
    return imported
