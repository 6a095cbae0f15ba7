"""What a server of a bank does with bad input, faults and clients that go away: one clear line, and others go on."""

import asyncio
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from types import SimpleNamespace

import httpx
import pytest
import torch
import typer
import uvicorn
from adapter_factory import random_factors
from serving_factory import ADA, BEN, TOOLS, ready_bank, served
from starlette.requests import Request

from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.interchange import export_directory
from polyphony.adapters.bank.verification import verify
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.errors import InputError
from polyphony.simulation.cli.main import Session, app
from polyphony.simulation.serving import asking
from polyphony.simulation.serving.application import application
from polyphony.simulation.serving.asking import ServingConfig
from polyphony.simulation.serving.figures import Figures
from polyphony.simulation.serving.listening import GuardedProtocol, bound
from polyphony.simulation.serving.refusal import Refusal
from polyphony.simulation.serving.server import Capacity, serving
from polyphony.simulation.serving.tools import shown_numbers
from polyphony.simulation.serving.uploads import Limits, Uploads

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HOSTILE = "<script>\x1b[2J\u202eevil\n" + "x" * 300
HELLO = [{"role": "user", "content": "Hello"}]
# Seconds in which a head or a body must come; long enough for a busy machine to send one.
PATIENCE = 3.0


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return ready_bank(tmp_path_factory.mktemp("faults") / "bank")


@pytest.fixture(scope="module")
def loadable(tmp_path_factory, base):
    """A folder of adapters from outside: good, of a high rank, overflowing, pickled, and links that lead out."""
    folder = tmp_path_factory.mktemp("loadable")
    outside = tmp_path_factory.mktemp("outside")
    with AdaptedModel(base, LoraShape(rank=4, top_blocks=10)) as adapted:
        good, high = random_factors(adapted, 1), random_factors(adapted, 1, rank=16)
        wild = {name: (a * 1e25, b * 1e25) for name, (a, b) in good.items()}
    for name, factors in (("good", good), ("high", high), ("wild", wild)):
        export_directory(folder / name, factors, base_name="x", card={"base_hash": base.hash})
    export_directory(outside / "secret", good, base_name="x", card={"base_hash": base.hash})
    (folder / "linked").symlink_to(outside / "secret")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "partly").mkdir()
    for file in (folder / "good").iterdir():
        (folder / "partly" / file.name).symlink_to(outside / "secret" / file.name)
    (folder / "pickled").mkdir()
    (folder / "pickled" / "adapter_config.json").write_text((folder / "good" / "adapter_config.json").read_text())
    torch.save({"x": torch.zeros(1)}, folder / "pickled" / "adapter_model.bin")
    return folder


@pytest.fixture(scope="module")
def client(base, bank, loadable):
    capacity = Capacity(rows=4, context=512, queue=40, rank=4, loadable=loadable)
    limits = Limits(body_seconds=PATIENCE)
    with served(base, bank, capacity, ServingConfig(new_tokens=8), limits, head_seconds=PATIENCE) as client:
        yield client
        assert client.server.scheduler.is_alive, "whatever clients sent, the thread that owns the model went on"
        assert in_work(client) == 0


def in_work(client):
    figures = client.get("/metrics").text
    return sum(float(re.search(rf"^polyphony_{name} (.*)$", figures, re.M)[1]) for name in ("in_work", "waiting"))


def settles(client, seconds=20):
    """Wait until nothing is in work."""
    end = time.monotonic() + seconds
    while in_work(client):
        assert time.monotonic() < end, "something is still in work"
        time.sleep(0.05)


def refusal(response, status):
    """The error object of a response, which is one line and shows nothing of the server."""
    assert response.status_code == status, (response.status_code, response.text[:300])
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    message = error["message"]
    assert 0 < len(message) <= 1000 and message.isprintable()
    assert "Traceback" not in message and "/tmp" not in message and ".py" not in message
    return error


