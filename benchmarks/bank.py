"""The bank: a million adapters in the catalog, 512 into the engine, one handed over to a running engine."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import torch

from benchmarks.results import Result
from benchmarks.timing import medians
from polyphony.adapters.bank import catalog
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.catalog_rows import now, sealed_row
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.peft_layout import serialised
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import PERSONAL, Revision, adapter_id, to_row
from polyphony.adapters.bank.stacking import STACKED_TOGETHER, Stacker, install
from polyphony.adapters.engine.adapter_cache import AdapterCache
from polyphony.adapters.model.base_model import BaseModel, load_base_model
from polyphony.adapters.model.lora import AdaptedModel, Factors
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.randomness import keyed_generator

ADAPTERS, OBJECTS, SECOND = 1_000_000, 2048, 4096
ROWS_TOGETHER = 10_000
LOOKUPS, STEPS, PEOPLE, REPEATS = 2000, 200, 512, 5
SMALL = LoraShape(rank=4, alpha=8.0, top_blocks=1)
PLAIN = LoraShape()
CACHES = Path("/proc/sys/vm/drop_caches")


def bank_results(base: BaseModel) -> list[Result]:
    """All figures; the catalog is built anew, which takes minutes."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        found = catalog_results(base, Path(folder) / "million")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        return found + loading_results(base, Path(folder) / "bank")


def catalog_results(base: BaseModel, directory: Path) -> list[Result]:
    """Lookups, promotions and rollbacks in a catalog of a million adapters."""
    with closing(Bank(directory, create=True)) as bank:
        began = time.perf_counter()
        names = _fill(bank, base)
        built = time.perf_counter() - began
    size = (directory / "catalog.sqlite").stat().st_size
    draw = keyed_generator(0, "bank benchmark")
    with closing(Bank(directory)) as bank:
        asked = [names[place] for place in draw.integers(0, len(names), LOOKUPS)]
        lookups = timed_calls(bank.serving, asked)
        changing = [names[place] for place in draw.permutation(SECOND)[:STEPS]]
        promotions = timed_calls(lambda name: bank.promote(name, 2), changing)
        rollbacks = timed_calls(bank.rollback, changing)
        if any((served := bank.serving(name)) is None or served.number != 1 for name in changing):
            raise RuntimeError("a rollback did not bring back what served before")
    many = f"catalog of {ADAPTERS:,} adapters over {OBJECTS:,} objects"
    return [
        Result(f"{many}: size", size / 2**20, "MiB", "", 1),
        Result(f"{many}: rows written a second", (ADAPTERS + SECOND) / built, "rows/s", "", 1),
        *shares(f"{many}: what an adapter serves, by id", lookups, "≤ 1"),
        *shares(f"{many}: promote", promotions, "≤ 10"),
        *shares(f"{many}: rollback", rollbacks, "≤ 10"),
    ]


def _fill(bank: Bank, base: BaseModel) -> list[str]:
    """Write a million adapters as the bank would, in large transactions; the first ones have a second revision."""
    with AdaptedModel(base, SMALL) as adapted, bank.receiving() as (_, keep):
        objects = [keep(serialised(_drawn(adapted, number), Precision.BF16)) for number in range(OBJECTS)]
    names = []
    rows = _rows(base, objects)
    while some := list(islice(rows, ROWS_TOGETHER)):
        with bank.receiving() as (connection, _):
            first = [revision for revision in some if revision.number == 1]
            connection.execute(
                catalog.adapter.insert(), [to_row(one, catalog.adapter.c.keys()) for one in first]
            )  # fmt: skip
            connection.execute(catalog.revision.insert(), [sealed_row(revision) for revision in some])
        names += [revision.adapter_id for revision in first]
    return names


def _rows(base: BaseModel, objects: Sequence[str]) -> Iterator[Revision]:
    evaluation = {"nll": {"base": 5.33, "pooled": 5.08, "own": 4.61, "other": 5.21}}
    for number in range(ADAPTERS):
        plain = replace(
            _revision(base, f"person {number}", SMALL), object=objects[number % OBJECTS], number=1, rank=4,
            precision=Precision.BF16, status=Status.SERVING, evaluation=evaluation, created_at=now(),
        )  # fmt: skip
        yield plain
        if number < SECOND:
            later = objects[(number + 1) % OBJECTS]
            yield replace(
                plain, number=2, parent=1, status=Status.EVALUATED, object=later, training_digest=f"2 {number}"
            )


