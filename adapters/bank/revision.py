"""One trained state of one adapter: its identity, the settings of its training, its evaluation."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.precision import Precision
from polyphony.checksums import digest_of as digest_of

PRIOR = "prior"
PERSONAL = "personal"
POOLED = "pooled"
START = "start"
REINFORCED = "reinforced"
BASIS = "basis"
FORGOTTEN = "(forgotten)"
"""Replaces the name of a person whose weights were removed on request."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One trained state of one adapter.

    Attributes:
        adapter_id: Stable identity, derived from base, population and person.
        number: From 1 within the adapter.
        parent: The revision it continues; None for a fresh start.
        kind: ``prior``; ``personal``; ``pooled``: one adapter of the same rank that learned from all these people;
            ``start``: the prior minus an initialisation's shared start; ``reinforced``: learned from a task's rewards;
            or ``basis``: the frozen pairs in whose coordinates small adapters are stored.
        person: Handle; the plan's name of a reinforced adapter; empty for what is not personal.
        population: Name of the population, or of the task.
        base_hash: The base model it belongs to.
        config: All settings of the training.
        init: Initialisation of the factors.
        seed: Seed of the training.
        data_digest: SHA-256 over the examples it learned from.
        training_digest: SHA-256 over all that decides the weights; the same digest is never trained twice.
        losses: Train and validation loss by epoch, and the epoch whose factors were taken; of a prior with a pointer
            also the weights by which people's own pointers are made.
        evaluation: Held-out evaluation; None without one.
        provenance: Counts and spans of the data, its origin and consent notes, versions of the code that trained.
        status: See `adapters.bank.lifecycle.Status`.
        object: SHA-256 of the weights file; empty once the person is forgotten.
        prior_object: SHA-256 of the weights file of its foundation, see `Bank.foundation`; None without one.
        scale: Factor on the low-rank product.
        rank: Largest rank of its layers' factors; the pointer has a rank of its own.
        precision: How its object stores the numbers, see `adapters.bank.precision.Precision`.
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
        """The revision's name in messages."""
        return f"revision {self.number} of adapter {self.adapter_id} ({self.person or self.kind!r})"

    @property
    def validation_loss(self) -> float | None:
        """Validation loss of the factors that were taken, in nats; None without validation examples."""
        losses = self.losses.get("validation")
        return float(losses[self.losses["epoch"] - 1]) if losses else None

    @property
    def is_forgotten(self) -> bool:
        """Whether only the row is left because the person was forgotten; the adapter may have new revisions since."""
        return not self.object and not self.training_digest and self.status == Status.RETIRED


@dataclass(frozen=True)
class Step:
    """One change of a revision's status.

    Attributes:
        number: The revision.
        before: The status before; None for a new revision.
        after: The status after.
        at: Wall-clock, UTC.
        forced: The reason against it that was overruled; None where there was none.
    """

    number: int
    before: str | None
    after: str
    at: str
    forced: str | None


def adapter_id(base_hash: str, population: str, kind: str, person: str) -> str:
    """Derive the stable id: 16 hexadecimal digits, so that no name from a corpus becomes a path."""
    return digest_of([base_hash, population, kind, person])[:16]


def revisions_digest(revisions: Sequence[Revision]) -> str:
    """SHA-256 over the weights that a run uses, in the order of its agents."""
    return digest_of([[revision.object, revision.prior_object] for revision in revisions])


_JSON_FIELDS = ("config", "losses", "evaluation", "provenance")


def to_row(revision: Revision, columns: Iterable[str]) -> dict[str, Any]:
    """A revision's fields of some names as the catalog stores them."""
    row = {name: getattr(revision, name) for name in columns}
    for name in _JSON_FIELDS:
        if row.get(name) is not None:
            row[name] = json.dumps(row[name], sort_keys=True)
    return row


def from_row(values: Mapping[str, Any]) -> Revision:
    """The revision that `to_row` made a row of."""
    row = dict(values)
    for name in _JSON_FIELDS:
        if row[name] is not None:
            row[name] = json.loads(row[name])
    return Revision(**row)
