"""Adapters as PEFT directories that a server reads, each named by what is in it."""

from collections.abc import Sequence
from pathlib import Path

import torch

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.interchange import export_directory
from polyphony.adapters.bank.revision import Revision, digest_of
from polyphony.adapters.bank.stacking import complete
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel, adapted_modules
from polyphony.adapters.model.lora_shape import LoraShape

_PREFIX = "polyphony-"


def exported(directory: Path, bank: Bank, revisions: Sequence[Revision]) -> list[Path]:
    """Write the adapters that a directory does not hold yet; an adapter and what it stands on become one product.

    The directories name nobody: a server shows their names to all who ask.

    Args:
        directory: A directory that the server can read, too.
        bank: The bank that holds the adapters.
        revisions: The adapters.

    Returns:
        The directory of each.

    Raises:
        InputError: An adapter is damaged.
        OSError: The directory cannot be written.
    """
    paths: dict[str, Path] = {}
    for revision in revisions:
        name = export_name(bank, revision)
        if name not in paths:
            paths[name] = directory / name
            if not paths[name].exists():
                card = {"base_hash": revision.base_hash, "adapter": name}
                export_directory(paths[name], complete(bank, revision), base_name="", card=card)
    return [paths[export_name(bank, revision)] for revision in revisions]


def exported_zero(directory: Path, base: BaseModel, adapted: AdaptedModel | None) -> Path:
    """Write, unless it is there, an adapter that changes nothing: a server's way to the bare base.

    vLLM 0.32 on a CPU gives rows of the bare base that share a batch with rows of adapters the weights of an adapter
    (vllm-project/vllm, pull requests 48421 and 49656). Rows of an adapter are right whatever is beside them.

    Args:
        directory: As in `exported`.
        base: The base model.
        adapted: Its adapted layers, where there are some: they hide what the layers are called without.

    Raises:
        OSError: The directory cannot be written.
    """
    path = directory / f"{_PREFIX}zero-{base.hash[:16]}"
    if not path.exists():
        if adapted is None:
            layers = adapted_modules(base, LoraShape(rank=1, top_blocks=1))
            sizes = {name: (layer.in_features, layer.out_features) for name, layer in layers.items()}
        else:
            sizes = dict(adapted.sizes)
        name, (width_in, width_out) = next(iter(sizes.items()))
        factors = {name: (torch.zeros(1, width_in), torch.zeros(width_out, 1))}
        export_directory(path, factors, base_name="", card={"base_hash": base.hash, "adapter": path.name})
    return path


def export_name(bank: Bank, revision: Revision) -> str:
    """A name by content: of the adapter's numbers and of those it stands on, with their scales."""
    parts = [[revision.base_hash, revision.object, revision.scale]]
    if revision.prior_object is not None:
        foundation = bank.foundation(revision)
        parts.append([foundation.base_hash, foundation.object, foundation.scale])
    return _PREFIX + digest_of(parts)[:24]
