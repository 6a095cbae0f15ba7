"""Things that are asked for by name, those of plug-ins included."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from polyphony.errors import InputError

Thing = TypeVar("Thing")

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")


class Registry(Generic[Thing]):
    """Recommenders, policies or measurements by name, in the order in which they were registered."""

    def __init__(self, kind: str) -> None:
        """Make an empty registry; `kind` is what its things are called in errors, as ``recommender``."""
        self._kind = kind
        self._things: dict[str, Thing] = {}
        self._origins: dict[str, tuple[object, object]] = {}

    def register(self, name: str, thing: Thing, *, source: object = None) -> None:
        """Add a thing under a name of its own.

        Args:
            name: Its name.
            thing: What is asked for by that name.
            source: The function or class that defines it. One that is defined again under its name, as when a
                notebook's cell is run again, takes its own place.

        Raises:
            InputError: The name is taken, or is not lower-case words joined by ``-`` or ``_``.
        """
        if not _NAME.fullmatch(name):
            raise InputError(f"{self._kind} {name!r}: a name is lower-case words joined by - or _, as my-{self._kind}")
        origin = _origin(source)
        if name in self._things and (None in origin or origin != self._origins[name]):
            raise InputError(f"{self._kind} {name!r} exists already; give yours another name")
        self._things[name], self._origins[name] = thing, origin

    def get(self, name: str, where: str = "") -> Thing:
        """The thing of a name; `where` says in errors who asked for it, as ``--recommender``.

        Raises:
            InputError: There is none of that name.
        """
        if name not in self._things:
            names = ", ".join(sorted(self._things))
            raise InputError(f"{where or self._kind} {name!r} is not one of {names}, nor of a plug-in (--plugin)")
        return self._things[name]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Forget at the end of the block what is registered within it, as tests of plug-ins need."""
        things, origins = dict(self._things), dict(self._origins)
        try:
            yield
        finally:
            self._things, self._origins = things, origins

    def names(self) -> list[str]:
        """All names, in the order of registration."""
        return list(self._things)

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)


def _origin(source: object) -> tuple[object, object]:
    """The file of a function or class, or its module where it has none as in a notebook, and its name there."""
    module = getattr(source, "__module__", None)
    return getattr(sys.modules.get(str(module)), "__file__", module), getattr(source, "__qualname__", None)
