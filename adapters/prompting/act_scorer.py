"""The distribution of acts: scores of their labels, corrected for the model's preference among the labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.head import Head
from polyphony.adapters.model.pointer import OUTPUTS
from polyphony.adapters.prompting.grammar import Grammar
from polyphony.adapters.prompting.prompt import CONTENT_FREE, FeedItem, PromptBuilder
from polyphony.personas.people.acts import Verb

VERBS = tuple(Verb)
PULLED = torch.tensor([VERBS.index(verb) for verb in OUTPUTS])
"""Places among `VERBS` of the pointer's outputs, whose verbs what is shown can pull at."""


@dataclass(frozen=True)
class ActScorer:
    """Log-probabilities of verbs and targets.

    Contextual calibration (Zhao et al. 2021, "Calibrate before use", section 5): the scores are divided by the bare
    base model's distribution under a content-free prompt. The correction is the same for all arms, in training
    and in simulation, so that an adapter learns its person's habit on top of it.

    Attributes:
        head: The language-model head.
        offered: Which verbs the grammar has, boolean, shape [verbs], in the order of `VERBS`.
        verb_ids: Label tokens, shape [verbs]; any token for a verb that is not offered.
        digit_ids: Digit tokens, shape [items].
        verb_bias: Log-probabilities to subtract, shape [verbs].
        digit_bias: The same for items given a verb, shape [verbs, items]; zero for verbs without a target.
    """

    head: Head
    offered: Tensor
    verb_ids: Tensor
    digit_ids: Tensor
    verb_bias: Tensor
    digit_bias: Tensor

    def verbs(self, hidden: Tensor, allowed: Tensor, pulls: Tensor | None = None) -> Tensor:
        """Log-probabilities of the verbs after a prompt.

        Args:
            hidden: Final hidden state of the last prompt token, shape [rows, hidden].
            allowed: Which verbs may be chosen, boolean, shape [rows, verbs].
            pulls: How far what is shown calls for each verb, in nats, shape [rows, verbs]; None for not at all.
        """
        return self.calibrated_verbs(self.head(hidden, self.verb_ids), allowed, pulls)

    def calibrated_verbs(self, scores: Tensor, allowed: Tensor, pulls: Tensor | None = None) -> Tensor:
        """Log-probabilities of the verbs, given the model's scores of their labels.

        Args:
            scores: Logits or log-probabilities of the labels, shape [rows, verbs].
            allowed: As in `verbs`.
            pulls: As in `verbs`.
        """
        scores = scores - self.verb_bias
        if pulls is not None:
            scores = scores + pulls.to(scores)
        return scores.masked_fill(~(allowed & self.offered), -torch.inf).log_softmax(-1)

    def targets(self, hidden: Tensor, verbs: Tensor, allowed: Tensor) -> Tensor:
        """Log-probabilities of the feed items after a verb.

        Args:
            hidden: Final hidden state of the verb's label, shape [rows, hidden].
            verbs: Index of each row's verb in `VERBS`, shape [rows].
            allowed: Which items may be chosen, boolean, shape [rows, items].
        """
        return self.calibrated_targets(self.head(hidden, self.digit_ids), verbs, allowed)

    def calibrated_targets(self, scores: Tensor, verbs: Tensor, allowed: Tensor) -> Tensor:
        """Log-probabilities of the feed items after a verb, given the model's scores of their digits.

        Args:
            scores: Logits or log-probabilities of the digits, shape [rows, items].
            verbs: As in `targets`.
            allowed: As in `targets`.
        """
        return (scores - self.digit_bias[verbs]).masked_fill(~allowed, -torch.inf).log_softmax(-1)


def calibrated_scorer(base: BaseModel, builder: PromptBuilder, head: Head, *, feed_items: int) -> ActScorer:
    """Measure the bare base under the content-free prompt and return the scorer that divides by it.

    Must be called while no adapter is routed.
    """
    offered, verb_ids, digit_ids = _token_ids(builder.grammar, feed_items, base.device)
    prompt = content_free_prompt(builder, feed_items)
    verb_bias = torch.zeros(len(VERBS), device=base.device)
    verb_bias[offered] = _log_shares(base, head, prompt, verb_ids[offered])
    digit_bias = torch.zeros(len(VERBS), feed_items, device=base.device)
    for verb in (verb for verb in builder.grammar.verb_ids if verb.has_target):
        tokens = [*prompt, builder.grammar.verb_ids[verb]]
        digit_bias[VERBS.index(verb)] = _log_shares(base, head, tokens, digit_ids)
    return ActScorer(head, offered, verb_ids, digit_ids, verb_bias, digit_bias)


def content_free_prompt(builder: PromptBuilder, feed_items: int) -> list[int]:
    """The prompt under which the model's own preference among the labels is measured."""
    return builder.prompt(CONTENT_FREE, None, [FeedItem(CONTENT_FREE, CONTENT_FREE)] * feed_items)


def uncalibrated_scorer(base: BaseModel, grammar: Grammar, head: Head, *, feed_items: int) -> ActScorer:
    """Return a scorer of the raw label probabilities, to compare with."""
    offered, verb_ids, digit_ids = _token_ids(grammar, feed_items, base.device)
    zeros = torch.zeros(len(VERBS), feed_items, device=base.device)
    return ActScorer(head, offered, verb_ids, digit_ids, zeros[:, 0] * 0, zeros)


def _token_ids(grammar: Grammar, feed_items: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    offered = torch.tensor([verb in grammar.verb_ids for verb in VERBS], device=device)
    verb_ids = torch.tensor([grammar.verb_ids.get(verb, grammar.end_id) for verb in VERBS], device=device)
    return offered, verb_ids, torch.tensor(grammar.digit_ids[:feed_items], device=device)


@torch.no_grad()
def _log_shares(base: BaseModel, head: Head, tokens: Sequence[int], among: Tensor) -> Tensor:
    ids = torch.tensor([tokens], device=base.device)
    hidden = base.model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, -1]
    return head(hidden, among).log_softmax(-1)
