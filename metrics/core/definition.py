"""What is known of a measurement before any run is measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyphony.metrics.runfile.frames import RunFrames


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One measurement as the glossary tells it.

    Attributes:
        name: Its key in JSON, tables and code, as ``original_post_rate``.
        title: How tables and charts call it.
        definition: What it is, in a sentence or two.
        unit: Unit of its value.
        subject: The group of measurements that are computed together, a key of `metrics.measure.SUBJECTS`.
        n: What its number of observations counts.
        source: The paper or library that it is taken from; empty for a plain count.
        needs: What a run must hold for a value.
        interval: What its 95% interval is drawn over, as ``agents``; empty where it has none.
        no_interval: Why it has no interval; empty where it has one.
        null: What its null model leaves to chance; empty where it has none.
        no_null: Why it has no null model; empty where it has one.
        headline: How to read it, in a few words, for a figure among the headlines; empty for every other.
        superseded_by: Name of the measurement that takes its place in new studies; empty for every other.
        primary: Whether it is one of the four pre-registered primary measurements.
        function: The function of a plug-in; None for a measurement of ours.
        code: SHA-256 of the plug-in's source; empty where it has no file or is ours.
    """

    name: str
    title: str
    definition: str
    unit: str
    subject: str
    n: str = ""
    source: str = ""
    needs: tuple[str, ...] = ()
    interval: str = ""
    no_interval: str = ""
    null: str = ""
    no_null: str = ""
    headline: str = ""
    superseded_by: str = ""
    primary: bool = False
    function: "Callable[[RunFrames], object] | None" = None
    code: str = ""

    @property
    def is_plugin(self) -> bool:
        """Whether a plug-in defines it."""
        return self.function is not None
