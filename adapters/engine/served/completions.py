"""A model behind ``/v1/completions`` that takes token ids: log-probabilities of labels, and texts.

The probability of a label is asked with ``logprob_token_ids``, which returns the raw log-probability of exactly the
tokens that are named (vLLM, pull requests 34539 and 43463). A server without it tells those of its likeliest tokens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polyphony.adapters.engine.decoding_config import NUCLEUS_TOKENS, DecodingConfig
from polyphony.adapters.engine.interface import Exactness
from polyphony.adapters.engine.served.client import Client, Refused, ServerError
from polyphony.adapters.prompting.control_tokens import control_tokens
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.printable import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PATH = "/v1/completions"
LIKELIEST = 20
"""Tokens whose probability is asked where labels cannot be named; servers often allow no more."""
USUAL_LOGIT, MOST_PRESENCE = 11.5, 2.0
"""A logit as likely tokens have it, and the largest presence penalty that servers take."""
# Servers write -inf as this, which JSON can hold.
_IMPOSSIBLE = -9999.0
_LARGEST_SEED = 2**31


@dataclass(frozen=True)
class Written:
    """A text and how many tokens it took."""

    text: str
    tokens: int


class Completions:
    """The completions of one server, in the tokens of one base model."""

    def __init__(
        self, client: Client, kit: PromptKit, decoding: DecodingConfig, exactness: Exactness,
        likeliest: int = LIKELIEST, *, penalises_prompt: bool = False,
    ) -> None:  # fmt: skip
        """Take a server that was found able, see `probed`.

        Args:
            client: The server.
            kit: Whose tokenizer and grammar are used.
            decoding: How texts are drawn.
            exactness: Whether the server takes ``logprob_token_ids``.
            likeliest: Tokens whose probability is asked where it does not.
            penalises_prompt: Whether the server's repetition penalty counts the prompt's tokens, too, see `_penalty`.
        """
        self._penalties = _penalty(decoding.repetition_penalty, penalises_prompt)
        self._client, self._decoding, self.exactness, self._likeliest = client, decoding, exactness, likeliest
        self._tokenizer, self._end = kit.builder.tokenizer, kit.builder.grammar.end_id
        banned = sorted(control_tokens(self._tokenizer) - {self._end})
        self._bans = {str(token): -100 for token in banned}

    def label_logprobs(self, model: str, prompt: Sequence[int], labels: Sequence[int]) -> list[float]:
        """The log-probability of each label as the token after a prompt; -inf where it is not told.

        Raises:
            ServerError: The answer lacks a label although all are asked for, or all labels, or cannot be.
        """
        answer = self._client.post(
            PATH, label_body(model, prompt, labels if self.exactness is Exactness.EXACT else (), self._likeliest)
        )
        logprobs = label_answer(answer, labels, self._tokenizer)
        if self.exactness is Exactness.EXACT and len(logprobs) < len(set(labels)):
            raise ServerError("the server's answer lacks the log-probability of a label")
        if not logprobs:
            raise ServerError(f"none of the allowed labels is among the {self._likeliest} likeliest tokens")
        return [logprobs.get(label, -math.inf) for label in labels]

    def write(self, model: str, prompt: Sequence[int], most_tokens: int, uniform: float) -> Written:
        """Continue a prompt with words.

        Args:
            model: Who writes.
            prompt: The prompt and the act up to its text.
            most_tokens: Most tokens of the text.
            uniform: A uniform draw in [0, 1) that decides the seed.

        Raises:
            ServerError: There is no text in the answer.
        """
        config = self._decoding
        body: dict[str, Any] = {
            "model": model, "prompt": list(prompt), "max_tokens": most_tokens, "min_tokens": 1,
            "temperature": config.temperature, "top_p": config.top_p, "top_k": NUCLEUS_TOKENS,
            "seed": int(uniform * _LARGEST_SEED), "stop_token_ids": [self._end], "logit_bias": self._bans,
            **self._penalties,
        }  # fmt: skip
        answer = self._client.post(PATH, body)
        text = _first_choice(answer).get("text")
        if not isinstance(text, str):
            raise ServerError("the server's answer holds no text")
        usage = answer.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        return Written(printable(text), tokens if type(tokens) is int and tokens >= 0 else 0)


def _penalty(repetition: float, penalises_prompt: bool) -> dict[str, float]:
    """How a server is told to make tokens that a text holds already less likely.

    The engine here divides their logits, and leaves those of the prompt alone. vLLM divides those of the prompt, too:
    the end token stands in every chat template, so that no text ends before its limit. There, a presence penalty stands
    in for it: it subtracts a constant from the logits of written tokens alone, as a division does from a usual logit.
    Measured with SmolLM2-135M and a penalty of 1.15, 24 texts of at most 40 tokens: 29.0 tokens a text as here, 40.0
    as vLLM divides, 32.5 with a presence penalty of 1.5.
    """
    if not penalises_prompt:
        return {"repetition_penalty": repetition}
    return {"presence_penalty": min(MOST_PRESENCE, USUAL_LOGIT * (1 - 1 / repetition)), "repetition_penalty": 1.0}


def probed(client: Client, kit: PromptKit, model: str) -> tuple[Exactness, int] | None:
    """Find out what a server tells of labels: how exactly, and how many of its likeliest tokens.

    Returns:
        None where it takes no token ids or tells no log-probabilities.

    Raises:
        ServerError: The server cannot be reached, or fails.
    """
    prompt, labels = list(kit.builder.plain("You:")), sorted(kit.builder.grammar.verb_ids.values())
    for likeliest in (LIKELIEST, 5):
        for asked in (labels, []):
            try:
                answer = client.post(PATH, label_body(model, prompt, asked, likeliest))
                logprobs = label_answer(answer, labels, kit.builder.tokenizer)
            except Refused as refusal:
                if refusal.status in (401, 403):
                    raise
                continue
            except _NoLogprobs:
                continue
            if asked and len(logprobs) == len(labels):
                return Exactness.EXACT, likeliest
            if not asked:
                return Exactness.TRUNCATED, likeliest
    return None


class _NoLogprobs(ServerError):
    """An answer without log-probabilities."""


def label_body(model: str, prompt: Sequence[int], named: Sequence[int], likeliest: int) -> dict[str, Any]:
    """The request for log-probabilities of the next token: of named ones, else of the likeliest."""
    body: dict[str, Any] = {
        "model": model, "prompt": list(prompt), "max_tokens": 1, "temperature": 0.0, "logprobs": likeliest,
        "return_tokens_as_token_ids": True,
    }  # fmt: skip
    return body | ({"logprob_token_ids": list(named), "logprobs": 1} if named else {})


def label_answer(
    answer: Mapping[str, Any], labels: Sequence[int], tokenizer: "PreTrainedTokenizerBase"
) -> dict[int, float]:
    """The log-probabilities of labels that an answer holds.

    A server names tokens by ``token_id:`` and a number, or by their text.

    Raises:
        ServerError: The answer is not of that form, or holds what is no log-probability.
    """
    logprobs = _first_choice(answer).get("logprobs")
    top = logprobs.get("top_logprobs") if isinstance(logprobs, dict) else None
    first = top[0] if isinstance(top, list) and top else None
    if not isinstance(first, dict):
        raise _NoLogprobs("the server's answer holds no log-probabilities")
    log_probabilities: dict[int, float] = {}
    for label in labels:
        value = first.get(f"token_id:{label}", first.get(str(tokenizer.decode([label]))))
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not value <= 1e-3:
            raise ServerError("the server's answer holds what is no log-probability")
        log_probabilities[label] = -math.inf if value <= _IMPOSSIBLE else float(value)
    return log_probabilities


def _first_choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ServerError("the server's answer holds no choice")
    return choices[0]
