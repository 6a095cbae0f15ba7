"""The replication package of a study: what a reader needs to run it again, and what came of it; no run, no person."""

import io
import json
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from polyphony.durable import write_durably
from polyphony.errors import MetricsError
from polyphony.metrics.core.registry import MEASUREMENTS
from polyphony.metrics.studies.lock import LOCK_FILE, read_lock
from polyphony.metrics.studies.plan import PLAN_FILE, STUDY_FILE, read_plan
from polyphony.metrics.studies.ro_crate import NAME, crate_metadata
from polyphony.printable import code_span, printable_path
from polyphony.source_code import package_digest

PLAN, DIGESTS, README = "plan.toml", "digests.json", "README.md"
# Addresses of servers are somebody's own; base_hash stays, it is what a replication compares.
_HIDDEN = ("camel_url", "engine_url", "engine_adapters")
_README = """# Replication package

{title}. Made by `simulate study DIR --crate FILE.zip` of Polyphony {version} (SHA-256 of its modules `{digest}`).

| file | holds |
| --- | --- |
| `{plan}` | the plan, as `simulate study` reads it |
| `{digests}` | what each run was: arm, size, seed, population, and the SHA-256 of its rows |
| `results/` | the report, its tables and figures, everything measured{lock} |
| `{metadata}` | what the files are, as an RO-Crate 1.1 |

Run the study again in this folder, and compare each run's digest with `{digests}`:

```bash
pip install polyphony-sim=={version}
simulate study {plan} --out again
simulate digest again/runs/*.db
```

Equal digests need the same modules, libraries, compute type and kind of processor, and one run at a time
(without `--together`).

{notes}
"""


def write_replication(directory: Path, out: Path, *, synthetic: Collection[str]) -> list[str]:
    """Write the package.

    Neither run files nor posts nor adapters go into it. Where a population is not among `synthetic`, its people are
    taken for real: a scenario, and what plug-ins measured, may quote them and stay behind, too.

    Args:
        directory: A study with its report.
        out: A zip file to make.
        synthetic: Digests of populations of nobody real.

    Returns:
        The paths in the package.

    Raises:
        MetricsError: There is no report, `out` exists, or a scenario of the plan is not there.
    """
    if out.exists():
        raise MetricsError(f"{printable_path(out)}: exists already; choose another --crate")
    plan, report = read_plan(directory), _report(directory)
    runs: Sequence[Mapping[str, Any]] = report["runs"]
    is_real = any(run["population_digest"] not in synthetic for run in runs)
    places = _places(plan)
    scenarios = {} if is_real else _scenarios(plan, places)
    files: dict[str, bytes] = {
        PLAN: _renamed(plan_toml(plan), places).encode(),
        DIGESTS: _renamed(json.dumps(_digests(plan, runs), indent=1) + "\n", places).encode(),
        **_results(directory, report, places, is_real=is_real),
    }
    for name in sorted({NAME, README, *files} & set(scenarios)):
        raise MetricsError(f"{name}: a scenario is called as a file of the package; rename it, and run the study again")
    files |= scenarios
    inputs = [PLAN, *scenarios]
    has_lock = f"results/{LOCK_FILE}" in files
    files[README] = _readme(plan, runs, has_lock=has_lock, lock=read_lock(directory), is_real=is_real).encode()
    title = f"Study of {', '.join(dict.fromkeys(cell['label'] for cell in plan['cells']))}"
    metadata = crate_metadata(
        files, name=_renamed(title, places), description="Plan, digests, figures and report of a simulation study.",
        date=datetime.now(UTC).date().isoformat(), inputs=inputs,
        software={"version": version("polyphony-sim"), "digest": package_digest()},
    )  # fmt: skip
    write_durably(out, _zipped({NAME: metadata, **files}))
    return [NAME, *files]