def raw(client, content, path=CHAT, **headers):
    with httpx.Client(trust_env=False, timeout=120) as http_client:
        headers = {"content-type": "application/json", **headers}
        return http_client.post(client.url + path, content=content, headers=headers)


def chat(client, **fields):
    return client.post(CHAT, {"model": "base", "messages": HELLO, "max_tokens": 2, **fields})


FUNCTION = {"type": "function", "function": {"name": "f"}}


def function(name="f", **parameters):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


BAD_CHATS = {
    "no such person": ({"model": "nobody"}, 404, "model"),
    "hostile model": ({"model": HOSTILE}, 404, "model"),
    "no model": ({"model": ""}, 400, "model"),
    "retired revision": ({"model": f"{ADA}@999999999"}, 404, "model"),
    "huge revision": ({"model": f"{ADA}@{'9' * 30}"}, 404, "model"),
    "no messages": ({"messages": []}, 400, "messages"),
    "unknown role": ({"messages": [{"role": "root", "content": "x"}]}, 400, "messages.0.role"),
    "an image": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, None),
    "too many messages": ({"messages": HELLO * 5000}, 400, "messages"),
    "long prompt": ({"messages": [{"role": "user", "content": "word " * 600}]}, 400, "messages"),
    "very long prompt": ({"messages": [{"role": "user", "content": "word " * 600_000}]}, 400, "messages"),
    "more than the context": ({"max_tokens": 100_000}, 400, "messages"),
    "no tokens": ({"max_tokens": 0}, 400, "max_tokens"),
    "many stops": ({"stop": ["x"] * 10_000}, 400, "stop"),
    "empty stop": ({"stop": ""}, 400, "stop"),
    "long stop": ({"stop": "x" * 10_000}, 400, "stop"),
    "hot": ({"temperature": 1e9}, 400, "temperature"),
    "cold": ({"temperature": -1}, 400, "temperature"),
    "a billion answers": ({"n": 10**9}, 400, "n"),
    "long seed": ({"seed": 2**64}, 400, "seed"),
    "very long seed": ({"seed": 10**4000}, 400, "seed"),
    "penalty": ({"repetition_penalty": 1e-300}, 400, "repetition_penalty"),
    "bias": ({"logit_bias": {str(n): "x" for n in range(50_000)}}, 400, "logit_bias"),
    "many scores": ({"logprob_token_ids": [1] * 1_000_000}, 400, "logprob_token_ids"),
    "token out of range": ({"logprob_token_ids": [10**6]}, 400, "logprob_token_ids"),
    "negative token": ({"logprob_token_ids": [-1]}, 400, "logprob_token_ids"),
    "scores without end": (
        {"logprob_token_ids": [*range(256)], "max_tokens": 256, "n": 16, "logprobs": True}, 400, "logprobs",
    ),
    "recursion": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}}, 400, "response_format",
    ),
    "no schema": ({"response_format": {"type": "json_schema"}}, 400, None),
    "unknown type": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "soup"}}}}, 400, None,
    ),
    "remote schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "http://127.0.0.1/x"}}}},
        400, None,
    ),
    "large schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": ["x" * 70_000]}}}}, 400, None,
    ),
    "number bomb": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"multipleOf": 999999937,
                                                                               "type": "integer"}}}}, 400, None,
    ),
    "long number": ({"tools": [function(type="object", const=10**5000)]}, 400, None),
    "tool without a name": ({"tools": [function("")]}, 400, "tools.0.function.name"),
    "odd tool": ({"tools": [function(HOSTILE)]}, 400, "tools.0.function.name"),
    "two of one name": ({"tools": [FUNCTION, FUNCTION]}, 400, None),
    "too many tools": ({"tools": [function(f"f{n}") for n in range(129)]}, 400, "tools"),
    "large tools": (
        {"tools": [function(f"f{n}", enum=["x" * 30_000]) for n in range(20)]}, 400, "tools",
    ),
    "more tools than labels": ({"tools": [function(f"{n}") for n in range(128)]}, 400, "tools"),
    "tools and a schema": ({"tools": TOOLS, "response_format": {"type": "json_object"}}, 400, "response_format"),
    "another tool": ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": HOSTILE}}}, 400, None),
    "no tool": ({"tool_choice": "required"}, 400, None),
    "recursive tool": ({"tools": [function(**{"$ref": "#", "type": "string"})]}, 400, "tools: f"),
    "pattern that does not parse": (
        {"tools": [function(type="object", properties={"x": {"type": "string", "pattern": "(((" }})]}, 400, "tools: f",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CHATS)
