"""How much what a person remembers counts for their acts: conditional logits over everybody's training acts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from polyphony.adapters.model.pointer import MARKS, OUTPUTS
from polyphony.adapters.prompting.act_scorer import PULLED, VERBS
from polyphony.errors import InputError

# The penalty on squared weights, which stand on the scale of one standard deviation, counts as so many acts; a verb's
# own part needs ten times as much evidence as the part that all verbs share.
PENALTY, OWN = 2.0, 10.0
# The penalty on a person's own deviations.
PERSONAL = 10.0
# Acts of the population that a person's frequencies are smoothed with.
SMOOTHING = 4.0
# The same where frequencies are what verbs are learned from: people change, so that more smoothing tells later acts
# better. Chosen between 4 and 16 with a view to macro-F1 (`docs/method.md`).
HABIT_SMOOTHING = 8.0
STEPS = 60
# The spread of what never varies: large enough that its weight is 0.
_NEVER = 1e12
MEMORIES = 3


@dataclass(frozen=True)
class PointerWeights:
    """How much what is remembered counts, for each verb of `adapters.model.pointer.OUTPUTS`, in that order.

    Attributes:
        memories: Weight of the similarity to own words, to words acted on, and to the people one dealt with,
            shape [outputs, 3].
        marks: Weight of an item's marks, shape [outputs, marks].
        pulls: Weight of what is shown in the choice of the verb, see `Pointer.pulls`, shape [outputs].
        levels: Minus the mean of what is shown, so that a usual feed changes no verb's score, shape [outputs].
        spreads: Standard deviations of memories and marks, huge for what never varies, shape [3 + marks].
        frequencies: Shares of the verbs over all the moments learned from, in the order of `VERBS`, shape [verbs].
    """

    memories: np.ndarray
    marks: np.ndarray
    pulls: np.ndarray
    levels: np.ndarray
    spreads: np.ndarray
    frequencies: np.ndarray

    def log_habits(self, verbs: Sequence[int]) -> Tensor:
        """Log-frequencies of what was done at some moments, smoothed with everybody's, shape [verbs].

        Args:
            verbs: What was done, places in `VERBS`.
        """
        counts = np.bincount(verbs, minlength=len(VERBS))
        return torch.tensor(_smoothed_logs(counts, self.frequencies, HABIT_SMOOTHING), dtype=torch.float32)

    def to_json(self) -> dict[str, list[list[float]] | list[float]]:
        """Plain values, as a revision records them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.tolist() for name, value in values.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[float] | Sequence[Sequence[float]]]) -> "PointerWeights":
        """Read what `to_json` wrote.

        Raises:
            InputError: An earlier version wrote it.
        """
        names = sorted({field.name for field in fields(cls)} - set(value))
        if names:
            raise InputError(
                f"the bank's prior has a pointer of an earlier version, without {names[0]}; train into another --bank"
            )
        weights = cls(**{field.name: np.array(value[field.name], dtype=float) for field in fields(cls)})
        if weights.marks.shape != (len(OUTPUTS), MARKS):
            raise InputError(
                f"the bank's prior has a pointer of an earlier version, which knows {weights.marks.shape[-1]} marks of "
                f"an item instead of {MARKS}; train into another --bank"
            )
        return weights


@dataclass(frozen=True)
class WeighedMoment:
    """A moment that weights are learned from.

    Attributes:
        person: Whose.
        features: Of each item shown: similarities to memories, then marks, shape [items, 3 + marks].
        verb: What was done, a place in `VERBS`.
        chosen: Place of the item that the act is about; None without one.
        shares: How much each item counts in what is shown for each output, shape [outputs, items].
        choices: Places of the items that the target is told from, its own included; none where it cannot be told.
    """

    person: str
    features: Tensor
    verb: int
    chosen: int | None
    shares: Tensor
    choices: Sequence[int]


def weigh(moments: Sequence[WeighedMoment]) -> PointerWeights | None:
    """Find the weights that make the targets likeliest, then those that make the verbs likeliest.

    McFadden 1974 (conditional logit) and 1978 (the inclusive value, here in sequence, as in his section 5).

    Returns:
        None where no moment has a target to tell.
    """
    aimed = [moment for moment in moments if moment.chosen is not None and len(moment.choices) > 1]
    if not aimed:
        return None
    choices = _Choices.of(aimed)
    spreads = choices.spreads()
    outputs = torch.tensor([OUTPUTS.index(VERBS[moment.verb]) for moment in aimed])
    weights = _fitted(lambda scaled: choices.nll((scaled / spreads)[outputs]), len(spreads)) / spreads
    values = torch.stack([_inclusive_values(moment, weights) for moment in moments])
    possible = torch.stack([moment.shares.any(1) for moment in moments])
    levels = torch.where(possible, values, 0.0).sum(0) / possible.sum(0).clamp(min=1)
    pulls = _pulls(moments, torch.where(possible, values - levels, 0.0), possible)
    return PointerWeights(
        weights[:, :MEMORIES].numpy(), weights[:, MEMORIES:].numpy(), pulls.numpy(), -levels.numpy(),
        spreads.numpy(), _frequencies(np.array([moment.verb for moment in moments])),
    )  # fmt: skip


