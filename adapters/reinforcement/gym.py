"""Tasks of reasoning-gym by their names, an optional extra."""

import warnings

from polyphony.adapters.reinforcement.tasks import GYM, Split, random_parts
from polyphony.errors import InputError
from polyphony.printable import first_line, quoted

ITEMS = 600
# Seed of the items themselves; how they are split has one of its own.
ITEM_SEED = 1
MOST_TOKENS = 32
FEWEST = 20


class GymTask:
    """One generator of reasoning-gym with its default settings.

    An answer is worth 1 if it is the library's answer, character by character, else 0. The library's own scorers are
    not called: some give a share of the reward to an answer that contains the right one, and some evaluate an answer as
    an expression, but what a model wrote must never become code.
    """

    def __init__(self, name: str) -> None:
        """Make the items.

        Args:
            name: ``gym:`` and the generator's name.

        Raises:
            InputError: The extra is not installed, there is no such generator, or none of its answers fits a line.
        """
        self.name = name
        self._answers: dict[str, str] = {}
        for question, answer in _generated(name):
            if isinstance(answer, str) and len(answer.strip().splitlines()) == 1:
                self._answers.setdefault(str(question), answer.strip())
        if len(self._answers) < FEWEST:
            raise InputError(
                f"--task {name}: fewer than {FEWEST} items have an answer of one line; choose another task"
            )

    @property
    def most_tokens(self) -> int:
        """As many as the longest right answer has characters, and its end."""
        return min(MOST_TOKENS, 1 + max(map(len, self._answers.values())))

    def split(self, seed: int, owner: str = "") -> Split:
        """The items in random parts: the library does not tell which belong together."""
        items = list(self._answers)
        return Split(*([items[place] for place in part] for part in random_parts(len(items), seed, self.name)))

    def prompt(self, item: str) -> str:
        """The question as the library words it."""
        return f"{item}\nAnswer:"

    def answer(self, item: str) -> str:
        """The library's own answer."""
        return " " + self._answers[item]

    def reward(self, item: str, text: str) -> float:
        """1 for the right text, else 0."""
        return float(text.strip() == self.answer(item).strip())


def _generated(name: str) -> list[tuple[object, object]]:
    """Questions and answers of a generator."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of a package that it imports, when that is compiled
            import reasoning_gym
            from reasoning_gym.factory import DATASETS
    except ModuleNotFoundError as error:
        raise InputError(f"--task {name}: reasoning-gym is not installed; install the extra `gym`") from error
    kind = name.removeprefix(GYM)
    if kind not in DATASETS:
        raise InputError(f"--task {quoted(name)}: reasoning-gym has no such task; one of them is gym:chain_sum")
    try:
        dataset = reasoning_gym.create_dataset(kind, size=ITEMS, seed=ITEM_SEED)
        return [(entry["question"], entry["answer"]) for entry in (dataset[place] for place in range(len(dataset)))]
    except Exception as error:  # generators check their settings, and read their data, each in a way of its own
        raise InputError(
            f"--task {name}: reasoning-gym cannot make its items with default settings ({first_line(error)}); choose "
            "another task"
        ) from error
