"""The engine `vllm` against the local one in a real server; POLYPHONY_VLLM_PYTHON names a Python that has vLLM."""

import json
import math
import os
import socket
import subprocess
import time
from contextlib import closing, contextmanager
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
from polyphony.adapters.prompting.prompt_config import PromptConfig
from polyphony.personas.people.acts import USUAL, Verb
from polyphony.randomness import keyed_generator
from polyphony.simulation.runs.loading import Loader, loading_with

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
    with vllm(tmp_path_factory.mktemp("vllm") / "log", "float32") as url:
        yield url


@contextmanager
def vllm(log, dtype):
    """A vLLM server of the embedded base model until the block ends."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(embedded_directory()),
        "--host", "127.0.0.1", "--port", str(port), "--dtype", dtype, "--enforce-eager", "--enable-lora",
        "--max-loras", "4", "--max-cpu-loras", str(max(PEOPLE, 8) + 8), "--max-lora-rank", "64",
        "--max-model-len", "2048", "--max-num-seqs", "8",
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "TORCH_COMPILE_DISABLE": "1"}
    own = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | offline | own
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
    with both(base, kit, server, tmp_path_factory.mktemp("adapters")) as pair:
        yield pair


@contextmanager
def both(base, kit, server, folder):
    """The local engine of a base model and the served one, over adapters that are the same each time."""
    with AdaptedModel(base, SHAPE) as adapted:
        people = [random_factors(adapted, seed) for seed in range(PEOPLE)]
        adapted.set_stack(stacked(people), SHAPE.scale)
        for number, factors in enumerate(people):
            whole = {name: (a, b * SHAPE.scale) for name, (a, b) in factors.items()}
            export_directory(folder / f"polyphony-{number}", whole, base_name="", card={})
        exports = [folder / f"polyphony-{number}" for number in range(PEOPLE)]
        client, zero = Client(server, seconds=600), exported_zero(folder, base, adapted)
        with closing(vllm_engine(client, base, kit, adapted, exports, zero, DecodingConfig())) as served:
            yield Engine(base, adapted, kit), served


def asked(kit):
    """One act of each person's adapter, and one of the base model."""
    return [
        ActRequest(slot, kit.builder.prompt(f"agent{number}", "Sails.", FEED), TARGETS, 8,
                   keyed_generator(5, "vllm", number).random(64))
        for number, slot in enumerate([*range(PEOPLE), None])
    ]  # fmt: skip


def apart(some, others):
    """The farthest two log-probabilities of an act, in nats."""
    return max(
        abs(math.log(one.distribution[verb]) - math.log(other.distribution[verb]))
        for one, other in zip(some, others, strict=True) for verb in USUAL
    )  # fmt: skip


def test_acts_are_as_likely_as_in_the_local_engine(kit, engines):
    local, served = engines
    assert served.describe().exact_choice is Exactness.EXACT and served.describe().version
    requests = asked(kit)
    pairs = list(zip(local.decide(requests), served.decide(requests), strict=True))
    farthest = apart(*zip(*pairs, strict=True))
    moved = max(abs(ours.distribution[verb] - pairs[-1][0].distribution[verb]) for ours, _ in pairs for verb in USUAL)
    print(f"farthest log-probability of an act: {farthest:.2e} nats; adapters move shares by up to {moved:.2f}")
    assert farthest < MOST_NATS and moved > 0.02
    assert [(a.verb, a.position) for a, _ in pairs] == [(b.verb, b.position) for _, b in pairs], "the same draws"
    assert all(bool(theirs.text) for _, theirs in pairs if theirs.verb.has_text)


def test_in_bf16_acts_are_as_likely_as_that_type_tells(loader, base, kit, tmp_path):
    """As far from fp32 as our own engine in bf16 is, at most twice."""
    rough = loader.base_model(None, device="cpu", dtype="bf16")
    (tmp_path / "adapters").mkdir()
    with vllm(tmp_path / "log", "bfloat16") as url, both(base, kit, url, tmp_path / "adapters") as (local, served):
        exact, theirs = local.decide(asked(kit)), served.decide(asked(kit))
    with AdaptedModel(rough, SHAPE) as adapted:
        adapted.set_stack(stacked([random_factors(adapted, seed) for seed in range(PEOPLE)]), SHAPE.scale)
        rough_kit = loader.prompt_kit(rough, PromptConfig())
        ours = Engine(rough, adapted, rough_kit).decide(asked(rough_kit))
    noise, farthest = apart(exact, ours), apart(exact, theirs)
    print(f"farthest from fp32: vLLM in bf16 {farthest:.3f} nats, our engine in bf16 {noise:.3f} nats")
    assert 0 < farthest < 2 * noise


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
    there = ["--engine", "vllm", "--engine-url", server, "--engine-adapters", tmp_path / "exports"]
    with loading_with(Loader()):  # other tests have adapters in the base model that all runs share
        for more in (["--out", tmp_path / "local.db"], [*there, "--out", tmp_path / "vllm.db"]):
            code, _, said = simulate(*told, *more)
            assert code == 0, said
    query = "SELECT prompt_digest, act_distribution, outcome FROM activation WHERE timestep = 0 ORDER BY agent_id"
    ours, theirs = rows(tmp_path / "local.db", query), rows(tmp_path / "vllm.db", query)
    assert ours and [digest for digest, *_ in ours] == [digest for digest, *_ in theirs]
    for (_, mine, _), (_, served, outcome) in zip(ours, theirs, strict=True):
        assert outcome != "failed" and json.loads(served) == pytest.approx(json.loads(mine), abs=5e-3)
    ((versions, config),) = rows(tmp_path / "vllm.db", "SELECT versions, config FROM run")
    assert json.loads(versions)["engine"]["exact_choice"] == "exact"
    assert json.loads(config)["engine_url"] == server and "exports" not in config
