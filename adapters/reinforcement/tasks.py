"""Tasks with a verifiable reward: items, which of them are learned, and what an answer is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement, permutations
from typing import Protocol

from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.randomness import keyed_generator

TEST_SHARE, VALIDATION_SHARE = 0.3, 0.1
# Begins the names of tasks of reasoning-gym.
GYM = "gym:"


@dataclass(frozen=True)
class Split:
    """Items of a task; no two parts share one.

    Attributes:
        train: Learned.
        validation: Choose the checkpoint.
        test: Measured on.
    """

    train: Sequence[str]
    validation: Sequence[str]
    test: Sequence[str]


def random_parts(
    count: int, seed: int, name: str, *, tested: float = TEST_SHARE
) -> tuple[list[int], list[int], list[int]]:
    """Places from 0 to below a count in three random parts, each in order: learned, for validation, for tests."""
    order = keyed_generator(seed, "task split", name).permutation(count).tolist()
    held_out, chosen = round(tested * count), round(VALIDATION_SHARE * count)
    return sorted(order[held_out + chosen :]), sorted(order[held_out : held_out + chosen]), sorted(order[:held_out])


class Task(Protocol):
    """What a population is reinforced on. An item is its own text, so that it can be stored and compared."""

    @property
    def name(self) -> str:
        """Names the task in options, files and pages."""

    @property
    def most_tokens(self) -> int:
        """Most tokens of an answer, its end included."""

    def split(self, seed: int, owner: str = "") -> Split:
        """The items, split by what they have in common, so that no test item is a training item in other words.

        Args:
            seed: Random seed of the split.
            owner: Whose items, in tasks of people; empty for everybody's.
        """

    def prompt(self, item: str) -> str:
        """The question, without examples."""

    def answer(self, item: str) -> str:
        """A right answer, for examples and for a supervised start."""

    def reward(self, item: str, text: str) -> float:
        """What an answer is worth, from 0 to 1."""


@dataclass(frozen=True)
class _Puzzle:
    """A task whose items are tuples of numbers and whose answers are numbers.

    Attributes:
        name: Its name.
        most_tokens: Most tokens of an answer, its end included.
        families: All families of numbers; the orders of one family stay in one part.
        sign: Stands between two numbers.
        solve: The answer to the numbers of an item.
    """

    name: str
    most_tokens: int
    families: Callable[[], Sequence[tuple[int, ...]]]
    sign: str
    solve: Callable[[Sequence[int]], str]

    def split(self, seed: int, owner: str = "") -> Split:
        families = self.families()
        parts = random_parts(len(families), seed, self.name)
        return Split(*(self._items([families[place] for place in part]) for part in parts))

    def prompt(self, item: str) -> str:
        return f"{item}="

    def answer(self, item: str) -> str:
        return self.solve([int(number) for number in item.split(self.sign)])

    def reward(self, item: str, text: str) -> float:
        return float(text.strip() == self.answer(item))

    def _items(self, families: Sequence[tuple[int, ...]]) -> list[str]:
        """Every order of the numbers of each family."""
        return [
            self.sign.join(map(str, numbers)) for family in families for numbers in sorted(set(permutations(family)))
        ]


def _families(count: int, low: int, high: int) -> list[tuple[int, ...]]:
    return list(combinations_with_replacement(range(low, high + 1), count))


def _product(numbers: Sequence[int]) -> str:
    return str(numbers[0] * numbers[1])


def _sorted(numbers: Sequence[int]) -> str:
    return " ".join(map(str, sorted(numbers)))


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _Puzzle("products", 4, partial(_families, 2, 0, 9), "*", _product),
        _Puzzle("additions", 4, partial(_families, 2, 0, 49), "+", lambda numbers: str(sum(numbers))),
        _Puzzle("sums", 4, partial(_families, 3, 0, 12), "+", lambda numbers: str(sum(numbers))),
        _Puzzle("sorting", 8, partial(_families, 3, 0, 9), " ", _sorted),
    )
}


def task_of(name: str, others: Sequence[str] = ()) -> Task:
    """The task of a name; tasks that need a population are made where it is known.

    Args:
        name: What names it.
        others: The names of tasks that can be given there, too, for the message.

    Raises:
        InputError: There is none.
    """
    if name.startswith(GYM):
        from polyphony.adapters.reinforcement.gym import GymTask

        return GymTask(name)
    if name not in TASKS:
        raise InputError(
            f"--task {quoted(name)} is not one of {', '.join((*TASKS, *others))}, or {GYM} with a reasoning-gym task"
        )
    return TASKS[name]
