"""The `simulate bank` commands: the life of adapters."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyphony.errors import InputError, NotPromoted
from polyphony.simulation.cli.options import (
    MOST_NUMBER,
    BankOption,
    BaseOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    in_range,
)
from polyphony.simulation.cli.printing import figure, flat, print_pairs, print_results, say, stdout

if TYPE_CHECKING:
    from polyphony.adapters.bank.bank import Bank
    from polyphony.adapters.bank.revision import Revision
    from polyphony.adapters.bank.verification import Report
    from polyphony.simulation.cli.console import Reporter

bank_app = typer.Typer(help="Look after the adapters in a bank.", no_args_is_help=True)

PersonArgument = Annotated[str, typer.Argument(help="Handle of the person.")]
NumberOption = Annotated[
    int | None,
    typer.Option(
        show_default="the serving one, or else the latest", **in_range(1, MOST_NUMBER, "Number of the revision.")
    ),
]


@contextmanager
def opened_bank(directory: Path, *, create: bool = False) -> "Iterator[Bank]":
    """Open a bank for one command."""
    from polyphony.adapters.bank.bank import Bank

    with closing(Bank(directory, create=create)) as bank:
        yield bank


def revisions_of(bank: "Bank", person: str) -> "list[Revision]":
    """A person's revisions, oldest first; of ``pooled``, where nobody has that name, those of the pooled adapter.

    Raises:
        InputError: There is none, or people of that name are in several populations or over several base models.
    """
    from polyphony.adapters.bank.revision import PERSONAL, POOLED, REINFORCED

    revisions = bank.revisions(kind=PERSONAL, person=person) or bank.revisions(kind=REINFORCED, person=person)
    if not revisions and person == POOLED:
        revisions = bank.revisions(kind=POOLED)
    if not revisions:
        raise InputError(f"{bank.directory}: no adapter of {person!r}; see `simulate bank list`")
    several = sorted({revision.population for revision in revisions if revision.adapter_id != revisions[0].adapter_id})
    if several:
        raise InputError(f"{bank.directory}: {person!r} is in several populations or over several base models")
    return revisions


def chosen_revision(bank: "Bank", person: str, number: int | None) -> "Revision":
    """A person's revision of that number, else the serving one, else the latest.

    Raises:
        InputError: There is none.
    """
    revisions = revisions_of(bank, person)
    if number is not None:
        return bank.revision(revisions[0].adapter_id, number)
    return bank.serving(revisions[0].adapter_id) or revisions[-1]


@bank_app.command("list")
def bank_list(
    bank: BankOption = Path("bank"),
    kind: Annotated[
        str | None, typer.Option(help="List one kind only: basis, personal, pooled, prior, reinforced or start.")
    ] = None,
    limit: Annotated[int, typer.Option(**in_range(1, MOST_NUMBER, "Number of revisions to list."))] = 1000,
    skip: Annotated[
        int, typer.Option(**in_range(0, MOST_NUMBER, "Number of revisions to leave out at the beginning."))
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """List adapter revisions by kind, person and number."""
    with opened_bank(bank) as opened:
        revisions = opened.revisions(kind=kind, limit=limit, offset=skip)
    if as_json:
        print(json.dumps({"revisions": [asdict(revision) for revision in revisions]}))
        return
    rows = [
        [
            revision.adapter_id, revision.person or f"({revision.kind})", str(revision.number), revision.status,
            str(revision.rank), revision.precision, figure(revision.validation_loss),
        ]
        for revision in revisions
    ]  # fmt: skip
    print_results(["adapter", "person", "revision", "status", "rank", "stored as", "loss"], rows, f"adapters in {bank}")
    if len(revisions) == limit:
        say(f"there may be more: simulate bank list --skip {skip + limit}")


@bank_app.command("show")
def bank_show(
    person: PersonArgument, number: NumberOption = None, bank: BankOption = Path("bank"), as_json: JsonOption = False
) -> None:
    """Show where a person's adapter comes from, how it was evaluated, and its history."""
    with opened_bank(bank) as opened:
        revision = chosen_revision(opened, person, number)
        steps, runs = opened.steps(revision.adapter_id), opened.runs_of(revision.adapter_id)
    facts: dict[str, Any] = {**asdict(revision), "life": [asdict(step) for step in steps], "runs": runs}
    if as_json:
        print(json.dumps(facts))
        return
    life = "\n".join(
        f"{step.at} revision {step.number}: {step.after}" + (f" (forced: {step.forced})" if step.forced else "")
        for step in steps
    )
    lines = {name: flat(value) for name, value in facts.items() if name not in ("life", "runs")}
    print_pairs(person, {**lines, "life": life, "runs": "\n".join(runs) or "none"})


