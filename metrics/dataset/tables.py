"""The tables of a data set: their columns, and the two files that hold each."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from polyphony.spreadsheet_cells import FORMULA

FEATURES = 64
VERBS_OF_HISTORY = ("post", "reply", "quote", "repost", "like", "follow")

_ROWS_AT_ONCE = 20_000
_TIME = pa.timestamp("s", tz="UTC")
_KINDS = {
    "int": pa.int64(), "str": pa.string(), "float": pa.float64(), "f32": pa.float32(), "bool": pa.bool_(),
    "time": _TIME,
}  # fmt: skip


def columns(text: str) -> list[tuple[str, str]]:
    """Names and kinds out of ``name:kind`` words."""
    return [(name, kind) for name, _, kind in (word.partition(":") for word in text.split())]


RUNS = columns(
    "run:int arm:str seed:int agents:int timesteps:int minutes_per_timestep:int started_at:time population:str "
    "population_digest:str base_model:str base_hash:str bank_digest:str digest:str config:str versions:str"
)
POSTS = columns(
    "run:int arm:str post:str kind:str author:int text:str parent:str root:str is_seed:bool timestep:int time:time "
    "likes:int shares:int"
)
EDGES = columns(
    "run:int arm:str source:int target:int kind:str timestep:int time:time split:str post:str made:str position:int "
    "feed_source:str score:float"
)


def node_columns(windows: int) -> list[tuple[str, str]]:
    """Columns of the nodes, with one for the communities of each window and one for each feature."""
    return [
        *columns(
            "run:int arm:str node:int agent_id:int kind:str handle:str persona:str adapter_id:str revision:int "
            "split:str planted_community:int community:int"
        ),
        *((f"community_{window}", "int") for window in range(1, windows + 1)),
        ("history_acts", "int"),
        *((f"history_{verb}", "f32") for verb in VERBS_OF_HISTORY),
        *((f"feature_{place:02}", "f32") for place in range(FEATURES)),
    ]


def activation_columns(verbs: Sequence[str]) -> list[tuple[str, str]]:
    """Columns of the activations, with one for the probability of each verb."""
    return [
        *columns(
            "run:int arm:str activation:int node:int timestep:int adapter_id:str revision:int act:str target_post:str "
            "target_node:int made:str outcome:str reason:str prompt_tokens:int output_tokens:int"
        ),
        *((f"p_{verb}", "float") for verb in verbs),
    ]


class TableWriter:
    """Writes rows to a Parquet file and to a CSV file, some thousands at a time; equal rows give equal bytes."""

    def __init__(self, folder: Path, name: str, names_and_kinds: Sequence[tuple[str, str]]) -> None:
        self._schema = pa.schema([(column, _KINDS[kind]) for column, kind in names_and_kinds])
        # Opened here: to Arrow, some names of files are addresses of other systems.
        with ExitStack() as stack:
            parquet = stack.enter_context((folder / "parquet" / f"{name}.parquet").open("wb"))
            csv = stack.enter_context((folder / "csv" / f"{name}.csv").open("wb"))
            self._parquet = stack.enter_context(pa.parquet.ParquetWriter(parquet, self._schema))
            self._csv = stack.enter_context(pa.csv.CSVWriter(csv, self._schema))
            self._open = stack.pop_all()
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows, each a value for every column."""
        for chunk in _chunks(iter(rows)):
            values = [
                pa.array(column, kind) for column, kind in zip(zip(*chunk, strict=True), self._kinds, strict=True)
            ]
            table = pa.Table.from_arrays(values, schema=self._schema)
            self._parquet.write_table(table)
            self._csv.write_table(_for_spreadsheets(table))
            self.rows += len(chunk)

    @property
    def _kinds(self) -> list[pa.DataType]:
        return [field.type for field in self._schema]


def _for_spreadsheets(table: pa.Table) -> pa.Table:
    """The same table, with no text that a spreadsheet would run, see `polyphony.spreadsheet_cells`."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            cells = pa.compute.replace_substring_regex(table.column(place), FORMULA, r"'\1", max_replacements=1)
            table = table.set_column(place, field, cells)
    return table


def _chunks(rows: Iterator[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    while chunk := list(islice(rows, _ROWS_AT_ONCE)):
        yield chunk
