"""Tasks of reasoning-gym by their names, an optional extra."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from polyphony.adapters.reinforcement.tasks import GYM, TEST_SHARE, VALIDATION_SHARE, Split
from polyphony.errors import InputError
from polyphony.printable import quoted
from polyphony.randomness import keyed_generator

if TYPE_CHECKING:
    from reasoning_gym.dataset import ProceduralDataset

ITEMS = 600
# Seed of the items themselves; how they are split has one of its own.
ITEM_SEED = 1
MOST_TOKENS = 32


class GymTask:
    """One generator of reasoning-gym with its default settings.

    An answer is worth what the generator's own comparison says, where that is the library's comparison of texts. Some
    generators evaluate an answer as an expression. What a model wrote must never become code, so there an answer is
    worth 1 if it is the right text, else 0.
    """

    def __init__(self, name: str) -> None:
        """Make the items.

        Args:
            name: ``gym:`` and the generator's name.

        Raises:
            InputError: The extra is not installed, there is no such generator, or none of its answers fits a line.
        """
        self.name = name
        self._dataset = _dataset(name)
        self._entries: dict[str, dict[str, Any]] = {}
        for place in range(len(self._dataset)):
            entry = self._dataset[place]
            answer = entry["answer"]
            if isinstance(answer, str) and answer.strip() and len(answer.splitlines()) == 1:
                self._entries.setdefault(str(entry["question"]), entry)
        if len(self._entries) < 10:
            raise InputError(f"--task {name}: fewer than 10 items have an answer of one line; choose another task")

    @property
    def most_tokens(self) -> int:
        """As many as the longest right answer has characters, and its end."""
        return min(MOST_TOKENS, 1 + max(len(entry["answer"].strip()) for entry in self._entries.values()))

    def split(self, seed: int, owner: str = "") -> Split:
        """The items in random parts: the library does not tell which belong together."""
        items = list(self._entries)
        order = keyed_generator(seed, "task split", self.name).permutation(len(items)).tolist()
        held_out, chosen = round(TEST_SHARE * len(order)), max(1, round(VALIDATION_SHARE * len(order)))
        parts = order[held_out + chosen :], order[held_out : held_out + chosen], order[:held_out]
        return Split(*([items[place] for place in sorted(part)] for part in parts))

    def prompt(self, item: str) -> str:
        """The question as the library words it."""
        return f"{item}\nAnswer:"

    def answer(self, item: str) -> str:
        """The library's own answer."""
        return " " + str(self._entries[item]["answer"]).strip()

    def reward(self, item: str, text: str) -> float:
        """See the class."""
        answer = text.strip()
        if not self._compares_texts:
            return float(answer == self.answer(item).strip())
        return min(1.0, max(0.0, float(self._dataset.score_answer(answer, self._entries[item]))))

    @cached_property
    def _compares_texts(self) -> bool:
        from reasoning_gym.dataset import ProceduralDataset

        return type(self._dataset).score_answer is ProceduralDataset.score_answer


def _dataset(name: str) -> "ProceduralDataset":
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ModuleNotFoundError as error:
        raise InputError(f"--task {name}: reasoning-gym is not installed; install the extra `gym`") from error
    kind = name.removeprefix(GYM)
    if kind not in DATASETS:
        raise InputError(f"--task {quoted(name)}: reasoning-gym has no such task; one of them is gym:chain_sum")
    return reasoning_gym.create_dataset(kind, size=ITEMS, seed=ITEM_SEED)
