"""The data set's own README: a card that Hugging Face's `datasets` reads, a datasheet, and a loader."""

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template
from typing import Any

import yaml
from tabulate import tabulate

from polyphony.metrics.core.labels import number
from polyphony.metrics.core.registry import REGISTRY
from polyphony.metrics.dataset.meanings import TABLES, meaning
from polyphony.spreadsheet_cells import ESCAPED

NAME = "README.md"
MOST_WARNING = 300
EDGE_KINDS = ("follow", "reply", "repost", "quote", "like", "exposure")

_UNPLAIN = re.compile(r"[^\w .,:+=@/\-]")
_UNPLAIN_SENTENCE = re.compile(r"[^\w .,:;'()+=@/\-]")
_NO_LICENCE = "none is given: what real people wrote is theirs; ask before you pass it on"

_TEXT = Template("""$front
# Runs of a simulated social platform

$lead

| run | arm | seed | agents | timesteps | population | digest |
| --- | --- | --- | --- | --- | --- | --- |
$runs

## Files

`parquet/` and `csv/` hold the same tables; `graphml/run-N.graphml` holds each run's users and acts for networkx and
Gephi, one edge for each pair and kind with its `weight` and its first and last timestep, without exposures;
`croissant.json` describes the tables to machines; `dataset.json` says what was chosen and counted; `SHA256SUMS` lists
every file, and `simulate export --check .` verifies all of it.

| table | rows | what |
| --- | --- | --- |
$tables

Edges by kind:

$kinds

Nodes, posts and activations have numbers of their run: join on `run` and the number.

## Open it

```python
import pandas
edges = pandas.read_parquet("parquet/edges.parquet")
```

`datasets.load_dataset(".", "edges")`, `networkx.read_graphml("graphml/run-0.graphml")` and DuckDB's
`select * from 'parquet/edges.parquet'` do as well. For PyTorch Geometric:

```python pyg
import pandas as pd
import torch
from torch_geometric.data import HeteroData


def load(folder: str, run: int = 0) -> HeteroData:
    nodes, posts, edges = (
        pd.read_parquet(f"{folder}/parquet/{name}.parquet", filters=[("run", "==", run)])
        for name in ("nodes", "posts", "edges")
    )
    user, post = pd.Series(range(len(nodes)), nodes["node"]), pd.Series(range(len(posts)), posts["post"])
    data = HeteroData()
    data["user"].x = torch.tensor(nodes.filter(like="feature_").fillna(0).to_numpy(), dtype=torch.float)
    data["user"].y = torch.tensor(nodes["community"].fillna(-1).to_numpy(), dtype=torch.long)
    data["post"].num_nodes, data["post"].time = len(posts), torch.tensor(posts["timestep"].to_numpy())
    for part in ("train", "validation", "test"):
        data["user"][f"{part}_mask"] = torch.tensor((nodes["split"] == part).to_numpy())
    data["user", "writes", "post"].edge_index = torch.tensor([list(user[posts["author"]]), list(range(len(posts)))])
    for kind, rows in edges.sort_values("timestep", kind="stable").groupby("kind"):
        ends = {"user": user[rows["target"]]} | ({} if kind == "follow" else {"post": post[rows["post"]]})
        for end, targets in ends.items():
            store = data["user", kind, end]
            store.edge_index = torch.tensor([list(user[rows["source"]]), list(targets)])
            store.time = torch.tensor(rows["timestep"].to_numpy())
    return data
```

## Splits

- Nodes: `split` in `nodes`, 70% train, 15% validation, 15% test, by the SHA-256 of the person: the same person has the
  same part in every run of the same people, so that nobody is trained on in one arm and tested in another.
- Links: `split` in `edges`, by time: who trains on the past is tested on what comes after. First timesteps of the
  validation and the test part, by run: $boundaries. The starting graph is in the training part.
- Communities: $windows equal windows of each run, and the whole run. They are computed (Louvain; python-louvain on the
  weighted interaction graph), not known: the whole run's community has seen the test part, a window's has seen only its
  window.

## Columns

$columns

$plugins## Datasheet

The questions are those of Gebru et al., "Datasheets for Datasets" (2021), shortened.

**Why was it made?** To study what per-person adapters change in a population of language-model agents. The tool is
Polyphony $version; it says nothing about who made these runs or what for.

**What does a row stand for?** Simulated users, and what they did on a simulated platform. $people

**What is missing?** $missing

**Is it a sample?** No: everything the runs recorded is here but what this card says was left out.

**Are there errors and noise?** Acts and texts are simulated: drawn from language models, from the frequencies of
people's histories (policy `null`), or by a plug-in's policy. Refused and failed activations are kept,
with their reasons. A row says what happened in the simulation, never that somebody did or said it. $warnings

**Does it hold personal or offensive content?** $personal The texts of posts made in a run are written by language
models: they may be false or offensive, and may repeat what a model was trained on.

**How was it collected?** `simulate run`, one file a run; `simulate export` made this folder from the run files, whose
digests are above: the same runs give the same bytes.

**What was done to it?** Communities, splits and feature vectors were computed as said above. A control character that
XML cannot hold is U+FFFD in GraphML; Parquet holds every text as it is. In the CSV files a text that a spreadsheet
would run as a formula, because it begins with `=`, `+`, `-`, `@`, a tab or the end of a line, has an apostrophe in
front; so has one that begins with apostrophes and then such a sign. Take one away to undo it:

```python
posts = pandas.read_csv("csv/posts.csv")
posts["text"] = posts["text"].str.replace(r"$escaped", r"\1", regex=True)
```

**What is it good for, and what not?** For comparing arms, for graph learning on a platform whose every exposure is
known, and for tests of analysis code. Not for statements about real people, and not as a sample of human behaviour:
agents differ from the people that they are modelled on, and the measurements of `simulate metrics` say how far.

**How is it passed on, under which licence?** Licence: $licence.

**Who keeps it?** Whoever published this folder. Cite Polyphony and the digests above.
""")