def deviations(moments: Sequence[WeighedMoment], weights: PointerWeights) -> np.ndarray:
    """How far one person's weights differ from everybody's, the same for all verbs: a conditional logit, ridge penalty.

    Args:
        moments: The person's.
        weights: Everybody's.

    Returns:
        Shape [3 + marks]; zeros where no moment has a target to tell.
    """
    aimed = [moment for moment in moments if moment.chosen is not None and len(moment.choices) > 1]
    spreads = torch.tensor(weights.spreads)
    if not aimed:
        return np.zeros(len(spreads))
    choices, common = _Choices.of(aimed), torch.tensor(np.hstack([weights.memories, weights.marks]))
    shared = common[torch.tensor([OUTPUTS.index(VERBS[moment.verb]) for moment in aimed])]
    own = torch.zeros(len(spreads), dtype=torch.double, requires_grad=True)
    _minimise(lambda: choices.nll(shared + own / spreads) + PERSONAL * own.square().sum(), [own])
    return (own.detach() / spreads).numpy()


@dataclass(frozen=True)
class _Choices:
    """Moments with a target to tell.

    Attributes:
        features: Of the items that may be the target, padded, shape [moments, items, features].
        possible: Which are no padding, shape [moments, items].
        chosen: Place of the target among them, shape [moments].
    """

    features: Tensor
    possible: Tensor
    chosen: Tensor

    @classmethod
    def of(cls, aimed: Sequence[WeighedMoment]) -> "_Choices":
        rows = [moment.features[list(moment.choices)].double() for moment in aimed]
        longest = max(map(len, rows))
        return cls(
            torch.stack([functional.pad(row, (0, 0, 0, longest - len(row))) for row in rows]),
            torch.tensor([[number < len(row) for number in range(longest)] for row in rows]),
            torch.tensor([list(moment.choices).index(moment.chosen or 0) for moment in aimed]),
        )

    def spreads(self) -> Tensor:
        """Standard deviation of each feature over all items, shape [features]."""
        spread = self.features[self.possible].std(0, unbiased=False)
        return torch.where(spread > 1e-9, spread, _NEVER)

    def nll(self, weights: Tensor) -> Tensor:
        """Negative log-likelihood of the targets, summed; weights of shape [moments, features]."""
        scores = (self.features * weights.unsqueeze(1)).sum(2).masked_fill(~self.possible, -torch.inf)
        return functional.cross_entropy(scores, self.chosen, reduction="sum")


def _inclusive_values(moment: WeighedMoment, weights: Tensor) -> Tensor:
    """What a moment's items offer for each output, shape [outputs]; minus infinity where nothing is possible."""
    return (weights @ moment.features.double().T + moment.shares.double().log()).logsumexp(1)


def _pulls(moments: Sequence[WeighedMoment], values: Tensor, possible: Tensor) -> Tensor:
    """Weights of the inclusive values beside each person's own frequencies, shape [outputs]; none below zero.

    Args:
        moments: The moments.
        values: Inclusive values, shape [moments, outputs].
        possible: Which verbs had an item that they could be about, of the same shape.
    """
    verbs = torch.tensor([moment.verb for moment in moments])
    offsets = torch.tensor(_log_frequencies(moments))
    offered = (torch.bincount(verbs, minlength=len(VERBS)) > 0).repeat(len(moments), 1)
    offered[:, PULLED] &= possible
    offered[torch.arange(len(moments)), verbs] = True
    intercepts = torch.zeros(len(VERBS), dtype=torch.double, requires_grad=True)

    def loss(weights: Tensor) -> Tensor:
        scores = (offsets + intercepts).index_add(1, PULLED, values * weights[:, 0])
        return functional.cross_entropy(scores.masked_fill(~offered, -torch.inf), verbs, reduction="sum")

    return _fitted(loss, 1, intercepts)[:, 0].clamp(min=0)


def _log_frequencies(moments: Sequence[WeighedMoment]) -> np.ndarray:
    """Of all verbs among the person's other moments, smoothed with everybody's, shape [moments, verbs]."""
    people, place = np.unique([moment.person for moment in moments], return_inverse=True)
    verbs = np.array([moment.verb for moment in moments])
    counts = np.zeros((len(people), len(VERBS)))
    np.add.at(counts, (place, verbs), 1)
    return _smoothed_logs(counts[place] - np.eye(len(VERBS))[verbs], _frequencies(verbs), SMOOTHING)


def _smoothed_logs(counts: np.ndarray, everybody: np.ndarray, weight: float) -> np.ndarray:
    """Log-shares of counts [..., verbs], smoothed as if `weight` more had everybody's shares."""
    smoothed = counts + weight * everybody
    return np.asarray(np.log(smoothed / smoothed.sum(-1, keepdims=True)))


def _frequencies(verbs: np.ndarray) -> np.ndarray:
    """Shares of the verbs, none of them zero, shape [verbs]."""
    return (np.bincount(verbs, minlength=len(VERBS)) + 1 / len(VERBS)) / (len(verbs) + 1)


def _fitted(loss: Callable[[Tensor], Tensor], size: int, *free: Tensor) -> Tensor:
    """Minimise a sum over acts of weights [outputs, size]: a common part and a smaller one of each verb, by L-BFGS."""
    common = torch.zeros(size, dtype=torch.double, requires_grad=True)
    own = torch.zeros(len(OUTPUTS), size, dtype=torch.double, requires_grad=True)
    _minimise(
        lambda: loss(common + own) + PENALTY * (common.square().sum() + OWN * own.square().sum()), [common, own, *free]
    )
    return (common + own).detach()


def _minimise(loss: Callable[[], Tensor], values: Sequence[Tensor]) -> None:
    optimiser = torch.optim.LBFGS(list(values), max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(closure)
