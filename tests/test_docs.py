"""The documents name only links, files, modules, commands and options that exist, and every command has help."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import polyphony
from polyphony.simulation.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
# An entry of the changelog keeps the options of its own version.
PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
FOLDERS = ("personas", "adapters", "simulation", "metrics", "app", "polyphony", "benchmarks", "data", "docs", "tests")
FILES = (".py", ".json", ".md")
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_OPTION = re.compile(r"--[a-z][a-z0-9-]*")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str) -> Iterator[str]:
    """Lines of code blocks, without their comments."""
    for block in _FENCE.findall(text):
        yield from (re.sub(r"(^|\s)#.*", "", line) for line in block.splitlines())


def spans(text: str) -> Iterator[str]:
    """Code within sentences, on one line each."""
    yield from (" ".join(span.split()) for span in _INLINE.findall(_FENCE.sub("", text)))


@cache
def commands() -> dict[str, Any]:
    """Every command by its words, groups included: the program itself is the empty string."""
    tree = {"": typer.main.get_command(app)}
    for words, command in tree.copy().items():
        tree |= below(words, command)
    return tree


def below(words: str, command: Any) -> dict[str, Any]:
    tree = {}
    for name, child in getattr(command, "commands", {}).items():
        tree |= {f"{words} {name}".strip(): child, **below(f"{words} {name}".strip(), child)}
    return tree


def options_of(command: Any) -> set[str]:
    return {"--help"} | {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@cache
def other_options() -> frozenset[str]:
    """Options of the programs that are started with ``python -m``."""
    sources = [*(ROOT / "benchmarks").glob("*.py"), ROOT / "polyphony" / "personas" / "town" / "__main__.py"]
    return frozenset(name for path in sources for name in re.findall(rf'"({_OPTION.pattern})"', path.read_text()))


def wrong_in(line: str) -> list[str]:
    """What a line of code says of the command line that is not so."""
    found = []
    for use in re.finditer(r"\bsimulate(?: [^|&;()…]*)?", line):
        if re.search(r"[\w/.-]$", line[: use.start()].removesuffix(".venv/bin/")):
            continue
        words = [word.strip(",") for word in use.group().split()[1:]]
        path = ""
        while words and f"{path} {words[0]}".strip() in commands():
            path = f"{path} {words.pop(0)}".strip()
        command = commands()[path]
        if words and getattr(command, "commands", None) and re.fullmatch(r"[a-z][a-z-]*", words[0]):
            found.append(f"simulate {path} {words[0]}".replace("  ", " "))
        unknown = {option for word in words for option in _OPTION.findall(word)} - options_of(command)
        found += [f"simulate {path} {option}" for option in sorted(unknown)]
    return found


def documented(page: Path) -> Iterator[tuple[str, bool]]:
    """Each piece of code of a page, and whether it stands within a sentence."""
    text = page.read_text(encoding="utf-8")
    yield from ((line, False) for line in blocks(text))
    yield from ((span, True) for span in spans(text))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = _INLINE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    missing = []
    for link in (link for link in _LINK.findall(text) if not re.match(r"[a-z]+:", link)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links to them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PRESENT, ids=named)
def test_every_file_that_is_named_exists(page: Path) -> None:
    missing = []
    for span, _ in documented(page):
        for word in re.findall(r"[\w./*-]+/[\w./*-]*", span):
            if word.split("/")[0] not in FOLDERS or re.search(r"[A-Z]{3}", word.removesuffix("README.md")):
                continue
            places = (ROOT, ROOT / "polyphony", page.parent)  # an sdist has the rooms in the package alone
            if not any(any(place.glob(word.rstrip("/."))) for place in places):
                missing.append(word)
    assert missing == []


@pytest.mark.parametrize("page", PRESENT, ids=named)
def test_every_module_and_name_of_ours_exists(page: Path) -> None:
    missing = []
    for span, inline in documented(page):
        modules = re.findall(r"python -m ([a-z_.]+)", span)
        if inline and re.fullmatch(rf"(?:{'|'.join(FOLDERS[:7])})(?:\.\w+)+", span) and Path(span).suffix not in FILES:
            modules.append(span)
        missing += [module for module in modules if module.split(".")[0] in FOLDERS and not resolves(module)]
    assert missing == []


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a folder or file of ours, or stands in one."""
    if dotted.removeprefix("polyphony.") in polyphony.__all__:
        return True
    path, *rest = ROOT, *dotted.removeprefix("polyphony.").split(".")
    if not (ROOT / rest[0]).exists():
        path = ROOT / "polyphony"
    while rest and (path / rest[0]).is_dir():
        path = path / rest.pop(0)
    if not rest:
        return True
    file = path / f"{rest[0]}.py"
    return file.is_file() and all(re.search(rf"\b{name}\b", file.read_text()) for name in rest[1:])


@pytest.mark.parametrize("page", PRESENT, ids=named)
def test_every_command_and_option_exists(page: Path) -> None:
    wrong = []
    known = other_options().union(*(options_of(command) for command in commands().values()))
    for code, inline in documented(page):
        wrong += wrong_in(code)
        if inline and code.startswith("--"):
            wrong += [option for option in _OPTION.findall(shlex.split(code)[0]) if option not in known]
    assert wrong == []


def test_every_command_has_help() -> None:
    silent = [words for words, command in commands().items() if not (command.help or "").strip()]
    assert silent == [] and {"run", "study", "bank evaluate"} <= set(commands())


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("simulate run --agents 3 --policy null", []),
        (".venv/bin/simulate bank ready --bank x | cat --no-such", []),
        ("simulate fly --agents 3", ["simulate fly", "simulate  --agents"]),
        ("simulate bank fly", ["simulate bank fly"]),
        ("simulate run --agent 3", ["simulate run --agent"]),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, wrong: list[str]) -> None:
    assert wrong_in(line) == wrong


def test_a_name_that_does_not_exist_is_found() -> None:
    assert resolves("polyphony.errors.InputError") and resolves("metrics.studies.parts")
    assert resolves("benchmarks.page") and not resolves("metrics.study_parts") and not resolves("polyphony.errors.Oops")