@bank_app.command("promote")
def bank_promote(
    person: Annotated[str | None, typer.Argument(help="Handle of a person. Leave it out with --all.")] = None,
    number: Annotated[
        int | None, typer.Option(show_default="the latest", **in_range(1, MOST_NUMBER, "Number of the revision."))
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Promote everybody's latest revision that may serve.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Promote it against the held-out evaluation. The bank records that.")
    ] = False,
    bank: BankOption = Path("bank"),
) -> None:
    """Let a revision serve. It must beat the prior on held-out posts, unless it is forced."""
    if (person is None) != everybody:
        raise InputError("bank promote takes a handle, or --all")
    with opened_bank(bank) as opened:
        if person is not None:
            revisions = revisions_of(opened, person)
            promoted = opened.promote(revisions[0].adapter_id, number or revisions[-1].number, force=force)
            say(f"{promoted.name} serves")
            return
        _promote_all(opened, force)


def _promote_all(bank: "Bank", force: bool) -> None:
    """Promote everybody's latest revision; print how many serve, and why others do not.

    Raises:
        InputError: The bank cannot be written, or weights are damaged; what was promoted before it stays promoted.
    """
    from polyphony.adapters.bank.lifecycle import Status
    from polyphony.adapters.bank.revision import PERSONAL

    latest = {revision.adapter_id: revision for revision in bank.revisions(kind=PERSONAL)}
    serving, kept_back = 0, []
    try:
        for revision in latest.values():
            if revision.status == Status.RETIRED:
                continue
            try:
                if revision.status != Status.SERVING:
                    bank.promote(revision.adapter_id, revision.number, force=force)
                serving += 1
            except NotPromoted as error:
                kept_back.append(str(error))
    finally:
        say(f"{serving} revisions serve")
        for line in kept_back:
            say(line)


@bank_app.command("rollback")
def bank_rollback(person: PersonArgument, bank: BankOption = Path("bank")) -> None:
    """Let the revision that served before serve again."""
    with opened_bank(bank) as opened:
        say(f"{opened.rollback(revisions_of(opened, person)[0].adapter_id).name} serves")


@bank_app.command("retire")
def bank_retire(
    person: PersonArgument,
    number: Annotated[int, typer.Argument(**in_range(1, MOST_NUMBER, "Number of the revision."))],
    bank: BankOption = Path("bank"),
) -> None:
    """Take a revision out of use; `simulate bank gc` removes it once nothing refers to it."""
    with opened_bank(bank) as opened:
        opened.retire(revisions_of(opened, person)[0].adapter_id, number)
    say(f"revision {number} of {person!r} is retired")


@bank_app.command("gc")
def bank_gc(bank: BankOption = Path("bank")) -> None:
    """Remove retired revisions that no run and no later revision refers to, and weights that none names."""
    with opened_bank(bank) as opened:
        removed = opened.collect()
    say(f"removed {removed.revisions} revisions and {removed.objects} objects ({removed.bytes / 2**20:.1f} MiB)")


@bank_app.command("stats")
def bank_stats(bank: BankOption = Path("bank"), as_json: JsonOption = False) -> None:
    """Count what the bank holds, and how often runs found adapters where they wanted them."""
    from polyphony.adapters.bank.statistics import statistics

    with opened_bank(bank) as opened:
        counted = statistics(opened)
    if as_json:
        print(json.dumps(counted.to_json()))
        return
    counts = {name: flat(getattr(counted, name)) for name in ("adapters", "revisions", "precisions")}
    sizes = {name: f"{count} of {size / 2**20:.1f} MiB" for name, (count, size) in
             (("objects in files", counted.files), ("shards", counted.shards))}  # fmt: skip
    print_pairs(str(bank), {**counts, **sizes})
    rows = [
        (run, name, f"{tier['hits']:.0f}", f"{tier['misses']:.0f}", f"{tier['hit_rate']:.1%}",
         f"{tier['bytes'] / 2**20:.1f}", f"{tier['seconds']:.2f}")
        for run, tiers in counted.runs.items() for name, tier in tiers.items()
    ]  # fmt: skip
    if rows:
        print_results(("run", "tier", "hits", "misses", "hit rate", "MiB brought", "seconds"), rows, "residency")


