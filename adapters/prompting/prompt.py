"""The one prompt of training and simulation, and the tokens of acts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from polyphony.adapters.prompting.control_tokens import plain_tokens
from polyphony.adapters.prompting.grammar import Grammar
from polyphony.personas.people.acts import Verb
from polyphony.personas.people.recollection import NOTICES as NOTICES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MENTIONED, _QUOTED = NOTICES[1], NOTICES[2]
POSTS_ALONE = (Verb.QUOTE, Verb.REPOST)
"""What cannot be done to a reply on the platform."""
_SYSTEM, _USER = "\x02system\x03", "\x02user\x03"
EMPTY_FEED = "(no posts yet)"
LATELY = "You wrote lately:"
ANSWERED_TOKENS = 12
"""Most tokens of the words that a reply answers."""
# The content-free input of contextual calibration.
CONTENT_FREE = "N/A"


@dataclass(frozen=True)
class FeedItem:
    """One post or reply as the feed shows it.

    Attributes:
        handle: Its author.
        text: Its words.
        answers: What a reply answers, or what of one's own is quoted; None where nothing of that is shown.
        notice: How it concerns who is shown it, one of `NOTICES`; empty where it does not.
        is_followed: Whether who is shown it follows its author. Prompts do not show it.
        hours: Hours since it was written. Prompts do not show them.
        dealings: How often who is shown it and its author acted on each other's words. Prompts do not show it.
    """

    handle: str
    text: str
    answers: "FeedItem | None" = None
    notice: str = ""
    is_followed: bool = False
    hours: float = 0.0
    dealings: int = 0

    @property
    def is_reply(self) -> bool:
        """Whether it answers something; a quote of one's own words shows them, too, and is a post."""
        return self.answers is not None and self.notice != _QUOTED

    def allows(self, verb: Verb) -> bool:
        """Whether a verb with a target can be about it, as far as the item tells."""
        if verb is Verb.FOLLOW:
            return not self.is_followed
        return not (self.is_reply and verb in POSTS_ALONE)


