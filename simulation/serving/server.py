"""A server put together: base model, bank, slots, batches, scheduler, application."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastapi import FastAPI

from polyphony.adapters.bank import listing
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.revision import Revision
from polyphony.adapters.bank.stacking import covering_shape
from polyphony.adapters.engine.adapter_slots import AdapterSlots
from polyphony.adapters.engine.continuous_batch import ContinuousBatch
from polyphony.adapters.engine.model_runner import ModelRunner
from polyphony.adapters.engine.token_sampler import TokenSampler
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.head import Head
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.memory import budget_on
from polyphony.adapters.prompting.control_tokens import control_tokens
from polyphony.errors import InputError
from polyphony.simulation.serving.application import application
from polyphony.simulation.serving.asking import Asking, ServingConfig
from polyphony.simulation.serving.catalogue import SERVED_KINDS, Catalogue
from polyphony.simulation.serving.figures import Figures
from polyphony.simulation.serving.scheduler import Scheduler
from polyphony.simulation.serving.uploads import Limits

# Lengths of the batches, and their share of the rows: a long text makes all that stand in its batch slower.
LENGTHS = ((512, 1), (2048, 2), (8192, 8))


@dataclass(frozen=True)
class Capacity:
    """How much a server holds.

    Attributes:
        rows: Most answers of up to 512 tokens in work at once; there are fewer places for longer ones.
        context: Most tokens of a prompt with its answer; None for what the base model reads, up to 8,192.
        queue: Most answers that wait.
        rank: Least rank that slots have room for, beyond what the bank needs.
        loadable: The folder under which clients may name adapters; None for none.
    """

    rows: int = 64
    context: int | None = None
    queue: int = 1024
    rank: int = 0
    loadable: Path | None = None


@dataclass(frozen=True)
class Serving:
    """What answers, ready to be listened to."""

    app: FastAPI
    scheduler: Scheduler
    slots: AdapterSlots
    catalogue: Catalogue
    lanes: list[ContinuousBatch] = field(default_factory=list)

    def read_ahead(self, after: float = 0.0) -> None:
        """Begin, after some seconds, to read adapters into memory, beside the answers, as far as there is room."""
        self.slots.fill(self.catalogue.objects(), after=after)


@contextmanager
def serving(
    base: BaseModel, bank_directory: Path, capacity: Capacity, config: ServingConfig, limits: Limits,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Serving]:  # fmt: skip
    """Put a server together; at the end of the block the base model is as it was.

    Raises:
        InputError: There is no bank, it holds no adapter of this base model, or one of them is damaged.
    """
    with ExitStack() as stack:
        bank = stack.enter_context(closing(Bank(bank_directory)))
        kinds = _kinds(bank, base, capacity)
        adapted = stack.enter_context(AdaptedModel(base, covering_shape(bank, kinds)))
        lengths = _lengths(base, capacity)
        most = sum(max(1, capacity.rows // share) for _, share in lengths)
        slots = AdapterSlots(adapted, bank, kinds, most)
        stack.callback(slots.close)
        head, figures = Head(base), Figures()
        lanes = [_lane(base, adapted, head, columns, max(1, capacity.rows // share)) for columns, share in lengths]
        scheduler = Scheduler(
            lanes, slots, figures, queue=capacity.queue, prompt_tokens=budget_on(base.device).tokens
        )  # fmt: skip
        catalogue = Catalogue(bank, base, capacity.loadable, slots.admit)
        asking = Asking(base, head, catalogue, scheduler, config)
        stack.callback(asking.close)
        say(f"{most} answers at once, of at most {lengths[-1][0]:,} tokens with their prompts")
        yield Serving(
            application(asking, catalogue, scheduler, figures, base.tokenizer, limits), scheduler, slots, catalogue,
            lanes,
        )  # fmt: skip


def _kinds(bank: Bank, base: BaseModel, capacity: Capacity) -> list[Revision]:
    """One revision of each rank and foundation, and what stands for adapters that clients load."""
    with bank.reading() as connection:
        kinds = listing.kinds(connection, base.hash, SERVED_KINDS)
    if not kinds:
        raise InputError(
            f"{bank.directory}: holds no adapter of {base.name}; `simulate train` makes them, "
            "`simulate bank ready` unpacks those that come with Polyphony"
        )
    if capacity.loadable is not None or capacity.rank:
        kinds.append(replace(kinds[0], prior_object=None, rank=max(capacity.rank, 1)))
    return kinds


def _lengths(base: BaseModel, capacity: Capacity) -> list[tuple[int, int]]:
    """Columns of each batch and its share of the rows; the last one takes what the context takes."""
    limits = [limit for limit in (base.context, capacity.context, LENGTHS[-1][0]) if limit]
    context = min(limits)
    shorter = [(columns, share) for columns, share in LENGTHS if columns < context]
    return [*shorter, (context, next(share for columns, share in LENGTHS if columns >= context))]


def _lane(base: BaseModel, adapted: AdaptedModel, head: Head, columns: int, rows: int) -> ContinuousBatch:
    ends = {int(base.tokenizer.eos_token_id)}
    sampler = TokenSampler(sorted(control_tokens(base.tokenizer)), sorted(ends))
    runner = ModelRunner(base, adapted, budget_on(base.device))
    return ContinuousBatch(runner, head, sampler, ends, rows=rows, columns=columns)
