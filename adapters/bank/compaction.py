"""Smaller adapters: the nearest ones of a lower rank, stored in fewer bits, and whole banks of them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import Revision, digest_of
from polyphony.adapters.model.lora import Factors
from polyphony.adapters.model.pointer import POINTER
from polyphony.errors import InputError


def compacted(factors: Factors, rank: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the factors of the nearest product of a rank, layer by layer (Eckart and Young 1936).

    The singular values are divided evenly between A and B, so that both round alike. A layer whose rank is not above
    `rank` is balanced in the same way and keeps its rank, and so does the pointer, which is small.
    """
    smaller = {}
    for module, (a, b) in factors.items():
        q_a, r_a = torch.linalg.qr(a.float().T)
        q_b, r_b = torch.linalg.qr(b.float())
        u, sigma, v = torch.linalg.svd(r_b @ r_a.T)
        size = len(sigma) if module == POINTER else min(rank, len(sigma))
        root = sigma[:size].sqrt()
        smaller[module] = (root.unsqueeze(1) * (v[:size] @ q_a.T), (q_b @ u[:, :size]) * root)
    return smaller


def compact_bank(source: Bank, target: Bank, revisions: Sequence[Revision], rank: int, precision: Precision) -> None:
    """Copy people's adapters into another bank, smaller, each as a first revision without evaluation.

    Their foundation is copied unchanged, so that they act over the same prior.

    Args:
        source: The bank that holds them.
        target: The bank that receives them, all or none.
        revisions: The adapters.
        rank: Most rank of a copy.
        precision: How a copy stores its numbers.
    """
    by_foundation = {revision.prior_object: revision for revision in revisions if revision.prior_object is not None}
    for revision in by_foundation.values():
        copy_foundation(source, target, revision)
    flats = source.objects.load_many([revision.object for revision in revisions])
    target.add_all(
        (
            (_compact(revision, rank, precision), compacted(_scaled(flat.factors(), revision.scale), rank))
            for revision, flat in zip(revisions, flats, strict=True)
        ),
        precision,
    )


def copy_foundation(source: Bank, target: Bank, revision: Revision) -> None:
    """Copy the foundation of a personal revision, and the foundation of that, unchanged.

    Raises:
        InputError: The target holds another result of the same training.
    """
    if revision.prior_object is None:
        return
    foundation = source.foundation(revision)
    copy_foundation(source, target, foundation)
    copy = replace(foundation, parent=None, evaluation=None)
    stored = target.add(copy, source.factors(foundation.object), Precision(foundation.precision))
    if stored.object != foundation.object:
        raise InputError(
            f"{target.directory}: holds a prior of the same training that another machine made; choose another place"
        )


def _scaled(factors: Factors, scale: float) -> dict[str, tuple[Tensor, Tensor]]:
    return {module: (a, b.float() * scale) for module, (a, b) in factors.items()}


def _compact(revision: Revision, rank: int, precision: Precision) -> Revision:
    size = min(rank, revision.rank)
    shape = {**revision.config.get("shape", {}), "rank": size, "alpha": float(size)}
    source = {
        "object": revision.object,
        "number": revision.number,
        "rank": revision.rank,
        "evaluation": revision.evaluation,
    }
    return replace(
        revision,
        parent=None,
        config={**revision.config, "shape": shape},
        training_digest=digest_of(["compacted", revision.training_digest, revision.object, rank, precision]),
        scale=1.0,
        evaluation=None,
        provenance={**(revision.provenance or {}), "compacted": source},
    )
