"""The site of the documentation builds without a warning, fetches nothing elsewhere and holds every public name."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import polyphony

pytest.importorskip("furo", reason="the extra `docs` is not installed")
pytest.importorskip("myst_parser", reason="the extra `docs` is not installed")
ROOT = Path(__file__).resolve().parent.parent
_ELSEWHERE = re.compile(r"\s*(?:[a-z]+:)?//", re.IGNORECASE)


class Sources(HTMLParser):
    """What a page makes a browser fetch: every source, and every link but those to click."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "srcset", "data", "poster") if tag == "a" else ("src", "srcset", "data", "poster", "href")
        self.fetched += [value or "" for name, value in attrs if name in names]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-c",
        "docs/site",
        "-d",
        str(folder / "trees"),
    ]
    built = subprocess.run([*command, ".", str(folder / "site")], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "site"


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = {page.relative_to(site).as_posix(): page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert {"index.html", "docs/results.html", "docs/site/reference.html", "CHANGELOG.html"} <= set(pages)
    fetched = {name: Sources(text).fetched for name, text in pages.items()}
    assert all(fetched.values()), "every page has at least its style"
    assert [(name, source) for name, sources in fetched.items() for source in sources if _ELSEWHERE.match(source)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", styles)


def test_the_home_page_is_the_readme(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings and all(f"<h2>{heading}<" in page for heading in headings)
    assert 'href="docs/site/reference.html"' in page and 'href="docs/site/licence.html"' in page


def test_the_reference_holds_every_public_name(site: Path) -> None:
    page = (site / "docs/site/reference.html").read_text(encoding="utf-8")
    public = [name for name in polyphony.__all__ if name != "__version__"]
    assert [name for name in public if f'id="polyphony.{name}"' not in page] == []
