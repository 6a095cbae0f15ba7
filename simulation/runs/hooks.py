"""What a run reports while it works."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Hooks:
    """Functions that a run calls to report.

    Attributes:
        say: Called with one line of text for a person.
        training: Called with the stage of the training, the tokens done, and the tokens in all.
        timestep: Called after each timestep with the timesteps done, the timesteps in all, and the activations so far.
        wrote: Called with the handle and the text of the first agents that write, where a model decides.
    """

    say: Callable[[str], None] = lambda line: None
    training: Callable[[str, int, int], None] = lambda stage, done, total: None
    timestep: Callable[[int, int, int], None] = lambda done, total, activations: None
    wrote: Callable[[str, str], None] = lambda handle, text: None
