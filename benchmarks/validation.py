"""What people's validation acts, later than all that is learned, say of a training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.bank.stacking import install
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.scoring import ExampleStore
from polyphony.adapters.training.population_training import PopulationTraining
from polyphony.adapters.training.training_plan import CHECKED_TOGETHER
from polyphony.personas.people.persona import Persona


@dataclass(frozen=True)
class ValidationNll:
    """Negative log-likelihood of validation acts in nats, a mean over each person's acts, each of shape [people].

    Attributes:
        act: Of verb and target.
        text: Of the text a token, 0 for an act without text.
        whole: Of all that was done: verb, target and every token of the text.
    """

    act: np.ndarray
    text: np.ndarray
    whole: np.ndarray

    def loss(self, act_weight: float) -> np.ndarray:
        """Each person's validation loss as training counts it."""
        return self.text + act_weight * self.act


@torch.no_grad()
def validation_nll(
    training: PopulationTraining, people: Sequence[Persona], revisions: Sequence[Revision] | None = None
) -> ValidationNll:
    """Score the validation acts of those who have any, laid out as in personal training.

    Args:
        training: Whose prior and settings hold.
        people: Whose acts are scored.
        revisions: Their own adapters; None scores the prior alone.
    """
    training.examples.prepare([(person, person.validation) for person in people], CHECKED_TOGETHER)
    made = [
        (number, example)
        for number, person in enumerate(people)
        for example in training.examples.sittings(person, person.validation, CHECKED_TOGETHER)
    ]
    sums = np.zeros((4, len(people)))
    with training.config.adapted(training.base) as adapted:
        if revisions is None:
            prior = training.prior()
            adapted.set_prior(training.bank.factors(prior.object), prior.scale)
        else:
            install(adapted, training.bank, revisions)
        scoring = training.scoring(adapted)
        store = ExampleStore(scoring.split, [example for _, example in made])
        for batch in store.batches(range(len(store.rows)), training.config.schedule.token_budget):
            owners = [made[member][0] for member in store.members(batch)]
            slots = [made[store.rows[row].members[0]][0] if revisions is not None else 0 for row in batch]
            nll = scoring.nll(store, batch, slots)
            act = nll.verb + nll.target
            words = [_text_tokens(made[member][1]) for member in store.members(batch)]
            whole = act + nll.text * torch.tensor(words, device=act.device)
            np.add.at(sums.T, owners, torch.stack([act, nll.text, whole, torch.ones_like(act)], 1).cpu().numpy())
    return ValidationNll(*(sums[:3, sums[3] > 0] / sums[3, sums[3] > 0]))


def _text_tokens(example: Example) -> int:
    return 0 if example.text_start is None else len(example.tokens) - example.text_start
