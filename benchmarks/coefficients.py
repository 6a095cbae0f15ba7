"""A bank of a million adapters of coefficients: its bytes, its look-ups, and how fast many of them are loaded.

``python -m benchmarks.coefficients`` builds it in a temporary folder of the current directory, which takes minutes.
The coefficients are random; the rows are those that training writes for people of the town.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sqlalchemy import Connection, select

from benchmarks.bank import shares, timed_calls
from benchmarks.results import Result, machine, versions
from polyphony.adapters.bank import catalog, catalog_rows
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.coefficients import Coefficients
from polyphony.adapters.bank.lifecycle import Status
from polyphony.adapters.bank.object_layout import header_end
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import BASIS, PERSONAL, PRIOR, Revision, adapter_id, digest_of, to_row
from polyphony.adapters.model.base_model import BaseModel, load_base_model
from polyphony.adapters.model.lora import AdaptedModel, Factors
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.pointer import POINTER
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.training.config import SHARED_BASIS, TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.provenance import personal_provenance
from polyphony.adapters.training.trainer import Learner
from polyphony.personas.population import Population, load_population
from polyphony.randomness import keyed_generator
from polyphony.simulation.history.replay import ReplayedHistory

PEOPLE, TOGETHER, LOADED, LOOKUPS = 1_000_000, 10_000, 10_000, 2000
IN_SHARD = 1000
# Directions and rows of a pointer's basis in the default prompts.
DIRECTIONS, ROWS = 525, 4
CONFIG = TrainingConfig(adapter=SHARED_BASIS, shape=LoraShape(rank=6, alpha=12.0), storage=str(Precision.INT8))


def coefficient_results(base: BaseModel, town: Population, directory: Path, people: int) -> list[Result]:
    """All figures."""
    began = time.perf_counter()
    with closing(Bank(directory, create=True)) as bank:
        names = _fill(bank, base, town, people)
    built = time.perf_counter() - began
    size = sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())
    rows = (directory / "catalog.sqlite").stat().st_size
    draw = keyed_generator(0, "coefficients benchmark")
    many = f"{people:,} adapters of coefficients"
    with closing(Bank(directory)) as bank:
        asked = [names[place] for place in draw.integers(0, people, LOOKUPS)]
        found = timed_calls(bank.serving, asked)
        read = timed_calls(lambda name: bank.objects.read(bank.serving(name).object), asked)  # type: ignore[union-attr]
        loaded = [_loading(bank, names[start : start + LOADED]) for start in (0, people // 2)]
    return [
        Result(f"{many}: whole bank", size / 2**30, "GiB", "≤ 5" if people == PEOPLE else "", 1),
        Result(f"{many}: whole bank, of each", size / people, "bytes", "", 1),
        Result(f"{many}: catalog, of each", rows / people, "bytes", "", 1),
        Result(f"{many}: written a second", people / built, "adapters/s", "", 1),
        *shares(f"{many}: what an adapter serves, by id", found, "≤ 1"),
        *shares(f"{many}: the same with its coefficients read and checked", read, ""),
        Result(f"{many}: {LOADED:,} of them into memory", statistics.mean(loaded), "s", "≤ 2", len(loaded)),
    ]


def _loading(bank: Bank, names: Sequence[str]) -> float:
    """Seconds from the names of objects to everybody's coefficients in memory, as the engine's tier of memory reads."""
    with bank.reading() as connection:
        table = catalog.revision.c
        query = select(table.object).where(table.adapter_id.in_(names)).order_by(table.adapter_id)
        objects = connection.execute(query).scalars().all()
    began = time.perf_counter()
    for _ in bank.objects.held_many(objects):
        pass
    return time.perf_counter() - began


def _fill(bank: Bank, base: BaseModel, town: Population, people: int) -> list[str]:
    """Write everybody as training, promotion and packing leave them."""
    pairs = _basis(base)
    plan, basis = _planned(bank, base, town, pairs)
    names = []
    for first in range(0, people, TOGETHER):
        numbers = range(first, min(first + TOGETHER, people))
        contents = dict(_contents(basis, pairs, numbers))
        revisions = [
            _person(plan, number, name) for number, name in zip(numbers, contents, strict=True)
        ]  # fmt: skip
        with bank.receiving() as (connection, _):
            _write(bank, connection, contents, revisions)
        names += [revision.adapter_id for revision in revisions]
    return names


def _write(bank: Bank, connection: Connection, contents: dict[str, bytes], revisions: Sequence[Revision]) -> None:
    connection.execute(catalog.adapter.insert(), [to_row(one, catalog.adapter.c.keys()) for one in revisions])
    connection.execute(catalog.revision.insert(), [catalog_rows.sealed_row(revision) for revision in revisions])
    steps = [(None, Status.CANDIDATE), (Status.CANDIDATE, Status.SERVING)]
    connection.execute(catalog.transition.insert(), [
        {"adapter_id": one.adapter_id, "number": 1, "before": before, "after": after, "at": one.created_at,
         "forced": None}
        for one in revisions for before, after in steps
    ])  # fmt: skip
    names = list(contents)
    for start in range(0, len(names), IN_SHARD):
        places = bank.objects.keep_shard({name: contents[name] for name in names[start : start + IN_SHARD]})
        connection.execute(catalog.packed.insert(), [
            {"object": name, "shard": place.shard, "start": place.start, "size": place.size}
            for name, place in places.items()
        ])  # fmt: skip


def _planned(bank: Bank, base: BaseModel, town: Population, pairs: Factors) -> tuple[Revision, str]:
    """The row of a person of the town, and the name of the basis."""
    kit = make_prompt_kit(base, CONFIG.prompt)
    history = ReplayedHistory(town, CONFIG.history, items=CONFIG.prompt.feed_items)
    planner = PopulationTraining(base, kit, town, bank, CONFIG, history).planner
    prior = bank.add(planner.revision(PRIOR, "", [], None), {})
    basis = bank.add(planner.revision(BASIS, "", [], prior), pairs)
    person = town.personas[0]
    facts = personal_provenance(town, base, person, Learner(person.handle, ())) | {"basis": basis.object}
    return replace(
        planner.revision(PERSONAL, person.handle, [], prior, basis=basis), provenance=facts, number=1, rank=6,
        losses={"train": [2.6816672263322054, 2.3851564587266356], "validation": [1.968472657, 1.9248715], "epoch": 2},
        evaluation={"nll": {"own": 3.2001260966062546, "prior": 3.4056570529937744}}, status=Status.SERVING,
        precision=Precision.INT8, created_at=catalog_rows.now(),
    ), basis.object  # fmt: skip


def _person(plan: Revision, number: int, name: str) -> Revision:
    who = f"person_{number}"
    digests = {field: digest_of([field, number]) for field in ("data_digest", "training_digest")}
    identity = adapter_id(plan.base_hash, plan.population, PERSONAL, who)
    return replace(plan, adapter_id=identity, person=who, object=name, **digests)  # type: ignore[arg-type]


def _contents(basis: str, pairs: Factors, numbers: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each person's random coefficients."""
    draw = keyed_generator(0, "coefficients", numbers[0])
    values = {
        name: torch.randn(len(a) + 28) if name == POINTER else torch.randn(len(a), len(a))
        for name, (a, _) in pairs.items()
    }
    form = Coefficients(basis, values).serialised(Precision.INT8)
    start = header_end(form)
    count = sum(value.numel() for value in values.values())
    scales = len(form) - start - count
    for _ in numbers:
        drawn = draw.uniform(0.001, 0.01, scales // 4).astype(np.float32).tobytes()
        content = form[:start] + drawn + draw.integers(-127, 128, count, dtype=np.int8).tobytes()
        yield hashlib.sha256(content).hexdigest(), content


def _basis(base: BaseModel) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    with AdaptedModel(base, CONFIG.shape) as adapted:
        sizes = adapted.sizes
    random = torch.Generator().manual_seed(0)
    rank = CONFIG.shape.rank
    pairs = {
        name: (torch.randn(rank, width, generator=random), torch.randn(out, rank, generator=random))
        for name, (width, out) in sizes.items()
    }
    row_of = torch.zeros(ROWS, DIRECTIONS)
    row_of[torch.arange(DIRECTIONS) * ROWS // DIRECTIONS, torch.arange(DIRECTIONS)] = 1
    width = base.model.config.get_text_config().hidden_size
    return {**pairs, POINTER: (torch.randn(DIRECTIONS, width, generator=random), row_of)}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    asked = parser.parse_args()
    base, town = load_base_model(say=print), load_population("town")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        found = coefficient_results(base, town, Path(folder) / "bank", asked.people)
    print(machine(), versions())
    for result in found:
        print(f"{result.name}: {result.value:.5g} {result.unit} {result.goal}")


if __name__ == "__main__":
    main()
