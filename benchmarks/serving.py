"""The server against the engine's own batch, against PEFT behind FastAPI, against vLLM; many clients; cold adapters.

`python -m benchmarks.serving PART…` with the parts throughput, peft, vllm, first-token, cold, start, soak; without, all
but `vllm` (which needs POLYPHONY_VLLM_PYTHON, see docs/engines.md) and `soak` (`--minutes`, 10).
"""

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import torch

from benchmarks import results
from benchmarks.results import Result
from polyphony.adapters.bank.bank import Bank
from polyphony.adapters.bank.interchange import export_directory
from polyphony.adapters.bank.revision import PERSONAL, Revision, adapter_id
from polyphony.adapters.engine.generation import Generation, Sampling
from polyphony.adapters.model.base_model import BaseModel, embedded_directory, load_base_model
from polyphony.adapters.model.lora import AdaptedModel, Factors
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.randomness import keyed_generator
from polyphony.simulation.serving.asking import ServingConfig
from polyphony.simulation.serving.server import Capacity, Serving, serving
from polyphony.simulation.serving.uploads import Limits

CLIENTS, PROMPT, NEW, REPEATS = 64, 96, 32, 5
SHAPE = LoraShape(rank=4, alpha=8.0)
COLD = 200
# Requests of each client in a row: the first ones find the batch empty, the last ones leave it so.
ROUNDS = 3
PARTS = ("throughput", "peft", "first-token", "cold", "start")
ADAPTERS_OF_BANK = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    base = load_base_model(say=print)
    print(results.machine(), results.versions(), base.dtype, torch.get_num_threads(), "threads", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        fill(base, directory / "bank")
        for part in given.parts:
            found = _part(part, base, directory, given.minutes)
            for result in found:
                print(f"{result.name}: {result.value:.4g} {result.unit}  (goal {result.goal or '–'})", flush=True)
            results.merge("serving", found, by_name=True)


def _part(part: str, base: BaseModel, directory: Path, minutes: float) -> list[Result]:
    if part == "throughput":
        return throughput_results(base, directory)
    if part == "first-token":
        return first_token_results(base, directory)
    if part == "cold":
        return cold_results(base, directory)
    if part == "start":
        return start_results(base, directory)
    if part == "soak":
        return soak_results(directory, minutes)
    return peer_results(part, base, directory)


def fill(base: BaseModel, directory: Path) -> list[str]:
    """A bank of people whose adapters are drawn at the size that training reaches."""
    names = [f"person{number}" for number in range(ADAPTERS_OF_BANK)]
    with AdaptedModel(base, SHAPE) as adapted, closing(Bank(directory, create=True)) as bank:
        bank.add_all([(revision_of(base, name), drawn(adapted, number)) for number, name in enumerate(names)])
    return names


def revision_of(base: BaseModel, name: str) -> Revision:
    """A personal adapter without a prior."""
    config = {"shape": {"rank": SHAPE.rank, "alpha": SHAPE.alpha, "top_blocks": SHAPE.top_blocks}}
    return Revision(
        adapter_id=adapter_id(base.hash, "bench", PERSONAL, name), kind=PERSONAL, person=name, population="bench",
        base_hash=base.hash, config=config, init="standard", seed=0, data_digest="", training_digest=name, losses={},
        scale=1.0,
    )  # fmt: skip


def drawn(adapted: AdaptedModel, number: int) -> Factors:
    """Factors of one person."""
    random = torch.Generator().manual_seed(number)
    return {
        name: (
            torch.randn(SHAPE.rank, wide, generator=random) * wide**-0.5,
            torch.randn(out, SHAPE.rank, generator=random) * 0.02,
        )
        for name, (wide, out) in adapted.sizes.items()
    }


def prompts(count: int, length: int = PROMPT) -> list[list[int]]:
    """Token ids that are no control tokens."""
    return keyed_generator(0, "serving benchmark", length).integers(1000, 40_000, (count, length)).tolist()


# One client process for all servers: it asks, and says how fast answers come.


async def ask_all(url: str, models: Sequence[str], rounds: int) -> tuple[float, list[float]]:
    """Each client asks `rounds` times in a row; returns tokens a second and each answer's seconds.

    Requests have no seed: vLLM 0.32 on a CPU ends at one whose prompt it reads in pieces ("CPU Generator does not use
    offset").
    """
    texts, seconds, tokens = prompts(len(models)), [], 0
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits, trust_env=False) as client:

        async def one(place: int) -> int:
            written = 0
            for _ in range(rounds):
                began = time.perf_counter()
                body = {
                    "model": models[place], "prompt": texts[place], "max_tokens": NEW, "temperature": 1.0,
                    "ignore_eos": True,
                }  # fmt: skip
                answer = await client.post("/v1/completions", json=body)
                answer.raise_for_status()
                written += answer.json()["usage"]["completion_tokens"]
                seconds.append(time.perf_counter() - began)
            return written

        began = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(place) for place in range(len(models)))))
        return tokens / (time.perf_counter() - began), seconds


