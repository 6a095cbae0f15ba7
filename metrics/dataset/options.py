"""What a data set holds of its runs, and what stays behind."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import cached_property

# Digest of the built-in town: any file can be called by its name.
TOWN_DIGEST = "36d6824e4df306422c7bf16f9f4c18324c9ada023aa78fe2133e0b71165ecb9e"

# Who is not known by handle is mentioned like this; a mark that ends a sentence is none of the name.
_MENTION = r"[\w\-]+(?:[.@][\w\-]+)*"
_PSEUDONYM_DIGITS = 16


@dataclass(frozen=True)
class ExportOptions:
    """The user's choices.

    Attributes:
        text: Whether texts go out: those of posts, and personas.
        exposures: Whether what agents were shown goes out.
        real_text: Whether words, names and features of real people go out.
        pseudonym_key: Key of the pseudonyms that take the place of handles; None to keep handles.
        windows: Equal parts of a run whose communities are computed.
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

    Every population but the built-in town is taken for real people: without ``real_text`` neither their words nor
    their names, nor when they wrote, nor what was computed from their words leaves.

    Attributes:
        options: The user's choices.
        population_digest: Digest of the people.
        handles: Handle of every user.
    """

    options: ExportOptions
    population_digest: str
    handles: dict[int, str]

    @property
    def real(self) -> bool:
        """Whether the people are taken for real."""
        return self.population_digest != TOWN_DIGEST

    @property
    def withheld(self) -> bool:
        """Whether real people stay unnamed and without words."""
        return self.real and not self.options.real_text

    @property
    def names(self) -> bool:
        """Whether handles go out as they are."""
        return not self.withheld and self.options.pseudonym_key is None

    @property
    def texts(self) -> bool:
        """Whether posts go out with their words."""
        return self.options.text and not self.withheld

    @property
    def personas(self) -> bool:
        """Whether descriptions of people, and a scenario's texts, go out: they name people often enough."""
        return self.texts and self.names

    @property
    def features(self) -> bool:
        """Whether figures computed from people's own posts go out."""
        return not self.withheld

    def handle(self, user_id: int) -> str:
        """The name under which a person goes out."""
        if self.withheld:
            return f"person-{user_id}"
        return self._pseudonym(self.handles[user_id])

    def split_key(self, user_id: int) -> str:
        """What decides a person's part; where names stay behind it must not tell whose it is."""
        if self.withheld:
            return f"{self.population_digest} {user_id}"
        return self._pseudonym(self.handles[user_id])

    def adapter(self, adapter_id: str | None) -> str | None:
        """An adapter's id; it is derived from its person's handle, so that it goes the way of the handle."""
        return None if adapter_id is None or self.withheld else self._pseudonym(adapter_id)

    def text(self, words: str) -> str | None:
        """Words as they go out: people mentioned in them have their pseudonyms, too."""
        if not self.texts:
            return None
        if self.names:
            return words
        return self._mention.sub(lambda mention: "@" + self._pseudonym(mention[1] or mention[2]), words)

    @cached_property
    def _mention(self) -> re.Pattern[str]:
        """A mention of a known handle, which may hold anything, or of somebody else; the longest handle first."""
        known = "|".join(map(re.escape, sorted(self.handles.values(), key=len, reverse=True)))
        return re.compile(f"@(?:({known})(?![\\w])|({_MENTION}))" if known else f"@()({_MENTION})", re.IGNORECASE)

    def _pseudonym(self, name: str) -> str:
        key = self.options.pseudonym_key
        if key is None:
            return name
        return hmac.new(key, name.lower().encode(), hashlib.sha256).hexdigest()[:_PSEUDONYM_DIGITS]
