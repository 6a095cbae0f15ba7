"""The page for Python and the notebooks run as they stand."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCKS = re.findall(r"^```python\n(.*?)^```", (DOCS / "python.md").read_text(), re.MULTILINE | re.DOTALL)
# Blocks about a file of the reader's own name it so.
RUNNING = [block for block in BLOCKS if "posts.jsonl" not in block and "results" not in block]


def test_the_pages_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in RUNNING:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert len(RUNNING) == 4 and len(list(tmp_path.glob("runs/*.db"))) == 3


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted(path.name for path in (DOCS / "notebooks").glob("*.ipynb")))
def test_a_notebook_runs_from_end_to_end(notebook, tmp_path):
    content = nbformat.read(DOCS / "notebooks" / notebook, as_version=4)
    NotebookClient(
        content, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert all(
        cell.outputs or "import" in cell.source or "@polyphony" in cell.source
        for cell in content.cells
        if cell.cell_type == "code"
    )
