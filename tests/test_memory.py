"""When memory runs out, less is done at once; the result stays."""

import pytest
import torch
from short_base import base, kit, learners, together  # noqa: F401 - fixtures
from training_factory import farthest, train

from polyphony.adapters.model.memory import TokenBudget
from polyphony.adapters.prompting.scoring import Scoring
from polyphony.errors import PolyphonyError


def test_the_budget_is_halved_until_the_call_fits():
    budget, tried = TokenBudget(1000), []

    def call(tokens):
        tried.append(tokens)
        if tokens > 200:
            raise MemoryError
        return "done"

    assert budget.run(call) == "done"
    assert tried == [1000, 500, 250, 125]
    assert budget.run(call) == "done" and tried[-1] == 125, "what did not fit once is not tried again"


def test_a_single_sequence_that_does_not_fit_is_one_clear_line():
    def never(_tokens):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes")

    with pytest.raises(PolyphonyError, match="out of memory with a single sequence"):
        TokenBudget(64).run(never)


def test_what_the_allocator_really_says_is_known():
    """Its words differ from system to system."""
    with pytest.raises(PolyphonyError, match="out of memory with a single sequence"):
        TokenBudget(4).run(lambda tokens: torch.empty(tokens << 46, dtype=torch.uint8))


def test_other_errors_are_not_hidden():
    def broken(_tokens):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        TokenBudget(64).run(broken)


def test_training_that_runs_out_of_memory_goes_on_with_less(base, kit, learners, together, monkeypatch):
    """Memory for one row at a time only: the factors are those of the undisturbed training."""
    score = Scoring.nll

    def small(self, store, rows, slots, habits):
        if len(rows) > 1:
            raise MemoryError
        return score(self, store, rows, slots, habits)

    monkeypatch.setattr(Scoring, "nll", small)
    cramped = train(base, kit, learners)
    for one, other in zip(cramped, together, strict=True):
        assert farthest(one, other) <= 1e-3
        assert torch.allclose(torch.tensor(one.train_loss), torch.tensor(other.train_loss), atol=1e-4)
