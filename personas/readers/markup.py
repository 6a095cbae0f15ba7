"""Words of HTML: what a reader of the page would see."""

import html

from lxml import etree

_LINE_BREAKS = ("br", "p")


def unescaped(text: str) -> str:
    """Return a text with character references as the characters they stand for."""
    try:
        return html.unescape(text)
    except ValueError:  # a reference of over 4,300 digits
        return text


class Markup:
    """Reads fragments of HTML with libxml2's parser: its time is linear in the markup, whatever is left unclosed."""

    def __init__(self) -> None:
        """Make a parser; it reads one fragment after the other."""
        self._parser = etree.HTMLParser(target=_Words())

    def words(self, fragment: str) -> str:
        """Return what a reader would see; paragraphs become lines.

        Args:
            fragment: Markup without lone surrogates and control characters.

        Raises:
            ValueError: It cannot be read.
        """
        try:
            # Within an element, no paragraph is made up around words that stand alone.
            self._parser.feed(f"<div>{fragment}")
            return str(self._parser.close())
        except etree.LxmlError as error:
            self._parser = etree.HTMLParser(target=_Words())
            raise ValueError(f"markup cannot be read: {error}") from error


class _Words:
    """Collects what the parser meets; `close` ends a fragment, and the next begins."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def start(self, tag: str, attributes: object) -> None:
        if tag in _LINE_BREAKS and self._parts:
            self._parts.append("\n")

    def data(self, data: str) -> None:
        self._parts.append(data)

    def close(self) -> str:
        words, self._parts = "".join(self._parts).strip(), []
        return words
