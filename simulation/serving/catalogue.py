"""The models that a server offers: the base model, and the adapters of a bank by person, id or revision."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from polyphony.adapters.bank import listing
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.interchange import foreign_revision, read_directory
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.object_layout import FlatFactors, flattened
from polyphony.adapters.bank.revision import PERSONAL, POOLED, REINFORCED, Revision
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import rank_of
from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.simulation.serving.refusal import Refusal, bad

BASE = "base"
SERVED_KINDS = (PERSONAL, POOLED, REINFORCED)
MOST_LOADED = 256
_PINNED = re.compile(r"(.+)@([0-9]{1,9})", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Model:
    """One model that can be asked.

    Attributes:
        name: As the client named it.
        revision: Its adapter; None for the bare base.
        loaded: The adapter's factors, where it came through ``/v1/load_lora_adapter``.
    """

    name: str
    revision: Revision | None = None
    loaded: FlatFactors | None = None

    @property
    def key(self) -> str:
        """The object of its weights; empty for the bare base."""
        return "" if self.revision is None else self.revision.object


class Catalogue:
    """Finds models by name, each time anew in the bank, so that a promotion counts from the next request on."""

    def __init__(self, bank: Bank, base: BaseModel, loadable: Path | None = None) -> None:
        """Take the bank.

        Args:
            bank: Holds the adapters.
            base: The base model that serves.
            loadable: The folder under which clients may name adapters to load; None to let them load nothing.
        """
        self._bank, self._base = bank, base
        self._loadable = None if loadable is None else loadable.resolve()
        self._loaded: dict[str, Model] = {}
        self._lock = Lock()

    def find(self, name: str) -> Model:
        """The model of a name.

        Raises:
            Refusal: There is none, it is retired, or several have the name.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name in (BASE, self._base.name):
            return Model(name)
        identity, number = self._identity(name), None
        if identity is None and (pinned := _PINNED.fullmatch(name)) is not None:
            identity, number = self._identity(pinned[1]), int(pinned[2])
        if identity is None:
            raise _unknown(name)
        revision = self._bank.newest(identity) if number is None else self._pinned(identity, number, name)
        if revision is None:
            raise _unknown(name, "all its revisions are retired")
        return Model(name, revision)

    def _identity(self, name: str) -> str | None:
        """The adapter of a person's name or an id."""
        kind = POOLED if name == POOLED else None
        with self._bank.reading() as connection:
            rows = listing.named(connection, self._base.hash, name, (kind,) if kind else SERVED_KINDS)
        if len(rows) > 1:
            ids = ", ".join(rows[:3])
            raise bad(
                f"model {quoted(name)}: {len(rows)} adapters have this name; give an adapter's id, as {ids}", "model"
            )
        return rows[0] if rows else None

    def _pinned(self, identity: str, number: int, name: str) -> Revision:
        try:
            revision = self._bank.revision(identity, number)
        except InputError:
            raise _unknown(name, "there is no such revision") from None
        if revision.status == Status.RETIRED:
            raise _unknown(name, "the revision is retired")
        return revision

    def page(self, after: str | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """Some models as OpenAI lists them, and whether more follow.

        Args:
            after: Id of the last model of the page before; None for the first page.
            limit: Most models.

        Raises:
            Refusal: There is no model `after`.
        """
        listed: list[dict[str, Any]] = []
        begin: str | None = None
        if after is None:
            listed = [self._entry(BASE, {})] + [self._entry(name, {}) for name in sorted(self._loaded)]
        elif after not in (BASE, *self._loaded):
            model = self.find(after)
            begin = model.revision.adapter_id if model.revision is not None else None
        missing = max(0, limit - len(listed)) + 1
        with self._bank.reading() as connection:
            rows = listing.page(connection, self._base.hash, SERVED_KINDS, after=begin, limit=missing)
        listed += [self._entry(_listed_name(row), row) for row in rows]
        return listed[:limit], len(listed) > limit

    def entry(self, name: str) -> dict[str, Any]:
        """One model as OpenAI shows it.

        Raises:
            Refusal: There is none.
        """
        model = self.find(name)
        if model.revision is None or model.loaded is not None:
            return self._entry(name, {})
        shown = {field: getattr(model.revision, field) for field in ("adapter_id", "kind", "person", "population")}
        return self._entry(name, {**shown, "revision": model.revision.number})

    def _entry(self, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        parent = {} if name == BASE else {"parent": BASE}
        known = {field: value for field, value in facts.items() if field != "namesakes"}
        return {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "polyphony",
            "root": self._base.name,
            **parent,
            **known,
        }

    def load(self, name: str, path: str) -> Model:
        """Read an adapter in PEFT's layout from this machine's disk.

        Raises:
            Refusal: Loading is not allowed, the path lies outside the folder, the name is taken, or it is no adapter.
        """
        if self._loadable is None:
            raise Refusal(403, "this server loads no adapters; start it with --allow-load FOLDER", code="not_allowed")
        try:
            place = (self._loadable / path).resolve()
            if not place.is_relative_to(self._loadable):
                raise Refusal(403, "lora_path: lies outside the folder of --allow-load", code="not_allowed")
            foreign = read_directory(place, self._base)
            revision = foreign_revision(self._base, "(loaded)", name, foreign, "server")
        except (InputError, OSError, ValueError) as error:
            raise bad(f"lora_path: {error}", "lora_path") from None
        with self._lock:
            if name in self._loaded or len(self._loaded) >= MOST_LOADED:
                taken = "is loaded already" if name in self._loaded else f"cannot be loaded: {MOST_LOADED} are"
                raise bad(f"lora_name: {quoted(name)} {taken}", "lora_name")
            placed = replace(revision, object=f"loaded {revision.training_digest}", rank=rank_of(foreign.factors))
            self._loaded[name] = model = Model(name, placed, flattened(foreign.factors))
        return model

    def unload(self, name: str) -> Model:
        """Forget an adapter that was loaded; requests that are in work end with it.

        Raises:
            Refusal: None of that name was loaded.
        """
        with self._lock:
            if name not in self._loaded:
                raise Refusal(
                    404, f"lora_name: no adapter {quoted(name)} was loaded", code="model_not_found", param="lora_name"
                )
            return self._loaded.pop(name)


def _listed_name(row: Mapping[str, Any]) -> str:
    """A person's name where it is unique and means nothing else, otherwise the adapter's id."""
    person = str(row["person"])
    if row["kind"] == POOLED:
        return POOLED if row["namesakes"] == 1 else str(row["adapter_id"])
    is_plain = person not in ("", BASE, POOLED) and _PINNED.fullmatch(person) is None
    return person if is_plain and row["namesakes"] == 1 else str(row["adapter_id"])


def _unknown(name: str, why: str = "see GET /v1/models") -> Refusal:
    return Refusal(404, f"model {quoted(name)} does not exist: {why}", code="model_not_found", param="model")
