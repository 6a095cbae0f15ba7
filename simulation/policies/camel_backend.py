"""One person's adapter as a model backend of camel-ai, for camel's agents and societies."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from camel.messages import OpenAIMessage
from camel.models import BaseModelBackend, ModelFactory
from camel.types import ChatCompletion, ModelPlatformType
from camel.utils import BaseTokenCounter
from pydantic import BaseModel

from polyphony.adapters.engine.acts import ActChoice, ActFailure, ActRequest
from polyphony.adapters.engine.interface import ActEngine
from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.personas.people.persona import Persona
from polyphony.randomness import keyed_generator
from polyphony.simulation.policies.arms import AdapterUse, Arm
from polyphony.simulation.policies.engine_policy import length_cap
from polyphony.simulation.policies.policy import Observation

BackendFactory = Callable[[Observation], BaseModelBackend]


class EngineTokenCounter(BaseTokenCounter):  # type: ignore[misc]
    """Counts with the base model's own tokenizer."""

    def __init__(self, kit: PromptKit) -> None:
        """Take the tokenizer from the prompt kit."""
        self._builder = kit.builder

    def count_tokens_from_messages(self, messages: list[OpenAIMessage]) -> int:
        """Tokens of all messages' texts."""
        return sum(len(self.encode(str(message.get("content") or ""))) for message in messages)

    def encode(self, text: str) -> list[int]:
        """Token ids, special tokens as plain text."""
        return list(self._builder.plain(text))

    def decode(self, token_ids: list[int]) -> str:
        """Text of token ids."""
        return str(self._builder.tokenizer.decode(token_ids))


class EngineBackend(BaseModelBackend):  # type: ignore[misc]
    """Answers with one tool call: the act that the engine draws among the offered tools.

    A tool named after a verb (``post``, ``reply`` …) is an act, the ``enum`` of its ``item`` the possible targets.
    If no tool is an act, the answer is text alone.
    """

    def __init__(
        self, engine: ActEngine, kit: PromptKit, *, slot: int | None, cap: int, key: Sequence[Any],
        feed: Sequence[FeedItem] = (),
    ) -> None:  # fmt: skip
        """Bind the backend to one slot.

        Args:
            engine: The engine, with its adapters installed.
            kit: Prompts and act scorer of its base model.
            slot: Whose factors; None for the bare base.
            cap: Most tokens of text.
            key: Keys the random draws; each call draws afresh.
            feed: What is shown: over a prior with a pointer, its items are the targets, and move the choice of the act.
        """
        super().__init__("polyphony-engine", {}, token_counter=EngineTokenCounter(kit))
        self._engine, self._kit, self._slot, self._cap, self._key = engine, kit, slot, cap, key
        self._items = kit.items.states(feed) if feed else None
        self._calls = 0
        self.prompt: list[int] = []
        self.choice: ActChoice | None = None

    @property
    def token_counter(self) -> BaseTokenCounter:
        """The counter of the base model's tokens."""
        return self._token_counter

    def _run(
        self,
        messages: list[OpenAIMessage],
        response_format: type[BaseModel] | None = None,
        tools: list[dict[str, Any]] | None = None,
    ) -> ChatCompletion:
        system = " ".join(str(message.get("content") or "") for message in messages if message["role"] == "system")
        users = [str(message.get("content") or "") for message in messages if message["role"] == "user"]
        self.prompt = self._kit.builder.chat(system, users[-1] if users else "")
        offered = _targets(tools or [])
        uniforms = keyed_generator(*self._key, self._calls).random(2 + self._cap)
        self._calls += 1
        items = self._items if offered else None
        request = ActRequest(self._slot, self.prompt, offered or {Verb.POST: []}, self._cap, uniforms, items=items)
        (choice,) = self._engine.decide([request])
        if isinstance(choice, ActFailure):
            raise RuntimeError(choice.reason)
        self.choice = choice
        return _completion(self.choice, len(self.prompt), as_tool=bool(offered))

    async def _arun(
        self,
        messages: list[OpenAIMessage],
        response_format: type[BaseModel] | None = None,
        tools: list[dict[str, Any]] | None = None,
    ) -> ChatCompletion:
        return self._run(messages, response_format, tools)


def engine_backends(
    engine: ActEngine, kit: PromptKit, personas: Sequence[Persona], arm: Arm, *, seed: int
) -> BackendFactory:
    """Return a factory of backends: agent i uses slot i, or the bare base if the arm has no adapter."""
    caps = [length_cap(persona, kit) for persona in personas]

    def make(observation: Observation) -> EngineBackend:
        slot = None if arm.adapter is AdapterUse.NONE else observation.agent
        key = (seed, "camel act", observation.agent, observation.timestep)
        return EngineBackend(engine, kit, slot=slot, cap=caps[observation.agent], key=key, feed=observation.feed)

    return make


def served_backends(model: str, url: str, kit: PromptKit) -> BackendFactory:
    """Return a factory that gives every agent the same model of one of camel's platforms.

    Args:
        model: ``PLATFORM/NAME``, as ``ollama/llama3.2`` or ``openai-compatible-model/my-model``.
        url: Where it is served; empty for the platform's own address.
        kit: Whose tokenizer counts tokens, so that nothing is looked up elsewhere.

    Raises:
        InputError: camel has no such platform, or lacks its key.
    """
    platform, _, name = model.partition("/")
    platforms = sorted(kind.value for kind in ModelPlatformType)
    if platform not in platforms or not name:
        raise InputError(f"--camel-model {model!r} is not PLATFORM/NAME with a platform of {', '.join(platforms)}")
    try:
        backend = ModelFactory.create(
            model_platform=ModelPlatformType(platform), model_type=name, url=url or None,
            token_counter=EngineTokenCounter(kit),
        )  # fmt: skip
    except Exception as error:  # every platform's client has errors of its own
        raise InputError(f"--camel-model {model}: {' '.join(str(error).split())[:200]}") from error
    return lambda _observation: backend


def _targets(tools: Sequence[Mapping[str, Any]]) -> dict[Verb, list[int]]:
    """Read the possible acts from tool schemas."""
    targets = {}
    for tool in tools:
        function = tool["function"]
        if function["name"] in set(Verb):
            items = function.get("parameters", {}).get("properties", {}).get("item", {})
            targets[Verb(function["name"])] = list(items.get("enum", []))
    return {verb: items for verb, items in targets.items() if items or not verb.has_target}


def _completion(choice: ActChoice, prompt_tokens: int, *, as_tool: bool) -> ChatCompletion:
    arguments: dict[str, Any] = {}
    if choice.position is not None:
        arguments["item"] = choice.position
    if choice.verb.has_text:
        arguments["text"] = choice.text
    call = {"id": "act", "type": "function", "function": {"name": choice.verb, "arguments": json.dumps(arguments)}}
    message: dict[str, Any] = {"role": "assistant", "content": "" if as_tool else choice.text}
    if as_tool:
        message["tool_calls"] = [call]
    return ChatCompletion.model_validate(
        {
            "id": "polyphony", "object": "chat.completion", "created": int(time.time()), "model": "polyphony-engine",
            "choices": [{"index": 0, "finish_reason": "tool_calls" if as_tool else "stop", "message": message}],
            "usage": {
                "prompt_tokens": prompt_tokens, "completion_tokens": choice.output_tokens,
                "total_tokens": prompt_tokens + choice.output_tokens,
            },
        }
    )  # fmt: skip
