"""Graph data sets: everything that is in the run, nothing that should stay, in files that others open."""

import hmac
import json
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import networkx as nx
import pandas as pd
import pytest
from run_factory import RunFactory, planted_run

from polyphony.errors import MetricsError
from polyphony.metrics.dataset.card import plain
from polyphony.metrics.dataset.check import check_dataset
from polyphony.metrics.dataset.export import export_dataset
from polyphony.metrics.dataset.graphml import xml_text
from polyphony.metrics.dataset.options import TOWN_DIGEST, Disclosure, ExportOptions
from polyphony.metrics.dataset.splits import SplitTimeline, node_split
from polyphony.metrics.figures.communities import louvain
from polyphony.metrics.figures.interactions import interaction_graph
from polyphony.metrics.runfile.loading import load_run
from polyphony.personas.population import load_population
from polyphony.simulation.cli.main import main

TABLES = ("runs", "nodes", "edges", "posts", "activations")
# As a run of the built-in town records it; all other people are taken for real.
TOWN = {"population": "town", "population_digest": TOWN_DIGEST}
REAL = {"population": "town", "population_digest": "somebody's posts in a file that is called town"}
SCENARIO = {"news": [{"user": "user7", "text": "scenario for @user3"}]}
WRITTEN = "2024-11-05T23:17:42Z"
HOSTILE = '</graphml>\x01\x00 "quoted", =cmd|x\n<script>alert(1)</script> \u202e 🎼 @user2 and @nobody'
SECRET = "the secret recipe of user5"
KEY = b"sixteen bytes or more"


def full_run(**run: object) -> RunFactory:
    """Two halves who talk, with every kind of act, an account that is no agent, and hostile words."""
    config = {"scenario": SCENARIO, "camel_url": "http://me", "engine_url": "http://me"}
    made = planted_run(12, 6, **({**TOWN, "config": json.dumps(config)} | run))
    made.follow(1, 2, timestep=-1)
    made.follow(3, 2, timestep=3)
    post = made.post(5, SECRET)
    made.repost(6, post)
    made.like(4, made.quote(7, post, HOSTILE))
    made.seed_post(8, "a seed")
    made.rows["post"][-1]["created_at"] = WRITTEN
    made.fail(9, "failed", f"the tool said {SECRET}")
    made.rows["agent"][0] |= {"handle": "<i>\x02eve</i>", "persona": f"persona {HOSTILE}", "community": 3}
    made.rows["user"][0]["user_name"] = "<i>\x02eve</i>"
    return made