def test_a_bad_chat_is_refused_in_one_line(client, name):
    fields, status, param = BAD_CHATS[name]
    sys.set_int_max_str_digits(0)
    try:
        error = refusal(chat(client, **fields), status)
    finally:
        sys.set_int_max_str_digits(4300)
    assert error["type"] == "invalid_request_error" and (param is None or error["param"] == param)


BODIES = {
    "empty": b"", "broken": b'{"model": "base"', "a list": b"[]", "null": b"null",
    "not utf-8": b'{"model": "\xff\xfe"}',
    "half a surrogate": b'{"model": "base", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "deep": b'{"model": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deep schema": b'{"model": "base", "messages": [], "tools": [{"type": "function", "function": {"name": "f", '
    b'"parameters": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}}]}",
    "nan": b'{"model": "base", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "infinity": b'{"model": "base", "messages": [{"role": "user", "content": "x"}], "top_p": Infinity}',
    "large number": b'{"model": "base", "messages": [{"role": "user", "content": "x"}], "temperature": 1e400}',
    "two million wrong items": b'{"model": "base", "messages": [{"role": "user", "content": [' + b"1," * 1_900_000
    + b"1]}]}",
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused_in_one_line(client, name):
    began = time.process_time()
    refusal(raw(client, BODIES[name]), 400)
    assert time.process_time() - began < 5, "as long as its body is read, not as long as its errors are listed"


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        ([], "prompt"), ("", "prompt"), ([10**6], "prompt"), ([-1], "prompt"), ([2**70], "prompt"), ([[]], "prompt"),
        (["x"] * 257, "prompt"), (["x"] * 41, "prompt"), ("word " * 600, "prompt"), ([1, "a"], "prompt"),
        (["", *[1] * 1_000_000], "prompt"),
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_prompt_is_refused_in_one_line(client, prompt, param):
    error = refusal(client.post(TEXT, {"model": "base", "prompt": prompt, "max_tokens": 1}), 400)
    assert error["param"] == param


ODD_CHATS = {
    "nul": {"messages": [{"role": "user", "content": "\0\0"}]},
    "nothing said": {"messages": [{"role": "user", "content": None}]},
    "almost cold": {"temperature": 1e-300, "top_p": 1e-300},
    "cold call": {"temperature": 1e-310, "tools": TOOLS},
    "cold scores": {"temperature": 1e-30, "logprobs": True, "top_logprobs": 20, "repetition_penalty": 0.01},
    "negative seed": {"seed": -(2**63)},
    "unknown fields": {"frequency_penalty": 0, "user": HOSTILE, "metadata": {"x": [1]}},
    "tools of one word": {"tools": [function("get_get"), function("get"), function("get_get_get"), function("GET")]},
    "names of dots": {"tools": [function("..."), function("-"), function("_"), function("say"), function("null")]},
    "a tool of everything": {"tools": [function()], "tool_choice": "required"},
    "a schema of everything": {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_CHATS)
def test_an_odd_chat_is_answered(client, name):
    response = chat(client, **ODD_CHATS[name])
    # The arguments of a function that takes anything may not end in time, which is said, too.
    assert response.status_code == 200 or refusal(response, 422)["code"] == "arguments_too_long"


def test_a_schema_that_never_ends_ends_with_its_budget(client, monkeypatch):
    monkeypatch.setattr(asking, "SPARE_TOKENS", 8)
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"], "additionalProperties": False}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": endless}}
    assert refusal(chat(client, response_format=schema), 422)["code"] == "schema_too_hard", "nothing is left to draw"
    endless = {**endless, "properties": {"s": {"type": "string"}, "a": {"$ref": "#"}}, "required": ["s", "a"]}
    tools = [function(**endless)]
    assert refusal(chat(client, tools=tools, tool_choice="required"), 422)["code"] == "arguments_too_long"


def test_a_schema_keeps_its_order(client):
    """What a client has the model think of first comes first."""
    properties = {name: {"type": "boolean"} for name in ("zeal", "answer", "mood")}
    wanted = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": wanted}}
    text = chat(client, response_format=schema, max_tokens=40).json()["choices"][0]["message"]["content"]
    assert list(json.loads(text)) == [*properties]


def test_a_parser_that_gives_up_ends_its_own_answer_alone(client, monkeypatch):
    """A schema can be too hard in the middle of a text; so can the numbers that a feed adds to a function's schema."""
    alone = client.chat(max_tokens=16)["choices"]
    monkeypatch.setattr("polyphony.simulation.serving.json_grammar.JsonConstraint.accept", give_up)
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(client.chat, max_tokens=16)
        while not in_work(client):
            time.sleep(0.01)
        assert refusal(chat(client, response_format={"type": "json_object"}), 500)["type"] == "server_error"
        assert other.result()["choices"] == alone


def give_up(_constraint, _token):
    raise RuntimeError("no more fuel")


def test_a_large_body_is_refused_before_it_is_read(client):
    response = raw(client, iter([b"x" * (1 << 20)] * 100))
    refusal(response, 413)
    connection = http.client.HTTPConnection(client.url.removeprefix("http://"), timeout=60)
    with closing(connection):
        connection.putrequest("POST", CHAT)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(100 << 20))
        connection.endheaders()
        assert connection.getresponse().status == 413


