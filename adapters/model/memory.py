"""What to do when memory runs out: less at once, and a clear line where even the least does not fit."""

from collections.abc import Callable
from typing import TypeVar

import torch

from polyphony.errors import PolyphonyError

# Padded tokens of one pass that suit a CPU, and how many times as many a GPU takes.
TOKENS, GPU_TIMES = 1024, 32
Answer = TypeVar("Answer")


def at_once(device: torch.device, *, cpu: int, gpu: int) -> int:
    """How much one pass takes on a device: a GPU spends most of a small one on beginning it."""
    return gpu if device.type == "cuda" else cpu


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is the allocator's; on the CPU torch has no class of its own for it."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)


class TokenBudget:
    """How many padded tokens go through the model at once; halved whenever memory runs out."""

    def __init__(self, tokens: int) -> None:
        """Begin with `tokens`."""
        self.tokens = tokens

    def run(self, call: Callable[[int], Answer]) -> Answer:
        """Return what `call` returns, given the budget; after a failure it is called again with half of it.

        Raises:
            PolyphonyError: Memory does not even suffice for one sequence at a time.
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
            PolyphonyError: It was down to single sequences already.
        """
        if self.tokens == 1:
            raise PolyphonyError("out of memory with a single sequence; use a smaller base model or more memory")
        self.tokens = max(1, self.tokens // 2)


def budget_on(device: torch.device, tokens: int = TOKENS) -> TokenBudget:
    """The budget that suits a device, given what would suit a CPU."""
    return TokenBudget(at_once(device, cpu=tokens, gpu=GPU_TIMES * tokens))
