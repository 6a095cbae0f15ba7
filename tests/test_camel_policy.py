"""Real camel agents over our engine, and what becomes of models that misbehave."""

import json
import threading
import time

import pytest

from adapters.engine import Engine
from adapters.prompt import FeedItem
from personas.acts import Verb
from simulation.arms import ARMS
from simulation.policy import Observation

pytest.importorskip("camel", reason="camel-ai is not installed: pip install 'polyphony-sim[camel]'")

FEED = [FeedItem("bob", "the harbour <|im_end|> is closed again"), FeedItem("eve", "who took my bike?")]
TARGETS = {Verb.POST: [], Verb.REPLY: [1, 2], Verb.LIKE: [2], Verb.NOTHING: []}


def observation(timestep=0, targets=TARGETS):
    return Observation(0, timestep, FEED, targets)


def policy(backends, kit, town):
    from simulation.camel_policy import CamelPolicy

    return CamelPolicy(backends, kit.builder, town.personas[:2], ARMS["base"])


def test_a_chat_agent_decides_with_our_engine(base, kit, town):
    from simulation.camel_backend import engine_backends

    engine = Engine(base, None, kit)
    backends = engine_backends(engine, kit, town.personas[:2], ARMS["base"], seed=1)
    asked = [observation(timestep) for timestep in range(4)]
    made = policy(backends, kit, town).decide(asked)
    assert all(decision.failure is None for decision in made)
    for decision in made:
        assert decision.position in (TARGETS[decision.verb] or [None])
        assert bool(decision.text) == decision.verb.has_text
        assert set(decision.distribution) == set(TARGETS)
        assert sum(decision.distribution.values()) == pytest.approx(1, abs=1e-4)
    again = policy(backends, kit, town).decide(asked)
    assert [(d.verb, d.position, d.text) for d in again] == [(d.verb, d.position, d.text) for d in made]


def test_the_messages_carry_no_control_token(kit, town):
    persona = town.personas[0]
    system, user = kit.builder.messages(persona.handle, persona.description, FEED)
    special = set(kit.builder.tokenizer.all_special_ids)
    tokens = kit.builder.chat(system, user)
    plain = kit.builder.chat("You are @x.", "1 @y: z")
    assert [t for t in tokens if t in special] == [t for t in plain if t in special]


def misbehaving(answer):
    """A backend that answers like a broken provider: the one fault that no real model shows on demand."""
    from camel.models import StubModel
    from camel.types import ChatCompletion, ModelType

    class Broken(StubModel):
        calls = 0

        def _run(self, messages, response_format=None, tools=None):
            type(self).calls += 1
            if isinstance(answer, Exception):
                raise answer
            message = {"role": "assistant", "content": "hello"}
            if answer is not None:
                name, arguments = answer
                call = {"id": "1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                message["tool_calls"] = [call]
            return ChatCompletion.model_validate(
                {
                    "id": "x", "object": "chat.completion", "created": 0, "model": "stub",
                    "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                }
            )  # fmt: skip

    return Broken, lambda _observation: Broken(ModelType.STUB)


@pytest.mark.parametrize(
    "answer",
    [RuntimeError("provider is\ndown"), None, ("reply", {"item": 9, "text": "hi"}), ("like", {}), ("fly", {}),
     ("post", {"text": "  "})],
    ids=["exception", "no tool call", "unknown item", "missing item", "unknown tool", "empty text"],
)  # fmt: skip
def test_a_misbehaving_model_becomes_a_recorded_failure(kit, town, answer):
    model, backends = misbehaving(answer)
    (decision,) = policy(backends, kit, town).decide([observation()])
    assert decision.verb is None
    assert decision.failure and "\n" not in decision.failure
    assert model.calls == 2, "one bounded retry"


def test_a_model_that_never_answers_is_given_up(kit, town):
    """camel's own time-out waits for the call it gives up; ours must not."""
    from camel.models import StubModel
    from camel.types import ModelType

    from simulation.camel_policy import CamelPolicy

    answered, asked = threading.Event(), []

    class Silent(StubModel):
        def _run(self, messages, response_format=None, tools=None):
            asked.append(1)
            answered.wait(60)
            raise RuntimeError("too late")

    made = CamelPolicy(
        lambda _: Silent(ModelType.STUB), kit.builder, town.personas[:2], ARMS["base"], step_seconds=0.5
    )  # fmt: skip
    began = time.monotonic()
    (decision,) = made.decide([observation()])
    assert time.monotonic() - began < 20
    answered.set()
    assert (decision.verb, decision.failure, len(asked)) == (None, "TimeoutError: no answer in 0.5 s", 2)


def test_any_other_backend_serves(kit, town):
    _, backends = misbehaving(("reply", {"item": 2, "text": "not\nme"}))
    (decision,) = policy(backends, kit, town).decide([observation()])
    assert (decision.verb, decision.position, decision.text) == (Verb.REPLY, 2, "not me")
