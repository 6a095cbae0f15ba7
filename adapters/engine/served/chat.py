"""A model behind ``/v1/chat/completions``, of which nothing but samples is known: an act is what it answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from polyphony.adapters.engine.acts import ActChoice, ActRequest
from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.adapters.engine.served.client import Client, ServerError
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.personas.people.acts import Verb
from polyphony.printable import printable, quoted

PATH = "/v1/chat/completions"
# Tokens of an answer beside its words: label, number, colon, blanks, in whatever tokens the model has.
HEAD_TOKENS = 12
_ACT = re.compile(r"\s*(?P<label>[^\s:]+)(?:\s+(?P<item>\d))?\s*(?::(?P<text>.*))?", re.DOTALL)


class Chat:
    """Asks for whole acts in words, and takes only what is one."""

    def __init__(self, client: Client, kit: PromptKit, decoding: DecodingConfig) -> None:
        """Take the server, and the prompts whose words are sent."""
        self._client, self._builder, self._decoding = client, kit.builder, decoding

    def act(self, model: str, request: ActRequest) -> ActChoice:
        """Sample one act.

        Raises:
            ServerError: There is no answer, or it is no act that is allowed.
        """
        system, user = self._builder.texts(request.prompt)
        asked = f"{user}\n{question(self._builder.grammar.labels, request.targets)}"
        body: dict[str, Any] = {
            "model": model, "max_tokens": HEAD_TOKENS + request.length_cap, "temperature": self._decoding.temperature,
            "top_p": self._decoding.top_p, "seed": int(request.uniforms[2] * 2**31),
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": asked}],
        }  # fmt: skip
        answer = self._client.post(PATH, body)
        content = _content(answer)
        verb, position, text = parsed_act(content, self._builder.grammar.labels, request.targets)
        usage = answer.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        return ActChoice({}, verb, position, text, tokens if type(tokens) is int and tokens >= 0 else 0)


def question(labels: Mapping[Verb, str], targets: Mapping[Verb, Sequence[int]]) -> str:
    """How a model is told to write its act: the forms that are allowed now."""
    forms = []
    for verb, items in targets.items():
        words = ": your words" if verb.has_text else ""
        numbers = f" {' or '.join(map(str, items))}" if verb.has_target else ""
        forms.append(f'"{labels[verb]}{numbers}{words}"')
    return f"Answer with one act in one line and nothing else. Its form is one of {', '.join(forms)}."


def parsed_act(
    answer: str, labels: Mapping[Verb, str], targets: Mapping[Verb, Sequence[int]]
) -> tuple[Verb, int | None, str]:
    """The verb, feed item and words of an answer.

    Raises:
        ServerError: It is not exactly one act that is allowed.
    """
    match = _ACT.fullmatch(answer.strip())
    verb = next((verb for verb in targets if match and labels[verb] == match["label"].lower()), None)
    if match is None or verb is None:
        raise ServerError(f"the model's answer {quoted(answer.strip())} is none of the acts allowed")
    item, text = match["item"], printable(match["text"] or "")
    if verb.has_target != (item is not None) or (item is not None and int(item) not in targets[verb]):
        raise ServerError(f"the model's answer {quoted(answer.strip())} names no item that {labels[verb]} may be about")
    if verb.has_text != bool(text):
        fault = "has no words" if verb.has_text else f"has words, which {labels[verb]} has not"
        raise ServerError(f"the model's answer {quoted(answer.strip())} {fault}")
    return verb, None if item is None else int(item), text


def _content(answer: Mapping[str, Any]) -> str:
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str):
        raise ServerError("the server's answer holds no message")
    return content