def own_batch(server: Serving, names: Sequence[str], bank: Bank) -> float:
    """Tokens a second of the engine itself with the same prompts, adapters and draws."""
    lane, slots = server.lanes[0], server.slots
    held = [slots.hold(bank.newest(adapter_id_of(bank, name))) for name in names]
    uniforms = keyed_generator(0, "serving benchmark draws").random((len(names), NEW))
    texts = [
        Generation(prompt, Sampling(goes_on=True), NEW, draws)
        for prompt, draws in zip(prompts(len(names)), uniforms, strict=True)
    ]
    began = time.perf_counter()
    waiting = list(zip(texts, held, strict=True))
    while waiting or len(lane):
        some, waiting = waiting[: lane.free], waiting[lane.free :]
        if some:
            lane.admit([text for text, _ in some], [slot for _, slot in some])
        if len(lane):
            lane.step()
    taken = time.perf_counter() - began
    for name in names:
        slots.release(bank.newest(adapter_id_of(bank, name)).object)
    return sum(len(text.written) for text in texts) / taken


def adapter_id_of(bank: Bank, name: str) -> str:
    """The id of a person's adapter."""
    return bank.revisions(person=name)[0].adapter_id


def throughput_results(base: BaseModel, directory: Path) -> list[Result]:
    """The server in a process of its own, and the engine's batch in this one, in turn."""
    names = [f"person{number}" for number in range(CLIENTS)]
    own, served = [], []
    with (
        closing(Bank(directory / "bank")) as bank,
        serving(base, directory / "bank", Capacity(rows=CLIENTS), ServingConfig(), Limits()) as engine,
        running(directory / "bank", base.dtype) as server,
    ):
        for turn in range(REPEATS + 1):
            own.append(own_batch(engine, names, bank))
            served.append(asyncio.run(ask_all(server.url, names, ROUNDS))[0])
            print(f"  turn {turn}: own {own[-1]:.0f}, served {served[-1]:.0f} tokens/s", flush=True)
    ratios = [after / before for before, after in zip(own[1:], served[1:], strict=True)]
    many = f"{CLIENTS} clients, {CLIENTS} adapters, {PROMPT} prompt and {NEW} new tokens"
    return [
        Result(f"{many}: served", statistics.median(served[1:]), "tokens/s", "", REPEATS),
        Result(f"{many}: the engine's own batch", statistics.median(own[1:]), "tokens/s", "", REPEATS),
        Result(f"{many}: served ÷ the engine's own batch", statistics.median(ratios), "×", "≥ 0.85", REPEATS),
    ]


def peer_results(peer: str, base: BaseModel, directory: Path) -> list[Result]:
    """Our server and a peer, in turn, each in a process of its own; the other one waits meanwhile."""
    names = [f"person{number}" for number in range(CLIENTS)]
    folder = directory / "peft"
    if not folder.exists():
        export(base, folder, names)
    start = peft_server if peer == "peft" else vllm_server
    ours, theirs = [], []
    with running(directory / "bank", base.dtype) as server, start(folder, base.dtype, names) as other:
        for turn in range(REPEATS + 1):
            # A few of PEFT's clients are enough: it answers one after another.
            ours.append(asyncio.run(ask_all(server.url, names, 1))[0])
            asked = names[:8] if peer == "peft" else names
            theirs.append(asyncio.run(ask_all(other, asked, 1))[0])
            print(f"  turn {turn}: ours {ours[-1]:.0f}, {peer} {theirs[-1]:.0f} tokens/s", flush=True)
    ratios = [mine / other for mine, other in zip(ours[1:], theirs[1:], strict=True)]
    goal = {"peft": "≥ 10", "vllm": "≥ 1"}[peer]
    return [
        Result(f"served by {peer}", statistics.median(theirs[1:]), "tokens/s", "", REPEATS),
        Result(f"served ÷ served by {peer}", statistics.median(ratios), "×", goal, REPEATS),
    ]


def export(base: BaseModel, folder: Path, names: Sequence[str]) -> None:
    """The same adapters as PEFT directories, over a link to the base."""
    (folder / "adapters").mkdir(parents=True)
    (folder / "base").symlink_to(embedded_directory())
    with AdaptedModel(base, SHAPE) as adapted:
        people = {name: drawn(adapted, number) for number, name in enumerate(names)}
    for name, factors in people.items():
        export_directory(folder / "adapters" / name, factors, base_name="base", card={})


class Running:
    """A server in a process of its own."""

    def __init__(self, url: str, process: psutil.Process) -> None:
        """Take its address and its process."""
        self.url, self.process = url, process


