"""A plan that is locked before its runs: what was fixed, when, and in what a study deviates from it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.model.base_model import base_hash, compute_type, pick_device
from polyphony.adapters.training.provenance import code_version
from polyphony.bundled import reference_trees
from polyphony.checksums import digest_of, sha256
from polyphony.documents import read_document
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.printable import printable_path, quoted
from polyphony.simulation.runs.machine import Machine
from polyphony.simulation.study.plan import LOCK, StudyPlan
from polyphony.simulation.study.populations import PopulationFacts, check_sizes, population_facts
from polyphony.simulation.world.clock import iso
from polyphony.source_code import package_digest
from polyphony.validation import checked

SUFFIX = ".lock.json"
MOST_BYTES = 64 << 20

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Locked(BaseModel):
    """What decides a study.

    Attributes:
        plan: The plan, as `StudyPlan.content` gives it.
        settings: For every arm the SHA-256 over its runs' settings, a scenario's content and all defaults included;
            what the plan, a run's arm and its cell tell is left out, so that a report finds it in run files.
        code: Versions of Polyphony and of the libraries; `source` is the SHA-256 of the package's modules.
        populations: Digest and number of people of each population, by its name in the plan.
        base_model: Hash of the base model; None where no arm asks one.
        adapters: Digest of the adapters that the bank has promoted; None where the plan does not use them.
        compute_type: ``fp32`` or ``bf16``; None where no arm computes here.
        reference_data: SHA-256 of the figures of real reply trees that runs are measured against.
    """

    model_config = _STRICT

    plan: dict[str, Any]
    settings: dict[str, str]
    code: dict[str, str]
    populations: dict[str, PopulationFacts]
    base_model: str | None
    adapters: str | None
    compute_type: str | None
    reference_data: str


class Lock(BaseModel):
    """A lock file.

    Attributes:
        polyphony_lock: The format's number.
        date: When the plan was locked, UTC, in ISO 8601.
        sha256: Of what is locked and the date, so that a lock which was edited is seen.
        locked: What was fixed.
    """

    model_config = _STRICT

    polyphony_lock: Literal[2] = 2
    date: str
    sha256: str
    locked: Locked


class Deviation(BaseModel):
    """What differed from the lock when runs were begun all the same."""

    model_config = _STRICT

    date: str
    changes: tuple[str, ...]


class RecordedLock(BaseModel):
    """What a study's directory holds of its lock.

    Attributes:
        lock: The lock.
        begun_before: Run files that were there when the lock was first met.
        deviations: What differed, each time that runs were begun with ``--deviate``.
    """

    model_config = _STRICT

    lock: Lock
    begun_before: tuple[str, ...] = ()
    deviations: tuple[Deviation, ...] = ()


def lock_path(plan_file: Path) -> Path:
    """Where the lock of a plan lies: beside it, ``plan.lock.json`` for ``plan.toml``."""
    return plan_file.with_suffix(SUFFIX)


def lock_plan(plan: StudyPlan, plan_file: Path, machine: Machine) -> Lock:
    """Write the lock of a plan beside it.

    Args:
        plan: The plan.
        plan_file: Its file.
        machine: Names the base model and the bank.

    Raises:
        InputError: There is a lock already, or a population or the base model cannot be read.
    """
    path = lock_path(plan_file)
    if path.exists():
        date = _read_lock(path).date
        raise InputError(
            f"{printable_path(path)}: locks the plan since {date}; a lock is not replaced: remove it, or lock a copy "
            "of the plan under another name"
        )
    now, date = locked(plan, machine, population_facts(plan)), _now()
    lock = Lock(date=date, sha256=_seal(date, now), locked=now)
    write_durably(path, _json(lock))
    return lock


def locked(plan: StudyPlan, machine: Machine, facts: Mapping[str, PopulationFacts]) -> Locked:
    """What decides a study, as it is now.

    Raises:
        InputError: A population has too few people, or the base model or the bank cannot be read.
    """
    check_sizes(plan, facts)
    first = {cell.label: cell for cell in reversed(plan.cells())}
    settings = {label: plan.settings(first[label]) for label in sorted(first)}
    asks = any(arm_settings.needs_model and arm_settings.engine != "http" for arm_settings in settings.values())
    computes = any(arm_settings.needs_model and arm_settings.engine == "local" for arm_settings in settings.values())
    content = plan.content()
    return Locked(
        plan=content,
        settings={label: digest_of(json.loads(arm_settings.recorded())) for label, arm_settings in settings.items()},
        code={**code_version(), "source": package_digest()},
        populations=dict(facts),
        base_model=base_hash(machine.base_model) if asks else None,
        adapters=_adapters(machine.bank, facts)
        if any(arm_settings.weights == "serving" for arm_settings in settings.values())
        else None,
        compute_type=compute_type(pick_device(machine.device), machine.dtype) if computes else None,
        reference_data=sha256(reference_trees()),
    )


def checked_lock(
    plan: StudyPlan, directory: Path, machine: Machine, *, plan_file: Path | None = None, deviate: bool = False
) -> RecordedLock | None:
    """The lock of a study that is about to run, with what deviates from it; nothing is written.

    Populations that are crossed are read and checked here, whether there is a lock or not.

    Args:
        plan: The whole plan, see `simulation.study.plan.joined`.
        directory: The study's directory, which need not be there.
        machine: Names the base model and the bank.
        plan_file: The plan's file; None where there is none.
        deviate: Whether what differs from the lock is recorded instead of refused.

    Returns:
        None where the study has no lock.

    Raises:
        InputError: Two locks, a lock that was edited or that no longer matches, or a population that has too few
            people.
    """
    recorded = _found(directory, plan_file)
    facts = population_facts(plan) if recorded is not None or plan.populations else {}
    if recorded is None:
        check_sizes(plan, facts)
        return None
    changes = tuple(differences(recorded.lock.locked, locked(plan, machine, facts)))
    if not changes or (recorded.deviations and recorded.deviations[-1].changes == changes):
        return recorded
    if not deviate:
        raise InputError(
            f"the plan was locked on {recorded.lock.date} and no longer matches: {'; '.join(changes)}; run what was "
            "locked, or give --deviate, which the report will tell"
        )
    deviation = Deviation(date=_now(), changes=changes)
    return recorded.model_copy(update={"deviations": (*recorded.deviations, deviation)})


def record_lock(directory: Path, recorded: RecordedLock) -> None:
    """Write what the study's directory holds of its lock."""
    write_durably(directory / LOCK, _json(recorded))


