"""``simulate export``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from polyphony.errors import InputError
from polyphony.plugins import load_plugins
from polyphony.simulation.cli.options import JsonOption, PluginOption, in_range, path
from polyphony.simulation.cli.printing import say, stderr
from polyphony.simulation.cli.reading import note_chain


def export(
    run_files: Annotated[list[str] | None, typer.Argument(help="Finished runs, as files or URLs.")] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder to write the data set to.", parser=path)] = None,
    check: Annotated[
        Path | None, typer.Option(help="Write nothing: verify the data set in this folder.", metavar="DIR", parser=path)
    ] = None,
    text: Annotated[bool, typer.Option(help="Include the texts of posts, and personas.")] = True,
    exposures: Annotated[bool, typer.Option(help="Include what agents were shown.")] = True,
    include_real_text: Annotated[
        bool,
        typer.Option("--include-real-text", help="Include words, names and features of real people."),
    ] = False,
    pseudonym_key: Annotated[
        Path | None,
        typer.Option(
            help="File with a secret key. Handles are replaced by pseudonyms made with it, and personas are left out.",
            parser=path,
        ),
    ] = None,
    windows: Annotated[
        int,
        typer.Option(**in_range(1, 1_000_000, "Number of equal parts of a run in which communities are detected.")),
    ] = 4,
    licence: Annotated[
        str | None, typer.Option(help="SPDX identifier of the licence.", show_default="Apache-2.0 for the town")
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write runs as a graph data set: Parquet, CSV, GraphML, a data card and checksums."""
    load_plugins(plugin or ())
    from polyphony.metrics.dataset.check import check_dataset
    from polyphony.metrics.dataset.export import export_dataset
    from polyphony.metrics.dataset.options import ExportOptions

    if check is not None:
        if run_files or out is not None:
            raise InputError("--check DIR only verifies: leave the runs and --out out")
        description, verdict = check_dataset(check), f"{check} is complete and unchanged"
    else:
        if not run_files or out is None:
            raise InputError("export takes one or more runs and --out DIR")
        options = ExportOptions(
            text=text, exposures=exposures, real_text=include_real_text, windows=windows, licence=licence,
            pseudonym_key=None if pseudonym_key is None else _secret(pseudonym_key),
        )  # fmt: skip
        description = export_dataset(run_files, out, options, lambda line: stderr().print(line, markup=False))
        verdict = f"the data set is in {out}"
        note_chain(*run_files)
    if as_json:
        print(json.dumps(description))
        return
    tables = ", ".join(f"{name} {rows:,}" for name, rows in description["tables"].items())
    say(f"{tables}\n{verdict}")


def _secret(path: Path) -> bytes:
    """The key: everything in the file but white space around it."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise InputError(f"{path}: the key cannot be read ({error.strerror}); make one with `openssl rand`") from error
    if len(key) < 16:
        raise InputError(f"{path}: a key of {len(key)} bytes can be guessed; give at least 16")
    return key