def written(folder: Path, options: ExportOptions | None = None, **run: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "run.db"
    full_run(**run).write(path)
    export_dataset([path], folder / "set", options or ExportOptions())
    return folder / "set"


def read(folder: Path, table: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "parquet" / f"{table}.parquet")


def count(path: Path, query: str) -> int:
    with sqlite3.connect(path) as connection:
        found: int = connection.execute(query).fetchone()[0]
        return found


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def holds(folder: Path, words: str) -> list[str]:
    """Files in which some words stand; Parquet's are read, because it compresses them."""
    found = [name for name, content in bytes_of(folder).items() if words.encode() in content]
    for table in TABLES:
        if words in read(folder, table).to_json(force_ascii=False, date_format="iso"):
            found.append(table)
    return found


def test_every_row_of_the_run_is_there(tmp_path: Path) -> None:
    folder, run = written(tmp_path), tmp_path / "run.db"
    kinds = read(folder, "edges")["kind"].value_counts()
    assert kinds.to_dict() == {
        "follow": count(run, "select count(*) from follow"),
        "reply": count(run, "select count(*) from comment"),
        "repost": count(run, "select count(*) from post where original_post_id is not null and quote_content is null"),
        "quote": count(run, "select count(*) from post where quote_content is not null"),
        "like": count(run, 'select count(*) from "like"'),
        "exposure": count(run, "select count(*) from exposure"),
    }
    assert min(kinds) > 0
    assert len(read(folder, "nodes")) == count(run, "select count(*) from user")
    assert len(read(folder, "activations")) == count(run, "select count(*) from activation")
    assert len(read(folder, "posts")) == count(
        run, "select (select count(*) from post) + (select count(*) from comment)"
    )


def test_texts_survive_as_they_are(tmp_path: Path) -> None:
    folder = written(tmp_path)
    posts, other = read(folder, "posts"), pd.read_csv(folder / "csv" / "posts.csv", keep_default_na=False)
    assert posts["text"].tolist() == other["text"].tolist()
    assert HOSTILE in posts["text"].tolist() and SECRET in posts["text"].tolist()
    assert read(folder, "nodes")["handle"][0] == "<i>\x02eve</i>"
    assert posts[posts["kind"] == "repost"]["text"].tolist() == [""]


def test_threads_lead_to_the_first_post(tmp_path: Path) -> None:
    posts = read(written(tmp_path), "posts").set_index("post")
    quote = posts[posts["kind"] == "quote"].iloc[0]
    assert posts.loc[quote["parent"], "text"] == SECRET and quote["root"] == quote["parent"]
    first = posts[posts["kind"] == "post"]
    assert (first["root"] == first.index).all() and first["parent"].isna().all()
    replies = posts[posts["kind"] == "reply"]
    assert (replies["root"] == posts.loc[replies["parent"], "root"].to_numpy()).all()


def test_communities_are_those_of_the_measurements(tmp_path: Path) -> None:
    folder = written(tmp_path)
    nodes = read(folder, "nodes")
    known = nodes.dropna(subset="community").set_index("node")["community"].astype(int).to_dict()
    assert known == louvain(interaction_graph(load_run(tmp_path / "run.db")))
    assert nodes["planted_community"][0] == 3
    windows = nodes.filter(regex=r"^community_\d$")
    # In the planted run nobody acts upon others at timesteps 2 and 5, which are the second and the fourth window.
    assert windows.notna().any().tolist() == [True, False, True, False]


def test_activations_carry_the_whole_distribution(tmp_path: Path) -> None:
    acts = read(written(tmp_path), "activations")
    shares = acts.filter(like="p_").dropna()
    assert list(shares) == ["p_nothing", "p_post", "p_reply"] and len(shares) > 20
    assert shares.sum(axis=1).round(9).eq(1).all()
    assert acts[acts["p_post"].isna()].shape[0] == len(acts) - len(shares)


def test_history_features_are_unit_vectors_of_training_texts(tmp_path: Path) -> None:
    nodes = read(written(tmp_path), "nodes")
    lengths = (nodes.filter(like="feature_") ** 2).sum(axis=1)
    assert lengths.round(5).eq(1).all() and nodes["history_acts"].eq(3).all() and nodes["history_post"].eq(1).all()


def test_splits_by_person_and_by_time(tmp_path: Path) -> None:
    edges = read(written(tmp_path), "edges")
    last = {split: rows["timestep"].max() for split, rows in edges.groupby("split")}
    first = {split: rows["timestep"].min() for split, rows in edges.groupby("split")}
    assert last["train"] < first["validation"] <= last["validation"] < first["test"] and first["train"] == -1
    parts = [node_split(f"person {number}") for number in range(4_000)]
    shares = [parts.count(part) / 4_000 for part in ("train", "validation", "test")]
    assert shares == pytest.approx([0.70, 0.15, 0.15], abs=0.03)


def test_windows_are_equal_parts() -> None:
    assert [SplitTimeline(6, 3).window(step) for step in range(-1, 7)] == [None, 1, 1, 2, 2, 3, 3, None]
    assert [SplitTimeline(2, 1).split(step) for step in range(-1, 3)] == ["train", "train", "validation", "test"]


def test_two_exports_give_equal_bytes(tmp_path: Path) -> None:
    assert bytes_of(written(tmp_path / "a")) == bytes_of(written(tmp_path / "b"))


def test_several_runs_share_the_tables(tmp_path: Path) -> None:
    paths = [planted_run(8, 5, arm=arm, **TOWN).write(tmp_path / f"{arm}.db") for arm in ("base", "lora")]
    found = export_dataset(paths, tmp_path / "set", ExportOptions())
    nodes, runs = read(tmp_path / "set", "nodes"), read(tmp_path / "set", "runs")
    assert runs["arm"].tolist() == ["base", "lora"] and nodes.groupby("arm").size().to_dict() == {"base": 8, "lora": 8}
    by_person = nodes.groupby("handle")["split"].nunique()
    assert by_person.eq(1).all() and len(found["runs"]) == 2
    assert sorted(path.name for path in (tmp_path / "set" / "graphml").iterdir()) == ["run-0.graphml", "run-1.graphml"]
    assert check_dataset(tmp_path / "set") == found


def test_the_built_in_town_is_known_by_its_people_not_by_its_name() -> None:
    assert load_population("town").digest == TOWN_DIGEST


def test_real_people_leave_neither_words_nor_names_nor_moments(tmp_path: Path) -> None:
    folder = written(tmp_path, **REAL)
    told = (SECRET, "likes tea", "user7", "user3", "<script>", "eve</i>", "scenario for", WRITTEN[:16], "23:17", "//me")
    for words in told:
        assert holds(folder, words) == []
    nodes, posts = read(folder, "nodes"), read(folder, "posts")
    assert nodes["handle"].tolist()[:2] == ["person-1", "person-2"]
    assert nodes.filter(regex="^(feature_|history_|persona|adapter)").isna().all(axis=None)
    assert posts[posts["is_seed"]]["time"].isna().all() and posts[~posts["is_seed"]]["time"].notna().all()
    assert nodes["split"].tolist() != [node_split(f"user{user}") for user in nodes["node"]]
    assert read(folder, "runs")["population"].isna().all()
    assert json.loads((folder / "dataset.json").read_text())["licence"] is None
    assert "what real people wrote is theirs" in (folder / "README.md").read_text()


def test_real_people_leave_when_asked_for(tmp_path: Path) -> None:
    folder = written(tmp_path, ExportOptions(real_text=True), **REAL)
    assert SECRET in read(folder, "posts")["text"].tolist() and read(folder, "posts")["time"].notna().all()
    assert "of real people it holds their words" in (folder / "README.md").read_text()
    silent = written(tmp_path / "silent", ExportOptions(real_text=True, text=False), **REAL)
    assert "of real people it holds no words" in (silent / "README.md").read_text()


def test_pseudonyms_replace_handles_everywhere(tmp_path: Path) -> None:
    options = ExportOptions(pseudonym_key=KEY)
    folder, other = written(tmp_path / "a", options), written(tmp_path / "b", ExportOptions(pseudonym_key=KEY * 2))
    handles, others = read(folder, "nodes")["handle"], read(other, "nodes")["handle"]
    assert handles.nunique() == 12 and not set(handles) & set(others)
    quote = read(folder, "posts").query("kind == 'quote'")["text"].iloc[0]
    assert f"@{handles[1]} and @" in quote and "@user2" not in quote and "@nobody" not in quote
    assert holds(folder, "scenario for") == [] and "user2" not in (folder / "graphml" / "run-0.graphml").read_text()
    assert read(folder, "nodes")["persona"].isna().all()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("@Ann.", "@{Ann}."), ("@ann-", "@{ann}-"), ("(@Ann Doe)", "(@{Ann Doe})"), ("@Annabel", "@{Annabel}"),
        ("@x@y.social, hi", "@{x@y.social}, hi"), ("a@b", "a@{b}"), ("@@Ann", "@@{Ann}"), ("none", "none"),
    ],
)  # fmt: skip
def test_mentions_have_the_pseudonym_of_whom_they_name(text: str, shown: str) -> None:
    people = Disclosure(ExportOptions(pseudonym_key=KEY), TOWN_DIGEST, {1: "Ann", 2: "Ann Doe"})
    pseudonym = lambda found: hmac.new(KEY, found[1].lower().encode(), "sha256").hexdigest()[:16]  # noqa: E731
    assert people.text(text) == re.sub(r"{(.*?)}", pseudonym, shown)
    assert people.text("@Ann") == f"@{people.handle(1)}" and people.text("@Ann Doe") == f"@{people.handle(2)}"


