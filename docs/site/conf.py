"""The site of the documentation, from the files as they stand in the repository: `make docs`. It needs no network."""

import shutil
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project, author, version = "Polyphony", "The Polyphony developers", version_of("polyphony-sim")
project_copyright = "Apache-2.0"
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "docs/*.md", "docs/site/*.md"]
exclude_patterns = [".*", "build"]  # folders that need not be searched
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"Polyphony {version}"
html_show_sourcelink, html_copy_source, html_show_sphinx = False, False, False
# A heading is called in links what GitHub calls it.
myst_heading_anchors = 4
default_role = "code"
autodoc_typehints, autodoc_class_signature = "signature", "mixed"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 80

CONTENTS = {
    "Use": "options input platform studies validity datasets dashboard bank reinforcement ethics",
    "Serve": "serving serving_clients engines workers",
    "Python": "python site/reference",
    "Method": "measurements method town architecture",
    "Findings": "results adapters shared_basis scale responsiveness vote benchmarks",
}


def add_contents(_app: "Sphinx", page: str, source: list[str]) -> None:
    """Give the home page, which is README as it is, the contents that the sidebar shows."""
    if page != root_doc:
        return
    groups = {caption: [f"docs/{name}" for name in names.split()] for caption, names in CONTENTS.items()}
    groups["Method"].append("data/README")
    groups["About"] = ["CONTRIBUTING", "CHANGELOG", "docs/site/licence"]
    for caption, names in groups.items():
        lines = "\n".join(names)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def open_at_home(app: "Sphinx", failure: Exception | None) -> None:
    """Let the folder of the site open at its home page."""
    if failure is None and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: "Sphinx") -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("build-finished", open_at_home)
