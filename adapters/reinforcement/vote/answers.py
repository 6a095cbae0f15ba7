"""Asking: the answers of a population, of one adapter, of the base and of checkpoints to the same held-out items."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from polyphony.adapters.bank.revision import digest_of
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.reinforcement.claimed_directory import claim
from polyphony.adapters.reinforcement.config import AdapterPlan
from polyphony.adapters.reinforcement.grid import groups_for, reinforced
from polyphony.adapters.reinforcement.items import evaluated, items_digest, some_items
from polyphony.adapters.reinforcement.reinforcement import Reinforcement
from polyphony.adapters.reinforcement.tasks import Task
from polyphony.adapters.reinforcement.vote.plan import (
    ADAPTERS,
    BASE,
    CHECKPOINTS,
    ONE,
    SAME_DATA,
    TEMPERED,
    VotePlan,
)
from polyphony.adapters.training.provenance import code_version
from polyphony.documents import read_document
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.randomness import keyed_generator

FACTS = "vote.json"
TEMPERATURES = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)
# Answers of each adapter and temperature to the validation items, when the temperature is chosen.
VALIDATION_ANSWERS = 256
# Items asked at once: what is drawn together is answered together.
ITEMS_AT_ONCE = 100

Progress = Callable[[str, int, int, str], None]
"""Called with the stage, its finished part, the whole, and a note."""


def vote_items(task: Task, plan: VotePlan) -> list[str]:
    """The held-out items that are asked."""
    random = keyed_generator(plan.config.split_seed, "vote items", task.name, "test")
    return some_items(task.split(plan.config.split_seed).test, plan.items, random)


class Vote:
    """A vote in a directory: what it holds already is not asked again."""

    def __init__(
        self, base: BaseModel, task: Task, plan: VotePlan, directory: Path,
        *, progress: Progress = lambda stage, done, total, note: None,
    ) -> None:  # fmt: skip
        """Choose the items.

        Args:
            base: The base model.
            task: What is learned and asked.
            plan: Who answers, and how often.
            directory: Where answers and states are stored.
            progress: Told what is done.

        Raises:
            InputError: The directory holds another vote, or other files.
        """
        self.base, self.plan, self.directory, self._progress = base, plan, directory, progress
        self.task = task
        self.items = vote_items(task, plan)
        for plans in (plan.population(), plan.of_same_data()):
            if len(groups_for(base, plans, plan.config)) > 1:
                raise InputError(f"{len(plans):,} adapters do not fit into one pass; give fewer")
        self._claim()

    def run(self) -> None:
        """Train and ask.

        Raises:
            InputError: The task gives no signal.
            OSError: The directory cannot be written.
        """
        if not all(self._is_asked(source) for source in (ADAPTERS, ONE, TEMPERED, BASE)):
            self._train("training", self.plan.population(), self._ask_population)
        if not self._is_asked(SAME_DATA):
            self._train("training on the same data", self.plan.of_same_data(), self._ask_same_data)
        if not self._is_asked(CHECKPOINTS):
            self._ask_checkpoints()

    def _train(self, stage: str, plans: Sequence[AdapterPlan], ask: Callable[[Reinforcement], None]) -> None:
        groups: list[Reinforcement] = []
        reinforced(
            self.base, self.task, plans, self.plan.config, self.directory / stage.replace(" ", "-"),
            progress=lambda done, total, note: self._progress(stage, done, total, note), finished=groups.append,
        )  # fmt: skip
        ask(groups[0])

    def _ask_population(self, group: Reinforcement) -> None:
        slots = list(range(self.plan.adapters))
        weights = [curve.success["validation"][group.done] for curve in group.curves]
        self._note(validation=weights, start=group.curves[0].success["test"][0])
        voters = slots[: self.plan.asked]
        if not self._is_asked(ADAPTERS):
            self._store(ADAPTERS, self._asked(group, ADAPTERS, slots, 1))
        if not self._is_asked(ONE):
            self._store(ONE, self._asked(group, ONE, voters, self.plan.draws))
        if not self._is_asked(BASE):
            self._store(BASE, self._asked(group, BASE, [None], self.plan.draws))
        if not self._is_asked(TEMPERED):
            self._ask_tempered(group, voters)

    def _ask_tempered(self, group: Reinforcement, slots: Sequence[int]) -> None:
        temperatures = self._temperatures(group, slots)
        self._note(temperatures=temperatures)
        answers = [
            voter
            for slot, temperature in zip(slots, temperatures, strict=True)
            for voter in self._asked(group, TEMPERED, [slot], self.plan.draws, temperature)
        ]
        self._store(TEMPERED, answers)

    def _temperatures(self, group: Reinforcement, slots: Sequence[int]) -> list[float]:
        """At which temperature each adapter answers as many validation items as the population does at 1."""
        items = evaluated(self.task, group.splits[0], "validation", self.plan.config)
        samples = max(1, VALIDATION_ANSWERS // len(items))
        aim = float(np.mean([curve.success["validation"][group.done] for curve in group.curves]))
        curves = []
        for number, temperature in enumerate(TEMPERATURES):
            answers = group.answers(items, samples, list(slots), key="temperature", temperature=temperature)
            curves.append(self._successes(answers, items))
            self._progress("choosing temperatures", number + 1, len(TEMPERATURES), "")
        nearest = np.abs(np.array(curves) - aim).argmin(0)
        return [TEMPERATURES[place] for place in nearest]

    def _successes(self, answers: Sequence[Sequence[Sequence[str]]], items: Sequence[str]) -> list[float]:
        return [
            float(
                np.mean(
                    [[self.task.reward(item, text) for text in texts] for item, texts in zip(items, voter, strict=True)]
                )
            )
            for voter in answers
        ]

    def _ask_same_data(self, group: Reinforcement) -> None:
        self._store(SAME_DATA, self._asked(group, SAME_DATA, list(range(self.plan.same_data)), 1))

    def _ask_checkpoints(self) -> None:
        """Ask each run after every update of its last half; a run counts as one voter with one draw a checkpoint.

        These few runs are short, and begin anew after an interrupt.
        """
        group = Reinforcement(self.base, self.task, self.plan.of_checkpoints(), self.plan.config)
        texts: list[list[list[str]]] = [[[] for _ in self.items] for _ in group.plans]
        for update in range(1, self.plan.updates + 1):
            group.run(until=update)
            if update > self.plan.updates // 2:
                for voter, asked in enumerate(self._asked(group, f"{CHECKPOINTS}-{update}", range(self.plan.runs), 1)):
                    for item, answers in enumerate(asked):
                        texts[voter][item] += answers
            self._progress("checkpoints", update, self.plan.updates, "")
        self._store(CHECKPOINTS, texts)

    def _asked(
        self, group: Reinforcement, key: str, slots: Sequence[int | None], samples: int, temperature: float = 1.0
    ) -> list[list[list[str]]]:
        """The answers of some slots to all items, asked in parts, so that the progress is told."""
        texts: list[list[list[str]]] = [[] for _ in slots]
        for start in range(0, len(self.items), ITEMS_AT_ONCE):
            items = self.items[start : start + ITEMS_AT_ONCE]
            answers = group.answers(items, samples, list(slots), key=f"{key} {start}", temperature=temperature)
            for own, more in zip(texts, answers, strict=True):
                own += more
            if not key.startswith(CHECKPOINTS):
                self._progress(f"asking ({key})", start + len(items), len(self.items), "")
        return texts

    def _store(self, source: str, answers: Sequence[Sequence[Sequence[str]]]) -> None:
        """Write who answered what: equal answers to an item have one code, the right one 0, an empty one -1."""
        frame = pd.DataFrame(self._rows(answers), columns=["voter", "draw", "item", "code"], dtype=np.int32)
        content = BytesIO()
        frame.to_parquet(content, index=False)
        write_durably(self._path(source), content.getvalue())

    def _rows(self, answers: Sequence[Sequence[Sequence[str]]]) -> Iterator[tuple[int, int, int, int]]:
        codes: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for voter, of_items in enumerate(answers):
            for item, texts in enumerate(of_items):
                for draw, text in enumerate(texts):
                    yield voter, draw, item, self._code(item, text.strip(), codes[item])

    def _code(self, item: int, text: str, codes: dict[str, int]) -> int:
        if not text:
            return -1
        if self.task.reward(self.items[item], text) == 1:
            return 0
        return codes.setdefault(text, len(codes) + 1)

    def _is_asked(self, source: str) -> bool:
        return self._path(source).exists()

    def _path(self, source: str) -> Path:
        return self.directory / f"{source}.parquet"

    def _claim(self) -> None:
        items = items_digest(self.task, self.task.split(self.plan.config.split_seed))
        facts = {
            "plan": asdict(self.plan), "base_model": self.base.name, "dtype": self.base.dtype,
            "items": len(self.items), "code": dict(code_version()),
        }  # fmt: skip
        identity = digest_of([asdict(self.plan), self.base.hash, self.base.dtype, items])
        claim(self.directory, FACTS, "vote", identity, facts)

    def _note(self, **facts: object) -> None:
        path = self.directory / FACTS
        before = read_document(path, "give another --out", "JSON")
        write_durably(path, json.dumps({**before, **facts}, indent=1).encode())
