"""Where a run finds what it needs on this machine; none of it decides what happens in the run."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """The bank, the base model and where it computes, see `simulation.runs.resources.Resources`.

    Attributes:
        bank: Directory of the adapter bank.
        base_model: Directory of a local Hugging Face model; None for the embedded one.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: ``auto``, ``fp32`` or ``bf16``.
    """

    bank: Path
    base_model: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
