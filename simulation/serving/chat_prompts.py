"""Chats as tokens: the template's own parts may steer the model, nothing that a client sends can."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from polyphony.adapters.prompting.control_tokens import plain_tokens
from polyphony.printable import first_line
from polyphony.simulation.serving.protocol import Message
from polyphony.simulation.serving.refusal import bad

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What a template calls those who speak.
ROLES = {"developer": "system", "tool": "user", "function": "user"}
_PLACE = re.compile("\x02([0-9]+)\x03")
CONTENT_FREE = "N/A"
"""The content-free input of contextual calibration."""


class ChatPrompts:
    """Turns messages into the tokens before an answer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", most_tokens: int) -> None:
        """Take the tokenizer, with its chat template if it has one, and the most tokens of a prompt."""
        self._tokenizer, self._most_tokens = tokenizer, most_tokens
        # A tokenizer may shorten letters and their marks to a quarter before it begins.
        self._most_bytes = 4 * most_tokens * max(map(len, tokenizer.get_vocab()))
        self._begin: list[int] = list(tokenizer.encode(""))

    def chat(self, messages: Sequence[Message]) -> list[int]:
        """The tokens before the answer to some messages.

        Raises:
            Refusal: The base model's template takes no such messages.
        """
        return self._rendered([(ROLES.get(message.role, message.role), message.text) for message in messages])

    def act(self, messages: Sequence[Message], question: str) -> list[int]:
        """The tokens before an act: the words that stand in training's prompts, in the places where they stand there.

        Args:
            messages: What was said; system messages stand first, everything else follows line by line.
            question: What may be done; ends the prompt.

        Raises:
            Refusal: The base model's template takes no such messages.
        """
        system = "\n".join(message.text for message in messages if ROLES.get(message.role, message.role) == "system")
        conversation = "\n".join(
            message.text for message in messages if ROLES.get(message.role, message.role) != "system"
        )
        lines = [" ".join(line.split()) for line in conversation.splitlines() if line.strip()]
        user = "\n".join([*lines, question])
        persona = " ".join(system.split())
        return self._rendered([*([("system", persona)] if persona else []), ("user", user)])

    def content_free(self, question: str) -> list[int]:
        """The tokens before an act of nobody who was told nothing."""
        return self._rendered([("system", CONTENT_FREE), ("user", f"{CONTENT_FREE}\n{question}")])

    def text(self, text: str) -> list[int]:
        """The tokens of a prompt that is one text.

        Raises:
            Refusal: It is too long for any prompt.
        """
        self._check_length([text], "prompt")
        return [*self._begin, *plain_tokens(self._tokenizer, text)]

    def _check_length(self, texts: Sequence[str], param: str) -> None:
        """Refuse text that can be no prompt before seconds are spent on its tokens."""
        size = sum(len(text.encode()) for text in texts)
        if size > self._most_bytes:
            raise bad(
                f"{param}: {size:,} bytes are more than any prompt of {self._most_tokens:,} tokens has", param,
                "context_length_exceeded",
            )  # fmt: skip

    def _rendered(self, parts: Sequence[tuple[str, str]]) -> list[int]:
        self._check_length([text for _, text in parts], "messages")
        places = [{"role": role, "content": f"\x02{number}\x03"} for number, (role, _) in enumerate(parts)]
        tokens: list[int] = []
        for index, piece in enumerate(_PLACE.split(self._template(places))):
            if index % 2:
                tokens += plain_tokens(self._tokenizer, parts[int(piece)][1])
            elif piece:
                tokens += self._tokenizer.encode(piece, add_special_tokens=False)
        return tokens

    def _template(self, messages: Sequence[dict[str, str]]) -> str:
        if not self._tokenizer.chat_template:
            begin = str(self._tokenizer.bos_token or "")
            return begin + "".join(f"{message['content']}\n\n" for message in messages)
        try:
            return str(self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
        except TemplateError as error:
            raise bad(
                f"messages: the base model's chat template refuses them: {first_line(error)}", "messages"
            ) from None