@contextmanager
def connections(client, count, sent=b""):
    host, port = client.url.removeprefix("http://").split(":")
    made = [socket.create_connection((host, int(port)), timeout=60) for _ in range(count)]
    try:
        for connection in made:
            connection.sendall(sent)
        yield made
    finally:
        for connection in made:
            connection.close()


def test_a_thousand_silent_connections_and_slow_ones_are_closed_and_others_answered(client):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip("this system lets a process open too few files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    post = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    try:
        with (
            connections(client, 1000) as silent,
            connections(client, 5, post + b"Content-Length: 100\r\n\r\n{") as slow,
            connections(client, 5, health + post[:30]) as half,
        ):
            assert chat(client).status_code == 200
            assert all(b"408" in connection.recv(4096)[:15] for connection in slow)
            for connection in half:
                received = b""
                while part := connection.recv(4096):
                    received += part
                assert received.startswith(b"HTTP/1.1 200"), "answered, and closed in the middle of its next head"
            assert all(connection.recv(1) == b"" for connection in silent)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _body_of(uploads: Uploads, size: int, is_whole: asyncio.Event) -> int:
    """Send half a body, wait, send the other half."""
    halves = iter([{"type": "http.request", "body": b"x" * (size // 2), "more_body": more} for more in (True, False)])

    async def receive():
        part = next(halves)
        if not part["more_body"]:
            await is_whole.wait()
        return part

    return len(await uploads.body(Request({"type": "http", "method": "POST", "headers": []}, receive)))


def test_bodies_that_are_not_complete_share_a_limit():
    async def main():
        uploads, never, now = Uploads(Limits(coming_bytes=100, body_seconds=1)), asyncio.Event(), asyncio.Event()
        now.set()
        slow = asyncio.ensure_future(_body_of(uploads, 120, never))
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="too many bodies come at once; ask again") as caught:
            await _body_of(uploads, 82, now)
        assert caught.value.status == 429 and "Retry-After" in caught.value.headers
        assert await _body_of(uploads, 40, now) == 40, "a smaller one finds its place beside the slow one"
        with pytest.raises(Refusal, match="did not come within 1 s"):
            await slow
        assert await _body_of(uploads, 100, now) == 100, "the slow one has left its place"
        assert await _body_of(uploads, 400, now) == 400, "what may come at all comes alone"

    asyncio.run(main())


def test_a_client_that_reads_nothing_of_its_response_is_cut_off_and_a_slow_one_is_not():
    async def long(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(20_000):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            await asyncio.sleep(0)

    with bound("127.0.0.1", 0) as listener:
        protocol = type("Protocol", (GuardedProtocol,), {"unread_seconds": 0.5})
        server = uvicorn.Server(uvicorn.Config(long, http=protocol, ws="none", lifespan="off", log_level="critical"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        try:
            with (
                connections(SimpleNamespace(url=url), 5, get),
                connections(SimpleNamespace(url=url), 1, get) as (slow,),
            ):
                end = time.monotonic() + 30
                while len(server.server_state.connections) != 6:
                    assert time.monotonic() < end
                while len(server.server_state.connections) != 1:
                    assert slow.recv(1 << 20) and time.monotonic() < end
                    time.sleep(0.05)
                assert slow.recv(1 << 18)
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


def test_an_aborted_upload_leaves_nothing(client):
    post = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"
    with connections(client, 20, post):
        pass
    assert chat(client).status_code == 200


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("count", [1, 12])
def test_a_client_that_goes_away_frees_its_place(client, streams, count):
    """Some of its answers are in work, others wait: there are four rows."""
    fields = {"model": ADA, "messages": HELLO, "max_tokens": 400, "stream": streams, "temperature": 1.5}
    body = json.dumps(fields).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with connections(client, count, head.encode() + body) as made:
        while in_work(client) < count:
            time.sleep(0.05)
        if streams:
            assert made[0].recv(15).startswith(b"HTTP/1.1 200")
    settles(client)


def test_a_full_queue_is_said_and_when_to_ask_again(client, monkeypatch):
    monkeypatch.setattr(client.server.scheduler, "_most_waiting", 1)
    response = chat(client, n=2)
    assert refusal(response, 429)["code"] == "queue_full" and int(response.headers["Retry-After"]) > 0
    monkeypatch.setattr(client.server.scheduler, "_most_waiting", 0)
    refusal(chat(client), 429)


@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_past_its_time_is_said(client, monkeypatch, streams):
    monkeypatch.setattr(asking, "Job", lambda model, answer, limit: real_job(model, answer, 0.2))
    response = chat(client, max_tokens=400, temperature=1.5, stream=streams)
    if streams:
        events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
        assert json.loads(events[-2])["error"]["code"] == "timeout" and events[-1] == "[DONE]"
    else:
        assert refusal(response, 504)["code"] == "timeout"
    settles(client)


real_job = asking.Job


def test_a_batch_that_fails_ends_its_own_answers_and_frees_their_slots(client, monkeypatch, caplog):
    lane = client.server.lanes[0]
    whole = lane.step
    faults = iter([True])

    def step():
        if next(faults, False):
            raise RuntimeError("the device is gone")
        return whole()

    monkeypatch.setattr(lane, "step", step)
    expected = client.server.slots.free
    assert refusal(chat(client, model=ADA), 500)["type"] == "server_error"
    assert chat(client, model=ADA).status_code == 200
    settles(client)
    assert client.server.slots.free == expected
    assert "the device is gone" in caplog.text and "Hello" not in caplog.text


def test_a_damaged_adapter_fails_its_own_requests_alone(client, bank, caplog):
    with closing(Bank(bank)) as opened:
        victim = next(r for r in opened.revisions(kind="personal") if r.person not in (ADA, BEN))
        path = opened.objects.path(victim.object)
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-8] + b"\0" * 8)
    try:
        with ThreadPoolExecutor(2) as pool:
            other = pool.submit(chat, client, model=ADA, max_tokens=20)
            message = refusal(chat(client, model=victim.person), 500)["message"]
            assert other.result().status_code == 200
        assert victim.person in message and "bank verify" in message
        assert victim.object in caplog.text, "the operator reads which file"
    finally:
        path.write_bytes(content)
    assert chat(client, model=victim.person).status_code == 200


def test_an_adapter_that_overflows_spoils_no_other_answer(client):
    """0 × NaN is NaN: what it left in the key-value store must not reach whoever takes its row."""
    assert client.post("/v1/load_lora_adapter", {"lora_name": "wild", "lora_path": "wild"}).status_code == 200
    try:
        alone = client.chat(max_tokens=24, temperature=1)["choices"]
        with ThreadPoolExecutor(2) as pool:
            other = pool.submit(client.chat, max_tokens=24, temperature=1)
            long = [{"role": "user", "content": "word " * 100}]
            for fields in ({}, {"tools": TOOLS}, {"logprobs": True}, {"response_format": {"type": "json_object"}}):
                message = refusal(chat(client, model="wild", messages=long, **fields), 500)["message"]
                assert "not finite" in message
            assert other.result()["choices"] == alone
        assert client.chat(max_tokens=24, temperature=1)["choices"] == alone
    finally:
        client.post("/v1/unload_lora_adapter", {"lora_name": "wild"})


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("../outside/secret", 403, "outside"), ("/etc", 403, "outside"), ("good/../../outside", 403, "outside"),
        ("linked", 403, "outside"), ("partly", 403, "link"), ("circle", 400, ""), ("nowhere", 400, "nowhere"),
        ("good/adapter_config.json", 400, ""), ("pickled", 400, "safetensors"), ("high", 400, "rank"),
        ("good\0", 400, "null"), ("x" * 4000, 400, ""), (".", 403, "link"),
    ],
    ids=repr,
)  # fmt: skip
def test_adapters_come_from_their_folder_alone_and_fit(client, path, status, says):
    error = refusal(client.post("/v1/load_lora_adapter", {"lora_name": "guest", "lora_path": path}), status)
    assert says in error["message"] and error["param"] == "lora_path"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (ADA, "a model of the server"), (f"{ADA}@1", "a model of the server"), ("base", "a model of the server"),
        (HOSTILE, "handle"), ("x" * 513, "at most 512"), ("", "at least 1"),
    ],
)  # fmt: skip
def test_an_adapter_from_outside_takes_no_name_that_means_something(client, name, says):
    before = [client.get(f"/v1/models/{model}").json() for model in (ADA, "base")]
    error = refusal(client.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": "good"}), 400)
    assert says in error["message"]
    assert [client.get(f"/v1/models/{model}").json() for model in (ADA, "base")] == before


def test_loaded_names_may_be_odd_are_listed_once_and_forgotten(client):
    odd = ["<b>&\"'", "%2e%2e/..", "ä" * 100, "a/b?c#d"]
    for name in odd:
        assert client.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": "good"}).status_code == 200
    refusal(client.post("/v1/load_lora_adapter", {"lora_name": odd[0], "lora_path": "good"}), 400)
    names, after = [], ""
    with httpx.Client(trust_env=False, timeout=60) as pages:
        while len(names) < 100:
            page = pages.get(f"{client.url}/v1/models", params={"limit": 3, **after}).json() if after else client.get(
                "/v1/models?limit=3").json()  # fmt: skip
            names += [model["id"] for model in page["data"]]
            after = {"after": page["last_id"]}
            if not page["has_more"]:
                break
    assert len(names) == len(set(names)) and set(odd) < set(names)
    for name in odd:
        assert client.post("/v1/unload_lora_adapter", {"lora_name": name}).status_code == 200
    refusal(client.post("/v1/unload_lora_adapter", {"lora_name": HOSTILE}), 404)
    assert chat(client, model=odd[0]).status_code == 404


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=99999999999999", "limit=", "limit=%D9%A3", "limit=1e3"]
)
def test_a_wrong_page_is_refused(client, query):
    assert refusal(client.get(f"/v1/models?{query}"), 400)["param"] == "limit"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models?after=nobody", 404), ("/v1/models?after=", 404), ("/v1/models/nobody", 404), ("/v1/models/", 404),
        ("/v1/models/%00%ff%1b[2J", 404), ("/v1/models/..%2f..%2fetc", 404), ("/v1/chat/completions", 405),
        ("/docs", 404), ("/openapi.json", 404), (f"/{'x' * 5000}", 404),
    ],
)  # fmt: skip
def test_a_wrong_path_is_refused(client, path, status):
    refusal(client.get(path), status)