def differences(before: Locked, now: Locked) -> Iterator[str]:
    """In what two states of a study differ, a short clause each."""
    for name in sorted({*before.plan, *now.plan} - {"options"}):
        yield from _changed(f"plan: {name}", before.plan.get(name), now.plan.get(name))
    options, others = before.plan.get("options", {}), now.plan.get("options", {})
    for name in sorted({*options, *others}):
        yield from _changed(f"plan: {name}", options.get(name), others.get(name))
    if before.plan == now.plan and before.settings != now.settings:
        yield "plan: what a file or a default in it holds, as a scenario's content"
    for name in sorted({*before.code, *now.code}):
        yield from _changed(f"code: {name}", before.code.get(name), now.code.get(name))
    for name in sorted({*before.populations, *now.populations}):
        locked, people = before.populations.get(name), now.populations.get(name)
        if locked != people:
            change = (
                "is not locked" if locked is None else "is left out" if people is None else "holds other people or acts"
            )
            yield f"population {printable_path(Path(name))} {change}"
    yield from _changed("base model", before.base_model, now.base_model)
    yield from _changed("promoted adapters", before.adapters, now.adapters)
    yield from _changed("compute type", before.compute_type, now.compute_type)
    yield from _changed("reference data", before.reference_data, now.reference_data)


def _changed(what: str, before: object, now: object) -> Iterator[str]:
    if before != now:
        yield f"{what} (locked {_short(before)}, now {_short(now)})"


def _short(value: object) -> str:
    return "none" if value in (None, "", [], {}) else quoted(value)


def _found(directory: Path, plan_file: Path | None) -> RecordedLock | None:
    """The one lock of a study: the one its directory recorded, or the one beside its plan.

    Raises:
        InputError: There are two.
    """
    own_lock = directory / LOCK
    paths = [] if plan_file is None else [lock_path(plan_file)]
    paths += sorted(directory.glob(f"*{SUFFIX}"))
    locks = {path.resolve(): _read_lock(path) for path in paths if path.exists()}
    recorded = _read(own_lock) if own_lock.exists() else None
    known = ([(own_lock, recorded.lock)] if recorded is not None else []) + list(locks.items())
    for path, lock in known[1:]:
        if lock.sha256 != known[0][1].sha256:
            raise InputError(
                f"two locks: {printable_path(known[0][0])} of {known[0][1].date} and {printable_path(path)} of "
                f"{lock.date}; take one away, or choose another --out"
            )
    if recorded is not None or not known:
        return recorded
    runs = tuple(sorted(f"runs/{path.name}" for path in (directory / "runs").glob("*.db")))
    return RecordedLock(lock=known[0][1], begun_before=runs)


def _read_lock(path: Path) -> Lock:
    remedy = "remove it, and lock the plan again"
    where = printable_path(path)
    lock = checked(Lock, read_document(path, remedy, "JSON", most_bytes=MOST_BYTES), where, "lock", remedy)
    return _sealed(lock, where)


def _read(path: Path) -> RecordedLock:
    remedy = "choose another --out"
    where = printable_path(path)
    value = checked(RecordedLock, read_document(path, remedy, "JSON", most_bytes=MOST_BYTES), where, "lock", remedy)
    _sealed(value.lock, where)
    return value


def _sealed(lock: Lock, where: str) -> Lock:
    if lock.sha256 != _seal(lock.date, lock.locked):
        raise InputError(f"{where}: the lock was edited after it was written; restore it, or lock the plan again")
    return lock


def _seal(date: str, content: Locked) -> str:
    return digest_of({"date": date, "locked": content.model_dump(mode="json")})


def _adapters(directory: Path, facts: Mapping[str, PopulationFacts]) -> str | None:
    """Digest of the revisions that serve these populations; None where there is no bank."""
    if not directory.is_dir():
        return None
    names = {population.name for population in facts.values()}
    with closing(Bank(directory)) as bank:
        serving = [
            [revision.adapter_id, revision.number, revision.object, revision.prior_object]
            for revision in bank.revisions() if revision.status == Status.SERVING and revision.population in names
        ]  # fmt: skip
    return digest_of(sorted(serving, key=str))


def _json(document: BaseModel) -> bytes:
    return (json.dumps(document.model_dump(mode="json"), indent=1) + "\n").encode()


def _now() -> str:
    return iso(datetime.now(UTC))
