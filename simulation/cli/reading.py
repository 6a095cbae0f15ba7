"""The commands that read runs: ``simulate metrics``, ``digest``, ``compare`` and ``app``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyphony.database_url import is_url
from polyphony.errors import InputError
from polyphony.plugins import load_plugins
from polyphony.simulation.cli.ending import (
    command,
    look_at,
    print_comparison_ending,
    say_engine,
    say_failures,
    title_of_run,
)
from polyphony.simulation.cli.options import (
    AllOption,
    JsonOption,
    PluginOption,
    RunArgument,
    in_range,
    path,
)
from polyphony.simulation.cli.printing import figure, print_results, say, stderr

if TYPE_CHECKING:
    from polyphony.metrics.studies.compare import Comparison


def metrics(run_file: RunArgument, plugin: PluginOption = None, as_json: JsonOption = False) -> None:
    """Measure one run."""
    load_plugins(plugin or ())
    print_measurements(run_file, as_json)
    note_chain(run_file)


def digest(run_file: RunArgument) -> None:
    """Print a run's digest. Runs with equal settings on one machine have equal digests."""
    from polyphony.metrics.runfile.digest import run_digest
    from polyphony.metrics.runfile.live import run_status

    say(run_digest(run_file))
    if (status := run_status(run_file)) not in (None, "finished"):
        stderr().print(f"note: the run is {status}: its digest changes with its next timestep", markup=False)
    note_chain(run_file)


def compare(
    run_files: Annotated[list[str], typer.Argument(help="Two or more run files, or URLs of runs.")],
    reference: Annotated[
        str | None,
        typer.Option(
            help="Value that the others are compared with.",
            show_default="base where it is among them, else the first run's",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="The one option in which the runs may differ, as in docs/options.md.", show_default="all that differ"
        ),
    ] = None,
    style: Annotated[
        str, typer.Option("--format", help="Form of the table: table, or all figures in markdown or latex.")
    ] = "table",
    everything: AllOption = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare runs by what they differ in, their arm or any other setting, paired by seed."""
    from polyphony.metrics.studies.comparison_table import FORMATS, comparison_rows, comparison_text, headers, notes

    if style not in ("table", *FORMATS):
        raise InputError(f"--format {style!r} is not one of table, {', '.join(FORMATS)}")
    load_plugins(plugin or ())
    from polyphony.metrics.studies.compare import compare_runs
    from polyphony.metrics.studies.labels import ARM
    from polyphony.simulation.runs.options import compared_settings

    paths = () if by in (None, ARM) else compared_settings(by)
    comparison = compare_runs(run_files, reference, by=by, paths=paths)
    header = by or ("runs" if any("=" in arm for arm in comparison.arms) else ARM)
    note_chain(*run_files)
    if as_json:
        print(json.dumps(comparison.to_json()))
    elif style in FORMATS:
        say(comparison_text(comparison, style, header))
    elif everything:
        print_results(headers(header), comparison_rows(comparison), f"against {comparison.reference}")
        stderr().print(notes(comparison), markup=False)
    else:
        flags = [*(["--by", by] if by else []), *(["--reference", reference] if reference else [])]
        flags += [word for name in plugin or () for word in ("--plugin", name)]
        print_comparison_ending(comparison, run_files, _after_comparison(comparison, run_files, flags), header)


def _after_comparison(comparison: "Comparison", run_files: list[str], flags: list[str]) -> dict[str, str]:
    """What to do after a comparison, by command; nothing for runs in a server, whose passwords are not printed."""
    from polyphony.simulation.policies.arms import ARMS

    if any(map(is_url, run_files)):
        return {}
    shown = {command("compare", *run_files, *flags, "--all"): "all figures, with effect sizes and p"}
    run = comparison.runs[0]
    if not flags and "base" in comparison.arms and set(comparison.arms) <= set(ARMS) and _is_one_seed(comparison):
        plan = ["--agents", run.agents, "--arms", ",".join(comparison.arms), "--steps", run.timesteps, "--seeds", 5]
        shown[command("study", *plan, "--out", "study")] = (
            "with the other options of your runs (--population, --bank, --weights, …): five seeds of each arm, which "
            "tell what one cannot"
        )
    return look_at(run_files) | shown


def _is_one_seed(comparison: "Comparison") -> bool:
    return len({run.seed for run in comparison.runs}) == len({run.agents for run in comparison.runs}) == 1


def note_chain(*sources: str) -> None:
    """Say of which runs nothing vouches for the content."""
    from polyphony.metrics.runfile.database import has_chain, source_name

    for source in sources:
        if not has_chain(source):
            stderr().print(
                f"note: {source_name(source)} carries no digest chain, for an earlier version wrote it: not every "
                "damage can be recognised", markup=False,
            )  # fmt: skip


def dashboard(
    path: Annotated[Path, typer.Argument(help="A run file, or a folder of run files.", parser=path)] = Path("runs"),
    port: Annotated[int, typer.Option(**in_range(1, 65535, "Port on which the dashboard listens."))] = 8501,
    address: Annotated[
        str,
        typer.Option(help="Address on which it listens. Everyone who can reach it can read everything in the folder."),
    ] = "127.0.0.1",
    bank: Annotated[
        Path | None,
        typer.Option(
            help="Directory of an adapter bank.", show_default="a bank in the folder or beside it", parser=path
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the dashboard in a browser.")] = True,
    plugin: PluginOption = None,
) -> None:
    """Open the dashboard."""
    from polyphony.app.server.launch import launch

    load_plugins(plugin or ())
    raise typer.Exit(launch(path, port, browser, bank=bank, address=address, plugins=plugin or ()))


LEGEND = """n: the cases behind a value. null (z): the mean where the effect is absent, and the distance to it in its
standard deviations. –: cannot be computed; --json gives the reason. docs/measurements.md defines each measurement."""


def print_measurements(path: Path | str, as_json: bool) -> None:
    """Measure a run and print it, as a table or as one JSON object."""
    from polyphony.metrics.measure import measure_run

    run = measure_run(path)
    say_failures(run)
    report = run.to_json()
    if as_json:
        print(json.dumps(report))
        return
    rows = []
    for name, measurement in report["measurements"].items():
        interval = "" if measurement["interval"] is None else " … ".join(map(figure, measurement["interval"]))
        null = measurement["null"]
        against = "" if null is None else f"{figure(null['mean'])} ({figure(null['z'])})"
        rows.append((name, figure(measurement["value"]), str(measurement["n"]), interval, against))
    print_results(("measurement", "value", "n", "95% interval", "null (z)"), rows, title_of_run(run))
    stderr().print(LEGEND, markup=False)
    say_engine(run)