def guarded(limits, *, method="POST", path=CHAT, content=b"{}", **headers):
    """Ask the application of no model."""
    app = application(None, None, SimpleNamespace(is_alive=True), Figures(), None, limits)

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as asker:
            return await asker.request(method, path, content=content, headers=headers)

    return asyncio.run(ask())


def test_a_key_is_asked_for_and_never_said(caplog):
    limits = Limits(api_key="schlüssel-1234")
    sent = {"content-type": "application/json"}
    for key in (None, "Bearer", "Bearer ", "Bearer wrong", "Basic schlüssel-1234", "Bearer schlüssel-123", "x" * 9000):
        more = {} if key is None else {"authorization": key.encode()}
        response = guarded(limits, **sent, **more)
        assert refusal(response, 401)["code"] == "invalid_api_key" and "schl" not in response.text
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
        refusal(guarded(limits, method="GET", path=path), 401)
    assert guarded(limits, method="GET", path="/health").status_code == 200
    refusal(guarded(limits, **sent, authorization="Bearer schlüssel-1234".encode()), 400)
    assert "schl" not in caplog.text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
def test_a_web_page_cannot_ask_without_asking_first(kind):
    """Browsers send these types to other servers at once, and JSON only where the server allows it: it does not."""
    sent = {} if kind is None else {"content-type": kind}
    refusal(guarded(Limits(), **sent), 415)
    preflight = guarded(Limits(), method="OPTIONS", origin="http://evil.example")
    assert preflight.status_code == 405 and not any("access-control" in name for name in preflight.headers)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 400), ("127.0.0.1:8000", 400), ("[::1]:8000", 400), ("192.168.1.5", 400),
        ("evil.example", 403), ("evil.example:8000", 403), ("localhost.evil.example", 403), ("[", 403), ("", 403),
    ],
)  # fmt: skip
def test_a_page_whose_name_leads_to_this_machine_cannot_ask(host, status):
    refusal(guarded(Limits(is_local=True), host=host, **{"content-type": "application/json"}), status)


