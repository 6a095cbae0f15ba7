"""``simulate report``."""

from pathlib import Path
from typing import Annotated

import typer

from polyphony.errors import InputError
from polyphony.plugins import load_plugins
from polyphony.simulation.cli.options import PluginOption, path
from polyphony.simulation.cli.printing import say
from polyphony.simulation.cli.reading import note_chain


def report(
    sources: Annotated[list[str], typer.Argument(help="Run files, or URLs of runs, or the directory of one study.")],
    *,
    out: Annotated[
        Path, typer.Option(help="HTML file to write. An earlier report is replaced, another file is not.", parser=path)
    ] = Path("report.html"),
    plugin: PluginOption = None,
) -> None:
    """Write one HTML file to share: findings, figures, texts, method, versions and the glossary."""
    load_plugins(plugin or ())
    from polyphony.durable import write_durably
    from polyphony.metrics.studies.html_report import MARK, report_page
    from polyphony.metrics.studies.plan import PLAN_FILE
    from polyphony.metrics.studies.report_content import content_of_runs, content_of_study

    if out.exists() and not (out.is_file() and MARK in out.read_text(encoding="utf-8", errors="replace")[:200]):
        raise InputError(f"{out}: exists and is no report of Polyphony; choose another --out")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out}: its folder is not there; make it, or choose another --out")
    directories = [source for source in sources if Path(source).is_dir()]
    if directories and (len(sources) > 1 or not (Path(directories[0]) / PLAN_FILE).is_file()):
        raise InputError(f"{directories[0]}: give the --out of one `simulate study` alone, or run files")
    if directories:
        content = content_of_study(Path(directories[0]), plugin or ())
    else:
        content = content_of_runs(sources)
        note_chain(*sources)
    write_durably(out, report_page(content).encode())
    say(f"report: {out}")
