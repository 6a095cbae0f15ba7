"""Documents that people write (YAML, TOML, JSON), read within bounds: no file makes a parser recurse or multiply."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from polyphony.errors import InputError
from polyphony.nesting import MOST_DEPTH, is_too_deep
from polyphony.printable import printable, printable_path, quoted

MOST_BYTES = 2 << 20
MOST_VALUES = 100_000
"""Most values of a YAML document, those that an alias repeats counted each time."""
_MOST_REASON = 200
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
# The standard library copies a dotted key once for each of its parts.
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MOST_DEPTH}}}")


def read_document(path: Path, remedy: str, kind: str = "", *, most_bytes: int = MOST_BYTES) -> Any:
    """Return what a document says: plain values, lists and mappings, at most `MOST_DEPTH` deep.

    Args:
        path: A file.
        remedy: What errors advise.
        kind: YAML, TOML or JSON; empty for what its name ends in, and YAML where that is something else.
        most_bytes: What it may hold.

    Raises:
        InputError: It cannot be read, is too large, too deep or no such document; the line names the file.
    """
    kind = kind or _KINDS.get(path.suffix.lower(), "YAML")
    refused = f"{printable_path(path)}: cannot be read as {kind}"
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{refused} (not a regular file): {remedy}")
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            size = max(len(content), path.stat().st_size)
            raise InputError(f"{refused} ({size:,} bytes, over the limit of {most_bytes:,}): {remedy}")
        value = _PARSERS[kind](content.decode("utf-8-sig"))
        _check_depth(value)
    except OSError as error:
        raise InputError(f"{refused} ({error.strerror}): {remedy}") from error
    # What the parsers raise for numbers, dates and tags that cannot be is not all of their own class.
    except (
        yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise InputError(f"{refused} ({_reason(error)}): {remedy}") from error
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "too deep"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: byte {error.start}"
    return printable(str(error))[:_MOST_REASON] or type(error).__name__


class _DeepError(ValueError):
    def __init__(self) -> None:
        super().__init__(f"over {MOST_DEPTH} levels deep")


def _check_depth(value: object) -> None:
    """Refuse what is nested too deeply for those who look at it by recursion.

    Raises:
        ValueError: It is.
    """
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            inner for outer in level if isinstance(outer, Mapping | list | tuple | set)
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]  # fmt: skip
        if not level:
            return
    raise _DeepError


def parse_json(content: str) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: It is no JSON, too deep, or an object names a value twice.
    """
    if is_too_deep(content):
        raise _DeepError
    return json.loads(content, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_repeats([name for name, _ in pairs])
    return dict(pairs)


def _check_repeats(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"{quoted(Counter(names).most_common(1)[0][0])} stands there twice; keep one")


def parse_toml(content: str) -> dict[str, Any]:
    """Return what TOML says.

    Raises:
        ValueError: It is no TOML, or a key has too many parts.
    """
    if _LONG_KEY.search(content):
        raise _DeepError
    return tomllib.loads(content)


class _BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds; dates stay text, for nothing in our documents is a date."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}
        self._nodes: list[yaml.Node] = []  # as long as they live no other has their address

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node, and count what it holds."""
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _DeepError
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None or is_alias:
            return node
        self._nodes.append(node)
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
            _check_repeats([name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)])
        else:
            parts = node.value if isinstance(node, yaml.SequenceNode) else []
        if any(id(part) not in self._sizes for part in parts):
            raise ValueError("an alias repeats what it stands in")
        self._sizes[id(node)] = 1 + sum(self._sizes[id(part)] for part in parts)
        if self._sizes[id(node)] > MOST_VALUES:
            raise ValueError(f"over {MOST_VALUES:,} values, those that aliases repeat counted each time")
        return node


_BoundedLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(content: str) -> Any:
    """Return what YAML says; None for an empty document.

    Raises:
        ValueError: It is too deep, or holds too many values.
        yaml.YAMLError: It is no YAML.
    """
    return yaml.load(content, _BoundedLoader)  # noqa: S506 - a safe loader


_PARSERS: Mapping[str, Callable[[str], Any]] = {"YAML": parse_yaml, "TOML": parse_toml, "JSON": parse_json}
_KINDS = {".toml": "TOML", ".json": "JSON"}
