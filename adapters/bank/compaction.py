"""Smaller adapters: the nearest ones of a lower rank, kept in fewer bits, and a whole bank of them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import Revision, digest_of
from polyphony.adapters.model.lora import Factors
from polyphony.errors import InputError


def compacted(factors: Factors, rank: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the factors of the nearest product of a rank, layer by layer (Eckart and Young 1936).

    The singular values are shared evenly between A and B, so that both are alike to round. A layer whose rank is not
    above `rank` is balanced so, too, and keeps its rank.
    """
    made = {}
    for module, (a, b) in factors.items():
        q_a, r_a = torch.linalg.qr(a.float().T)
        q_b, r_b = torch.linalg.qr(b.float())
        u, sigma, v = torch.linalg.svd(r_b @ r_a.T)
        kept = min(rank, len(sigma))
        root = sigma[:kept].sqrt()
        made[module] = (root.unsqueeze(1) * (v[:kept] @ q_a.T), (q_b @ u[:, :kept]) * root)
    return made


def compact_bank(source: Bank, target: Bank, revisions: Sequence[Revision], rank: int, precision: Precision) -> None:
    """Copy people's adapters into another bank, smaller, each as a first revision that nobody has evaluated.

    What lies beneath them is copied as it is, so that they act over the very same prior.

    Args:
        source: Where they are.
        target: Where they go, all or none.
        revisions: Whose.
        rank: Most rank that is kept.
        precision: How their numbers are kept.
    """
    for revision in {one.prior_object: one for one in revisions if one.prior_object is not None}.values():
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
    """Copy what lies beneath a personal revision, and beneath that, as it is.

    Raises:
        InputError: The target holds another result of the same training.
    """
    if revision.prior_object is None:
        return
    beneath = source.foundation(revision)
    copy_foundation(source, target, beneath)
    copy = replace(beneath, parent=None, evaluation=None)
    kept = target.add(copy, source.factors(beneath.object), Precision(beneath.precision))
    if kept.object != beneath.object:
        raise InputError(
            f"{target.directory}: holds a prior of the same training that another machine made; choose another place"
        )


def _scaled(factors: Factors, scale: float) -> dict[str, tuple[Tensor, Tensor]]:
    return {module: (a, b.float() * scale) for module, (a, b) in factors.items()}


def _compact(revision: Revision, rank: int, precision: Precision) -> Revision:
    kept = min(rank, revision.rank)
    shape = {**revision.config.get("shape", {}), "rank": kept, "alpha": float(kept)}
    made_of = {
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
        provenance={**(revision.provenance or {}), "compacted": made_of},
    )
