"""Engines in a server: what goes wrong is retried, then a failure with its reason; an act is never a guess."""

import json
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from faulty_server import BASE, FaultyServer
from null_run_factory import rows
from short_base import base, kit  # noqa: F401 - fixtures

from polyphony.adapters.engine.acts import ActChoice, ActFailure, ActRequest
from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.adapters.engine.interface import Exactness
from polyphony.adapters.engine.served.chat import parsed_act
from polyphony.adapters.engine.served.client import KEY_VARIABLE, Client, ServerError
from polyphony.adapters.engine.served.http import http_engine
from polyphony.adapters.engine.served.vllm import vllm_engine
from polyphony.adapters.prompting.act_scorer import VERBS
from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.errors import InputError, PolyphonyError
from polyphony.metrics.measure import measure_run
from polyphony.personas.people.acts import USUAL, Verb
from polyphony.randomness import keyed_generator
from polyphony.simulation.runs.recorded import settings_of
from polyphony.simulation.runs.runner import Runner
from polyphony.simulation.runs.settings import RunSettings

FEED = [FeedItem("bob", "the harbour is closed again"), FeedItem("eve", "who took my bike?")]
TARGETS = {verb: [1, 2] if verb.has_target else [] for verb in USUAL}
ZERO = Path("/exports/polyphony-zero")
QUICK = {"seconds": 0.4, "waits": (0.0, 0.0)}
COMPLETIONS, CHAT, LOAD = "/v1/completions", "/v1/chat/completions", "/v1/load_lora_adapter"


@pytest.fixture
def server():
    with closing(FaultyServer()) as made:
        yield made


def request(kit, number=0, targets=TARGETS, slot=None):
    uniforms = keyed_generator(3, "served", number).random(64)
    return ActRequest(slot, kit.builder.prompt("ada", "Sails.", FEED), targets, 12, uniforms)


def http(server, base, kit, **client):
    return http_engine(Client(server.url, **(QUICK | client)), base, kit, ["ada", "bob"], DecodingConfig())


def test_an_act_is_drawn_from_calibrated_label_probabilities(server, base, kit, monkeypatch):
    """Uniform labels on the server: what is left is the calibration, which is that of the act scorer."""
    monkeypatch.setattr("polyphony.adapters.engine.served.http._names_labels", lambda *_: True)
    engine = http(server, base, kit)
    (choice,) = engine.decide([request(kit, targets={Verb.POST: [], Verb.LIKE: [1, 2], Verb.NOTHING: []})])
    bias = torch.stack([kit.scorer.verb_bias[VERBS.index(verb)] for verb in choice.distribution])
    assert list(choice.distribution) == [Verb.POST, Verb.LIKE, Verb.NOTHING]
    assert list(choice.distribution.values()) == pytest.approx((-bias).softmax(-1).tolist(), abs=1e-6)
    assert engine.describe().exact_choice is Exactness.EXACT and not engine.describe().deterministic


def test_a_text_is_asked_for_as_the_local_engine_draws_it(server, base, kit, monkeypatch):
    monkeypatch.setattr("polyphony.adapters.engine.served.http._names_labels", lambda *_: True)
    engine = http(server, base, kit)
    asked = replace(request(kit, targets={Verb.REPLY: [2]}), opened=[kit.builder.opened(item) for item in FEED])
    (choice,) = engine.decide([asked])
    assert (choice.verb, choice.position, choice.text) == (Verb.REPLY, 2, "something to say")
    body = server.bodies(COMPLETIONS)[-1]
    assert body["prompt"] == [*asked.prompt, *kit.builder.head(Verb.REPLY, 2, FEED)]
    assert (body["max_tokens"], body["min_tokens"], body["top_p"]) == (12, 1, 0.92)
    assert body["seed"] == int(asked.uniforms[2] * 2**31) and kit.builder.grammar.end_id in body["stop_token_ids"]
    assert str(kit.builder.grammar.end_id) not in body["logit_bias"] and set(body["logit_bias"].values()) == {-100}


