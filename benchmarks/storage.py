"""What fewer bits cost: held-out NLL of the town's people under their own adapters, kept in each precision.

``python -m benchmarks.storage --bank DIR`` trains what the bank does not hold yet.
"""

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import results
from benchmarks.results import Result
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.compaction import copy_foundation
from polyphony.adapters.bank.precision import Precision
from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.evaluation.evaluation import EvaluationPlan, evaluate
from polyphony.adapters.model.base_model import load_base_model
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.personas.people.persona import Persona
from polyphony.personas.population import load_population
from polyphony.simulation.history.replay import ReplayedHistory

OWN = EvaluationPlan(others=0, candidates=1, identified=1, written_posts=0, controls=())


def storage_results(training: PopulationTraining, personas: Sequence[Persona]) -> list[Result]:
    """NLL in each precision less that in fp32, in nats a token, and the bytes of an adapter."""
    revisions = training.personal(personas)
    nll, sizes = {}, {}
    for precision in Precision:
        with tempfile.TemporaryDirectory() as folder, closing(Bank(Path(folder) / "bank", create=True)) as bank:
            kept = _kept(training.bank, bank, revisions, precision)
            asked = PopulationTraining(
                training.base, training.kit, training.population, bank, training.config, training.examples.history
            )
            found = evaluate(asked, personas, kept, plan=OWN).per_person
            nll[precision] = np.array([found[persona.handle]["own"] for persona in personas if persona.handle in found])
            sizes[precision] = len(bank.objects.read(kept[0].object)) / 1024
    exact = nll[Precision.FP32]
    return [
        Result(f"{len(exact)} people, own adapters in fp32: held-out NLL", float(exact.mean()), "nats/token", "", 1),
        *(Result(f"the same in {p} − in fp32", float((nll[p] - exact).mean()), "nats/token", "", 1) for p in Precision),
        *(Result(f"the same in {p}, farthest person", float(np.abs(nll[p] - exact).max()), "nats/token", "", 1)
          for p in Precision),
        *(Result(f"an adapter in {p}", sizes[p], "KiB", "", 1) for p in Precision),
    ]  # fmt: skip


def _kept(source: Bank, target: Bank, revisions: Sequence[Revision], precision: Precision) -> list[Revision]:
    """Copy adapters and what lies beneath them into another bank, the adapters in another precision."""
    copy_foundation(source, target, revisions[0])
    return target.add_all([(replace(one, evaluation=None), source.factors(one.object)) for one in revisions], precision)


def main() -> None:
    """Print the figures and keep them in benchmarks/results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--users", type=int, default=64)
    asked = parser.parse_args()
    base, town = load_base_model(say=print), load_population("town")
    config = TrainingConfig()
    history = ReplayedHistory(town, config.history, items=config.prompt.feed_items)
    with closing(Bank(asked.bank, create=True)) as bank:
        training = PopulationTraining(base, make_prompt_kit(base, config.prompt), town, bank, config, history)
        found = storage_results(training, town.choose(asked.users))
    for result in found:
        print(f"{result.name}: {result.value:.5g} {result.unit}")
    results.merge("storage", found)


if __name__ == "__main__":
    main()
