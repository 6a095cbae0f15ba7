"""Workers: which processes decide for the agents of a run, what each says of itself, and which are refused.

Nothing here loads Ray; `simulation.runs.worker_pool` does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.simulation.runs.blocks import BLOCK
from polyphony.source_code import package_digest

if TYPE_CHECKING:
    from polyphony.adapters.model.base_model import BaseModel
    from polyphony.simulation.runs.settings import RunSettings

MOST_WORKERS = 1024
USUAL_SECONDS = 600
# Addresses that ray.init takes: of a client's server, of a cluster that this machine belongs to, or that cluster.
_ADDRESS = re.compile(r"(ray://)?[A-Za-z0-9._-]+:[0-9]{1,5}|auto")


@dataclass(frozen=True)
class Workers:
    """Who decides for the agents of a run.

    Attributes:
        count: Processes on this machine; 0 for those of a cluster.
        address: Of the cluster, as ``ray.init`` takes it; empty for this machine.
        seconds: How long a block may take before another worker gets it.
    """

    count: int = 1
    address: str = ""
    seconds: float = USUAL_SECONDS

    @property
    def are_processes(self) -> bool:
        """Whether other processes decide than the one that writes the run file."""
        return self.count != 1


def workers_of(given: str, seconds: float = USUAL_SECONDS) -> Workers:
    """Read what ``--workers`` says: a number of processes, or the address of a cluster.

    Raises:
        InputError: It is neither.
    """
    text = given.strip()
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_WORKERS and len(text) < 9:
        return Workers(int(text), "", seconds)
    if _ADDRESS.fullmatch(text):
        return Workers(0, text, seconds)
    raise InputError(
        f"--workers {quoted(given)}: give a number of processes from 1 to {MOST_WORKERS}, or the address of a Ray "
        "cluster, as ray://HOST:10001"
    )


def check_can_be_shared(settings: "RunSettings") -> None:
    """Refuse workers for a run whose agents they cannot decide for.

    Raises:
        InputError: Another policy or a server decides.
    """
    if settings.policy not in ("engine", "null"):
        raise InputError(f"--workers is for --policy engine and null, not for {settings.policy}; leave it out")
    if settings.policy == "engine" and settings.engine != "local":
        raise InputError(f"--workers: with --engine {settings.engine} the server computes; leave --workers out")


def in_blocks(settings: "RunSettings") -> "RunSettings":
    """The settings of a run for which workers decide.

    Without a model each agent decides alone, whatever else is decided, and nothing is recorded.
    """
    return replace(settings, block=BLOCK) if settings.needs_model else settings


@dataclass(frozen=True)
class WorkerDescription:
    """What decides over the last bits of an answer, as a worker and the owner of the run have it.

    Attributes:
        polyphony: Version of Polyphony.
        code: Digest of its source code.
        base_model: Hash of the base model; empty where no model decides.
        compute_type: Number format in which it computes, as ``bf16``.
        device: ``cpu`` or ``cuda``.
        kernel: Whether the machine has the kernel for low-rank terms.
        instructions: The processor's vector instructions that torch uses, as ``AVX512``.
        torch: Version of torch.
    """

    polyphony: str
    code: str
    base_model: str = ""
    compute_type: str = ""
    device: str = ""
    kernel: str = ""
    instructions: str = ""
    torch: str = ""


# What each part of a description is called, and what to do where it differs.
_NAMES = {
    "polyphony": ("Polyphony", "install the same version on all nodes"),
    "code": ("source code of Polyphony", "install the same version on all nodes"),
    "base_model": ("base model", "give all nodes the same --base-model under the same path"),
    "compute_type": ("compute type", "give --dtype"),
    "device": ("device", "give --device"),
    "kernel": ("kernel for adapters", "install a C compiler on all nodes, or on none"),
    "instructions": ("processor's instructions", "use nodes with the same kind of processor"),
    "torch": ("torch", "install the same version on all nodes"),
}


def describe(base: "BaseModel | None") -> WorkerDescription:
    """What this process would compute with.

    Args:
        base: The base model; None where no model decides.
    """
    installed = version("polyphony-sim"), package_digest()[:16]
    if base is None:
        return WorkerDescription(*installed)
    import torch

    from polyphony.adapters.model.decode_kernel import kernel_built

    return WorkerDescription(
        *installed, base.hash, base.dtype, base.device.type, "built" if kernel_built() else "absent",
        torch.backends.cpu.get_cpu_capability(), torch.__version__,
    )  # fmt: skip


def check_alike(owner: WorkerDescription, worker: WorkerDescription, place: str) -> None:
    """Refuse a worker that would compute other bits than the owner of the run.

    Args:
        owner: What the process has that writes the run file.
        worker: What the worker has.
        place: Where the worker is, for the error.

    Raises:
        InputError: They differ; the line names the first difference.
    """
    for field in fields(WorkerDescription):
        expected, actual = getattr(owner, field.name), getattr(worker, field.name)
        if expected != actual:
            name, remedy = _NAMES[field.name]
            raise InputError(
                f"--workers: the worker on {place} has another {name} ({quoted(actual[:40])}) than this process "
                f"({quoted(expected[:40])}); {remedy}"
            )


def agents_in_words(agents: Sequence[int]) -> str:
    """The agents of a block, as ``agents 3 to 40``."""
    return f"agent {agents[0]}" if len(agents) == 1 else f"agents {agents[0]} to {agents[-1]}"
