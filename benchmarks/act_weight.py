"""How much the act should weigh beside its text, by the validation part of people's training sides.

``python -m benchmarks.act_weight 0.1 0.4`` trains everybody with the default and with each weight. The training loss
cannot decide, for the weight is in it; what is compared is the likelihood of the text, the act, and all that was done.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks import results
from benchmarks.evidence import ROOT, remembering_split
from benchmarks.validation import validation_nll
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.model.base_model import load_base_model
from polyphony.adapters.prompting.prompt_kit import make_prompt_kit
from polyphony.adapters.training.config import TrainingConfig
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.personas.population import load_population
from polyphony.simulation.history.replay import ReplayedHistory

PLAIN = TrainingConfig()
TARGET = ROOT / "data" / "studies" / "adapters" / "act_weight.json"


def main() -> None:
    """Train with each weight and write what each person's validation acts are worth then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+", type=float, metavar="WEIGHT")
    parser.add_argument("--users", type=int, default=24)
    parser.add_argument("--bank", type=Path, required=True)
    asked = parser.parse_args()
    base, town = load_base_model(say=print), load_population("town")
    kit, people = make_prompt_kit(base, PLAIN.prompt), town.choose(asked.users)
    history = ReplayedHistory(town, PLAIN.history, items=PLAIN.prompt.feed_items)
    bank, trunks, rows = Bank(asked.bank, create=True), dict[bytes, Tensor](), list[dict[str, Any]]()
    head = {"machine": results.machine(), "versions": results.versions(), "population_digest": town.digest}
    for weight in dict.fromkeys([PLAIN.schedule.act_weight, *asked.weights]):  # the report compares with the default
        config = replace(PLAIN, schedule=replace(PLAIN.schedule, act_weight=weight))
        training = PopulationTraining(base, kit, town, bank, config, history, split=partial(remembering_split, trunks))
        training.prior()
        began = time.perf_counter()
        nll = validation_nll(training, people, training.personal(people))
        seconds = time.perf_counter() - began
        rows.append({"act_weight": weight, "seconds": seconds, **{k: v.tolist() for k, v in vars(nll).items()}})
        means = {name: round(float(values.mean()), 4) for name, values in vars(nll).items()}
        print(f"weight {weight:g}: {seconds:.0f} s, {means}", flush=True)
        TARGET.write_text(json.dumps({**head, "dtype": base.dtype, "weights": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
