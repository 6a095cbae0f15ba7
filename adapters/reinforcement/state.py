"""What an interrupted reinforcement goes on from: factors, optimiser and curves in one safetensors file."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from polyphony.adapters.bank.object_layout import HEADER_SIZE, TYPES
from polyphony.adapters.bank.revision import digest_of
from polyphony.adapters.reinforcement.curves import Curve
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.durable import write_pieces_durably
from polyphony.errors import InputError

FACTS = "facts"
_TYPES = {dtype: name for name, dtype in TYPES.items()} | {torch.uint8: "U8"}


def identity_of(reinforcement: Reinforcement) -> str:
    """SHA-256 over all that decides what the adapters learn."""
    base = reinforcement.split.base
    plans = [asdict(plan) for plan in reinforcement.plans]
    deciding = [base.hash, base.dtype, reinforcement.task.name, plans, asdict(reinforcement.config)]
    return digest_of([*deciding, reinforcement.digests])


def store(reinforcement: Reinforcement, path: Path) -> None:
    """Write the state, as a whole or not at all."""
    facts = {
        "identity": identity_of(reinforcement),
        "done": reinforcement.done,
        "curves": [curve.to_json() for curve in reinforcement.curves],
    }
    tensors = _tensors(reinforcement)
    # The header of such a file has a bound, which long curves would pass.
    tensors[FACTS] = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
    write_pieces_durably(path, pieces(tensors))


def pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """A safetensors file piece by piece: the library's own `save` holds two copies of all tensors while it works.

    The format: https://huggingface.co/docs/safetensors, "Format".

    Args:
        tensors: The wider types first, so that numbers lie aligned.
    """
    entries, start = {}, 0
    for name, tensor in tensors.items():
        end = start + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % HEADER_SIZE)
    yield len(header).to_bytes(HEADER_SIZE, "little")
    yield header
    for tensor in tensors.values():
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def state_bytes(reinforcement: Reinforcement) -> int:
    """Bytes of the tensors of a stored state."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(reinforcement).values())


@torch.no_grad()
def restore(reinforcement: Reinforcement, path: Path) -> bool:
    """Go on from a stored state; returns whether there is one.

    Raises:
        InputError: The state is of other settings, or cannot be read.
    """
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as stored:
            facts = json.loads(stored.get_tensor(FACTS).numpy().tobytes())
            if facts["identity"] != identity_of(reinforcement):
                raise InputError(f"{path}: of other settings or another base model; give another --out, or remove it")
            own = _tensors(reinforcement)
            for name, tensor in own.items():
                tensor.copy_(stored.get_tensor(name))
            reinforcement.curves = [Curve.from_json(curve) for curve in facts["curves"]]
            reinforcement.done = int(facts["done"])
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: the stored state cannot be read; remove it, and the run begins anew") from error
    return True


def _tensors(reinforcement: Reinforcement) -> dict[str, Tensor]:
    factors, state = reinforcement.factors, reinforcement.optimiser.state()
    pairs = {"learned": factors.stack, "remembered": factors.remembered}
    tensors = {f"optimiser.{place}": tensor for place, tensor in enumerate(state)}
    for part, stack in pairs.items():
        for name, (a, b) in stack.items():
            tensors |= {f"{part}.{name}.A": a, f"{part}.{name}.B": b}
    return tensors
