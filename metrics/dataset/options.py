"""What a data set holds of its runs, and what stays behind."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import cached_property

# Digests of built-in towns: any file can be called by their names.
TOWN_DIGEST = "72148270954ed68714548d737246a9737587c0597fcca7ca0c5ab53e9d0389a7"
TOWN_DIGESTS = frozenset(
    {
        "36d6824e4df306422c7bf16f9f4c18324c9ada023aa78fe2133e0b71165ecb9e",  # town of version 1
        TOWN_DIGEST,  # town 0 of version 2
        "6597370e2ef5a25472bd4d1fb9b3e7a26ecc54274e5c6193e8d8bd9f2888a01a",  # town 1 of version 2
        "8ea654ea6ebb66ced423c5152ed70d32b5b3ad1d71e9b47dcfb1fb09379a4b74",  # town 2 of version 2
        "2301ba6d69ce1cbc7dc111e4fe1b33616c6ff9fb1ecfdee03a55fcb82a6fe2d8",  # town 3 of version 2
        "ebfea934cdda66ab5c5b4c633004f3441d76f2a872825ffe40170f8562125d59",  # town 4 of version 2
        "c6b7b2a8b69388d9a7165b15913cd471e174ea63f4c7a0792da16d4bcbf99963",  # town 5 of version 2
        "3f241967f14be4129cef6cb9044200a285a9a05f70b2f91ad58038f111aaf584",  # town 6 of version 2
        "3234dcd8f5e41127853bb31ab64734fd60ef1df775172a280d008c8b69b40e9c",  # town 7 of version 2
        "c857b0d9b927d02c250381a5e25d48d3792dddbb10071f20a5bff2c00c55e078",  # town 8 of version 2
        "512973d0977d87bf8972b8d54ef9a2fc9ce9422afd8f7f26828f19bc77ec01fa",  # town 9 of version 2
    }
)

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

    Every population but the built-in towns 0 to 9 is taken for real people: without ``real_text`` neither their words
    nor their names, nor when they wrote, nor what was computed from their words leaves.

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
        return self.population_digest not in TOWN_DIGESTS

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
