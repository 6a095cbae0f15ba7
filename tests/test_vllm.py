"""The engine `vllm` against the local one in a real server; POLYPHONY_VLLM_PYTHON names a Python that has vLLM."""

import json
import math
import os
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from adapter_factory import logits_in_one_batch, random_factors, stacked
from null_run_factory import rows

from polyphony.adapters.bank.interchange import export_directory
from polyphony.adapters.engine.acts import ActRequest
from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.adapters.engine.engine import Engine
from polyphony.adapters.engine.interface import Exactness
from polyphony.adapters.engine.served.client import Client
from polyphony.adapters.engine.served.exports import exported_zero
from polyphony.adapters.engine.served.vllm import vllm_engine
from polyphony.adapters.model.base_model import embedded_directory
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.prompting.prompt import FeedItem
from polyphony.personas.people.acts import USUAL, Verb
from polyphony.randomness import keyed_generator

PYTHON = os.environ.get("POLYPHONY_VLLM_PYTHON")
PEOPLE = int(os.environ.get("POLYPHONY_VLLM_PEOPLE", "16"))
MOST_NATS, MOST_NLL = 1e-2, 0.002
STARTING_SECONDS = 900
SHAPE = LoraShape(rank=4, alpha=8, top_blocks=10)
FEED = [FeedItem("bob", "the harbour is closed again"), FeedItem("eve", "who took my bike?")]
TARGETS = {verb: [1, 2] if verb.has_target else [] for verb in USUAL}
WORDS = " the ferry is late again and nobody at the harbour knows why"

pytestmark = [
    pytest.mark.slow, pytest.mark.skipif(PYTHON is None, reason="POLYPHONY_VLLM_PYTHON names no Python with vLLM")
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a vLLM server of the embedded base model in fp32."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(embedded_directory()),
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager", "--enable-lora",
        "--max-loras", "4", "--max-cpu-loras", str(max(PEOPLE, 8) + 8), "--max-lora-rank", "64",
        "--max-model-len", "2048", "--max-num-seqs", "8",
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "TORCH_COMPILE_DISABLE": "1"}
    own = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | offline | own
    log = tmp_path_factory.mktemp("vllm") / "log"
    with log.open("wb") as lines:
        process = subprocess.Popen(command, env=environment, stdout=lines, stderr=subprocess.STDOUT)
    try:
        _wait(port, process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _wait(port: int, process: subprocess.Popen, log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < STARTING_SECONDS:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(1)
    raise AssertionError(f"vLLM did not start: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def engines(base, kit, server, tmp_path_factory):
    """The local engine and the served one over the same adapters."""
    with AdaptedModel(base, SHAPE) as adapted:
        people = [random_factors(adapted, seed) for seed in range(PEOPLE)]
        adapted.set_stack(stacked(people), SHAPE.scale)
        folder = tmp_path_factory.mktemp("adapters")
        for number, factors in enumerate(people):
            whole = {name: (a, b * SHAPE.scale) for name, (a, b) in factors.items()}
            export_directory(folder / f"polyphony-{number}", whole, base_name="", card={})
        exports = [folder / f"polyphony-{number}" for number in range(PEOPLE)]
        client, zero = Client(server, seconds=600), exported_zero(folder, base, adapted)
        with closing(vllm_engine(client, base, kit, adapted, exports, zero, DecodingConfig())) as served:
            yield Engine(base, adapted, kit), served


def test_acts_are_as_likely_as_in_the_local_engine(kit, engines):
    local, served = engines
    assert served.describe().exact_choice is Exactness.EXACT and served.describe().version
    requests = [
        ActRequest(slot, kit.builder.prompt(f"agent{number}", "Sails.", FEED), TARGETS, 8,
                   keyed_generator(5, "vllm", number).random(64))
        for number, slot in enumerate([*range(PEOPLE), None])
    ]  # fmt: skip
    pairs = list(zip(local.decide(requests), served.decide(requests), strict=True))
    farthest = max(
        abs(math.log(ours.distribution[verb]) - math.log(theirs.distribution[verb]))
        for ours, theirs in pairs for verb in USUAL
    )  # fmt: skip
    apart = max(abs(ours.distribution[verb] - pairs[-1][0].distribution[verb]) for ours, _ in pairs for verb in USUAL)
    print(f"farthest log-probability of an act: {farthest:.2e} nats; adapters move shares by up to {apart:.2f}")
    assert farthest < MOST_NATS and apart > 0.05
    assert [(a.verb, a.position) for a, _ in pairs] == [(b.verb, b.position) for _, b in pairs], "the same draws"
    assert all(bool(theirs.text) for _, theirs in pairs if theirs.verb.has_text)


def test_texts_are_as_likely_as_in_the_local_engine(kit, engines):
    local, served = engines
    words = list(kit.builder.plain(WORDS))
    prompts = [
        ([*kit.builder.prompt(f"agent{slot}", "Sails.", FEED), *kit.builder.grammar.head(Verb.POST, None)], words)
        for slot in range(PEOPLE)
    ]  # fmt: skip
    with torch.no_grad():
        logits = logits_in_one_batch(local, prompts, list(range(PEOPLE)))[:, :-1].log_softmax(-1)
    ours = -logits.gather(2, torch.tensor(words).expand(PEOPLE, -1).unsqueeze(2)).squeeze(2).mean(1)
    theirs = torch.tensor([
        -sum(
            served._asked.label_logprobs(f"polyphony-{slot}", [*prompt, *words[:place]], [word])[0]
            for place, word in enumerate(words)
        ) / len(words)
        for slot, (prompt, _) in enumerate(prompts)
    ])  # fmt: skip
    farthest = float((ours - theirs).abs().max())
    print(f"farthest NLL of a text: {farthest:.2e} nats a token; {float(ours.min()):.3f} to {float(ours.max()):.3f}")
    assert farthest < MOST_NLL


def test_a_run_in_a_server_begins_like_the_local_one(server, simulate, tmp_path):
    """The ready adapters of the town, pointers included: the same first prompts, the same probabilities of acts."""
    assert simulate("bank", "ready", "--bank", tmp_path / "bank")[0] == 0
    told = ["run", "--bank", tmp_path / "bank", "--weights", "serving", "--agents", 3, "--steps", 1, "--dtype", "fp32",
            "--activation", 9]  # fmt: skip
    code, _, said = simulate(*told, "--out", tmp_path / "local.db")
    assert code == 0, said
    there = ["--engine", "vllm", "--engine-url", server, "--engine-adapters", tmp_path / "exports"]
    code, _, said = simulate(*told, *there, "--out", tmp_path / "vllm.db")
    assert code == 0, said
    query = "SELECT prompt_digest, act_distribution, outcome FROM activation WHERE timestep = 0 ORDER BY agent_id"
    ours, theirs = rows(tmp_path / "local.db", query), rows(tmp_path / "vllm.db", query)
    assert ours and [digest for digest, *_ in ours] == [digest for digest, *_ in theirs]
    for (_, mine, _), (_, served, outcome) in zip(ours, theirs, strict=True):
        assert outcome != "failed" and json.loads(served) == pytest.approx(json.loads(mine), abs=5e-3)
    ((versions, config),) = rows(tmp_path / "vllm.db", "SELECT versions, config FROM run")
    assert json.loads(versions)["engine"]["exact_choice"] == "exact"
    assert json.loads(config)["engine_url"] == server and "exports" not in config
