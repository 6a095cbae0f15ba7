"""The registry of measurements: ours, and those that plug-ins add."""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from polyphony.errors import InputError
from polyphony.metrics.core.definition import Definition
from polyphony.metrics.core.definitions import DEFINITIONS
from polyphony.metrics.core.measurement import Measurement
from polyphony.registry import Registry

if TYPE_CHECKING:
    from polyphony.metrics.runfile.frames import RunFrames

Value = float | Measurement | None
Function = TypeVar("Function", bound="Callable[[RunFrames], Value]")

REGISTRY = Registry[Definition]("measurement")
for _definition in DEFINITIONS:
    REGISTRY.register(_definition.name, _definition)

# Polyphony's own, in the order in which they are shown; the first twenty are the command line's contract.
MEASUREMENTS = tuple(definition.name for definition in DEFINITIONS)
# What the experiment is about (arXiv 2606.02437 as reported): corrected among themselves, not with all the rest.
PRIMARY = tuple(definition.name for definition in DEFINITIONS if definition.primary)
HEADLINES = tuple(definition.name for definition in DEFINITIONS if definition.headline)

_PLUGIN_SUBJECT = "plug-in "


def measurement(
    name: str,
    *,
    title: str,
    definition: str,
    unit: str,
    source: str = "",
    needs: Sequence[str] = (),
    null: str = "",
) -> Callable[[Function], Function]:
    """Decorate a function of a run as a measurement; it is then measured beside ours wherever runs are measured.

    The function is given a `metrics.runfile.frames.RunFrames` and returns a number, or a
    `metrics.core.measurement.Measurement` where it has an interval or a number of observations to tell, or
    ``missing("why there is no value")``, or None. Where it raises or returns no finite number, the measurement has no
    value and the reason says so; no other measurement is affected.

    ::

        @measurement("words_per_post", title="Words per post", unit="words",
                     definition="Mean number of words of the posts that agents wrote.")
        def words_per_post(run):
            texts = run.posts.query("not is_seed and kind == 'post'")["text"]
            return texts.str.split().str.len().mean() if len(texts) else missing("nobody posted")

    Args:
        name: Its key in JSON and tables: lower-case words joined by ``_``.
        title: How tables and charts call it.
        definition: What it is, in a sentence.
        unit: Unit of its value.
        source: The paper or library that it is taken from.
        needs: What a run must hold for a value.
        null: What its null model leaves to chance, where it returns one.

    Raises:
        InputError: The name is taken or has other characters, or title, definition or unit is empty. A function that is
            defined again under its name, as when a notebook's cell is run again, takes its own place.
    """
    for field, text in (("title", title), ("definition", definition), ("unit", unit)):
        if not text.strip():
            raise InputError(f"measurement {name!r}: {field} is empty; give one")

    def register(function: Function) -> Function:
        entry = Definition(
            name=name, title=title, definition=definition, unit=unit, source=source, needs=tuple(needs), null=null,
            subject=_PLUGIN_SUBJECT + name, function=function, code=_source_digest(function),
        )  # fmt: skip
        REGISTRY.register(name, entry, source=function)
        return function

    return register


def names_of(subject: str) -> tuple[str, ...]:
    """The measurements that a subject's code gives, in their order."""
    return tuple(name for name in REGISTRY if REGISTRY.get(name).subject == subject)


def plugin_measurements() -> tuple[Definition, ...]:
    """The measurements that plug-ins have added, in the order in which they did."""
    return tuple(definition for definition in definitions() if definition.is_plugin)


def definitions() -> Iterator[Definition]:
    """All measurements in their order, plug-ins' last."""
    return (REGISTRY.get(name) for name in REGISTRY)


def title_of(name: str) -> str:
    """How tables and charts call a measurement; its name where its plug-in is not loaded."""
    return REGISTRY.get(name).title if name in REGISTRY else name


def family_of(name: str) -> str:
    """The family of a measurement: ``primary``, ``other``, or ``plug-in``. Only p values of outcomes are corrected."""
    if name in PRIMARY:
        return "primary"
    return "other" if name in MEASUREMENTS else "plug-in"


def _source_digest(function: Callable[..., object]) -> str:
    """SHA-256 of the file that holds the function; empty where there is none, as for a notebook's."""
    try:
        path = inspect.getsourcefile(function)
        return "" if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""