@bank_app.command("pack")
def bank_pack(bank: BankOption = Path("bank")) -> None:
    """Put adapters that have files of their own into a few large ones."""
    with opened_bank(bank) as opened:
        say(f"{opened.pack()} objects are now in shards")


@bank_app.command("forget")
def bank_forget(person: PersonArgument, bank: BankOption = Path("bank"), as_json: JsonOption = False) -> None:
    """Remove a person's weights, and what was derived from their posts, from every revision."""
    with opened_bank(bank) as opened:
        removed = opened.forget(person)
    if as_json:
        print(json.dumps(asdict(removed)))
        return
    say(f"removed the weights of {removed.revisions} revision{'' if removed.revisions == 1 else 's'}")
    if not removed.settled:
        say(
            "another process is reading the bank: deleted rows stay in its journal until it is closed, or until "
            "`simulate bank gc` runs"
        )
    for run in removed.runs:
        stdout().print(f"used by: {run}", markup=False)


@bank_app.command("verify")
def bank_verify(
    bank: BankOption = Path("bank"),
    probed: Annotated[
        bool,
        typer.Option(
            "--probe", help="Check with the base model, too: drift, agreement of trainer and engine, exports."
        ),
    ] = False,
    base_model: BaseOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Check every object against its checksum and the catalog against itself; exit code 2 if anything is wrong."""
    from polyphony.adapters.bank.verification import verify
    from polyphony.simulation.cli.console import Reporter

    with opened_bank(bank) as opened:
        report = verify(opened)
        if probed and not report.problems:
            with Reporter() as reporter:
                report = _probed(opened, report, base_model, device, dtype, reporter)
    if as_json:
        print(json.dumps(asdict(report)))
    else:
        say(f"{report.revisions} revisions, {report.objects} objects")
        for line in (*report.problems, *report.unfinished):
            stdout().print(line, markup=False)
        for name in report.orphans:
            stdout().print(f"left over: {name}, which no revision names; `simulate bank gc` removes it", markup=False)
    if report.problems or report.unfinished:
        raise typer.Exit(2)


def _probed(
    bank: "Bank", report: "Report", base_model: Path | None, device: str, dtype: str, reporter: "Reporter"
) -> "Report":
    """Ask the probes of every personal revision that is not retired; what they say stays with it."""
    from polyphony.adapters.bank.lifecycle import Status, reason_against_probe
    from polyphony.adapters.bank.revision import PERSONAL
    from polyphony.adapters.evaluation.probing import probe
    from polyphony.adapters.prompting.prompt_config import PromptConfig
    from polyphony.simulation.runs.loading import current_loader

    loader = current_loader()
    base = loader.base_model(base_model, device=device, dtype=dtype, say=reporter.say)
    revisions = [revision for revision in bank.revisions(kind=PERSONAL) if revision.status != Status.RETIRED]
    fitting = [revision for revision in revisions if revision.base_hash == base.hash]
    problems = [
        f"{revision.name}: belongs to another base model (hash {revision.base_hash[:12]}) than {base.name}"
        for revision in revisions if revision.base_hash != base.hash
    ]  # fmt: skip
    kit = loader.prompt_kit(base, PromptConfig())
    results = probe(base, kit, bank, fitting, lambda done, total: reporter.show("probing", done, total, "adapters"))
    for revision, result in zip(fitting, results, strict=True):
        if not bank.read_only:
            bank.set_evaluation(revision, {"probe": asdict(result)})
        if (reason := reason_against_probe(asdict(result))) is not None:
            problems.append(f"{revision.name}: {reason}")
    return replace(report, problems=tuple(problems))
