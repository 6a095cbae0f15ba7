"""Scores many examples under many choices of adapters, one pass for each choice."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.evaluation.owned_examples import ActScores
from polyphony.adapters.evaluation.resumable_passes import ResumablePasses
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.memory import budget_on
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring
from polyphony.adapters.training.population_training import PopulationTraining

Progress = Callable[[int, int], None]


class ActScoring:
    """The passes over examples that one evaluation makes."""

    def __init__(self, scoring: Scoring, passes: ResumablePasses, total: int, progress: Progress) -> None:
        """Take what scores.

        Args:
            scoring: The model.
            passes: Where the results of passes are kept.
            total: How many passes there will be.
            progress: Receives the number of finished passes, and of all.
        """
        self._scoring, self._passes, self._total, self._progress = scoring, passes, total, progress
        self._items = len(scoring.scorer.digit_ids)
        self._budget = budget_on(scoring.split.base.device)
        self._done = 0

    def stored(self, examples: Sequence[Example]) -> ExampleStore:
        """Run the frozen blocks over examples once for all passes."""
        return self._budget.run(lambda tokens: ExampleStore(self._scoring.split, examples, token_budget=tokens))

    def score(self, name: str, store: ExampleStore, slot_of: Sequence[int] | None, owner: np.ndarray) -> ActScores:
        """Score all examples, those of person i under slot ``slot_of[i]``; None is the bare base.

        Args:
            name: Of the pass, a file name.
            store: The examples.
            slot_of: Slot of each person's adapter.
            owner: Number of the person of each example, shape [examples].
        """
        scored = self._passes(
            name, lambda: self._budget.run(lambda tokens: self._scored(store, slot_of, owner, tokens))
        )
        self._done += 1
        self._progress(self._done, self._total)
        return ActScores(
            np.array(scored["act"]),
            np.array(scored["text"]),
            np.array(scored["verbs"]).reshape(-1, len(VERBS)),
            np.array(scored["targets"]).reshape(-1, self._items),
        )

    def _scored(
        self, store: ExampleStore, slot_of: Sequence[int] | None, owner: np.ndarray, tokens: int
    ) -> dict[str, list[Any]]:
        count = len(store.examples)
        act, text, verbs = np.zeros(count), np.zeros(count), np.zeros((count, len(VERBS)))
        targets = np.zeros((count, self._items))
        for batch in store.batches(range(len(store.rows)), tokens):
            members = store.members(batch)
            slots = None if slot_of is None else [slot_of[owner[store.rows[row].members[0]]] for row in batch]
            hidden, places = self._scoring.hidden(store, batch, slots), store.places(batch)
            examples = [store.examples[member] for member in members]
            nll = self._scoring.act_nll(hidden, examples, places, slots)
            act[members], text[members] = (nll.verb + nll.target).cpu(), nll.text.cpu()
            verbs[members] = self._scoring.verb_log_shares(hidden, examples, places, slots).exp().cpu()
            aimed, shares = self._scoring.target_log_shares(hidden, examples, places, slots)
            targets[np.ix_([members[number] for number in aimed], range(shares.shape[1]))] = shares.exp().cpu()
        return {"act": act.tolist(), "text": text.tolist(), "verbs": verbs.tolist(), "targets": targets.tolist()}


def install_prior(adapted: AdaptedModel, training: PopulationTraining, revisions: Sequence[Revision]) -> None:
    """Install the prior of some people's adapters alone; of complete adapters, that of the training."""
    bank = training.bank
    prior = bank.prior(revisions[0]) or training.prior()
    adapted.set_prior(bank.factors(prior.object), prior.scale)
