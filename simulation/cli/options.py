"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

AgentsOption = Annotated[int, typer.Option(help="How many people act.")]
PopulationOption = Annotated[str, typer.Option(help="'town' (built in), or a file of posts (JSONL, CSV, Parquet).")]
BankOption = Annotated[Path, typer.Option(help="Directory of the adapter bank.")]
BaseOption = Annotated[Path | None, typer.Option(help="A local Hugging Face causal LM instead of the embedded one.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
DtypeOption = Annotated[str, typer.Option(help="auto, fp32 or bf16.")]
RunArgument = Annotated[str, typer.Argument(help="A run file, or the URL of a run.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