def test_history_features_know_nothing_that_was_held_out(tmp_path: Path) -> None:
    before = read(written(tmp_path / "a"), "nodes").filter(like="feature_")
    run = full_run()
    for row in run.rows["history"]:
        if row["split"] == "held_out":
            row["text"] = "other words altogether than those before"
    run.write(tmp_path / "run.db")
    export_dataset([tmp_path / "run.db"], tmp_path / "b", ExportOptions())
    assert read(tmp_path / "b", "nodes").filter(like="feature_").equals(before)


def test_texts_and_exposures_can_stay_behind(tmp_path: Path) -> None:
    folder = written(tmp_path, ExportOptions(text=False, exposures=False))
    assert read(folder, "posts")["text"].isna().all() and holds(folder, SECRET) == []
    assert "exposure" not in read(folder, "edges")["kind"].tolist()
    assert "exposures (what agents were shown)" in (folder / "README.md").read_text()


def test_networkx_opens_the_graph(tmp_path: Path) -> None:
    folder = written(tmp_path)
    graph = nx.read_graphml(folder / "graphml" / "run-0.graphml")
    edges = read(folder, "edges")
    assert len(graph) == len(read(folder, "nodes"))
    assert sum(weight for *_, weight in graph.edges.data("weight")) == (edges["kind"] != "exposure").sum()
    ids = re.findall(r'<edge [^>]*id="(e\d+)"', (folder / "graphml" / "run-0.graphml").read_text())
    assert len(ids) == len(set(ids)) == graph.number_of_edges()
    assert graph.nodes["1"]["handle"] == "<i>�eve</i>"
    assert xml_text("a\x00b\ud800\ufffe\tc") == "a\ufffdb\ufffd\ufffd\tc"