class PromptBuilder:
    """Turns an agent's persona and feed into tokens.

    Template parts may hold control tokens. Everything that comes from people or models is encoded separately with
    special tokens split, so that a post saying ``<|im_end|>`` stays these characters.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        grammar: Grammar,
        *,
        item_tokens: int = 24,
        text_tokens: int = 48,
        persona_tokens: int = 64,
        memory_tokens: int = 0,
        opened_tokens: int = 0,
    ) -> None:
        """Set the token budgets of a feed item's text, an act's text, persona, memory and the item answered."""
        self.tokenizer = tokenizer
        self.grammar = grammar
        self.item_tokens = item_tokens
        self.text_tokens = text_tokens
        self.persona_tokens = persona_tokens
        self.memory_tokens = memory_tokens
        self.opened_tokens = opened_tokens
        self._encode = lru_cache(maxsize=100_000)(self._encode_plain)
        self._before, self._between, self._after = (self._encode_template(part) for part in self._template_parts())

    def prompt(
        self,
        handle: str,
        description: str | None,
        feed: Sequence[FeedItem],
        memory: Sequence[str] = (),
        recent: Sequence[str] = (),
    ) -> list[int]:
        """Return the tokens before an act.

        Args:
            handle: Who acts.
            description: The persona prompt; None where the arm has none.
            feed: The posts shown, first item first; at most nine.
            memory: What the agent remembers, oldest first, see `personas.people.recollection`; the prompt holds the
                latest lines that fit into the budget.
            recent: The agent's own latest texts, oldest first, where the arm shows them.
        """
        tokens = [*self.constant(handle, description, recent), *self._remembered(memory)]
        for number, item in enumerate(feed, 1):
            tokens += self._head(number, item)
            tokens += self._words(item)
            tokens += self.plain("\n")
        if not feed:
            tokens += self.plain(EMPTY_FEED + "\n")
        return [*tokens, *self.plain(self._question()), *self._after]

    def _head(self, number: int, item: FeedItem) -> list[int]:
        """What stands before an item's words: ``2 @bob (to @ada: "first words"):``."""
        about, answers = [item.notice] if item.notice else [], item.answers
        if answers is not None and item.notice in ("", _MENTIONED):
            about.append(f"to @{_on_one_line(answers.handle)}")
        author = _on_one_line(item.handle)
        if not about:
            return [*self.plain(f"{number} @{author}:")]
        head = self.plain(f"{number} @{author} ({', '.join(about)}")
        if answers is None:
            return [*head, *self.plain("):")]
        # A quotation mark in the words would end them.
        words = self.plain(_on_one_line(answers.text).replace('"', "'"), ANSWERED_TOKENS)
        return [*head, *self.plain(': "'), *words, *self.plain('"):')]

    def _words(self, item: FeedItem) -> tuple[int, ...]:
        return self.plain(" " + _on_one_line(item.text), self.item_tokens)

    def _remembered(self, memory: Sequence[str]) -> list[int]:
        lines: list[tuple[int, ...]] = []
        free = self.memory_tokens
        for line in reversed(memory):
            tokens = (*self.plain(f"- {line}", self.item_tokens), *self.plain("\n"))
            if len(tokens) > free:
                break
            free -= len(tokens)
            lines.append(tokens)
        return [token for line in reversed(lines) for token in line]

    def constant(self, handle: str, description: str | None, recent: Sequence[str] = ()) -> list[int]:
        """Return the constant prefix of an agent's prompts: all that precedes memory and feed."""
        persona = f" {description}" if description else ""
        identity = [*self.plain(f"You are @{handle}."), *self.plain(persona, self.persona_tokens)]
        return [*self._before, *identity, *self._recent(recent), *self._between]

    def _recent(self, texts: Sequence[str]) -> list[int]:
        """The agent's own texts, as a part of the persona; empty without any."""
        lines = [token for text in texts for token in (*self.plain("\n"), *self.plain(f"- {text}", self.item_tokens))]
        return [*self.plain("\n"), *self.plain(LATELY), *lines] if lines else []

    def chat(self, system: str, user: str) -> list[int]:
        """Return the tokens before an act for a chat in the same template, its user part line by line."""
        lines = [token for line in user.splitlines() if line.strip() for token in self.plain(line + "\n")]
        return [*self._before, *self.plain(system), *self._between, *lines, *self._after]

    def texts(self, prompt: Sequence[int]) -> tuple[str, str]:
        """Return what a prompt says as the texts of a system and a user message.

        Args:
            prompt: Tokens that `prompt` or `chat` returned.
        """
        tokens, between = list(prompt)[len(self._before) : len(prompt) - len(self._after)], self._between
        place = next((n for n in range(len(tokens)) if tokens[n : n + len(between)] == between), 0)
        return str(self.tokenizer.decode(tokens[:place])), str(self.tokenizer.decode(tokens[place + len(between) :]))

    def messages(
        self,
        handle: str,
        description: str | None,
        feed: Sequence[FeedItem],
        memory: Sequence[str] = (),
        recent: Sequence[str] = (),
    ) -> tuple[str, str]:
        """Return the content of `prompt` as the texts of a system and a user message."""
        remembered = str(self.tokenizer.decode(self._remembered(memory))).splitlines()
        shown = [
            str(self.tokenizer.decode([*self._head(number, item), *self._words(item)]))
            for number, item in enumerate(feed, 1)
        ]
        system = f"You are @{handle}." + (f" {description}" if description else "")
        system += str(self.tokenizer.decode(self._recent(recent)))
        return system, "\n".join([*remembered, *(shown or [EMPTY_FEED]), self._question()])

    def head(self, verb: Verb, position: int | None, feed: Sequence[FeedItem]) -> list[int]:
        """Return the tokens of an act up to where its text begins, with the item that the text is about.

        Args:
            verb: What is done.
            position: Feed item that it is about, from 1; None exactly for verbs without a target.
            feed: The items shown.
        """
        head = self.grammar.head(verb, position)
        if position is None or not verb.has_text:
            return head
        return [*head[:-1], *self.opened(feed[position - 1]), head[-1]]

    def opened(self, item: FeedItem) -> list[int]:
        """Return the tokens that repeat an item right before the words about it: `` (@bob: its words)``.

        A small model hardly finds the item again that a number names; what stands right before the words, it uses.
        """
        if not self.opened_tokens:
            return []
        words = self.plain(" " + _on_one_line(item.text), self.opened_tokens)
        return [*self.plain(f" (@{_on_one_line(item.handle)}:"), *words, *self.plain(")")]

    def act(self, head: Sequence[int], text: str) -> list[int]:
        """Return the tokens of an act: its head, its text cut to the budget, and the end token unless it was cut."""
        grammar = self.grammar
        if not text:
            return [*head, grammar.end_id]
        words = self.plain(" " + text)
        return [*head, *words[: self.text_tokens], *([grammar.end_id] if len(words) <= self.text_tokens else [])]

    def plain(self, text: str, limit: int | None = None) -> tuple[int, ...]:
        """Encode a person's words: runs of whitespace become one blank, special tokens become characters."""
        if text.strip():
            lead, trail = " " * text.startswith(" "), "\n" * text.endswith("\n")
            text = lead + " ".join(text.split()) + trail
        return self._encode(text)[:limit]

    def _encode_plain(self, text: str) -> tuple[int, ...]:
        return tuple(plain_tokens(self.tokenizer, text))

    def _encode_template(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _question(self) -> str:
        *labels, last = self.grammar.labels.values()
        return f"You may {', '.join(labels)} or {last}. You:"

    def _template_parts(self) -> list[str]:
        if self.tokenizer.chat_template:
            messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
            rendered = str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        else:
            rendered = f"{self.tokenizer.bos_token or ''}{_SYSTEM}\n\n{_USER}\n\n"
        before, _, rest = rendered.partition(_SYSTEM)
        between, _, after = rest.partition(_USER)
        return [before, between, after]


def _on_one_line(words: str) -> str:
    """A person's words without line breaks, not even at their end."""
    return " ".join(words.split())


def prompt_digest(tokens: Sequence[int]) -> str:
    """A digest of a prompt: the first 16 hexadecimal digits of SHA-256 over its token ids."""
    return hashlib.sha256(",".join(map(str, tokens)).encode()).hexdigest()[:16]