def write_card(folder: Path, description: Mapping[str, Any], columns: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Write ``README.md`` beside the tables."""
    runs = description["runs"]
    real = any(run["real_people"] for run in runs)
    text = _TEXT.substitute(
        front=_front(description), lead=_lead(runs), version=_version(),
        runs="\n".join(
            f"| {run['run']} | {plain(run['arm'])} | {run['seed']} | {run['agents']:,} | {run['timesteps']} | "
            f"{plain(run['population'] or 'withheld')} | `{run['digest'][:16]}` |" for run in runs
        ),
        tables="\n".join(f"| `{name}` | {rows:,} | {TABLES[name]} |" for name, rows in description["tables"].items()),
        kinds=_kinds(runs), windows=description["windows"],
        boundaries=", ".join(f"run {run['run']}: {run['validation_from']} and {run['test_from']}" for run in runs),
        columns="\n\n".join(_column_table(name, names_and_kinds) for name, names_and_kinds in columns.items()),
        plugins=_plugins(runs), people=_people(description, real),
        missing=_missing(description, real), personal=_personal(description, real),
        licence=description["licence"] or _NO_LICENCE, warnings=_warnings(runs), escaped=ESCAPED,
    )  # fmt: skip
    (folder / NAME).write_text(text, encoding="utf-8")


def plain(text: str) -> str:
    """A name out of a run file, without anything that Markdown or YAML would read."""
    return _UNPLAIN.sub("?", text)[:80]


def _front(description: Mapping[str, Any]) -> str:
    """The YAML that tells the Hub's library which files are which table."""
    head: dict[str, Any] = {
        "pretty_name": "Polyphony runs", "tags": ["social-simulation", "graph", "synthetic"],
        "configs": [
            {"config_name": name, "data_files": f"parquet/{name}.parquet", "default": name == "nodes"}
            for name in description["tables"]
        ],
    }  # fmt: skip
    if description["licence"]:
        head["license"] = description["licence"].lower()
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


def _lead(runs: Sequence[Mapping[str, Any]]) -> str:
    arms = ", ".join(dict.fromkeys(plain(run["arm"]) for run in runs))
    count = f"{len(runs)} runs" if len(runs) > 1 else "One run"
    return (
        f"{count} of Polyphony (`polyphony-sim`), a simulated social platform whose agents may own trained adapters. "
        f"Arms: {arms}."
    )


def _kinds(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = [[run["run"], *(f"{run['edges'].get(kind, 0):,}" for kind in EDGE_KINDS)] for run in runs]
    return tabulate(rows, ["run", *EDGE_KINDS], tablefmt="github", disable_numparse=True)


def _column_table(table: str, columns: Sequence[tuple[str, str]]) -> str:
    """Names and meanings; columns of one meaning that follow each other share a row."""
    rows: list[list[str]] = []
    for name, kind in columns:
        text = meaning(table, name)
        if rows and rows[-1][2] == text:
            rows[-1][0] = f"{rows[-1][0].split(' … ')[0]} … `{name}`"
        else:
            rows.append([f"`{name}`", kind.replace("f32", "float"), text])
    return f"### {table}\n\n" + tabulate(rows, ["column", "type", "meaning"], tablefmt="github", disable_numparse=True)


def _plugins(runs: Sequence[Mapping[str, Any]]) -> str:
    """What plug-ins measured of the runs; empty where no plug-in was loaded."""
    names = list(runs[0].get("plugin_measurements", {}))
    if not names:
        return ""
    rows = [[run["run"], *map(number, run["plugin_measurements"].values())] for run in runs]
    lines = "\n".join(f"- `{name}` ({REGISTRY.get(name).unit}): {REGISTRY.get(name).definition}" for name in names)
    table = tabulate(rows, ["run", *names], tablefmt="github", disable_numparse=True)
    return f"## Measurements of plug-ins\n\n{lines}\n\n{table}\n\n"


def _warnings(runs: Sequence[Mapping[str, Any]]) -> str:
    """What was wrong with the posts that the people come from; the same population is named once."""
    messages = dict.fromkeys(
        _UNPLAIN_SENTENCE.sub("?", warning["message"])[:MOST_WARNING]
        for run in runs
        for warning in run.get("input_warnings", ())
    )
    if not messages:
        return "Reading the people's posts met nothing wrong."
    return "Reading the people's posts met this: " + "; ".join(messages) + "."


def _people(description: Mapping[str, Any], real: bool) -> str:
    if not real:
        return "They are the people of an invented town: nobody real is in it."
    if description["real_text"]:
        return "Agents of some runs are modelled on real people, who are in it as the answers below say."
    return "Agents of some runs are modelled on real people, who are in it without names and words, see below."


def _missing(description: Mapping[str, Any], real: bool) -> str:
    withheld = real and not description["real_text"]
    parts = ["people's histories from before the runs"]
    parts += [] if description["text"] else ["all texts and personas"]
    parts += ["personas and scenarios"] if description["pseudonyms"] and description["text"] else []
    if withheld:
        parts.append(
            "of real people: names, texts, personas, adapter ids, history features, when they wrote, scenarios"
        )
    parts += [] if description["exposures"] else ["exposures (what agents were shown)"]
    return "Left out: " + "; ".join(parts) + "."


def _personal(description: Mapping[str, Any], real: bool) -> str:
    sentences = []
    if description["pseudonyms"]:
        sentences.append(
            "Handles that go out, also where a text mentions one with @, are pseudonyms made with a key that is not "
            "here; names inside texts may remain."
        )
    if not real:
        sentences.append("Nobody described here exists.")
    elif not description["real_text"]:
        sentences.append("Real people are numbers without words; who acts upon whom may still tell who somebody is.")
    else:
        words = "their words (posts that stood there before the first timestep)" if description["text"] else "no words"
        sentences.append(f"Yes: of real people it holds {words}, and figures computed from what they wrote.")
    return " ".join(sentences)


def _version() -> str:
    try:
        return version("polyphony-sim")
    except PackageNotFoundError:
        return "from a checkout"