@pytest.mark.parametrize(
    ("fault", "reason"), [(500, "status 500: out of order"), (0, "connection broke"), (-1, "no JSON")]
)  # fmt: skip
def test_a_fault_is_tried_again_and_then_a_failure(server, base, kit, monkeypatch, fault, reason):
    monkeypatch.setattr("polyphony.adapters.engine.served.http._names_labels", lambda *_: True)
    engine = http(server, base, kit)
    server.faults = [fault] * 2
    (choice,) = engine.decide([request(kit)])
    assert isinstance(choice, ActChoice) and not server.faults
    server.faults = [fault] * 9
    (failure,) = engine.decide([request(kit)])
    assert isinstance(failure, ActFailure) and reason in failure.reason and failure.reason.isprintable()
    assert len(server.faults) == 6, "three tries"


def test_a_slow_server_is_a_failure(server, base, kit, monkeypatch):
    monkeypatch.setattr("polyphony.adapters.engine.served.http._names_labels", lambda *_: True)
    engine = http(server, base, kit, waits=())
    server.seconds = 1.0
    assert engine.decide([request(kit)]) == [ActFailure("the server gave no answer in 0.4 s")]


def test_a_server_that_is_gone_ends_the_run(server, base, kit, monkeypatch):
    monkeypatch.setattr("polyphony.adapters.engine.served.http._names_labels", lambda *_: True)
    engine = http(server, base, kit)
    server.close()
    engine._client._http.close()
    engine._client = Client(server.url, **QUICK)
    engine._asked._client = engine._client
    with pytest.raises(PolyphonyError, match="no connection to the server.*--resume"):
        engine.decide([request(kit), request(kit, 1)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda told: {**told, "choices": []}, "holds no choice"),
        (lambda told: {"choices": [{"logprobs": None}]}, "no log-probabilities"),
        (lambda told: {"choices": [{"logprobs": {"top_logprobs": [{}]}}]}, "lacks the log-probability of a label"),
        (lambda told: json.loads(json.dumps(told).replace("-3.0", "0.5")), "no log-probability"),
        (lambda told: json.loads(json.dumps(told).replace("-3.0", "true")), "no log-probability"),
        (lambda told: json.loads(json.dumps(told).replace("-3.0", "NaN")), "no log-probability"),
        (lambda told: json.loads(json.dumps(told).replace("-3.0", "-9999.0")), "no allowed label is possible"),
        (lambda told: {"choices": [{**told["choices"][0], "text": 7}]}, "holds no text"),
        (lambda told: ["a", "list"], "no JSON object"),
    ],
)
def test_an_answer_that_cannot_be_is_a_failure(server, base, kit, monkeypatch, change, reason):
    monkeypatch.setattr("polyphony.adapters.engine.served.http._names_labels", lambda *_: True)
    engine = http(server, base, kit)
    server.change = change
    only_words = reason == "holds no text"
    (failure,) = engine.decide([request(kit, targets={Verb.POST: []} if only_words else TARGETS)])
    assert isinstance(failure, ActFailure) and reason in failure.reason


def test_likeliest_tokens_alone_are_truncated(server, base, kit, monkeypatch):
    """A label that is not told counts as impossible; where none is told, there is no act."""
    monkeypatch.setattr("polyphony.adapters.engine.served.http._counts_alike", lambda *_: True)
    ids = kit.builder.grammar.verb_ids
    server.names_tokens, server.top = False, {"post": -1.0, f"token_id:{ids[Verb.LIKE]}": -2.0, " the": -0.1}
    engine = http(server, base, kit)
    assert engine.describe().exact_choice is Exactness.TRUNCATED
    choice, failure = engine.decide([
        request(kit, targets={Verb.POST: [], Verb.LIKE: [1], Verb.NOTHING: []}),
        request(kit, targets={Verb.REPLY: [1], Verb.NOTHING: []}),
    ])  # fmt: skip
    assert set(choice.distribution) == {Verb.POST, Verb.LIKE}
    assert failure == ActFailure("none of the allowed labels is among the 20 likeliest tokens")


