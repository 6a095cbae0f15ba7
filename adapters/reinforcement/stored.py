"""Reinforced adapters as revisions of a bank, with their curves in the provenance."""

from dataclasses import asdict

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import REINFORCED, Revision, adapter_id, digest_of
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.reinforcement.factors import stacked_rank
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.training.provenance import code_version


def store_adapters(reinforcement: Reinforcement, bank: Bank) -> list[Revision]:
    """Store each adapter after its last update, and before that as validation chose it, where that is another update.

    An adapter that a bank holds already is not stored again.

    Raises:
        InputError: The bank is read-only, or its disk is full.
    """
    pairs = []
    for slot, curve in enumerate(reinforcement.curves):
        if curve.chosen not in (None, reinforcement.done):
            chosen = _revision(reinforcement, slot, "chosen", curve.chosen or 0)
            pairs.append((chosen, reinforcement.factors.of(slot, remembered=True)))
        last = _revision(reinforcement, slot, "last", reinforcement.done)
        pairs.append((last, reinforcement.factors.of(slot)))
    finite = [
        (revision, factors) for revision, factors in pairs
        if all(side.isfinite().all() for pair in factors.values() for side in pair)
    ]  # fmt: skip
    return bank.add_all(finite)


def _revision(reinforcement: Reinforcement, slot: int, checkpoint: str, update: int) -> Revision:
    base, task, plan = reinforcement.split.base, reinforcement.task, reinforcement.plans[slot]
    config, rank = reinforcement.config, stacked_rank(plan)
    shape = LoraShape(rank, plan.scale * rank, config.top_blocks, targets=config.targets)
    items = reinforcement.digests[slot]
    # Other items of one name are another population, as two files of one name are.
    population = f"task {task.name} {items[:12]}"
    deciding = [base.hash, base.dtype, task.name, asdict(plan), asdict(config), update, items]
    return Revision(
        adapter_id=adapter_id(base.hash, population, REINFORCED, plan.name),
        kind=REINFORCED,
        person=plan.name,
        population=population,
        base_hash=base.hash,
        config={"shape": asdict(shape), "plan": asdict(plan), "reinforcement": asdict(config), "dtype": base.dtype},
        init=plan.init,
        seed=plan.seed,
        data_digest=items,
        training_digest=digest_of(deciding),
        losses={},
        scale=plan.scale,
        provenance={
            "task": task.name,
            "checkpoint": checkpoint,
            "update": update,
            "curve": reinforcement.curves[slot].to_json(),
            "base_model": base.name,
            "code": code_version(),
            "device": base.device.type,
            "dtype": base.dtype,
        },
    )
