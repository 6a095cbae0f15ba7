"""Does an adapter carry its person? Held-out posts under base, prior, own and other people's adapters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from adapters.bank import Revision
from adapters.examples import Example
from adapters.likelihood import ActNll, ExampleStore, Scoring
from adapters.population_training import PopulationTraining
from adapters.stacking import install
from personas.persona import Persona

TOKEN_BUDGET = 1024


@dataclass(frozen=True)
class Evaluation:
    """Held-out negative log-likelihood in nats per token, posts weighted equally.

    Attributes:
        people: People with at least one held-out text.
        held_out_posts: Held-out acts with text.
        nll: Text NLL under ``base``, ``pooled`` (prior alone), ``own`` and ``other`` (mean of the others tried).
        own_beats_other: Share of (post, other adapter) pairs in which the person's own adapter is likelier.
        identification_top1: Share of people whose own adapter has the lowest mean NLL among those tried.
        chance: What guessing would reach.
        act_nll: NLL of verb and target on the same people's held-out acts, by the same names.
        per_person: Handle to the same four figures.
    """

    people: int
    held_out_posts: int
    nll: dict[str, float]
    own_beats_other: float | None
    identification_top1: float | None
    chance: float | None
    act_nll: dict[str, float]
    per_person: dict[str, dict[str, float]]


def evaluate(
    training: PopulationTraining,
    personas: Sequence[Persona],
    revisions: Sequence[Revision],
    *,
    others: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Score everybody's held-out acts under base, prior, own and `others` other people's adapters.

    The others of person i are persons i + 1, i + 2, … in the given order, wrapping round: a fixed derangement each.
    """
    owners, examples = _held_out(training, personas)
    others = min(others, len(personas) - 1)
    passes: list[int | None] = [None, *range(others + 1)]
    with training.config.adapted(training.base) as adapted, torch.no_grad():
        scoring = Scoring(adapted, training.config.split(training.base), training.kit.scorer)
        store = ExampleStore(scoring.split, examples)
        pooled = training.prior()
        adapted.set_prior(training.bank.factors(pooled.object), pooled.scale)
        table = {"pooled": _score(scoring, store, owners, 0, len(personas))}
        install(adapted, training.bank, revisions)
        for number, shift in enumerate(passes):
            name = "base" if shift is None else f"shift{shift}"
            table[name] = _score(scoring, store, owners, shift, len(personas))
            progress(number + 1, len(passes))
    return _summarise(personas, owners, examples, table, others)


def _held_out(training: PopulationTraining, personas: Sequence[Persona]) -> tuple[list[int], list[Example]]:
    owners, examples = [], []
    for number, persona in enumerate(personas):
        made = training.examples.examples(persona, persona.held_out)
        owners += [number] * len(made)
        examples += made
    return owners, examples


def _score(
    scoring: Scoring, store: ExampleStore, owners: Sequence[int], shift: int | None, people: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (act NLL, text NLL), each of shape [examples]; `shift` None is the bare base."""
    acts, texts = np.zeros(len(owners)), np.zeros(len(owners))
    for batch in store.batches(range(len(store.rows)), TOKEN_BUDGET):
        members = store.members(batch)
        slots = None if shift is None else [(owners[store.rows[row].members[0]] + shift) % people for row in batch]
        nll: ActNll = scoring.nll(store, batch, slots)
        acts[members], texts[members] = (nll.verb + nll.target).cpu().numpy(), nll.text.cpu().numpy()
    return acts, texts


def _summarise(
    personas: Sequence[Persona],
    owners: Sequence[int],
    examples: Sequence[Example],
    table: dict[str, tuple[np.ndarray, np.ndarray]],
    others: int,
) -> Evaluation:
    written = np.array([example.text_start is not None for example in examples])
    owner = np.array(owners)
    people = np.unique(owner[written])
    text = {name: values[1] for name, values in table.items()}
    shifts = [text[f"shift{number}"] for number in range(1, others + 1)]
    if shifts:
        text["other"] = np.mean(shifts, axis=0)
    text["own"] = text["shift0"]
    named = [name for name in ("base", "pooled", "own", "other") if name in text]
    means = {
        name: np.array([values[written & (owner == person)].mean() for person in people])
        for name, values in text.items()
    }
    candidates = np.array([means[f"shift{number}"] for number in range(others + 1)])
    return Evaluation(
        people=len(people),
        held_out_posts=int(written.sum()),
        nll={name: float(text[name][written].mean()) for name in named},
        own_beats_other=float(np.mean([(text["own"] < other)[written] for other in shifts])) if shifts else None,
        identification_top1=float((candidates.argmin(0) == 0).mean()) if shifts else None,
        chance=1 / (others + 1) if shifts else None,
        act_nll={name: float(table[key][0].mean()) for name, key in _ACT_TABLES.items() if key in table},
        per_person={
            personas[person].handle: {name: float(means[name][place]) for name in named}
            for place, person in enumerate(people)
        },
    )


_ACT_TABLES = {"base": "base", "pooled": "pooled", "own": "shift0", "other": "shift1"}