def test_a_server_without_our_tokens_is_sampled(server, base, kit):
    """It names tokens by number whatever is asked, and counts each character: nothing shows that they are ours."""
    engine = http(server, base, kit)
    assert engine.describe().exact_choice is Exactness.SAMPLE_ONLY
    server.content = " Reply 2: not me\n"
    (choice,) = engine.decide([request(kit)])
    assert (choice.verb, choice.position, choice.text, choice.distribution) == (Verb.REPLY, 2, "not me", {})
    system, user = (message["content"] for message in server.bodies(CHAT)[-1]["messages"])
    assert system == "You are @ada. Sails." and "1 @bob: the harbour is closed again" in user
    assert '"reply 1 or 2: your words"' in user and '"nothing"' in user


@pytest.mark.parametrize(
    "answer",
    ["", "I would post about it", "reply: hello", "reply 3: hello", "like", "like 1: nice", "post", "post:",
     "post 1: x", "nothing 1", "nothing: x", "postal: x", "reply 12: x", "mute 1", "<|im_end|>", "post x: y"],
)  # fmt: skip
def test_what_is_no_act_is_none(kit, answer):
    with pytest.raises(ServerError, match="the model's answer"):
        parsed_act(answer, kit.builder.grammar.labels, TARGETS)


def test_the_key_is_sent_and_never_shown(server, base, kit, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "s3cret-key")
    engine = http(server, base, kit)
    assert all(headers["Authorization"] == "Bearer s3cret-key" for _, _, headers in server.asked)
    server.faults = [403]
    (failure,) = engine.decide([request(kit)])
    assert "status 403" in failure.reason and "***" in failure.reason and "s3cret" not in failure.reason