def test_other_libraries_count_the_same(tmp_path: Path) -> None:
    datasets, duckdb = pytest.importorskip("datasets"), pytest.importorskip("duckdb")
    folder = written(tmp_path)
    for table in TABLES:
        rows = len(read(folder, table))
        opened = datasets.load_dataset(str(folder), table, split="train", cache_dir=str(tmp_path / "cache"))
        assert opened.num_rows == rows
        assert duckdb.sql(f"select count(*) from '{folder}/parquet/{table}.parquet'").fetchall() == [(rows,)]
        assert len(pd.read_csv(folder / "csv" / f"{table}.csv")) == rows


def test_croissant_describes_the_tables(tmp_path: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    folder = written(tmp_path)
    metadata = croissant.Dataset(jsonld=folder / "croissant.json")
    assert not metadata.metadata.ctx.issues.errors
    records = list(metadata.records("edges"))
    assert len(records) == len(read(folder, "edges")) and records[0]["edges/kind"] == b"follow"


@pytest.mark.slow
def test_pytorch_geometric_opens_it_with_the_card_s_own_loader(tmp_path: Path) -> None:
    folder, environment = written(tmp_path), tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    packages = Path(pd.__file__).parent.parent
    (next(environment.glob("lib/python*/site-packages")) / "parent.pth").write_text(f"{packages}\n")
    install = [environment / "bin" / "pip", "install", "--quiet", "torch_geometric"]
    if subprocess.run(install).returncode:
        pytest.skip("torch_geometric cannot be installed here")
    code = (folder / "README.md").read_text().split("```python pyg\n")[1].split("```")[0]
    code += (
        "import sys, json; data = load(sys.argv[1]); data.validate()\n"
        "print(json.dumps({' '.join(kind): data[kind].num_edges for kind in data.edge_types}))\n"
    )
    done = subprocess.run(
        [environment / "bin" / "python", "-c", code, folder], capture_output=True, text=True, check=True
    )
    counts = json.loads(done.stdout)
    for kind, rows in read(folder, "edges").groupby("kind"):
        assert counts[f"user {kind} user"] == len(rows)
    assert counts["user writes post"] == len(read(folder, "posts"))


def test_a_run_without_edges_gives_empty_tables(tmp_path: Path) -> None:
    run = RunFactory(2)
    run.nothing(1)
    export_dataset([run.write(tmp_path / "idle.db")], tmp_path / "set", ExportOptions())
    assert len(read(tmp_path / "set", "edges")) == 0 and len(read(tmp_path / "set", "nodes")) == 2
    assert check_dataset(tmp_path / "set")["tables"]["edges"] == 0


def test_names_out_of_a_run_cannot_write_the_card(tmp_path: Path) -> None:
    assert plain("a|b\n# c `d` <e> ![f](g)") == "a?b?? c ?d? ?e? ??f??g?"
    folder = written(tmp_path, arm="lora\n---\n# <script>")
    card = (folder / "README.md").read_text()
    assert "<script>" not in card and card.count("\n---\n") == 1


@pytest.mark.parametrize(
    ("run", "options", "message"),
    [
        ({"status": "interrupted"}, ExportOptions(), "the run is not finished (interrupted)"),
        ({}, ExportOptions(windows=0), "--windows 0 must be at least 1"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, run: dict[str, object], options: ExportOptions, message: str
) -> None:
    path = planted_run(8, 5, **run).write(tmp_path / "run.db")
    with pytest.raises(MetricsError) as refused:
        export_dataset([path], tmp_path / "set", options)
    assert message in str(refused.value)
    assert [each.name for each in tmp_path.iterdir()] == ["run.db"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("update activation set act_distribution = 'nope'", "an act distribution that is not a JSON object"),
        ("update activation set act_distribution = '[1]'", "an act distribution that is not a JSON object"),
        ("update activation set act_distribution = '{\"x|\\n# y\": 1}'", "which is no act"),
        ("update activation set act = 'dance' where act = 'like'", "names 'dance', which is no act"),
        ("update post set content = x'61' where post_id = 1", "as content, which is not a text"),
        ("update comment set post_id = 7777", "cannot be exported (KeyError"),
        ("update exposure set post_id = 7777", "cannot be exported (KeyError"),
        ("update post set created_at = 'soon'", "cannot be exported (ValueError"),
        ("update post set num_likes = 'many'", "cannot be exported (Arrow"),
    ],
)
def test_a_damaged_run_is_one_line(tmp_path: Path, statement: str, message: str) -> None:
    path = full_run().write(tmp_path / "run.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(MetricsError) as refused:
        export_dataset([path], tmp_path / "set", ExportOptions())
    assert message in str(refused.value) and "\n" not in str(refused.value) and "run.db" in str(refused.value)
    assert [each.name for each in tmp_path.iterdir()] == ["run.db"]


def test_long_texts_are_checked_too(tmp_path: Path) -> None:
    run = planted_run(8, 5, **TOWN)
    run.post(1, "word " * 600_000)
    export_dataset([run.write(tmp_path / "run.db")], tmp_path / "set", ExportOptions())
    assert check_dataset(tmp_path / "set")["tables"]["nodes"] == 8


def test_an_empty_folder_that_one_stands_in_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planted_run(8, 5).write(tmp_path / "run.db")
    (tmp_path / "set").mkdir()
    monkeypatch.chdir(tmp_path / "set")
    export_dataset([path], Path("."), ExportOptions())
    assert check_dataset(tmp_path / "set")["tables"]["nodes"] == 8


def test_a_folder_with_something_in_it_and_a_run_given_twice_are_refused(tmp_path: Path) -> None:
    path = planted_run(8, 5).write(tmp_path / "run.db")
    (tmp_path / "set").mkdir()
    with pytest.raises(MetricsError, match="a run is given twice"):
        export_dataset([path, path], tmp_path / "set", ExportOptions())
    assert list((tmp_path / "set").iterdir()) == []
    (tmp_path / "set" / "mine").write_text("keep")
    with pytest.raises(MetricsError, match="not empty"):
        export_dataset([path], tmp_path / "set", ExportOptions())
    assert (tmp_path / "set" / "mine").read_text() == "keep"


def command(*arguments: object) -> int:
    """Exit code of ``simulate export`` with some arguments."""
    try:
        main(["export", *map(str, arguments)])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_the_command_line_exports_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = planted_run(8, 5).write(tmp_path / "run.db")
    assert command(path, "--out", tmp_path / "set", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tables"]["nodes"] == 8
    assert command("--check", tmp_path / "set") == 0
    assert "complete and unchanged" in capsys.readouterr().out


def test_the_command_line_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, short = planted_run(8, 5).write(tmp_path / "run.db"), tmp_path / "key"
    short.write_bytes(b"short")
    for arguments, message in (
        ((path, "--out", tmp_path), "not empty"),
        ((path,), "--out DIR"),
        ((path, "--check", tmp_path / "set"), "leave the runs"),
        ((path, "--out", tmp_path / "set", "--pseudonym-key", short), "at least 16"),
        ((path, "--out", tmp_path / "set", "--pseudonym-key", tmp_path / "none"), "cannot be read"),
        ((tmp_path / "absent.db", "--out", tmp_path / "set"), "no such file"),
    ):
        assert command(*arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    path = planted_run(8, 5).write(tmp_path / "run.db")
    done = subprocess.run(
        [sys.executable, "-m", "polyphony", "export", path, "--out", tmp_path / "set"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "free or choose another place" in done.stderr and "Traceback" not in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["run.db"]


def spoiled_missing(folder: Path) -> None:
    (folder / "csv" / "edges.csv").unlink()


def spoiled_changed(folder: Path) -> None:
    (folder / "README.md").write_text("mine")


def spoiled_stray(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def spoiled_link(folder: Path) -> None:
    path = folder / "README.md"
    shutil.copy(path, folder.parent / "elsewhere")
    path.unlink()
    path.symlink_to(folder.parent / "elsewhere")


def spoiled_counts(folder: Path) -> None:
    path = folder / "dataset.json"
    found = json.loads(path.read_text())
    found["tables"]["edges"] += 1
    path.write_text(json.dumps(found))
    signed_again(folder)


def spoiled_made(folder: Path) -> None:
    path = folder / "parquet" / "activations.parquet"
    acts = pd.read_parquet(path)
    acts.loc[0, "made"] = "p7777"
    acts.to_parquet(path)
    signed_again(folder)


def spoiled_graph(folder: Path) -> None:
    (folder / "graphml" / "run-0.graphml").unlink()
    signed_again(folder)


def spoiled_tables(folder: Path) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tables": {}}))
    signed_again(folder)


def spoiled_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").write_bytes(b"\xff\xfe")


def spoiled_column(folder: Path) -> None:
    path = folder / "parquet" / "edges.parquet"
    pd.read_parquet(path).drop(columns="target").to_parquet(path)
    signed_again(folder)


def spoiled_ends(folder: Path) -> None:
    path = folder / "parquet" / "edges.parquet"
    edges = pd.read_parquet(path)
    edges.loc[0, "target"] = 999
    edges.to_parquet(path)
    signed_again(folder)


def signed_again(folder: Path) -> None:
    from polyphony.checksums import NAME, write_checksums

    (folder / NAME).unlink()
    write_checksums(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoiled_missing, "edges.csv: the file is missing"),
        (spoiled_changed, "README.md: the file was changed"),
        (spoiled_stray, "notes.txt: the file does not belong"),
        (spoiled_link, "README.md: the file was changed"),
        (spoiled_counts, "rows, but dataset.json says"),
        (spoiled_ends, "edges names target 999 of run 0, which is not in nodes"),
        (spoiled_made, "activations names made p7777 of run 0, which is not in posts"),
        (spoiled_graph, "run-0.graphml: the file is missing"),
        (spoiled_tables, "other tables than runs"),
        (spoiled_sums, "not a whole data set"),
        (spoiled_column, "not a whole data set"),
        (shutil.rmtree, "no data set"),
    ],
)
def test_a_spoiled_data_set_is_found_out(tmp_path: Path, spoil: object, message: str) -> None:
    folder = written(tmp_path)
    check_dataset(folder)
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(MetricsError) as found:
        check_dataset(folder)
    assert message in str(found.value) and "\n" not in str(found.value)
