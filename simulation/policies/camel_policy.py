"""The policy of camel-ai's agents: one ChatAgent for each person, whose tools are the acts."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from camel.agents import ChatAgent
from camel.toolkits import FunctionTool

from polyphony.adapters.prompting.prompt import PromptBuilder, prompt_digest
from polyphony.personas.people.acts import Verb
from polyphony.personas.people.persona import Persona
from polyphony.simulation.policies.arms import Arm
from polyphony.simulation.policies.camel_backend import BackendFactory, EngineBackend
from polyphony.simulation.policies.engine_policy import recent_texts
from polyphony.simulation.policies.policy import Decision, Observation

ATTEMPTS = 2
STEP_SECONDS = 120.0
DOES = {
    Verb.POST: "Publish a post of your own.",
    Verb.REPLY: "Reply to an item of the feed.",
    Verb.QUOTE: "Share an item of the feed with words of your own.",
    Verb.REPOST: "Share an item of the feed as it is.",
    Verb.LIKE: "Like an item of the feed.",
    Verb.FOLLOW: "Follow the author of an item of the feed.",
    Verb.NOTHING: "Do nothing now.",
    Verb.DISLIKE: "Dislike an item of the feed.",
    Verb.MUTE: "See nothing more of the author of an item of the feed.",
    Verb.SEARCH: "Look for posts that hold some words.",
    Verb.TREND: "See the most liked posts of the week.",
}


class CamelPolicy:
    """Lets a ChatAgent decide for each observation; an error becomes a recorded failure."""

    def __init__(
        self,
        backends: BackendFactory,
        builder: PromptBuilder,
        personas: Sequence[Persona],
        arm: Arm,
        *,
        step_seconds: float = STEP_SECONDS,
        at_once: int = 1,
    ) -> None:
        """Bind agents to model backends.

        Args:
            backends: Makes the model of one observation's agent; any camel backend will do.
            builder: Writes the messages.
            personas: The agents, in order.
            arm: Says whether the prompt describes the person.
            step_seconds: How long an attempt may take.
            at_once: How many agents may ask at the same time; our engine answers one, a served model several.
        """
        self._step_seconds, self._at_once = step_seconds, at_once
        self._backends, self._builder, self._personas, self._arm = backends, builder, personas, arm

    def decide(self, observations: Sequence[Observation]) -> list[Decision]:
        """Decide for each observation alone."""
        pool = ThreadPoolExecutor(self._at_once)
        try:
            return list(pool.map(self._decide, observations))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for answers

    def _decide(self, observation: Observation) -> Decision:
        persona = self._personas[observation.agent]
        described = persona.description if self._arm.persona_prompt else None
        recent = recent_texts(persona, self._arm)
        system, user = self._builder.messages(persona.handle, described, observation.feed, observation.memory, recent)
        backend = self._backends(observation)
        failure = ""
        for _ in range(ATTEMPTS):
            calls: list[tuple[Verb, int | None, str]] = []
            tools = [_tool(verb, items, calls) for verb, items in observation.targets.items()]
            agent = ChatAgent(system, model=backend, tools=tools, max_iteration=1, step_timeout=None)
            try:
                _within(self._step_seconds, agent.step, user)
                failure = "" if calls else "the model called no act with usable arguments"
            except Exception as error:
                # An error of a provider is an outcome of this activation, not the end of the run.
                failure = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            if calls:
                return _decision(calls[0], backend)
        return Decision(verb=None, position=None, text="", distribution=None, failure=failure)


def _within(seconds: float, call: Callable[[str], object], message: str) -> None:
    """Call, and continue without an answer when the time is over.

    camel's own time-out waits for the call that it gives up, so that a provider that never answers would stop the run.

    Raises:
        TimeoutError: The time is over.
        Exception: Any error of the call.
    """
    raised: list[Exception] = []

    def run() -> None:
        try:
            call(message)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer in {seconds:g} s")
    if raised:
        raise raised[0]


def _tool(verb: Verb, items: Sequence[int], calls: list[tuple[Verb, int | None, str]]) -> FunctionTool:
    properties: dict[str, Any] = {}
    if verb.has_target:
        properties["item"] = {"type": "integer", "enum": list(items), "description": "Number of the item."}
    if verb.has_text:
        properties["text"] = {"type": "string", "description": "Your words."}
    parameters = {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False
    }  # fmt: skip
    function = {"name": str(verb), "description": DOES[verb], "strict": True, "parameters": parameters}
    return FunctionTool(
        _recorder(verb, items, calls), openai_tool_schema={"type": "function", "function": function}
    )  # fmt: skip


def _recorder(verb: Verb, items: Sequence[int], calls: list[tuple[Verb, int | None, str]]) -> Callable[..., str]:
    def act(item: int | None = None, text: str = "") -> str:
        if verb.has_target and item not in items:
            raise ValueError(f"item {item!r} is not one of {list(items)}")
        if verb.has_text and not str(text).strip():
            raise ValueError("text is empty")
        calls.append((verb, item if verb.has_target else None, str(text) if verb.has_text else ""))
        return "done"

    act.__name__ = str(verb)
    act.__doc__ = DOES[verb]
    return act


def _decision(call: tuple[Verb, int | None, str], backend: Any) -> Decision:
    verb, position, text = call
    if not isinstance(backend, EngineBackend) or backend.choice is None:
        return Decision(verb=verb, position=position, text=" ".join(text.split()), distribution=None)
    return Decision(
        verb=verb,
        position=position,
        text=text,
        distribution=backend.choice.distribution,
        prompt_digest=prompt_digest(backend.prompt),
        prompt_tokens=len(backend.prompt),
        output_tokens=backend.choice.output_tokens,
    )
