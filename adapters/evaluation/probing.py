"""A fixed set of probes: do trainer, engine and export of an adapter agree, and how far has it drifted?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.peft_layout import merge, parse_factors, serialised
from polyphony.adapters.bank.revision import PERSONAL, Revision
from polyphony.adapters.bank.stacking import covering_shape, foundation_parts, install, stack_alone
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.routing import route_of
from polyphony.adapters.prompting.examples import Example
from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.adapters.prompting.scoring import ExampleStore, Scoring
from polyphony.adapters.training.population_training import split_for
from polyphony.personas.people.acts import Verb

PROBED_TOGETHER = 16
ACT_TOKENS = 16
HANDLE = "probe"
FEED = (
    ("north", "The bus was late again this morning and nobody could say why."),
    ("kitchen", "Three eggs, a little salt, and more patience than you think you need."),
    ("ledger", "Prices rose by two percent in March; rents rose by five."),
    ("gate9", "Does anyone know whether the library opens on Sunday?"),
    ("mill", "I finished the book. The ending is not what the cover promises."),
)
TEXTS = (
    "I have been thinking about what you said last week, and I still do not agree with most of it.",
    "New version is out today: faster start, fewer crashes, and the search finally works as it should.",
    "What a match! They came back from two goals down and won it in the very last minute of the game.",
    "Please remember that the meeting has moved to Thursday at ten, in the small room on the second floor.",
)


@dataclass(frozen=True)
class Probed:
    """The results of the probes for one revision.

    Attributes:
        dtype: The compute type of the base.
        agreement: Largest difference of a token's log-probability between the trainer's path (frozen trunk, all probes
            behind one prompt) and the engine's (key-value store, one token a pass), in nats.
        drift: KL divergence of its next tokens from those of what it follows, KL(before ‖ it), in nats a token.
        against: What it follows: its parent, else the serving revision, else its prior or the bare base.
        round_trip: The divergence of its export, merged with its prior, written and read back, in nats a token.
    """

    dtype: str
    agreement: float
    drift: float
    against: str
    round_trip: float


def probe(
    base: BaseModel,
    kit: PromptKit,
    bank: Bank,
    revisions: Sequence[Revision],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Probed]:
    """Probe revisions over the base that they belong to; the results are in their order.

    Raises:
        InputError: One belongs to another base, or its weights are damaged.
    """
    if not revisions:
        return []
    followed = [_followed(bank, revision) for revision in revisions]
    shape = covering_shape(bank, [*revisions, *(before for before in followed if before is not None)])
    results: dict[int, Probed] = {}
    with AdaptedModel(base, shape) as adapted, torch.no_grad():
        probing = _Probing(adapted, base, kit, bank, shape)
        for numbers in _groups(revisions):
            pairs = [(revisions[number], followed[number]) for number in numbers]
            results |= zip(numbers, probing.probe(pairs), strict=True)
            progress(len(results), len(revisions))
    return [results[number] for number in range(len(revisions))]


def _followed(bank: Bank, revision: Revision) -> Revision | None:
    """The revision that one follows; None where that is only its foundation."""
    if revision.parent is not None:
        return bank.revision(revision.adapter_id, revision.parent)
    serving = bank.serving(revision.adapter_id)
    if serving is not None and serving.number != revision.number:
        return serving
    prior = bank.prior(revision)
    # If its foundation is the prior minus a shared start, a fresh adapter equals that prior.
    return prior if prior is not None and prior.object != revision.prior_object else None


def _groups(revisions: Sequence[Revision]) -> Iterator[list[int]]:
    """Group the numbers of revisions over one prior each."""
    for prior in dict.fromkeys(revision.prior_object for revision in revisions):
        over = [number for number, revision in enumerate(revisions) if revision.prior_object == prior]
        for start in range(0, len(over), PROBED_TOGETHER):
            yield over[start : start + PROBED_TOGETHER]


class _Probing:
    """The probes over one base."""

    def __init__(self, adapted: AdaptedModel, base: BaseModel, kit: PromptKit, bank: Bank, shape: LoraShape) -> None:
        self._adapted, self._base, self._bank = adapted, base, bank
        split = split_for(base, shape)
        self._scoring = Scoring(adapted, split, kit.scorer)
        self._examples = probe_examples(kit)
        self._store = ExampleStore(split, self._examples)
        self._engine = Engine(base, adapted, kit)
        self._head = kit.scorer.head

    def probe(self, pairs: Sequence[tuple[Revision, Revision | None]]) -> list[Probed]:
        revisions = [revision for revision, _ in pairs]
        before = [followed for _, followed in pairs if followed is not None]
        install(self._adapted, self._bank, [*revisions, *before])
        slots = range(len(revisions))
        *log_shares, foundation = self._log_shares([*slots, -1])
        agreement = self._disagreements(slots, log_shares)
        earlier = iter(self._log_shares([len(revisions) + number for number in range(len(before))]))
        drift = [
            _divergence(foundation if followed is None else next(earlier), shares)
            for (_, followed), shares in zip(pairs, log_shares, strict=True)
        ]
        round_trip = self._round_trips(revisions, log_shares)
        return [
            Probed(self._base.dtype, agreement[slot], drift[slot], _name(*pairs[slot]), round_trip[slot])
            for slot in slots
        ]

    def _log_shares(self, slots: Sequence[int]) -> list[Tensor]:
        """Log-probabilities of all tokens before each act token, by the trainer's path.

        Args:
            slots: The slots; -1 for the foundation of all of them.

        Returns:
            For each slot [probes, tokens, vocabulary].
        """
        if not slots:
            return []
        hidden = self._scoring.hidden(self._store, [0] * len(slots), slots)
        columns = [
            [example.prompt_length - 1, *range(place.start, place.start + ACT_TOKENS - 1)]
            for example, place in zip(self._examples, self._store.places([0]), strict=True)
        ]
        places = torch.tensor(columns, device=hidden.device)
        return [self._head(row[places]).log_softmax(-1) for row in hidden]

    def _disagreements(self, slots: Sequence[int], log_shares: Sequence[Tensor]) -> list[float]:
        """For each slot the largest difference between a token's log-probability in `log_shares` and by the engine."""
        prompt = self._examples[0].tokens[: self._examples[0].prompt_length]
        acts = torch.tensor([example.tokens[-ACT_TOKENS:] for example in self._examples], device=self._base.device)
        owners = [slot for slot in slots for _ in self._examples]
        rows, fed = len(owners), acts.repeat(len(slots), 1)
        self._engine.runner.store.reserve(rows, len(prompt) + ACT_TOKENS)
        hidden, firsts, begin = self._engine.runner.read([prompt] * rows, owners, slice(0, rows))
        states = [hidden]
        for step in range(ACT_TOKENS - 1):
            ends = [begin + len(prompt) + step] * rows
            states.append(self._engine.runner.append(fed[:, step].tolist(), firsts, ends, route_of(owners)))
        tokens = acts.unsqueeze(2)
        own = torch.stack(states, 1).split(len(self._examples))
        engine = [self._head(part).log_softmax(-1).gather(2, tokens) for part in own]
        return [
            float((shares.gather(2, tokens) - other).abs().max())
            for shares, other in zip(log_shares, engine, strict=True)
        ]  # fmt: skip

    def _round_trips(self, revisions: Sequence[Revision], log_shares: Sequence[Tensor]) -> list[float]:
        """Divergence of each revision after an export with its foundation merged in; all have the same one."""
        foundation, imported = foundation_parts(self._bank, revisions[0]), []
        for revision, factors in zip(
            revisions, self._bank.objects.load_many([r.object for r in revisions]), strict=True
        ):
            exported = serialised(merge([(factors.factors(), revision.scale), *foundation]))
            imported.append(parse_factors(exported, revision.name))
        self._adapted.set_prior(None)
        self._adapted.set_stack(stack_alone(self._adapted, imported), 1.0)
        return [_divergence(b, a) for b, a in zip(log_shares, self._log_shares(range(len(revisions))), strict=True)]


def probe_examples(kit: PromptKit) -> list[Example]:
    """The probes as examples: posts of `ACT_TOKENS` tokens after one invented feed."""
    items = [FeedItem(handle, text) for handle, text in FEED[: kit.config.feed_items]]
    prompt = kit.builder.prompt(HANDLE, None, items)
    head = kit.builder.grammar.head(Verb.POST, None)
    examples = []
    for number, text in enumerate(TEXTS):
        act = kit.builder.act(head, text)[:ACT_TOKENS]
        tokens = (*prompt, *act)
        examples.append(
            Example(f"probe{number}", tokens, len(prompt), Verb.POST, None, len(items), len(prompt) + len(head))
        )
    return examples


def _divergence(before: Tensor, after: Tensor) -> float:
    """Mean KL(before ‖ after) over positions, in nats."""
    return float((before.exp() * (before - after)).sum(-1).mean())


def _name(revision: Revision, followed: Revision | None) -> str:
    if followed is not None and followed.kind == PERSONAL:
        return f"revision {followed.number}"
    return "the bare base" if revision.prior_object is None else "its prior"