def plan_toml(plan: Mapping[str, Any]) -> str:
    """A recorded plan as the TOML that `simulate study` reads."""
    lines = [f"reference = {_toml(plan['reference'])}"]
    lines += [f"{name} = {_toml(plan[name])}" for name in ("contrast", "outcomes") if plan.get(name)]
    # An empty text is an option's default, and no value that a file can give.
    lines += [f"{name} = {_toml(value)}" for name, value in plan["options"].items() if value not in ("", None)]
    if plan.get("smallest_effects"):
        lines += ["", "[smallest_effects]"]
        lines += [f"{_toml(name)} = {_toml(size)}" for name, size in plan["smallest_effects"].items()]
    for block in plan["blocks"]:
        lines += ["", "[[blocks]]", *(f"{name} = {_toml(value)}" for name, value in block.items())]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A plain value; a JSON string without escapes of other planes is a TOML string, but for one character."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _report(directory: Path) -> dict[str, Any]:
    path = directory / STUDY_FILE
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = [(run["file"], run["run"]["digest"], run["population_digest"]) for run in report["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetricsError(f"{path}: no report to pack; `simulate study --report {directory}` writes it") from error
    if not report["runs"]:
        raise MetricsError(f"{directory}: no run of the study is finished; run it again")
    return report


def _digests(plan: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each finished run was, in the order of the plan."""
    of_file = {run["file"]: run for run in runs}
    digests = []
    for cell in plan["cells"]:
        run = of_file.get(Path(cell["file"]).name)
        if run is not None:
            own = {name: run[name] for name in ("population_digest", "bank_digest")}
            digests.append({**cell, "digest": run["run"]["digest"], **own, "versions": run["versions"]})
    return digests


def _results(
    directory: Path, report: Mapping[str, Any], places: Mapping[str, str], *, is_real: bool
) -> dict[str, bytes]:
    """The study's report and all that belongs to it, without places on a machine."""
    # What names an arm by a place in a form that is not replaced stays behind: LaTeX escapes it, PNG draws it.
    is_named = any(place in cell["label"] for place in places for cell in report["plan"]["cells"])
    tables, figures = ((".md",), (".svg",)) if is_named else ((".md", ".tex"), (".svg", ".png"))
    texts = {STUDY_FILE: json.dumps(_shown(report, is_real), indent=1) + "\n"}
    for name in (PLAN_FILE, "report.md", LOCK_FILE, *_in(directory, "tables", tables)):
        # A lock whose text changes is broken; the reasons in a table of differences are those of plug-ins, too.
        quotes = is_real and "plugin_measurements" in report and name.startswith("tables/differences.")
        if (directory / name).is_file() and not quotes and not (name == LOCK_FILE and places):
            texts[name] = (directory / name).read_text(encoding="utf-8")
    pictures = {name: (directory / name).read_bytes() for name in _in(directory, "figures", figures)}
    texts |= {name: held.decode() for name, held in pictures.items() if name.endswith(".svg")}
    files = {name: _renamed(text.replace(f"{directory}/", ""), places).encode() for name, text in texts.items()}
    return {f"results/{name}": held for name, held in (pictures | files).items()}


def _in(directory: Path, folder: str, kinds: tuple[str, ...]) -> Iterator[str]:
    for path in sorted((directory / folder).glob("*")):
        if path.suffix in kinds and path.is_file() and not path.is_symlink():
            yield f"{folder}/{path.name}"


def _shown(report: Mapping[str, Any], is_real: bool) -> dict[str, Any]:
    """What was measured, without addresses and, of real people, without what may quote them."""
    runs = []
    for run in report["runs"]:
        hidden = {*_HIDDEN, *({"scenario"} if is_real else ())}
        settings = {name: value for name, value in run["settings"].items() if name not in hidden}
        figures = {name: figure for name, figure in run["measurements"].items() if not is_real or name in MEASUREMENTS}
        runs.append({**run, "settings": settings, "measurements": figures})
    shown = {**report, "runs": runs}
    if is_real:
        shown["differences"] = _ours(report["differences"])
        for name, part in report.get("by_population", {}).items():
            shown["by_population"] = {
                **shown["by_population"], name: {**part, "differences": _ours(part["differences"])}
            }  # fmt: skip
    return shown


def _ours(differences: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Differences in what Polyphony itself measures; a plug-in's reason may quote anybody."""
    return [difference for difference in differences if difference["measurement"] in MEASUREMENTS]


def _places(plan: Mapping[str, Any]) -> dict[str, str]:
    """Files that the plan names by a place on a machine, and what the package calls them."""
    cells = plan["cells"]
    people = [str(plan["options"].get("population", "")), *(cell.get("population", "") for cell in cells)]
    places = {name: PurePath(name).name for name in people if PurePath(name).name != name and name}
    for name in _scenario_names(plan):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            places[name] = f"scenarios/{PurePath(name).name}"
    return places


def _scenario_names(plan: Mapping[str, Any]) -> list[str]:
    names = [str(plan["options"].get("scenario", ""))]
    for cell in plan["cells"]:
        changes = cell["label"].partition(":")[2].split("+")
        names += [change.removeprefix("scenario=") for change in changes if change.startswith("scenario=")]
    return [name for name in dict.fromkeys(names) if name]


def _scenarios(plan: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name in _scenario_names(plan):
        place = places.get(name, PurePosixPath(name).as_posix())
        if place in files:
            raise MetricsError(f"{printable_path(Path(name))}: two scenarios are called {place}; rename one")
        try:
            files[place] = Path(name).read_bytes()
        except OSError as error:
            raise MetricsError(
                f"{printable_path(Path(name))}: a scenario of the plan is not there ({error.strerror}); pack the study "
                "in the folder in which it was run"
            ) from error
    return files


def _renamed(text: str, places: Mapping[str, str]) -> str:
    """A text with the package's names of files, the longest place first: in prose, JSON and names of run files."""
    for place in sorted(places, key=len, reverse=True):
        name = places[place]
        for written in dict.fromkeys((place, *(json.dumps(place, ensure_ascii=flag)[1:-1] for flag in (True, False)))):
            text = text.replace(written, name)
        text = text.replace(place.replace(":", "_").replace("/", "_"), name.replace("/", "_"))
    return text


def _readme(
    plan: Mapping[str, Any],
    runs: Sequence[Mapping[str, Any]],
    *,
    has_lock: bool,
    lock: Mapping[str, Any] | None,
    is_real: bool,
) -> str:
    notes = []
    if is_real:
        notes.append(
            "The people's posts are not in this package, nor scenarios, nor what plug-ins measured. Whoever may have "
            "the posts puts the file beside the plan under the name that the plan gives. The SHA-256 of people and "
            f"histories is in `{DIGESTS}`."
        )
    if lock is not None and not has_lock:
        notes.append(
            f"The plan was locked on {lock['lock']['date']} (SHA-256 `{lock['lock']['sha256']}`). The lock names files "
            "by their place on a machine and is not in this package."
        )
    if plan.get("plugins"):
        plugins = ", ".join(f"{code_span(plugin['name'])} (SHA-256 `{plugin['sha256']}`)" for plugin in plan["plugins"])
        notes.append(
            f"The runs need these plug-ins, which are not in this package: {plugins}. Give them with `--plugin`."
        )
    if any(run["bank_digest"] for run in runs):
        notes.append('The adapters are not in this package. With `weights = "trained"` they are trained again.')
    title = f"{len(runs)} finished runs of {len(plan['cells'])}"
    return _README.format(
        title=title, version=version("polyphony-sim"), digest=package_digest(), plan=PLAN, digests=DIGESTS,
        metadata=NAME, lock=f", and the plan's lock (`{LOCK_FILE}`)" if has_lock else "", notes="\n\n".join(notes),
    )  # fmt: skip


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
