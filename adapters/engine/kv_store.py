"""Keys and values: one store of many rows, allocated once and reused by every call, and copies of prompt prefixes."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache

COLUMN_STEP = 64
# Bytes to whose multiple torch aligns tensors on a CPU (c10/core/alignment.h).
ALIGNMENT = 64


@dataclass(frozen=True, eq=False)
class CachedPrefix:
    """Keys and values of a prompt's first tokens, computed once and copied into a row whenever they are needed.

    Attributes:
        states: For each layer keys and values, shape [2, heads, tokens, width].
        version: Version of the slot's factors that made them.
    """

    states: list[Tensor]
    version: int

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.states[0].shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(state.nbytes for state in self.states)


class KeyValueStore(Cache):
    """A fixed table of rows and columns for each layer; a row's tokens fill consecutive columns.

    The library's growing cache copies every key and value for each token. Here a call writes its tokens in place and
    attends to views. Before each forward pass `aim` sets the place of its rows.
    """

    def __init__(self, spare: int = 0) -> None:
        """Allocate nothing; the first pass through a layer does.

        Args:
            spare: Rows beyond those that are reserved, which no pass reads.
        """
        super().__init__(layers=[])
        self.spare = spare
        self.allocation = 0
        """Number of times that the tables were given up."""
        self._tables: list[tuple[Tensor, Tensor]] = []
        self._capacity = (0, 0)
        self._rows: slice | Tensor = slice(0, 0)
        self._starts: Tensor | int = 0
        self._columns = 0

    def reserve(self, rows: int, columns: int) -> None:
        """Make room for a number of rows and columns; growing deletes what is stored."""
        columns = -(-columns // COLUMN_STEP) * COLUMN_STEP
        if rows > self._capacity[0] or columns > self._capacity[1]:
            self._capacity = (max(rows, self._capacity[0]), max(columns, self._capacity[1]))
            self._tables = []
            self.allocation += 1

    @property
    def capacity(self) -> tuple[int, int]:
        """Rows and columns that are reserved."""
        return self._capacity

    @property
    def tables(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each layer, shape [rows + spare, heads, columns, width]; empty before the first pass."""
        return self._tables

    def aim(self, rows: slice | Tensor, starts: Tensor | int, columns: int) -> None:
        """Point the next forward pass at `rows`.

        Args:
            rows: Rows of the table, one for each row of the pass; indices, shape [rows], where they are no neighbours.
            starts: Column of each row's first new token, shape [rows]; an int where it is the same for all.
            columns: How many columns the pass sees.
        """
        self._rows, self._starts, self._columns = rows, starts, columns

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write new keys and values of shape [rows, heads, length, width] and return all that the pass sees."""
        if layer_idx == len(self._tables):
            self._tables.append((self._table(key_states), self._table(value_states)))
        keys, values = self._tables[layer_idx]
        for table, states in ((keys, key_states), (values, value_states)):
            if isinstance(self._starts, int):
                table[self._rows, :, self._starts : self._starts + states.shape[2]] = states
            else:
                rows = self._rows
                if isinstance(rows, slice):
                    rows = torch.arange(rows.start, rows.stop, device=table.device)
                taken = self._starts.unsqueeze(1) + torch.arange(states.shape[2], device=table.device)
                table[rows.unsqueeze(1), :, taken] = states.transpose(1, 2)
        return keys[self._rows, :, : self._columns], values[self._rows, :, : self._columns]

    def move(self, source: int, target: int, columns: slice) -> None:
        """Copy one row's columns over another's."""
        for keys, values in self._tables:
            keys[target, :, columns] = keys[source, :, columns]
            values[target, :, columns] = values[source, :, columns]

    def clear(self, row: int) -> None:
        """Set all columns of a row to zero."""
        for keys, values in self._tables:
            keys[row] = 0
            values[row] = 0

    def spread(self, sources: Tensor, columns: slice, layers: int) -> None:
        """Copy columns of the first layers from row to row.

        Args:
            sources: For each row from 0 the row that it takes them from, shape [rows].
            columns: Which.
            layers: How many layers.
        """
        for keys, values in self._tables[:layers]:
            for table in (keys, values):
                table[: len(sources), :, columns] = table[:, :, columns][sources]

    def read(self, row: int, columns: slice) -> list[Tensor]:
        """Copy one row's columns out: for each layer keys and values, shape [2, heads, columns, width]."""
        return [torch.stack([keys[row, :, columns], values[row, :, columns]]) for keys, values in self._tables]

    def write(self, row: int, columns: slice, states: list[Tensor]) -> None:
        """Put back what `read` returned."""
        if not self._tables:
            self._tables = [(self._table(state), self._table(state)) for state in states]
        for (keys, values), (key, value) in zip(self._tables, states, strict=True):
            keys[row, :, columns] = key
            values[row, :, columns] = value

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Zero: positions and masks are given explicitly, so that the library derives nothing from this."""
        return 0

    def _table(self, like: Tensor) -> Tensor:
        rows, columns = self._capacity
        shape = (rows + self.spare, like.shape[1], columns, like.shape[3])
        # Zeros, not garbage: a masked column's weight is 0, and 0 × NaN would still be NaN.
        if like.device.type == "cpu":
            return _paged_zeros(shape, like.dtype)
        return torch.zeros(shape, dtype=like.dtype, device=like.device)


def _paged_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros in main memory that the system clears page by page as they are first written, aligned as torch aligns.

    Columns that no row reaches take no memory. Products of tensors that are aligned otherwise can differ in their last
    bits.
    """
    size = math.prod(shape) * dtype.itemsize
    raw = np.zeros(size + ALIGNMENT, dtype=np.uint8)
    begin = -raw.ctypes.data % ALIGNMENT
    return torch.from_numpy(raw[begin : begin + size]).view(dtype).view(shape)
