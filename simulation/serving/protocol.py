"""The bodies of requests: OpenAI's fields that the server knows, and vLLM's for log-probabilities of given tokens."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from polyphony.printable import quoted
from polyphony.simulation.serving.refusal import Refusal, bad

MOST_STOPS, MOST_STOP_LENGTH = 16, 256
MOST_TOOLS, MOST_MESSAGES = 128, 4096
MOST_CHOICES = 16
MOST_SCORED = 256
MOST_BIASED = 1024
MOST_TOP = 20
MOST_PROMPTS = 256

Body = TypeVar("Body", bound=BaseModel)
Item = TypeVar("Item")
# A list ends at its first wrong item: two million of them would take gigabytes of errors.
Items = Annotated[list[Item], Field(fail_fast=True)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class _Part(BaseModel):
    """One part of a message's content."""

    type: Literal["text", "input_text"]
    text: str


class _CalledFunction(BaseModel):
    name: str
    arguments: str = "{}"


class _Call(BaseModel):
    id: str = ""
    type: Literal["function"] = "function"
    function: _CalledFunction


class Message(BaseModel):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Items[_Part] | None = None
    tool_calls: Items[_Call] | None = None

    @property
    def text(self) -> str:
        """All that it says, with the calls that it made."""
        parts = [self.content or ""] if not isinstance(self.content, list) else [part.text for part in self.content]
        calls = [f"{call.function.name} {call.function.arguments}" for call in self.tool_calls or []]
        return "\n".join(part for part in [*parts, *calls] if part)


class Function(BaseModel):
    """A function that may be called."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_.\-]{1,128}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(BaseModel):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


class _NamedFunction(BaseModel):
    name: str


class NamedTool(BaseModel):
    """The one tool that must be called."""

    type: Literal["function"]
    function: _NamedFunction


class _JsonSchema(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    name: str = ""
    content: dict[str, Any] = Field(default_factory=dict, alias="schema")


class ResponseFormat(BaseModel):
    """What the text must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None

    @property
    def constraining_schema(self) -> dict[str, Any] | None:
        """The schema that the text must follow; None for free text."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": "object"}
        return self.json_schema.content if self.json_schema is not None else {}

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing")
        return self


class _StreamOptions(BaseModel):
    include_usage: bool = False


def _is_bias(pair: tuple[str, Any]) -> bool:
    token, bias = pair
    is_number = isinstance(bias, int | float) and not isinstance(bias, bool)
    return token.isascii() and token.isdigit() and len(token) < 10 and is_number and -100 <= bias <= 100


class Drawing(BaseModel):
    """What both kinds of requests share. Fields that are not named here are ignored."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(min_length=1, max_length=1024)
    stream: bool = False
    stream_options: _StreamOptions | None = None
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: Share | None = None
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=10, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: str | Items[str] | None = None
    logprob_token_ids: Items[int] | None = Field(default=None, max_length=MOST_SCORED)
    ignore_eos: bool = False
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> list[str]:
        stops = [stop] if isinstance(stop, str) else stop or []
        if len(stops) > MOST_STOPS or any(not 0 < len(text) <= MOST_STOP_LENGTH for text in stops):
            raise ValueError(f"at most {MOST_STOPS} texts of 1 to {MOST_STOP_LENGTH} characters")
        return stops

    @field_validator("presence_penalty", "frequency_penalty")
    @classmethod
    def _no_penalty(cls, penalty: float | None) -> float | None:
        if penalty:
            raise ValueError("is not supported; leave it out, or give repetition_penalty")
        return penalty

    @field_validator("logit_bias")
    @classmethod
    def _few_biases(cls, bias: dict[str, Any] | None) -> dict[str, Any] | None:
        biases = bias or {}
        if len(biases) > MOST_BIASED or not all(map(_is_bias, biases.items())):
            raise ValueError(f"at most {MOST_BIASED} token ids, each with a number from -100 to 100")
        return bias

    @property
    def biases(self) -> tuple[tuple[int, float], ...]:
        """What is added to the logits of some tokens."""
        return tuple((int(token), float(bias)) for token, bias in (self.logit_bias or {}).items())

    @property
    def stops(self) -> list[str]:
        """Texts that end an answer."""
        return self.stop if isinstance(self.stop, list) else []

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Drawing):
    """``POST /v1/chat/completions``."""

    messages: Items[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP)
    tools: Items[Tool] | None = Field(default=None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None

    @property
    def most(self) -> int | None:
        """Most tokens of the answer; None where the client leaves it to the server."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def top(self) -> int | None:
        """How many of the likeliest tokens are reported; None for none and no log-probability."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @model_validator(mode="after")
    def _known_tool(self) -> Self:
        names = [tool.function.name for tool in self.tools or []]
        if len(set(names)) < len(names):
            raise ValueError("tools: two functions have the same name")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise ValueError(f"tool_choice: no tool is called {quoted(self.tool_choice.function.name)}")
        if self.tool_choice == "required" and not names:
            raise ValueError("tool_choice: 'required' needs tools")
        return self


class CompletionRequest(Drawing):
    """``POST /v1/completions``."""

    prompt: str | Items[int] | Items[str] | Items[Items[int]]
    logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP)
    echo: Literal[False] | None = None
    suffix: None = None
    best_of: Literal[1] | None = None
    return_tokens_as_token_ids: bool = False
    return_token_ids: bool = False

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, each as text or as token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        lists: list[str | list[int]] = [part for part in self.prompt if not isinstance(part, int)]
        return lists or [[part for part in self.prompt if isinstance(part, int)]]

    @field_validator("prompt")
    @classmethod
    def _some_prompts(cls, prompt: Any) -> Any:
        if not prompt:
            raise ValueError("must hold text or token ids")
        if isinstance(prompt, list) and not isinstance(prompt[0], int) and len(prompt) > MOST_PROMPTS:
            raise ValueError(f"at most {MOST_PROMPTS} prompts")
        return prompt


class LoadRequest(BaseModel):
    """``POST /v1/load_lora_adapter``, as vLLM's."""

    lora_name: str = Field(min_length=1, max_length=512)
    lora_path: str = Field(min_length=1, max_length=4096)


class UnloadRequest(BaseModel):
    """``POST /v1/unload_lora_adapter``, as vLLM's."""

    lora_name: str = Field(min_length=1, max_length=512)


def read_body(kind: type[Body], body: bytes) -> Body:
    """Read a request.

    Raises:
        Refusal: It is no JSON, or a field is wrong.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None


# What pydantic puts into a place for the kinds that a field may have.
_TAGS = ("function-", "constrained", "nullable", "list[", "json-or-python")


def _refusal(error: ValidationError) -> Refusal:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return bad(f"the body is no JSON: {first['msg']}", code="invalid_json")
    field = ".".join(str(part) for part in first["loc"] if part != "str" and not str(part).startswith(_TAGS))[:100]
    text = first["msg"].removeprefix("Value error, ")
    return bad(f"{field}: {text}" if field else text, param=field or None)