def test_numbers_that_are_shown_are_found_in_one_reading():
    messages = [
        SimpleNamespace(text='{"post_id": 1, "user_id": 7}'),
        SimpleNamespace(
            text='[{"post_id": 41}, {"post_id" : 57}, {"post_id": 41}, {"post_id": 1.5}, {"post_id": 1e3}]'
        ),
        SimpleNamespace(text="post_id: 3"),
    ]
    assert shown_numbers(messages) == {"post_id": [41, 57], "user_id": [7]}
    for unit in ('"', '"post_id"', '"post_id":', '"post_id": ', '"post_id":' + " " * 50, "\\", '"a_id":1', "1", '"_id'):
        began = time.process_time()
        found = shown_numbers([SimpleNamespace(text=unit * (2_000_000 // len(unit)))])
        assert time.process_time() - began < 3 and all(len(numbers) <= 256 for numbers in found.values())


def command_refused(*words):
    with pytest.raises(InputError) as caught:
        typer.main.get_command(app).main(
            ["serve", *map(str, words)], prog_name="simulate", standalone_mode=False, obj=Session()
        )
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_command_that_cannot_serve_says_why_before_it_loads_anything(bank, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = command_refused("--bank", bank, "--port", taken.getsockname()[1])
        assert "in use" in line and "--port" in line
    for host in ("", "8.8.8.8", "x" * 300, "\udcff"):
        assert "--host" in command_refused("--bank", bank, "--host", host)
    assert "no such folder" in command_refused("--bank", bank, "--allow-load", tmp_path / "nowhere")
    assert "no adapter bank" in command_refused("--bank", tmp_path)
    for part in (serving, application):  # a process that has not loaded them yet
        monkeypatch.delitem(sys.modules, part.__module__)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert "polyphony-sim[serve]" in command_refused("--bank", bank)


def test_of_two_servers_that_begin_at_once_one_is_refused():
    with bound("127.0.0.1", 0) as listener, pytest.raises(InputError, match="in use"), ExitStack() as stack:
        stack.enter_context(bound("127.0.0.1", listener.getsockname()[1]))


def test_a_bank_without_an_adapter_is_refused(base, tmp_path):
    Bank(tmp_path / "empty", create=True).close()
    with pytest.raises(InputError, match="holds no adapter"), ExitStack() as stack:
        stack.enter_context(serving(base, tmp_path / "empty", Capacity(), ServingConfig(), Limits()))


@contextmanager
def started(bank, **environment):
    """A server in a process of its own; kills it at the end."""
    options = ["--bank", str(bank), "--port", "0", "--rows", "2", "--context", "512"]
    process = subprocess.Popen(
        [sys.executable, "-m", "polyphony", "serve", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        url = re.search(r"http://\S+(?=/v1)", process.stdout.readline())[0]
        yield process, url
    finally:
        process.kill()
        process.communicate()


def streaming(url, received, most, **headers):
    """Stream a long answer; what came, and what went wrong."""
    body = {"model": ADA, "messages": [{"role": "user", "content": "Say my secret word"}], "max_tokens": most,
            "stream": True, "temperature": 1.5}  # fmt: skip
    with httpx.Client(trust_env=False, timeout=120, headers=headers) as http_client:
        try:
            with http_client.stream("POST", url + CHAT, json=body) as response:
                received.append(response.status_code)
                for line in response.iter_lines():
                    received.append(line)
        except httpx.HTTPError as error:
            received.append(error)


def begun(url, most, **headers):
    received = []
    thread = threading.Thread(target=streaming, args=(url, received, most), kwargs=headers)
    thread.start()
    while len(received) < 3 and thread.is_alive():
        time.sleep(0.05)
    return thread, received


def test_a_server_that_is_told_to_stop_finishes_what_is_in_work(bank):
    with started(bank, POLYPHONY_API_KEY="key-of-the-test") as (process, url):
        thread, received = begun(url, 40, authorization="Bearer key-of-the-test")
        assert "data: [DONE]" not in received
        process.send_signal(signal.SIGTERM)
        thread.join()
        assert received[0] == 200 and received[-2:] == ["data: [DONE]", ""], received[-3:]
        assert process.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health", trust_env=False)
        errors = process.stderr.read()
        assert "Traceback" not in errors and "secret" not in errors and "key-of-the-test" not in errors, errors


def test_a_server_that_is_killed_leaves_a_whole_bank(bank):
    with started(bank) as (process, url):
        readers = [begun(url, 450) for _ in range(2)]
        process.kill()
        for thread, received in readers:
            thread.join()
            assert isinstance(received[-1], httpx.HTTPError)
    with closing(Bank(bank)) as opened:
        assert not verify(opened).problems
