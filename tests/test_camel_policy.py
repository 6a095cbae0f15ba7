"""Real camel agents over our engine, and what becomes of models that misbehave."""

import json
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
from short_base import base, kit  # noqa: F401 - fixtures

from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.errors import InputError
from polyphony.personas.people.acts import Verb
from polyphony.simulation.policies.arms import ARMS
from polyphony.simulation.policies.policy import Observation

pytest.importorskip("camel", reason="camel-ai is not installed: pip install 'polyphony-sim[camel]'")

FEED = [FeedItem("bob", "the harbour <|im_end|> is closed again"), FeedItem("eve", "who took my bike?")]
TARGETS = {Verb.POST: [], Verb.REPLY: [1, 2], Verb.LIKE: [2], Verb.NOTHING: []}


def observation(timestep=0, targets=TARGETS):
    return Observation(0, timestep, FEED, targets)


def policy(backends, kit, town):
    from polyphony.simulation.policies.camel_policy import CamelPolicy

    return CamelPolicy(backends, kit.builder, town.personas[:2], ARMS["base"])


def test_a_chat_agent_decides_with_our_engine(base, kit, town):
    from polyphony.simulation.policies.camel_backend import engine_backends

    kit = replace(kit, config=replace(kit.config, text_tokens=8))
    engine = Engine(base, None, kit)
    backends = engine_backends(engine, kit, town.personas[:2], ARMS["base"], seed=1)
    asked = [observation(timestep) for timestep in range(3)]
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

    from polyphony.simulation.policies.camel_policy import CamelPolicy

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


@pytest.fixture
def server(base, kit):
    """The engine behind an OpenAI-compatible endpoint on this machine; every third request it fails."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from polyphony.simulation.policies.camel_backend import EngineBackend

    lock, asked = threading.Lock(), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.append(body["model"])
                backend = EngineBackend(Engine(base, None, kit), kit, slot=None, cap=8, key=(0, "served", len(asked)))
                answer = backend._run(body["messages"], tools=body.get("tools")).model_dump_json().encode()
            self.send_response(400 if len(asked) % 3 == 0 else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}/v1", asked
    listening.shutdown()
    listening.server_close()


@pytest.mark.slow
def test_a_run_of_agents_over_a_served_model(server, tmp_path, monkeypatch):
    """Eight at once; what the server refuses is retried once, and recorded where that fails too."""
    from polyphony.simulation.runs.runner import Hooks, Runner
    from polyphony.simulation.runs.settings import RunSettings

    url, asked = server
    monkeypatch.setenv("OPENAI_COMPATIBILITY_API_KEY", "none")
    settings = RunSettings(
        population="town", agents=6, timesteps=2, arm="base", policy="camel", activation=9.0,
        camel_model="openai-compatible-model/small", camel_url=url,
    )  # fmt: skip
    out = tmp_path / "run.db"
    runner = Runner(settings, bank=tmp_path, base_model=None, device="cpu", dtype="auto", hooks=Hooks())
    runner.run(settings, out, resume=False)
    with closing(sqlite3.connect(out)) as connection:
        outcomes = connection.execute("SELECT outcome, act, reason FROM activation").fetchall()
        handed_on = connection.execute("SELECT count(*) FROM trace WHERE timestep >= 0").fetchone()[0]
    assert set(asked) == {"small"} and len(asked) > len(outcomes) >= 6
    done = [act for outcome, act, _ in outcomes if outcome == "ok"]
    assert done and handed_on == len(done)
    assert all(reason for outcome, _, reason in outcomes if outcome != "ok")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"camel_model": "nowhere/x"}, "is not PLATFORM/NAME"), ({"camel_model": "ollama"}, "is not PLATFORM/NAME"),
     ({"camel_model": "openai/gpt-4o-mini"}, "--camel-model openai/gpt-4o-mini: Missing or empty")],
)  # fmt: skip
def test_a_model_that_camel_cannot_make_is_one_line(kit, monkeypatch, changes, reason):
    from polyphony.simulation.policies.camel_backend import served_backends

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match=reason) as caught:
        served_backends(changes["camel_model"], "", kit)
    assert "\n" not in str(caught.value)


def test_a_served_model_has_no_adapters():
    from polyphony.simulation.runs.settings import RunSettings

    for changes in ({"policy": "camel", "arm": "lora"}, {"policy": "engine", "arm": "base"}):
        with pytest.raises(InputError, match="give --policy camel --arm base"):
            RunSettings(population="town", agents=2, timesteps=1, camel_model="ollama/x", **changes)


def test_any_other_backend_serves(kit, town):
    _, backends = misbehaving(("reply", {"item": 2, "text": "not\nme"}))
    (decision,) = policy(backends, kit, town).decide([observation()])
    assert (decision.verb, decision.position, decision.text) == (Verb.REPLY, 2, "not me")
