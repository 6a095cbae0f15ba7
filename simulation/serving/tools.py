"""Functions that a model may call: one label each, chosen by exact probabilities, and arguments by their schema."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from polyphony.adapters.prompting.control_tokens import plain_tokens
from polyphony.adapters.prompting.grammar import LABEL_SETS
from polyphony.personas.people.acts import Verb
from polyphony.simulation.serving.json_grammar import closed
from polyphony.simulation.serving.protocol import ChatRequest, Function, Message, NamedTool
from polyphony.simulation.serving.refusal import bad

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The functions of OASIS, and those named as our verbs, have the labels under which adapters learned their habits.
VERB_OF = {
    "create_post": Verb.POST, "create_comment": Verb.REPLY, "quote_post": Verb.QUOTE, "repost": Verb.REPOST,
    "like_post": Verb.LIKE, "follow": Verb.FOLLOW, "do_nothing": Verb.NOTHING, "dislike_post": Verb.DISLIKE,
    "mute": Verb.MUTE, "search_posts": Verb.SEARCH, "trend": Verb.TREND, **{str(verb): verb for verb in Verb},
}  # fmt: skip
WORDS = "say"
"""The label of an answer in words."""
# In OASIS's feeds an account is called by another name than in the arguments of its functions.
SHOWN_AS = {"followee_id": "user_id", "mutee_id": "user_id"}
MOST_SHOWN = 256
# Each text is read once, whatever the names: a name is short, and nothing in it is tried twice.
_SHOWN = re.compile(r'"([A-Za-z0-9_.-]{0,61}_id)"\s*+:\s*+(-?[0-9]{1,18})(?![0-9.eE])')
_DESCRIBED = 160


@dataclass(frozen=True)
class Offer:
    """What an agent may do in answer to one request.

    Attributes:
        labels: Text of each label, one token long.
        tokens: Their token ids.
        functions: The function of each label; None for an answer in words.
        question: What ends the prompt.
    """

    labels: tuple[str, ...]
    tokens: tuple[int, ...]
    functions: tuple[Function | None, ...]
    question: str


def offer_of(request: ChatRequest, tokenizer: "PreTrainedTokenizerBase") -> Offer | None:
    """What a request lets an agent do; None where it must answer in words.

    Words are no choice where a call is required, nor where doing nothing is a function: then it is the way to stay
    silent, and OASIS takes words for no act at all. There, too, functions are no choice that must name something of a
    kind of which a feed shows nothing.

    Raises:
        Refusal: There are more functions than labels of one token.
    """
    functions = [tool.function for tool in request.tools or []]
    if not functions or request.tool_choice == "none":
        return None
    if isinstance(request.tool_choice, NamedTool):
        functions = [function for function in functions if function.name == request.tool_choice.function.name]
    is_required = request.tool_choice == "required" or isinstance(request.tool_choice, NamedTool)
    has_silence = any(VERB_OF.get(function.name) is Verb.NOTHING for function in functions)
    if has_silence and (shown := shown_numbers(request.messages)):
        functions = [function for function in functions if _has_target(function, shown)]
    choices: list[Function | None] = [*functions]
    if not is_required and (not has_silence or request.messages[-1].role in ("tool", "function")):
        choices.append(None)
    labels = _labels(choices, tokenizer)
    tokens = tuple(plain_tokens(tokenizer, label)[0] for label in labels)
    return Offer(labels, tokens, tuple(choices), _question(labels, choices))


def _labels(choices: Sequence[Function | None], tokenizer: "PreTrainedTokenizerBase") -> tuple[str, ...]:
    token_ids: set[int] = set()
    labels = []
    verbs = [VERB_OF.get(choice.name) if choice is not None else None for choice in choices]
    for choice, verb in zip(choices, verbs, strict=True):
        first = WORDS if choice is None else LABEL_SETS["words"][verb] if verb is not None else ""
        words = [] if choice is None else re.split(r"[^a-z]+", choice.name.lower())
        for label in (first, *words, *ascii_uppercase):
            tokens = plain_tokens(tokenizer, label) if label else []
            if len(tokens) == 1 and tokens[0] not in token_ids:
                token_ids.add(tokens[0])
                labels.append(label)
                break
        else:
            raise bad(f"tools: {len(choices)} functions are more than there are labels of one token", "tools")
    return tuple(labels)


def _question(labels: Sequence[str], choices: Sequence[Function | None]) -> str:
    """As training's prompts ask; what a label of ours does not say is described."""
    lines = [
        " ".join(f"{label}: {function.name}. {function.description or ''}".split())[:_DESCRIBED]
        for label, function in zip(labels, choices, strict=True)
        if function is not None and function.name not in VERB_OF
    ]
    *others, last = labels
    names = f"{', '.join(others)} or {last}" if others else last
    return "\n".join([*lines, f"You may {names}. You:"])


def arguments_schema(function: Function, shown: Mapping[str, list[int]]) -> dict[str, Any]:
    """The schema of a function's arguments, in which whole numbers that name something name what the messages show.

    An argument whose name ends in ``_id`` takes a value that stands in a message as JSON under that name, if any does.
    A number that names nothing would make the call fail where it is executed.

    Args:
        function: What is called.
        shown: Of `shown_numbers`.
    """
    schema = closed({"type": "object", "properties": {}, **(function.parameters or {})})
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return schema
    for name, part in properties.items():
        if _names_something(str(name), part) and (numbers := numbers_of(str(name), shown)):
            properties[name] = {"enum": numbers}
    return schema


def _names_something(name: str, part: object) -> bool:
    return name.endswith("_id") and isinstance(part, dict) and part.get("type") == "integer" and "enum" not in part


def _has_target(function: Function, shown: Mapping[str, list[int]]) -> bool:
    """Whether the messages show something of each kind that a function must name."""
    parameters = function.parameters or {}
    properties, required = parameters.get("properties"), parameters.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return True
    needed = [str(name) for name, part in properties.items() if name in required and _names_something(str(name), part)]
    return all(numbers_of(name, shown) for name in needed)


def numbers_of(name: str, shown: Mapping[str, list[int]]) -> list[int]:
    """The whole numbers that an argument can name; see `shown_numbers`."""
    return shown.get(SHOWN_AS.get(name, name)) or shown.get(name) or []


def shown_numbers(messages: Sequence[Message]) -> dict[str, list[int]]:
    """The whole numbers that stand as JSON under each name ``…_id`` in the last message that shows any, each once."""
    shown: dict[str, list[int]] = {}
    for message in reversed(messages):
        numbers: dict[str, dict[int, None]] = {}
        for name, number in _SHOWN.findall(message.text):
            if name not in shown and len(of_name := numbers.setdefault(name, {})) < MOST_SHOWN:
                of_name[int(number)] = None
        shown.update({name: list(of_name) for name, of_name in numbers.items()})
    return shown


def takes_nothing(schema: Mapping[str, Any]) -> bool:
    """Whether a function's arguments are empty."""
    return schema.get("type") == "object" and schema.get("properties") == {} and not set(schema) - {
        "type", "properties", "required", "additionalProperties", "description", "title", "$schema",
    }  # fmt: skip


def call_object(name: str, arguments: str, number: str) -> dict[str, Any]:
    """A tool call as OpenAI shows it."""
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
