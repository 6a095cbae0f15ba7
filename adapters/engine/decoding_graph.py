"""A decoding pass as one recorded graph: on a GPU a pass of small launches waits for the CPU most of its time.

The pass is written as a function of a few integer tensors of fixed shapes, in which nothing depends on a value: which
tokens, at which columns, of which rows, under which slots. It is recorded once for each bucket of rows and of columns,
and replayed with other numbers in the same tensors. Keys, values and factors are read where they lie, so that slots may
be overwritten between two passes; a recording ends with the tensors it reads.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Cache

from polyphony.adapters.engine.kv_store import KeyValueStore
from polyphony.adapters.model.attention import grouped_attention
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import cache_argument
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.memory import out_of_memory
from polyphony.adapters.model.routing import Route

ROW_BUCKETS = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512)
COLUMN_BUCKET = 128
"""Columns that a pass sees are rounded up to a multiple of it: masked ones cost time, a recording costs more."""
TURN_ON = "POLYPHONY_GRAPHS"
"""No graph has been recorded on a GPU yet, so that a user asks for them: any value but the empty one does."""
MOST_TOLERANCE = 0.1
TOLERANCE = {torch.float32: 1e-3}
"""How far a replay may differ from the pass itself, relative to the largest hidden state."""


class Inputs(NamedTuple):
    """What changes from pass to pass.

    Attributes:
        tokens: The token that each row is fed, shape [rows].
        columns: The column that it takes.
        firsts: The first column of the row's sequence.
        rows: The row of the store that is written; one beyond all others for rows that only fill the bucket.
        slots: Slot of the row's own factors, -1 for none.
    """

    tokens: Tensor
    columns: Tensor
    firsts: Tensor
    rows: Tensor
    slots: Tensor


class Bucket(NamedTuple):
    """What passes have in common that one recording serves.

    Attributes:
        rows: Number of rows.
        columns: Number of columns of the store that are seen.
        adapters: Whether any row has factors of its own.
        bare: Whether any row has none.
    """

    rows: int
    columns: int
    adapters: bool
    bare: bool


StaticPass = Callable[[Inputs], Tensor]
Recorder = Callable[[StaticPass, Inputs], Callable[[], Tensor]]
"""Records a pass over some inputs; what it returns computes the pass again with the numbers that they hold then."""


class StaticCache(Cache):
    """The store as one static pass uses it: written at given rows and columns, read from the first row and column."""

    def __init__(self, store: KeyValueStore, inputs: Inputs, columns: int) -> None:
        """Take where the pass writes, and how many columns it reads."""
        super().__init__(layers=[])
        self._tables, self._inputs, self._columns = store.tables, inputs, columns

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values of shape [rows, heads, 1, width] and return views of all that the pass sees."""
        rows, columns = self._inputs.rows, self._inputs.columns
        heads = torch.arange(key_states.shape[1], device=rows.device)
        for table, states in zip(self._tables[layer_idx], (key_states, value_states), strict=True):
            table.index_put_((rows.unsqueeze(1), heads, columns.unsqueeze(1)), states[:, :, 0])
        keys, values = self._tables[layer_idx]
        return keys[: len(rows), :, : self._columns], values[: len(rows), :, : self._columns]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Zero: positions and masks are given explicitly."""
        return 0


@dataclass(frozen=True, eq=False)
class _Recording:
    """One bucket's.

    Attributes:
        numbers: The memory of its inputs, shape [5, rows].
        replay: Computes the pass with what is there.
    """

    numbers: Tensor
    replay: Callable[[], Tensor]


class DecodingGraphs:
    """Passes of one token a row, recorded bucket by bucket: the first pass of a bucket runs plainly, and warms up."""

    def __init__(
        self, base: BaseModel, adapted: AdaptedModel | None, store: KeyValueStore, record: Recorder
    ) -> None:  # fmt: skip
        """Record nothing yet.

        Args:
            base: The base model.
            adapted: Its adapted layers; None runs the bare base alone.
            store: Keys and values, with a spare row.
            record: Records a pass.
        """
        self._base, self._adapted, self._store = base, adapted, store
        self._record: Recorder | None = record
        self._recordings: dict[Bucket, _Recording | None] = {}
        self._read: tuple[int, int] = (-1, -1)
        self._argument = cache_argument(base.model)

    @property
    def is_recording(self) -> bool:
        """Whether passes are recorded: not any more where one could not be, or where its replay differed."""
        return self._record is not None

    def hidden(
        self, tokens: Sequence[int], firsts: Sequence[int], ends: Sequence[int], route: Route | None
    ) -> Tensor | None:
        """Append one token to each of the first rows of the store, see `ModelRunner.append`.

        Returns:
            Hidden states, shape [rows, hidden]; None where the pass must run without a graph.
        """
        rows, columns = len(tokens), max(ends) + 1
        bucket = self._bucket(rows, columns, route)
        if self._record is None or bucket is None:
            return None
        self._drop_stale()
        slots = [-1] * rows if route is None else route.slots.repeat_interleave(route.run).tolist()
        numbers = self._numbers(bucket, tokens, ends, firsts, slots)
        recording = self._recordings.get(bucket)
        if recording is not None:
            recording.numbers.copy_(numbers)
            return recording.replay()[:rows].clone()
        hidden = self.compute(bucket, Inputs(*numbers.unbind()))
        if bucket in self._recordings:
            self._add(bucket, numbers, hidden)
        else:
            self._recordings[bucket] = None
        return hidden[:rows]

    def compute(self, bucket: Bucket, inputs: Inputs) -> Tensor:
        """The pass itself; a second time with the same inputs it changes nothing.

        Returns:
            Hidden states, shape [rows of the bucket, hidden].
        """
        dtype, device = self._base.model.dtype, inputs.tokens.device
        seen_columns = torch.arange(bucket.columns, device=device)
        seen = (seen_columns <= inputs.columns.unsqueeze(1)) & (seen_columns >= inputs.firsts.unsqueeze(1))
        mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)
        route = None
        if bucket.adapters:
            route = Route(inputs.slots, inputs.slots >= 0 if bucket.bare else None, static=True)
        with (
            grouped_attention(self._base.model),
            self._adapted.routed(route) if self._adapted is not None else nullcontext(),
        ):
            out = self._base.model.base_model(
                input_ids=inputs.tokens.unsqueeze(1), attention_mask=mask[:, None, None],
                position_ids=(inputs.columns - inputs.firsts).unsqueeze(1), use_cache=True,
                **{self._argument: StaticCache(self._store, inputs, bucket.columns)},
            )  # fmt: skip
        hidden: Tensor = out.last_hidden_state[:, -1]
        return hidden

    def _bucket(self, rows: int, columns: int, route: Route | None) -> Bucket | None:
        """The bucket of a pass; None where the store has no room for one."""
        most_rows, most_columns = self._store.capacity
        fitting = min((size for size in ROW_BUCKETS if size >= rows), default=most_rows)
        seen = min(-(-columns // COLUMN_BUCKET) * COLUMN_BUCKET, most_columns)
        if not self._store.tables or self._store.spare == 0 or rows > most_rows or columns > most_columns:
            return None
        return Bucket(min(fitting, most_rows), seen, route is not None, route is None or route.prior is not None)

    def _numbers(
        self, bucket: Bucket, tokens: Sequence[int], ends: Sequence[int], firsts: Sequence[int], slots: Sequence[int]
    ) -> Tensor:
        """Inputs as they come, shape [5, rows of the bucket]. Rows that fill it repeat the first one, unseen."""
        filling = bucket.rows - len(tokens)
        rows = [*range(len(tokens)), *[self._store.capacity[0]] * filling]
        inputs = (list(numbers) for numbers in (tokens, ends, firsts, slots))
        fed, columns, begins, own = ([*numbers, *numbers[:1] * filling] for numbers in inputs)
        return torch.tensor([fed, columns, begins, rows, own], device=self._base.device)

    def _drop_stale(self) -> None:
        """Forget recordings of tables or factors that are no longer in use."""
        read = (self._store.allocation, 0 if self._adapted is None else self._adapted.generation)
        if read != self._read:
            self._recordings, self._read = {}, read

    def _add(self, bucket: Bucket, numbers: Tensor, hidden: Tensor) -> None:
        """Record a pass, and check that its replay gives what the pass gave; where it cannot, stop recording."""
        assert self._record is not None
        try:
            replay = self._record(lambda given: self.compute(bucket, given), Inputs(*numbers.unbind()))
            difference = (replay() - hidden).abs().max() / hidden.abs().max().clamp(min=1e-6)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            self._record = None
            return
        if not bool(difference.isfinite()):
            return  # what a damaged adapter computes cannot be compared: a later pass is recorded
        if bool(difference > TOLERANCE.get(hidden.dtype, MOST_TOLERANCE)):
            self._record = None
            return
        self._recordings[bucket] = _Recording(numbers, replay)


def cuda_recorder() -> Recorder:
    """Records CUDA graphs, which share their memory."""
    pool = torch.cuda.graph_pool_handle()

    def record(compute: StaticPass, inputs: Inputs) -> Callable[[], Tensor]:
        graph = torch.cuda.CUDAGraph()
        # A server's other threads go on using the device meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            hidden = compute(inputs)

        def replay() -> Tensor:
            graph.replay()
            return hidden

        return replay

    return record


def graphs_wanted(base: BaseModel) -> bool:
    """Whether passes are recorded as far as they can be; a run records it, since the last bits of its sums differ."""
    return base.device.type == "cuda" and bool(os.environ.get(TURN_ON))


def graphs_on(base: BaseModel, adapted: AdaptedModel | None, store: KeyValueStore) -> DecodingGraphs | None:
    """Graphs where the base model is on a GPU and the user has asked for them; None elsewhere."""
    return DecodingGraphs(base, adapted, store, cuda_recorder()) if graphs_wanted(base) else None
