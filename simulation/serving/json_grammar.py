"""Texts that follow a JSON schema: llguidance says which tokens may come next."""

import copy
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import llguidance
import llguidance.hf
import numpy as np

from polyphony.nesting import MOST_DEPTH, is_too_deep
from polyphony.printable import first_line
from polyphony.simulation.serving.refusal import Refusal, bad

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_SCHEMA_BYTES = 64 << 10
# Compiled schemas that are remembered, each at most 5 MB: those of all functions that a request may offer.
REMEMBERED = 128
# Blanks between tokens of JSON could go on without end.
COMPACT = {"whitespace_flexible": False}
LIMITS = {"max_grammar_size": 200_000, "initial_lexer_fuel": 500_000, "step_lexer_fuel": 100_000}


class JsonGrammars:
    """Compiles JSON schemas over one tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", vocabulary: int) -> None:
        """Index the tokenizer's tokens.

        Args:
            tokenizer: Of the base model.
            vocabulary: Number of logits, at least as many as the tokenizer has tokens.
        """
        self._end = int(tokenizer.eos_token_id)
        self._tokens = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary)
        self._limits = llguidance.LLParserLimits(**LIMITS)
        self._words = _Words(tokenizer, vocabulary)
        self._compiled = lru_cache(maxsize=REMEMBERED)(self._compile)

    def constraint(self, schema: Mapping[str, Any], param: str) -> "JsonConstraint":
        """The constraint of a text that follows a schema.

        Args:
            schema: A JSON schema from outside.
            param: Names it in errors.

        Raises:
            Refusal: It is too large or too deep, or cannot be compiled.
        """
        text = schema_text(schema, param)
        return JsonConstraint(self._compiled(text, param).deep_copy(), self._words, self._end)

    def _compile(self, text: str, param: str) -> "llguidance.LLMatcher":
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(text, overrides=COMPACT)
        except ValueError as error:
            raise bad(f"{param}: the schema cannot be used: {first_line(error)}", param) from None
        matcher = llguidance.LLMatcher(self._tokens, grammar, log_level=0, limits=self._limits)
        if matcher.is_error():
            raise _unusable(param, matcher)
        # Some schemas, as {"$ref": "#"}, fail at their first token.
        first = matcher.deep_copy()
        first.compute_bitmask()
        if first.is_error():
            raise _unusable(param, first)
        return matcher


class JsonConstraint:
    """The tokens that may come next in one text; see `adapters.engine.generation.Constraint`."""

    def __init__(self, matcher: "llguidance.LLMatcher", words: "_Words", end: int) -> None:
        """Begin a text.

        Args:
            matcher: A compiled schema at its beginning; it belongs to this text.
            words: The tokens' characters.
            end: The token that ends a text.
        """
        self._matcher, self._words, self._end = matcher, words, end
        self._is_in_string = self._is_escaped = False

    @property
    def ended(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self, *, closing: bool) -> np.ndarray:
        """Which tokens may come next, boolean, shape [vocabulary]; with `closing` those that lead to the end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        tokens: np.ndarray = np.unpackbits(bits, bitorder="little")[: self._words.count].astype(bool)
        if closing:
            if tokens[self._end]:
                return _only(self._end, len(tokens))
            ending: np.ndarray = tokens & (self._words.end_strings if self._is_in_string else self._words.end_parts)
            if ending.any() and not self._is_escaped:
                return ending
        return tokens

    def accept(self, token: int) -> None:
        """Go on behind a token that was allowed."""
        self._matcher.consume_token(token)
        self._check()
        for character in self._words.texts[token] if token < len(self._words.texts) else "":
            if self._is_escaped:
                self._is_escaped = False
            elif character == '"':
                self._is_in_string = not self._is_in_string
            else:
                self._is_escaped = character == "\\" and self._is_in_string

    def _check(self) -> None:
        """Refuse a schema whose parser gave up; it would end the text wherever it stands."""
        if self._matcher.is_error():
            raise Refusal(422, f"the schema is too hard to follow: {_reason(self._matcher)}", code="schema_too_hard")


def _unusable(param: str, matcher: "llguidance.LLMatcher") -> Refusal:
    return bad(f"{param}: the schema cannot be used: {_reason(matcher)}", param)


def _reason(matcher: "llguidance.LLMatcher") -> str:
    """The first line of a parser's error, without its state."""
    lines: list[str] = matcher.get_error().splitlines() or ["it fails"]
    return lines[0][:200]


def schema_text(schema: Mapping[str, Any], param: str) -> str:
    """A schema as JSON, in the client's order: the text's properties come in it.

    Raises:
        Refusal: It is too large or too deep, or holds a number that Python does not write.
    """
    try:
        text = json.dumps(schema)
    except ValueError:
        raise bad(f"{param}: the schema holds a number that is too long", param) from None
    if len(text) > MOST_SCHEMA_BYTES:
        raise bad(f"{param}: the schema has {len(text):,} characters, at most {MOST_SCHEMA_BYTES:,} are taken", param)
    if is_too_deep(text):
        raise bad(f"{param}: the schema is nested more than {MOST_DEPTH} levels deep", param)
    return text


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a schema of arguments in which objects that name their properties have no others."""
    copied: dict[str, Any] = copy.deepcopy(dict(schema))
    waiting: list[Any] = [copied]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("properties"), dict) and part.get("type") == "object":
                part.setdefault("additionalProperties", False)
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return copied


def _only(token: int, vocabulary: int) -> np.ndarray:
    alone = np.zeros(vocabulary, dtype=bool)
    alone[token] = True
    return alone


class _Words:
    """What the tokens of a tokenizer do to JSON.

    Attributes:
        count: Number of logits.
        texts: Characters of each token; a quotation mark, a backslash and a bracket stand for themselves whatever the
            tokenizer.
        end_strings: Which tokens close a string, and lists and objects after it, boolean, shape [count].
        end_parts: Which tokens close lists and objects alone, boolean, shape [count].
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", count: int) -> None:
        self.count = count
        self.texts: list[str] = [
            text or "" for text in tokenizer.convert_ids_to_tokens(list(range(min(count, len(tokenizer)))))
        ]
        self.end_strings, self.end_parts = np.zeros((2, count), dtype=bool)
        for token, text in enumerate(self.texts):
            self.end_strings[token] = text[:1] == '"' and not set(text[1:]) - set("}]")
            self.end_parts[token] = bool(text) and not set(text) - set("}]")
