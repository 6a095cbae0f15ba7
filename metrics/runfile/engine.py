"""What a run file says of the engine that chose its acts, in words."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from polyphony.printable import printable

ENGINE = "engine"
"""Its name among a run's `versions`; runs of before it was recorded, and those without a model, have none."""
_CAUTIONS = {
    "truncated": "truncated: the engine told the probability of acts among the likeliest tokens alone; all others "
    "counted as impossible.",
    "sample_only": "sample_only: the engine told no probability of acts; figures that rest on probabilities have no "
    "value.",
}
_MOST = 60


class EngineFacts(NamedTuple):
    """What an engine said of itself, see `adapters.engine.interface.EngineDescription`."""

    name: str
    version: str
    exact_choice: str
    adapters_per_batch: int | None
    deterministic: bool
    dtype: str

    @property
    def sentence(self) -> str:
        """All of it in one line, as ``local 0.2.0, choice of acts exact, deterministic, fp32``."""
        parts = [f"{self.name} {self.version}".strip(), f"choice of acts {self.exact_choice}"]
        parts.append("deterministic" if self.deterministic else "not deterministic")
        parts += [self.dtype] if self.dtype else []
        if self.adapters_per_batch is not None:
            parts.append(f"at most {self.adapters_per_batch:,} adapters in a batch")
        return ", ".join(parts)


def engine_facts(versions: Mapping[str, Any]) -> EngineFacts | None:
    """What `versions` of a run say of its engine; None where they do not, or hold something else there."""
    held = versions.get(ENGINE)
    if not isinstance(held, dict) or held.get("exact_choice") not in ("exact", *_CAUTIONS):
        return None
    words = {name: held.get(name) for name in ("name", "version", "dtype")}
    if not all(isinstance(word, str) for word in words.values()):
        return None
    name, version, dtype = (printable(str(word))[:_MOST] for word in words.values())
    adapters = held.get("adapters_per_batch")
    return EngineFacts(
        name, version, held["exact_choice"], adapters if type(adapters) is int else None,
        held.get("deterministic") is True, dtype,
    )  # fmt: skip


def engine_cautions(all_versions: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each way, other than exactly, in which acts of some runs were chosen; empty where none was.

    Args:
        all_versions: The versions of each run.
    """
    facts = [engine_facts(versions) for versions in all_versions]
    counts = {choice: sum(each is not None and each.exact_choice == choice for each in facts) for choice in _CAUTIONS}
    return [
        f"Choice of acts in {count} of {len(facts)} {'run' if len(facts) == 1 else 'runs'} {_CAUTIONS[choice]}"
        for choice, count in counts.items() if count
    ]  # fmt: skip