@contextmanager
def running(bank: Path, dtype: str, *options: str) -> Iterator[Running]:
    """`simulate serve` until the block ends."""
    port = free_port()
    program = "import sys; from polyphony.simulation.cli.main import main; sys.argv[0] = 'simulate'; main()"
    command = [
        sys.executable, "-c", program, "serve", "--bank", str(bank), "--port", str(port), "--dtype", dtype, *options
    ]  # fmt: skip
    with process_of(command, f"http://127.0.0.1:{port}") as process:
        yield Running(f"http://127.0.0.1:{port}", psutil.Process(process.pid))


@contextmanager
def peft_server(folder: Path, dtype: str, _names: Sequence[str]) -> Iterator[str]:
    """PEFT behind FastAPI until the block ends."""
    port = free_port()
    kind = {"fp32": "float32", "bf16": "bfloat16"}[dtype]
    with process_of(
        [sys.executable, "-m", "benchmarks.peft_side", str(folder), str(port), kind], f"http://127.0.0.1:{port}"
    ):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def vllm_server(folder: Path, dtype: str, names: Sequence[str]) -> Iterator[str]:
    """VLLM with all adapters until the block ends."""
    port, python = free_port(), os.environ["POLYPHONY_VLLM_PYTHON"]
    modules = [f"{name}={folder / 'adapters' / name}" for name in names]
    command = [
        str(Path(python).parent / "vllm"), "serve", str((folder / "base").resolve()), "--served-model-name", "base",
        "--port", str(port), "--host", "127.0.0.1", "--dtype", {"fp32": "float32", "bf16": "bfloat16"}[dtype],
        "--enable-lora", "--max-loras", str(len(names)), "--max-cpu-loras", str(len(names)), "--max-lora-rank", "8",
        "--max-model-len", "1024", "--max-num-seqs", str(len(names)), "--lora-modules", *modules,
    ]  # fmt: skip
    quiet = {
        "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    with process_of(command, f"http://127.0.0.1:{port}", {**os.environ, **quiet}, seconds=600):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def process_of(
    command: Sequence[str], url: str, environment: dict[str, str] | None = None, seconds: float = 120
) -> Iterator[subprocess.Popen[bytes]]:
    """A server's process, from when it is healthy until the block ends."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    )  # fmt: skip
    try:
        await_health(url, process, seconds)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def await_health(url: str, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Wait until a server answers.

    Raises:
        SystemExit: It ended, or did not answer in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise SystemExit(f"benchmarks: {process.args!r} did not answer")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def first_token_results(base: BaseModel, directory: Path) -> list[Result]:
    """From a request to the first token of a stream, with 16 clients that think between two requests."""
    names = [f"person{number}" for number in range(16)]
    with (
        closing(Bank(directory / "bank")) as bank,
        serving(base, directory / "bank", Capacity(rows=CLIENTS), ServingConfig(), Limits()) as engine,
    ):
        alone = statistics.median([_prefill(engine, bank) for _ in range(2 * REPEATS)][REPEATS:])
    with running(directory / "bank", base.dtype) as server:
        asyncio.run(ask_all(server.url, names, 1))
        waits = asyncio.run(_first_tokens(server.url, names, rounds=12))
    p95 = float(np.quantile(waits, 0.95))
    many = f"16 clients, {PROMPT} prompt tokens"
    return [
        Result(f"{many}: first token, median", 1000 * statistics.median(waits), "ms", "", len(waits)),
        Result(f"{many}: first token, p95", 1000 * p95, "ms", "", len(waits)),
        Result("the engine's own prefill of one prompt", 1000 * alone, "ms", "", REPEATS),
        Result(f"{many}: first token, p95 ÷ prefill of one prompt", p95 / alone, "×", "≤ 3", len(waits)),
    ]


def _prefill(engine: Serving, bank: Bank) -> float:
    revision = bank.newest(adapter_id_of(bank, "person0"))
    slot = engine.slots.hold(revision)
    text = Generation(prompts(1)[0], Sampling(goes_on=True), 1, np.array([0.5]))
    began = time.perf_counter()
    engine.lanes[0].admit([text], [slot])
    taken = time.perf_counter() - began
    engine.slots.release(revision.object)
    return taken


async def _first_tokens(url: str, names: Sequence[str], rounds: int) -> list[float]:
    waits: list[float] = []
    texts = prompts(len(names))
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as client:

        async def one(place: int) -> None:
            pauses = keyed_generator(0, "pause", place).exponential(8.0, rounds)
            for turn in range(rounds):
                await asyncio.sleep(float(pauses[turn]))
                body = {
                    "model": names[place], "prompt": texts[place], "max_tokens": NEW, "stream": True,
                    "ignore_eos": True, "seed": turn,
                }  # fmt: skip
                began = time.perf_counter()
                async with client.stream("POST", "/v1/completions", json=body) as answer:
                    is_first = True
                    async for _ in answer.aiter_raw():
                        if is_first:
                            waits.append(time.perf_counter() - began)
                        is_first = False

        await asyncio.gather(*(one(place) for place in range(len(names))))
    return waits


def cold_results(base: BaseModel, directory: Path) -> list[Result]:
    """An adapter that no tier holds, from the catalogue to its slot."""
    taken = []
    with (
        closing(Bank(directory / "bank")) as bank,
        serving(base, directory / "bank", Capacity(rows=8), ServingConfig(), Limits()) as engine,
    ):
        for number in range(COLD):
            name = f"person{number}"
            identity = adapter_id_of(bank, name)
            began = time.perf_counter()
            revision = bank.newest(identity)
            engine.slots.hold(revision)
            taken.append(time.perf_counter() - began)
            engine.slots.release(revision.object)
    return [
        Result("cold adapter, catalogue to slot: median", 1000 * statistics.median(taken), "ms", "", COLD),
        Result("cold adapter, catalogue to slot: p95", 1000 * float(np.quantile(taken, 0.95)), "ms", "≤ 50", COLD),
    ]


def start_results(base: BaseModel, directory: Path) -> list[Result]:
    """From the command to the end of the first answer, the base in the cache."""
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        with running(directory / "bank", base.dtype) as server:
            body = {"model": "person0", "prompt": prompts(1)[0], "max_tokens": 8}
            httpx.post(f"{server.url}/v1/completions", json=body, timeout=60, trust_env=False).raise_for_status()
            taken.append(time.perf_counter() - began)
    return [Result("start of the server to the first answer", statistics.median(taken), "s", "≤ 6", REPEATS)]


def soak_results(directory: Path, minutes: float) -> list[Result]:
    """512 clients with an adapter each, all at once, for minutes: errors, lost answers, growth of memory."""
    names = [f"person{number}" for number in range(ADAPTERS_OF_BANK)]
    with running(directory / "bank", "auto") as server:
        counts, memory = asyncio.run(_soak(server, names, 60 * minutes))
    for second, bytes_ in memory[::12]:
        print(f"  {second:.0f} s: {bytes_ / 2**30:.3f} GiB", flush=True)
    warm = counts["warm"] or 60 * minutes
    many = f"{len(names)} clients at once, {len(names)} adapters, {minutes:g} minutes"
    return [
        Result(f"{many}: answers", counts["answers"], "", "", 1),
        Result(f"{many}: errors", counts["errors"], "", "0", 1),
        Result(f"{many}: lost answers", counts["asked"] - counts["answers"] - counts["errors"], "", "0", 1),
        Result(f"{many}: growth of memory after the first minute", _growth(memory, 60), "%", "≤ 2", 1),
        Result(f"{many}: until every adapter has answered once", warm, "s", "", 1),
        Result(f"{many}: growth of memory after that", _growth(memory, warm), "%", "", 1),
        Result(f"{many}: memory at the end", memory[-1][1] / 2**30, "GiB", "", 1),
    ]


def _growth(memory: Sequence[tuple[float, int]], since: float) -> float:
    """Percent by which the last samples, taken every 5 seconds, exceed the first one after some seconds."""
    after = [bytes_ for second, bytes_ in memory if second >= since] or [memory[-1][1]]
    return 100 * (max(after[-5:]) - after[0]) / after[0]


async def _soak(
    server: Running, names: Sequence[str], seconds: float
) -> tuple[dict[str, int], list[tuple[float, int]]]:
    counts, memory, texts = {"asked": 0, "answers": 0, "errors": 0, "warm": 0}, [], prompts(len(names))
    answered: set[str] = set()
    end, began = time.monotonic() + seconds, time.monotonic()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.url, timeout=900, limits=limits, trust_env=False) as client:

        async def one(place: int) -> None:
            while time.monotonic() < end:
                counts["asked"] += 1
                body = {"model": names[place], "prompt": texts[place], "max_tokens": NEW, "ignore_eos": True}
                answer = await client.post("/v1/completions", json=body)
                right = answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == NEW
                counts["answers" if right else "errors"] += 1
                if right:
                    answered.add(names[place])
                if len(answered) == len(names) and not counts["warm"]:
                    counts["warm"] = round(time.monotonic() - began)

        async def watch() -> None:
            while time.monotonic() < end:
                memory.append((time.monotonic() - began, server.process.memory_info().rss))
                await asyncio.sleep(5)

        await asyncio.gather(watch(), *(one(place) for place in range(len(names))))
    return counts, memory


if __name__ == "__main__":
    main()