def loading_results(base: BaseModel, directory: Path) -> list[Result]:
    """512 adapters from disk and from memory into slots, and one into a running engine."""
    found = []
    with AdaptedModel(base, PLAIN) as adapted, closing(Bank(directory, create=True)) as bank:
        for precision in Precision:
            made = [
                (replace(_revision(base, str(number), PLAIN), training_digest=f"{precision} {number}"),
                 _drawn(adapted, number)) for number in range(PEOPLE)
            ]  # fmt: skip
            revisions = bank.add_all(made, precision)
            bank.pack()
            found += _loading(adapted, bank, revisions, precision)
        found += _hand_over(base, adapted, bank, revisions)
    return found


def _loading(adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision], precision: Precision) -> list[Result]:
    stacker = Stacker(adapted, bank, revisions)
    cold = [_spent(lambda: stacker.stack(revisions), drop=True) for _ in range(REPEATS)]
    flats = list(bank.objects.load_many([revision.object for revision in revisions]))
    stack = stacker.empty(len(revisions))

    def warm() -> None:
        for start in range(0, len(revisions), STACKED_TOGETHER):
            part = slice(start, start + STACKED_TOGETHER)
            stacker.write(stack, range(len(revisions))[part], revisions[part], flats[part])

    found = medians({"warm": warm}, repeats=REPEATS)
    size = sum(path.stat().st_size for path in bank.objects.shards()) / 2**20
    where = "from disk" if os.access(CACHES, os.W_OK) else "from the page cache"
    return [
        Result(f"{PEOPLE} adapters in {precision}, {where} into slots", statistics.median(cold), "s", "≤ 2", REPEATS),
        Result(f"{PEOPLE} adapters in {precision}, from memory into slots", found["warm"], "s", "≤ 0.5", REPEATS),
        Result(f"shards with {PEOPLE} adapters in {precision}, and those before", size, "MiB", "", 1),
    ]


def _hand_over(base: BaseModel, adapted: AdaptedModel, bank: Bank, revisions: Sequence[Revision]) -> list[Result]:
    """A new revision of one adapter becomes the one that a running engine acts with, against starting anew."""
    with closing(AdapterCache(adapted, bank, revisions)) as cache:
        turn = iter(range(10**6))
        spent = [_spent(lambda: cache.hand_over(next(turn), revisions[-1])) for _ in range(10 * REPEATS)]
    anew = [_spent(lambda: _start_again(base, bank, revisions[0])) for _ in range(REPEATS)]
    one = statistics.median(spent)
    return [
        Result("hand-over of one adapter to a running engine", 1000 * one, "ms", "≤ 100", 10 * REPEATS),
        Result("hand-over, slowest", 1000 * max(spent), "ms", "", 10 * REPEATS),
        Result("loading base and adapter ÷ hand-over", statistics.median(anew) / one, "×", "≥ 18", REPEATS),
    ]


def _start_again(base: BaseModel, bank: Bank, revision: Revision) -> None:
    again = load_base_model(dtype=base.dtype, device=base.device.type)
    with AdaptedModel(again, PLAIN) as adapted:
        install(adapted, bank, [revision])


def _spent(call: Callable[[], object], *, drop: bool = False) -> float:
    """Seconds of a call; with `drop`, after the kernel has forgotten what it read from disk, where that is allowed."""
    if drop and os.access(CACHES, os.W_OK):
        os.sync()
        CACHES.write_text("3")
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def timed_calls(call: Callable[[str], object], names: Sequence[str]) -> list[float]:
    """Seconds of each call but the first two."""
    for name in names[:2]:
        call(name)
    return [_spent(lambda name=name: call(name)) for name in names[2:]]  # type: ignore[misc]


def shares(name: str, spent: Sequence[float], goal: str) -> list[Result]:
    """Median and 99th percentile in milliseconds; the goal is the latter's."""
    ordered = sorted(1000 * seconds for seconds in spent)
    return [
        Result(f"{name}, median", statistics.median(ordered), "ms", "", len(spent)),
        Result(f"{name}, p99", ordered[int(0.99 * (len(ordered) - 1))], "ms", goal, len(spent)),
    ]


def _drawn(adapted: AdaptedModel, seed: int) -> Factors:
    random, rank = torch.Generator().manual_seed(seed), adapted.shape.rank
    return {
        name: (torch.randn(rank, width, generator=random), torch.randn(out, rank, generator=random))
        for name, (width, out) in adapted.sizes.items()
    }


def _revision(base: BaseModel, person: str, shape: LoraShape) -> Revision:
    return Revision(
        adapter_id=adapter_id(base.hash, "bench", PERSONAL, person), kind=PERSONAL, person=person,
        population="bench", base_hash=base.hash, config={"shape": asdict(shape)}, init="standard", seed=0,
        data_digest="", training_digest=person, losses={}, scale=shape.scale,
    )  # fmt: skip