URLS = ["http://me:s3cret@host/v1", "http://s3cret@host", "http://host/v1?key=s3cret", "http://host/#s3cret",
        "ftp://s3cret", "s3cret", "http://", "http://[s3cret", "http://host:s3cret/", "http://a s3cret/"]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_an_address_with_a_secret_or_none_is_refused_unquoted(url):
    with pytest.raises(InputError, match="--engine-url") as caught:
        RunSettings(population="town", agents=2, timesteps=1, engine="http", engine_url=url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"engine": "vllm"}, "needs --engine-url"), ({"engine_url": "http://h"}, "--engine-url is for a server"),
        ({"engine": "vllm", "engine_url": "http://h", "policy": "null"}, "not for null"),
        ({"engine": "vllm", "engine_url": "http://h", "slots": 3}, "--slots 3"),
        ({"engine": "vllm", "engine_url": "http://h", "engine_models": "x"}, "--engine-models"),
        ({"engine": "http", "engine_url": "http://h", "engine_adapters": "x"}, "--engine-adapters"),
        ({"engine": "http", "engine_url": "http://h", "engine_models": "x"}, "arm lora act with a name with {person}"),
        ({"engine": "http", "engine_url": "http://h", "engine_models": "{person}", "arm": "base"}, "without {person}"),
        ({"engine": "sglang"}, "--engine 'sglang' is not one of"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(changes, reason):
    with pytest.raises(InputError, match=reason):
        RunSettings(**({"population": "town", "agents": 2, "timesteps": 1} | changes))


def test_runs_of_the_local_engine_are_recorded_as_before():
    local = RunSettings(population="town", agents=2, timesteps=1)
    assert not {"engine", "engine_url", "engine_models", "engine_adapters"} & set(local.as_mapping())
    served = replace(local, engine="vllm", engine_url="http://h/v1", engine_adapters="/there")
    assert served.as_mapping()["engine"] == "vllm" and "/there" not in served.recorded()


def test_a_run_over_a_failing_server(server, base, tmp_path, simulate, monkeypatch):
    """Failed activations say why; the file says what the engine can, and is continued only by one that can the same."""
    server.content = "post: the sea is calm"
    settings = RunSettings(
        population="town", agents=4, timesteps=2, arm="base", activation=9.0, engine="http", engine_url=server.url,
        engine_models="some-model",
    )  # fmt: skip
    out, runner = tmp_path / "run.db", Runner(settings, bank=tmp_path / "bank", base=base)
    server.change = lambda answer: (
        {"choices": [{"message": {"content": "no idea"}}]} if len(server.bodies(CHAT)) % 3 == 0 else answer
    )
    runner.run(settings, out, resume=False)
    found = rows(out, "SELECT outcome, act, reason, act_distribution FROM activation")
    assert {(outcome, act) for outcome, act, *_ in found} >= {("ok", "post"), ("failed", None)}
    assert all("is none of the acts allowed" in reason for outcome, _, reason, _ in found if outcome == "failed")
    assert {shares for *_, shares in found} == {None} and {body["model"] for body in server.bodies(CHAT)} == {
        "some-model"
    }
    assert settings_of(out) == settings
    told = measure_run(out).to_json()["run"]["engine"]
    assert (told["name"], told["exact_choice"], told["deterministic"]) == ("http", "sample_only", False)
    code, shown, _ = simulate("metrics", out)
    assert code == 0 and "Engine: http, choice of acts sample_only" in shown and "told no probability of acts" in shown
    code, _, _ = simulate("report", out, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert code == 0 and "told no probability of acts" in page and "choice of acts sample_only" in page

    longer = replace(settings, timesteps=3)
    runner.run(longer, out, resume=True)
    assert rows(out, "SELECT max(timestep) FROM activation") == [(2,)]
    monkeypatch.setattr("polyphony.adapters.engine.served.http._names_labels", lambda *_: True)
    with pytest.raises(InputError, match="choice is sample_only, that of this one is exact"):
        runner.run(replace(settings, timesteps=4), out, resume=True)


def base_logprobs(kit):
    """Log-probabilities of labels as the base model itself has them under the content-free prompt."""
    return {kit.builder.grammar.verb_ids[verb]: float(kit.scorer.verb_bias[VERBS.index(verb)]) for verb in USUAL}


def test_vllm_loads_adapters_and_loads_them_again(server, base, kit, tmp_path):
    server.logprobs, server.known = base_logprobs(kit), [BASE]
    paths = [tmp_path / "polyphony-a", tmp_path / "polyphony-b"]
    engine = vllm_engine(Client(server.url, **QUICK), base, kit, None, paths, ZERO, DecodingConfig())
    assert sorted(body["lora_path"] for body in server.bodies(LOAD)) == sorted(map(str, [ZERO, *paths]))
    facts = engine.describe()
    assert (facts.name, facts.version, facts.exact_choice) == ("vllm", "0.0.1", Exactness.EXACT)
    server.loaded.clear()  # it was started anew
    choices = engine.decide([request(kit, number, slot=1) for number in range(2)] + [request(kit)])
    assert all(isinstance(choice, ActChoice) for choice in choices)
    assert set(server.loaded) == {"polyphony-b", ZERO.name}
    assert {body["model"] for body in server.bodies(COMPLETIONS)} == {BASE, "polyphony-b", ZERO.name}


def test_vllm_of_another_base_model_is_refused(server, base, kit):
    server.logprobs = {token: math.log(0.1) + number for number, token in enumerate(base_logprobs(kit))}
    server.logprobs = {token: min(-0.1, value - 6) for token, value in server.logprobs.items()}
    with pytest.raises(InputError, match="is another model than the base model here"):
        vllm_engine(Client(server.url, **QUICK), base, kit, None, [], ZERO, DecodingConfig())


def test_vllm_that_is_none_is_refused(server, base, kit):
    server.tells = False
    with pytest.raises(InputError, match="takes no token ids, or tells no log-probabilities"):
        vllm_engine(Client(server.url, **QUICK), base, kit, None, [], ZERO, DecodingConfig())
    server.close()
    with pytest.raises(InputError, match="--engine vllm: no connection to the server"):
        vllm_engine(Client(server.url, **QUICK), base, kit, None, [], ZERO, DecodingConfig())
