"""One trained state of one adapter: its identity, what decided it, what it is worth."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.precision import Precision

PRIOR = "prior"
PERSONAL = "personal"
START = "start"
FORGOTTEN = "(forgotten)"
"""Stands for a person whose weights were removed on request."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One trained state of one adapter.

    Attributes:
        adapter_id: Stable identity, derived from base, population and person.
        number: From 1 within the adapter.
        parent: The revision it continues; None where it started fresh.
        kind: ``prior``, ``personal``, or ``start``: the prior with an initialisation's shared start taken off.
        person: Handle; empty for a prior.
        population: Name of the population.
        base_hash: The base model it belongs to.
        config: Everything that decided the training.
        init: Initialisation of the factors.
        seed: Seed of the training.
        data_digest: SHA-256 over the examples it learned from.
        training_digest: SHA-256 over all that decides the weights; the same digest is never trained twice.
        losses: Train and validation loss by epoch and the epoch kept.
        evaluation: Held-out evaluation, where it was made.
        provenance: Counts and spans of the data, its origin and consent notes, versions of the code that trained.
        status: See `adapters.bank.lifecycle.Status`.
        object: SHA-256 of the weights file; empty once the person is forgotten.
        prior_object: SHA-256 of the prior's weights file beneath it; None without a prior.
        scale: Factor on the low-rank product.
        rank: Largest rank of its factors.
        precision: How its object keeps the numbers, see `adapters.bank.precision.Precision`.
        created_at: Wall-clock, UTC.
    """

    adapter_id: str
    kind: str
    person: str
    population: str
    base_hash: str
    config: Mapping[str, Any]
    init: str
    seed: int
    data_digest: str
    training_digest: str
    losses: Mapping[str, Any]
    scale: float
    object: str = ""
    prior_object: str | None = None
    number: int = 0
    parent: int | None = None
    evaluation: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] | None = None
    status: str = Status.CANDIDATE
    rank: int = 0
    precision: str = Precision.FP32
    created_at: str = ""

    @property
    def name(self) -> str:
        """Names the revision to a person."""
        return f"revision {self.number} of adapter {self.adapter_id} ({self.person or self.kind!r})"

    @property
    def is_forgotten(self) -> bool:
        """Whether it is what was left when its person was forgotten; its adapter may have come back since."""
        return not self.object and not self.training_digest and self.status == Status.RETIRED


@dataclass(frozen=True)
class Step:
    """One step of a revision's life.

    Attributes:
        number: The revision.
        before: The state before; None at its making.
        after: The state after.
        at: Wall-clock, UTC.
        forced: The reason against it that was overruled; None where there was none.
    """

    number: int
    before: str | None
    after: str
    at: str
    forced: str | None


def adapter_id(base_hash: str, population: str, kind: str, person: str) -> str:
    """Derive the stable id: 16 hexadecimal digits, so that no name from a corpus ever becomes a path."""
    return digest_of([base_hash, population, kind, person])[:16]


def digest_of(value: object) -> str:
    """SHA-256 over canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def revisions_digest(revisions: Sequence[Revision]) -> str:
    """Fingerprint of the weights a run uses, in the order of its agents."""
    return digest_of([[revision.object, revision.prior_object] for revision in revisions])


_JSON_FIELDS = ("config", "losses", "evaluation", "provenance")


def to_row(revision: Revision, columns: Iterable[str]) -> dict[str, Any]:
    """Its values under some names, as the catalog holds them."""
    row = {name: getattr(revision, name) for name in columns}
    for name in _JSON_FIELDS:
        if row.get(name) is not None:
            row[name] = json.dumps(row[name], sort_keys=True)
    return row


def from_row(values: Mapping[str, Any]) -> Revision:
    """Read back what `to_row` wrote."""
    row = dict(values)
    for name in _JSON_FIELDS:
        if row[name] is not None:
            row[name] = json.loads(row[name])
    return Revision(**row)
