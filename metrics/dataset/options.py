"""What a data set holds of its runs, and what stays behind."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

BUILT_IN = "town"

_MENTION = re.compile(r"@([\w.\-]+)")
_PSEUDONYM_DIGITS = 16


@dataclass(frozen=True)
class ExportOptions:
    """The user's choices.

    Attributes:
        text: Whether texts go out: those of posts, and personas.
        exposures: Whether what agents were shown goes out.
        real_text: Whether words, names and features of real people go out.
        pseudonym_key: Key of the pseudonyms that take the place of handles; None to keep handles.
        windows: Equal parts of a run for which communities are found.
        licence: Licence of the data set, as an SPDX identifier; None for the town's, or none for real people.
    """

    text: bool = True
    exposures: bool = True
    real_text: bool = False
    pseudonym_key: bytes | None = None
    windows: int = 4
    licence: str | None = None


@dataclass(frozen=True)
class Disclosure:
    """What of one run's people goes out, and under which names.

    People of a corpus that is not built in are taken for real: without ``real_text`` neither their words nor their
    names nor what was computed from their words leaves.
    """

    options: ExportOptions
    real: bool
    handles: dict[int, str]

    @property
    def withheld(self) -> bool:
        """Whether real people stay unnamed and without words."""
        return self.real and not self.options.real_text

    @property
    def texts(self) -> bool:
        """Whether posts go out with their words."""
        return self.options.text and not self.withheld

    @property
    def personas(self) -> bool:
        """Whether descriptions of people go out: a description names its person often enough."""
        return self.texts and self.options.pseudonym_key is None

    @property
    def features(self) -> bool:
        """Whether figures computed from people's own posts go out."""
        return not self.withheld

    def handle(self, user_id: int) -> str:
        """The name under which a person goes out."""
        if self.withheld:
            return f"person-{user_id}"
        return self._pseudonym(self.handles[user_id])

    def adapter(self, adapter_id: str | None) -> str | None:
        """An adapter's id; it is derived from its person's handle, so that it goes the way of the handle."""
        return None if adapter_id is None or self.withheld else self._pseudonym(adapter_id)

    def text(self, words: str) -> str | None:
        """Words as they go out: people mentioned in them have their pseudonyms, too."""
        if not self.texts:
            return None
        if self.options.pseudonym_key is None:
            return words
        return _MENTION.sub(lambda found: "@" + self._pseudonym(found[1]), words)

    def _pseudonym(self, name: str) -> str:
        key = self.options.pseudonym_key
        if key is None:
            return name
        return hmac.new(key, name.lower().encode(), hashlib.sha256).hexdigest()[:_PSEUDONYM_DIGITS]


def disclosure(options: ExportOptions, population: str, handles: Iterable[tuple[int, str]]) -> Disclosure:
    """What the options mean for a run of a population."""
    return Disclosure(options, population != BUILT_IN, dict(handles))
