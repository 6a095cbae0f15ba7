"""The models that a server offers: the base model, and the adapters of a bank by person, id or revision."""

import re
from collections.abc import Callable, Iterator, Mapping
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
from polyphony.printable import first_line, quoted
from polyphony.simulation.serving.refusal import Refusal, bad

BASE = "base"
SERVED_KINDS = (PERSONAL, POOLED, REINFORCED)
MOST_LOADED = 256
# Adapters that are listed in one query.
_PAGE = 256
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

    def __init__(
        self, bank: Bank, base: BaseModel, loadable: Path | None = None,
        admit: Callable[[Revision, FlatFactors], None] = lambda revision, factors: None,
    ) -> None:  # fmt: skip
        """Take the bank.

        Args:
            bank: Holds the adapters.
            base: The base model that serves.
            loadable: The folder under which clients may name adapters to load; None to let them load nothing.
            admit: Raises InputError for an adapter that cannot be served.
        """
        self._bank, self._base, self._admit = bank, base, admit
        self._loadable = None if loadable is None else loadable.resolve()
        self._loaded: dict[str, Model] = {}
        self._lock = Lock()

    def find(self, name: str) -> Model:
        """The model of a name.

        Raises:
            Refusal: There is none, it is retired, or several have the name.
        """
        if (loaded := self._loaded.get(name)) is not None:
            return loaded
        if name in (BASE, self._base.name):
            return Model(name)
        if not name:
            raise _unknown(name)
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
        begin: str | None = None
        names = [BASE, *sorted(self._loaded)]
        if after in names:
            names = names[names.index(after) + 1 :]
        elif after is not None:
            names, model = [], self.find(after)
            begin = model.revision.adapter_id if model.revision is not None else None
        listed = [self._entry(name, {}) for name in names]
        count = max(0, limit - len(listed)) + 1
        with self._bank.reading() as connection:
            rows = listing.page(connection, self._base.hash, SERVED_KINDS, after=begin, limit=count)
        listed += [self._entry(_listed_name(row), row) for row in rows]
        return listed[:limit], len(listed) > limit

    def objects(self) -> Iterator[str]:
        """The objects of all served adapters' newest revisions, by person and id."""
        after: str | None = None
        while True:
            with self._bank.reading() as connection:
                rows = listing.page(connection, self._base.hash, SERVED_KINDS, after=after, limit=_PAGE)
            for row in rows:
                if (revision := self._bank.newest(row["adapter_id"])) is not None:
                    yield revision.object
            if len(rows) < _PAGE:
                return
            after = rows[-1]["adapter_id"]

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
        fields = {field: value for field, value in facts.items() if field != "namesakes"}
        return {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "polyphony",
            "root": self._base.name,
            **parent,
            **fields,
        }

    def load(self, name: str, path: str) -> Model:
        """Read an adapter in PEFT's layout from this machine's disk.

        Raises:
            Refusal: Loading is not allowed, the path lies outside the folder, the name is taken, or it is no adapter.
        """
        if self._loadable is None:
            raise Refusal(403, "this server loads no adapters; start it with --allow-load FOLDER", code="not_allowed")
        self._check_free(name)
        try:
            place = _inside(self._loadable, path)
            foreign = read_directory(place, self._base)
            revision = foreign_revision(self._base, "(loaded)", name, foreign, "server")
            placed = replace(revision, object=f"loaded {revision.training_digest}", rank=rank_of(foreign.factors))
            factors = flattened(foreign.factors)
            self._admit(placed, factors)
        except (InputError, OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
            # Where the folder lies on this machine is nothing for clients.
            raise bad(f"lora_path: {first_line(error)}".replace(f"{self._loadable}/", ""), "lora_path") from None
        with self._lock:
            self._check_free(name)
            self._loaded[name] = model = Model(name, placed, factors)
        return model

    def _check_free(self, name: str) -> None:
        """Refuse a name that means something: an adapter from outside must not answer for a person."""
        try:
            self.find(name)
        except Refusal as refusal:
            if refusal.status == 404:
                if len(self._loaded) >= MOST_LOADED:
                    raise bad(f"lora_name: {MOST_LOADED} adapters are loaded; unload one", "lora_name") from None
                return
        reason = "is loaded already" if name in self._loaded else "is the name of a model of the server"
        raise bad(f"lora_name: {quoted(name)} {reason}", "lora_name")

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


def _inside(folder: Path, path: str) -> Path:
    """A folder below another, of which no file lies elsewhere.

    Raises:
        Refusal: It does not lie there, or a link leads out.
    """
    place = (folder / path).resolve()
    if not place.is_relative_to(folder):
        raise Refusal(403, "lora_path: lies outside the folder of --allow-load", code="not_allowed", param="lora_path")
    if place.is_dir() and not all(file.resolve().is_relative_to(folder) for file in place.iterdir()):
        raise Refusal(
            403, "lora_path: a link in it leads out of the folder of --allow-load", code="not_allowed",
            param="lora_path",
        )  # fmt: skip
    return place


def _listed_name(row: Mapping[str, Any]) -> str:
    """A person's name where it is unique and means nothing else, otherwise the adapter's id."""
    person = str(row["person"])
    if row["kind"] == POOLED:
        return POOLED if row["namesakes"] == 1 else str(row["adapter_id"])
    is_plain = person not in ("", BASE, POOLED) and _PINNED.fullmatch(person) is None
    return person if is_plain and row["namesakes"] == 1 else str(row["adapter_id"])


def _unknown(name: str, why: str = "see GET /v1/models") -> Refusal:
    return Refusal(404, f"model {quoted(name)} does not exist: {why}", code="model_not_found", param="model")
