"""What was wrong with the posts, from the run file to the page and the card; its texts are hostile there."""

import json
from pathlib import Path

from app_factory import hostile_run, words_of

from polyphony.metrics.dataset.export import export_dataset
from polyphony.metrics.dataset.options import ExportOptions
from polyphony.metrics.runfile.loading import load_run

HOSTILE = "<script>x</script> [link](http://x) `code` | \u202e"


def warned_run(path: Path) -> Path:
    run = hostile_run("lora")
    run.rows["input_warning"].append(
        {
            "warning_id": 1, "kind": "unusable record", "count": 3, "first_row": 7, "message": f"left out {HOSTILE}",
            "examples": json.dumps([f"row 7: {HOSTILE}"]),
        }
    )  # fmt: skip
    return run.write(path)


def test_the_timeline_page_shows_the_warnings(tmp_path: Path, drawn) -> None:
    warned_run(tmp_path / "x.db")
    test = drawn(tmp_path, "Timeline")
    assert "Warnings about the posts" in words_of(test) and "<script" not in words_of(test)
    table = next(frame.value for frame in test.dataframe if "for example" in frame.value)
    assert table[["kind", "rows", "first"]].values.tolist() == [["unusable record", 3, 7]]


def test_a_card_names_the_warnings_and_quotes_nothing(tmp_path: Path) -> None:
    run = warned_run(tmp_path / "x.db")
    export_dataset([run], tmp_path / "data", ExportOptions(), lambda line: None)
    card = (tmp_path / "data" / "README.md").read_text()
    assert "met this: left out ?script?x?/script? ?link?(http://x) ?code? ? ?." in card.replace("\n", " ")
    assert "row 7" not in card
    (described,) = json.loads((tmp_path / "data" / "dataset.json").read_text())["runs"]
    assert [warning["count"] for warning in described["input_warnings"]] == [3]


def test_runs_of_before_there_were_warnings_have_none(tmp_path: Path) -> None:
    assert load_run(hostile_run("lora").write(tmp_path / "x.db")).warnings == ()
