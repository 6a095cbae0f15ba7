"""Running out of memory: smaller passes, and a clear error where even the smallest does not fit."""

from collections.abc import Callable
from typing import TypeVar

import torch

from polyphony.errors import PolyphonyError

# Padded tokens of one pass that suit a CPU, and how many times as many a GPU takes.
TOKENS, GPU_TIMES = 1024, 32
Answer = TypeVar("Answer")


def at_once(device: torch.device, *, cpu: int, gpu: int) -> int:
    """The size of one pass for a device: on a GPU a small pass is mostly overhead."""
    return gpu if device.type == "cuda" else cpu


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; on the CPU torch has no class of its own for it."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)


class TokenBudget:
    """How many padded tokens go through the model at once; halved whenever memory runs out."""

    def __init__(self, tokens: int) -> None:
        """Begin with `tokens`."""
        self.tokens = tokens

    def run(self, call: Callable[[int], Answer]) -> Answer:
        """Call `call` with the budget, and again with half of it whenever memory runs out; returns its result.

        Raises:
            PolyphonyError: Memory does not suffice for one sequence at a time.
        """
        while True:
            try:
                return call(self.tokens)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            self.shrink()

    def shrink(self) -> None:
        """Halve the budget.

        Raises:
            PolyphonyError: The budget was a single sequence already.
        """
        if self.tokens == 1:
            raise PolyphonyError("out of memory with a single sequence; use a smaller base model or more memory")
        self.tokens = max(1, self.tokens // 2)


def budget_on(device: torch.device, tokens: int = TOKENS) -> TokenBudget:
    """The budget for a device; `tokens` is the one for a CPU."""
    return TokenBudget(at_once(device, cpu=tokens, gpu=GPU_TIMES * tokens))
