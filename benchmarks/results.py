"""What a benchmark prints and keeps."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent / "results"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


@dataclass(frozen=True)
class Result:
    """One figure.

    Attributes:
        name: What was measured.
        value: The figure.
        unit: Its unit; ``×`` for a ratio.
        goal: What it should reach, as text; empty without a goal.
        repeats: Timed repetitions behind a median; 1 for a count.
    """

    name: str
    value: float
    unit: str
    goal: str
    repeats: int


def machine() -> dict[str, Any]:
    """The processor and those of its flags that decide the compute type; the GPU where there is one."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {name.strip(): value.strip() for name, value in facts.items()}
    present = named.get("flags", "").split()
    flags = [flag for flag in FLAGS if flag in present]
    found = {"processor": named.get("model name", platform.processor()), "cores": os.cpu_count(), "flags": flags}
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def versions() -> dict[str, str]:
    """Versions of what is compared."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("torch", "transformers", "peft")}


def file_of(machine: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Where the figures of machines of one kind are kept: each kind has a file of its own, all are committed."""
    kind = "_".join(machine["gpu"].lower().split()) if "gpu" in machine else (machine["flags"] or ["other"])[-1]
    return folder / f"{kind}.json"


def merge(part: str, results: Sequence[Result], folder: Path = FOLDER, *, by_name: bool = False) -> None:
    """Write the results of one part as JSON; those of other parts stay if they are of this machine and versions.

    Args:
        part: Name of the part.
        results: Its figures.
        folder: Where they are kept.
        by_name: Whether the part's figures of other names stay, too.
    """
    new = {result.name for result in results}
    report = {"machine": machine(), "versions": versions(), "results": []}
    path = file_of(report["machine"], folder)
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        if {name: old.get(name) for name in ("machine", "versions")} == {n: report[n] for n in ("machine", "versions")}:
            report = {**old, "results": [row for row in old["results"] if _stays(row, part, new if by_name else None)]}
    report["results"] = [*report["results"], *({"part": part, **asdict(result)} for result in results)]
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _stays(row: Mapping[str, Any], part: str, new: set[str] | None) -> bool:
    """Whether a figure stays where a part's new figures come in."""
    return row.get("part") != part or (new is not None and row["name"] not in new)
