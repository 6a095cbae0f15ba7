"""What leaves runs in no program: CSV cells that a spreadsheet would run, GraphML and pages with hard words."""

import csv
import io
import json
import shutil
from pathlib import Path

import networkx as nx
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from polyphony.metrics.dataset.graphml import xml_text
from polyphony.metrics.dataset.tables import TableWriter, columns
from polyphony.spreadsheet_cells import ESCAPED, escaped, unescaped

CASES = Path(__file__).with_name("cases")
FORMULAS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''=1", "＝1", '=HYPERLINK("http://x","y")',
    "=cmd|' /C calc'!A0", "-", "=",
]  # fmt: skip
HARMLESS = ["", "a=1", " =1", "'quoted'", "''", "1-1", "ada", "'tis", "#1", "½"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_formula_begins_a_cell(text):
    cell = escaped(text)
    assert cell == f"'{text}" and unescaped(cell) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay(text):
    assert escaped(text) == text == unescaped(text)


@given(st.text(st.sampled_from("'=+-@\t\r\nab＝") | st.characters()))
@example("'" * 50 + "=")
def test_every_text_comes_back(text):
    assert unescaped(escaped(text)) == text
    assert escaped(text).lstrip("'")[:1] not in list("=+-@\t\r\n＝＋－＠") or escaped(text).startswith("'")


def test_a_table_is_read_back_exactly(tmp_path):
    """Texts in CSV can be undone to what Parquet holds; numbers stay numbers."""
    for kind in ("parquet", "csv"):
        (tmp_path / kind).mkdir()
    texts = [*FORMULAS, *HARMLESS, 'a,"b"\nc', None, "😀\u200d", "]]>"]
    with TableWriter(tmp_path, "posts", columns("post:int text:str score:float")) as writer:
        writer.write((-number, text, -0.5) for number, text in enumerate(texts))
    with (tmp_path / "csv" / "posts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    stored = pq.read_table(tmp_path / "parquet" / "posts.parquet").column("text").to_pylist()
    assert stored == texts
    assert [unescaped(row["text"]) for row in rows] == [text or "" for text in texts]
    assert [row["text"] for row in rows] == [escaped(text or "") for text in texts]
    assert [int(row["post"]) for row in rows] == [-number for number in range(len(texts))]
    assert {float(row["score"]) for row in rows} == {-0.5}
    undone = pd.read_csv(tmp_path / "csv" / "posts.csv", keep_default_na=False)["text"]
    assert undone.str.replace(ESCAPED, r"\1", regex=True).tolist() == [text or "" for text in texts]


def test_downloads_of_the_dashboard_are_escaped():
    pytest.importorskip("streamlit", reason="pip install 'polyphony-sim[app]'")
    from polyphony.app.parts.page_parts import _csv, _parquet

    rows = [{"=name": "=1+1", "value": -1.5}, {"=name": "\ud83d", "value": 2.0}]
    (header, first, second) = csv.reader(io.StringIO(_csv(rows).decode()))
    assert header == ["'=name", "value"] and first == ["'=1+1", "-1.5"] and second[0] == "?"
    assert pd.read_parquet(io.BytesIO(_parquet(rows))).iloc[0, 0] == "=1+1"


@given(st.text())
@example("]]>")
@example("\ud83d")
@example("\x00\x0b\x1b\ufffe\uffff\x85\u2028")
def test_graphml_is_valid_whatever_a_text_holds(text):
    graph = nx.MultiDiGraph()
    graph.add_node(0, handle=xml_text(text))
    file = io.BytesIO()
    nx.write_graphml_lxml(graph, file)
    etree.fromstring(file.getvalue())
    (read,) = dict(nx.read_graphml(io.BytesIO(file.getvalue())).nodes(data="handle")).values()
    assert (read or "").replace("\r\n", "\n").replace("\r", "\n") == xml_text(text).replace("\r\n", "\n").replace(
        "\r", "\n"
    )


def test_hard_words_are_exported_whole(simulate, tmp_path):
    """The case's people act, and what they say goes through every format."""
    shutil.copy(CASES / "g01-hard-words.jsonl", tmp_path / "g01.jsonl")
    (tmp_path / "g01.about.json").write_text(json.dumps({"licence": "CC0-1.0"}))
    run, out = tmp_path / "run.db", tmp_path / "out"
    assert simulate(
        "run", "--policy", "null", "--population", tmp_path / "g01.jsonl", "--agents", 2, "--steps", 4, "--activation",
        5, "--out", run
    )[0] == 0  # fmt: skip
    code, _, err = simulate("export", run, "--include-real-text", "--out", out)
    assert code == 0, err
    posts = pq.read_table(out / "parquet" / "posts.parquet").column("text").to_pylist()
    with (out / "csv" / "posts.csv").open(newline="", encoding="utf-8") as file:
        cells = [row["text"] for row in csv.DictReader(file)]
    assert posts and [unescaped(cell) for cell in cells] == [text or "" for text in posts]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]
    graph = nx.read_graphml(out / "graphml" / "run-0.graphml")
    assert len(graph) == 2
    card = (out / "README.md").read_text()
    assert ESCAPED in card and simulate("export", "--check", out)[0] == 0
