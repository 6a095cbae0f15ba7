"""What a bank of adapters says of itself: its catalog, read without writing and without any weights."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, inspect, select

from polyphony.compact_text import unpacked
from polyphony.errors import MetricsError
from polyphony.metrics.runfile.database import open_read_only, slim_table, source_name
from polyphony.printable import quoted

CATALOG = "catalog.sqlite"

_TABLES = frozenset({"adapter", "revision", "transition"})


class BankRevision(NamedTuple):
    """One revision of one adapter; losses and evaluations in nats a token, None where they were not made.

    Attributes:
        kind: prior, personal or start.
        own: Held-out NLL of the person's posts under the revision.
        pooled: The same under the prior alone, which evaluations of earlier versions call ``pooled``.
        drift: KL divergence from what it follows, on the probes.
        disagreement: Largest difference of trainer and engine on a token of the probes.
        origin: Where the posts came from, in the corpus's own words.
    """

    adapter_id: str
    person: str
    kind: str
    population: str
    number: int
    parent: int | None
    status: str
    init: str
    rank: int
    precision: str
    created_at: str
    train_loss: float | None
    validation_loss: float | None
    own: float | None
    pooled: float | None
    drift: float | None
    disagreement: float | None
    train_examples: int | None
    learned_from: str | None
    learned_to: str | None
    origin: str | None
    licence: str | None
    training_digest: str
    object: str
    prior_object: str | None

    @property
    def advantage(self) -> float | None:
        """How much likelier the revision finds its person's held-out posts than the prior does, in nats a token."""
        return None if self.own is None or self.pooled is None else self.pooled - self.own


class BankStep(NamedTuple):
    """One step of a revision's life."""

    adapter_id: str
    number: int
    before: str | None
    after: str
    at: str
    forced: str | None


class BankCatalog(NamedTuple):
    """All revisions of a bank and their steps, in the order in which they were made."""

    revisions: tuple[BankRevision, ...]
    steps: tuple[BankStep, ...]

    def digest(self, used: Sequence[tuple[str, int]]) -> str | None:
        """Digest of the weights of some revisions, as a run records that of its agents', in their order.

        Args:
            used: Adapter id and number of each.

        Returns:
            64 hexadecimal digits; None where the bank does not hold all of them.
        """
        objects = {
            (revision.adapter_id, revision.number): [revision.object, revision.prior_object]
            for revision in self.revisions
        }
        if any(key not in objects for key in used):
            return None
        return hashlib.sha256(json.dumps([objects[key] for key in used]).encode()).hexdigest()


def read_bank(directory: Path) -> BankCatalog:
    """Read a bank's catalog.

    Raises:
        MetricsError: The directory holds no catalog, or it is not one of ours.
    """
    path = directory / CATALOG
    with open_read_only(path, "a bank that `simulate train --bank` made") as connection:
        if missing := _TABLES - set(inspect(connection).get_table_names()):
            raise MetricsError(
                f"{source_name(path)}: not a bank (no table {sorted(missing)[0]!r}); give another --bank"
            )
        catalog = BankCatalog(_revisions(connection), _steps(connection))
    _check_kinds(catalog, source_name(path))
    return catalog


def _check_kinds(catalog: BankCatalog, name: str) -> None:
    """SQLite stores a value of any type in any column: pages count on texts and numbers."""
    for row in (*catalog.revisions, *catalog.steps):
        kinds = BankRevision.__annotations__ if isinstance(row, BankRevision) else BankStep.__annotations__
        for field, kind in kinds.items():
            value = getattr(row, field)
            is_whole_float = isinstance(value, int) and isinstance(0.0, kind)
            if isinstance(value, bool) or not (isinstance(value, kind) or is_whole_float):
                raise MetricsError(f"{name}: holds {quoted(value)} as {field.lower()}; the bank's catalog is damaged")


def _revisions(connection: Connection) -> tuple[BankRevision, ...]:
    adapter = slim_table("adapter", "adapter_id person kind population")
    revision = slim_table(
        "revision",
        "adapter_id number parent status init rank precision created_at losses evaluation provenance training_digest "
        "object prior_object",
    )
    rows = connection.execute(
        select(adapter.c.person, adapter.c.kind, adapter.c.population, *revision.c)
        .select_from(revision.join(adapter, adapter.c.adapter_id == revision.c.adapter_id))
        .order_by(revision.c.created_at, revision.c.adapter_id, revision.c.number)
    )
    return tuple(_revision(dict(row._mapping)) for row in rows)


def _revision(row: dict[str, Any]) -> BankRevision:
    losses, evaluation, provenance = (_object(row[name]) for name in ("losses", "evaluation", "provenance"))
    nll, probe = _part(evaluation, "nll"), _part(evaluation, "probe")
    corpus, learned = _part(provenance, "corpus"), provenance.get("learned") or (None, None)
    epoch = losses.get("epoch") or 0
    return BankRevision(
        **{name: row[name] for name in BankRevision._fields if name in row},
        train_loss=_of_epoch(losses.get("train"), epoch), validation_loss=_of_epoch(losses.get("validation"), epoch),
        own=nll.get("own"), pooled=nll.get("prior", nll.get("pooled")),
        drift=probe.get("drift"), disagreement=probe.get("agreement"),
        train_examples=_part(provenance, "examples").get("train"), learned_from=learned[0], learned_to=learned[1],
        origin=corpus.get("origin"), licence=corpus.get("licence"),
    )  # fmt: skip


def _steps(connection: Connection) -> tuple[BankStep, ...]:
    transition = slim_table("transition", "transition_id " + " ".join(BankStep._fields))
    query = select(*(transition.c[name] for name in BankStep._fields)).order_by(transition.c.transition_id)
    return tuple(BankStep(*row) for row in connection.execute(query))


def _object(packed: str | bytes | None) -> dict[str, Any]:
    """A JSON object of the catalog; an empty one where there is none or something else."""
    try:
        value = json.loads(unpacked(packed) or "{}")
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    part = value.get(name)
    return part if isinstance(part, dict) else {}


def _of_epoch(losses: Any, epoch: int) -> float | None:
    return losses[epoch - 1] if isinstance(losses, list) and 0 < epoch <= len(losses) else None
