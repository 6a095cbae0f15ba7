"""Strong and weak starts crossed with what is trained: the models that are stored, and the page."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks.scale_up import SHOTS, Design, _store_model, _stored, _trained
from benchmarks.scale_up_page import PAGE, STUDIES, normalised_gain, page
from polyphony.adapters.model.base_model import load_base_model
from polyphony.adapters.model.routing import Route
from polyphony.adapters.reinforcement.config import AdapterPlan, ReinforcementConfig
from polyphony.adapters.reinforcement.factors import FULL, full_rank
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.reinforcement.tasks import task_of

DESIGN = Design("sorting", (1, 16), seeds=3, choosing_seeds=1, updates=2, prompts=2)


def test_a_stored_start_is_the_base_with_what_was_learned(base, tmp_path):
    config = ReinforcementConfig(shots=SHOTS, top_blocks=2)
    plan = AdapterPlan("teacher", rank=full_rank(base, config), init=FULL)
    learner = Reinforcement(base, task_of("sorting"), [plan], config)
    with torch.no_grad():
        for number, (a, b) in enumerate(learner.factors.stack.values()):
            random = torch.Generator().manual_seed(number)
            for factor in (a, b):
                if not factor.any():
                    factor.add_(torch.randn(factor.shape, generator=random), alpha=0.02)
    _store_model(learner, None, tmp_path / "start")
    stored = load_base_model(tmp_path / "start", dtype="fp32")
    tokens = torch.tensor([base.tokenizer.encode("3 1 2=1 2 3\n9 4 7=", add_special_tokens=False)])
    with torch.no_grad():
        bare = base.model.base_model(tokens).last_hidden_state
        with learner._installed(), learner.adapted.routed(Route(torch.tensor([0]))):
            learned = base.model.base_model(tokens).last_hidden_state
        assert torch.allclose(stored.model.base_model(tokens).last_hidden_state, learned, atol=2e-3)
        assert not torch.allclose(bare, learned, atol=0.1)
    assert stored.tokenizer.encode("3 1 2=") == base.tokenizer.encode("3 1 2=")


def test_methods_differ_in_what_is_trained_alone(base):
    """One seed has one name of draws in all methods, and the numbers that are trained are those of the layers."""
    plans = [DESIGN.plans(base, method, method.rates[:1], range(2)) for method in DESIGN.methods]
    assert [[plan.seed for plan in group] for group in plans] == [[0, 1]] * 3
    assert [group[0].rank for group in plans] == [1, 16, 576]
    layers = [module for block in base.model.base_model.layers[-10:] for module in block.modules()
              if hasattr(module, "in_features")]  # fmt: skip
    trained = [_trained(base, method, DESIGN.config) for method in DESIGN.methods]
    assert trained[1] == 16 * trained[0] == 16 * sum(layer.in_features + layer.out_features for layer in layers)
    assert trained[2] == sum(layer.weight.numel() for layer in layers)


def test_what_is_stored_is_not_made_again(tmp_path: Path) -> None:
    assert _stored(tmp_path / "a.json", lambda: [1]) == [1] == _stored(tmp_path / "a.json", lambda: [2])


def study(last: dict[tuple[float, str], list[float]]) -> dict[str, object]:
    sizes = {"rank 1": 10, "rank 16": 160, "full": 1000}
    return {
        "machine": {"processor": "P", "flags": ["f"]}, "versions": {"torch": "1"}, "base_model": "B", "dtype": "bf16",
        "design": asdict(DESIGN),
        "starts": [{"level": 0.1, "updates": 7, "validation": 0.11, "test": 0.09}],
        "cells": [
            {"level": level, "method": method, "parameters": sizes[method], "rate": 1e-3, "rates": {},
             "start": [level] * 3, "last": values}
            for (level, method), values in last.items()
        ],
    }  # fmt: skip


def test_a_difference_is_told_where_it_is_and_not_where_it_is_none() -> None:
    given = study({
        (0.1, "rank 1"): [0.50, 0.53, 0.47], (0.1, "rank 16"): [0.53, 0.47, 0.50],
        (0.1, "full"): [0.80, 0.8302, 0.7703], (0.5, "rank 1"): [0.5, 0.5, 0.5],
    })  # fmt: skip
    text = page([given])
    assert normalised_gain({"start": [0.1], "last": [0.55]}) == pytest.approx([0.5])
    answer = text.split("**B, sorting:**")[1].split("\n")[0]
    assert "2 of 3 differences" in answer and "start 0.1: full − rank 1 +0.33" in answer
    assert "rank 16 − rank 1 +" not in answer
    row = next(line for line in text.splitlines() if "| rank 16 " in line)
    assert "0.444" in row and "160" in row and "+2500.000" in row


@pytest.mark.skipif(not STUDIES.is_dir(), reason="no study has been committed yet")
def test_the_committed_page_is_what_the_committed_studies_give() -> None:
    import json

    assert PAGE.read_text() == page([json.loads(path.read_text()) for path in sorted(STUDIES.glob("*.json"))])
