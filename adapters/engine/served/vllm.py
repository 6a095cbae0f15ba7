"""A vLLM server as an engine: it loads the agents' adapters from directories, and tells the probability of labels."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from polyphony.adapters.engine.decoding_config import DecodingConfig
from polyphony.adapters.engine.served.client import Client, Refused, ServerError
from polyphony.adapters.engine.served.completions import Completions, probed
from polyphony.adapters.engine.served.served_engine import ServedEngine, ServedModels, served_description
from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.lora import AdaptedModel
from polyphony.adapters.prompting.act_scorer import VERBS, content_free_prompt
from polyphony.adapters.prompting.prompt_kit import PromptKit
from polyphony.errors import InputError
from polyphony.printable import quoted

NAME = "vllm"
LOADED_AT_ONCE = 4
FARTHEST = 0.5
"""Most nats by which a label's log-probability under the content-free prompt may differ from the base model's here."""


def vllm_engine(
    client: Client, base: BaseModel, kit: PromptKit, adapted: AdaptedModel | None, exports: Sequence[Path],
    zero: Path, decoding: DecodingConfig,
) -> ServedEngine:  # fmt: skip
    """Have a vLLM server load adapters, and make the engine that asks it.

    Args:
        client: The server, started with ``--enable-lora`` and ``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``.
        base: The base model, which the server must serve, too.
        kit: Prompts and act scorer.
        adapted: The same adapters here, for their pointers; None for the bare base.
        exports: The directory of each slot's adapter, as `adapters.engine.served.exports` writes it.
        zero: That of an adapter that changes nothing, through which the bare base is asked.
        decoding: How texts are drawn.

    Raises:
        InputError: There is no such server, it serves another base model, or it does not take an adapter.
    """
    try:
        adapters = _Adapters(client)
        exactness = probed(client, kit, adapters.base)
        if exactness is None:
            raise InputError("--engine vllm: the server takes no token ids, or tells no log-probabilities")
        interface = Completions(client, kit, decoding, *exactness, penalises_prompt=True)
        adapters.load([zero])
        _check_base(interface, zero.name, adapters.base, kit)
        adapters.load([zero, *exports])
        version = _version(client)
    except ServerError as error:
        raise InputError(f"--engine vllm: {error}") from error
    models = ServedModels(zero.name, [path.name for path in exports], adapters.restore)
    return ServedEngine(client, interface, models, base, kit, adapted, served_description(NAME, version, interface))


class _Adapters:
    """The adapters that a server has loaded."""

    def __init__(self, client: Client) -> None:
        """Ask what the server serves."""
        self._client = client
        self._places: dict[str, Path] = {}
        base, self._loaded = _served(client)
        if base is None:
            raise InputError("--engine vllm: the server names no model")
        self.base = base

    def load(self, exports: Sequence[Path]) -> None:
        """Load what is not loaded yet."""
        self._places = {path.name: path for path in exports}
        missing = [path for name, path in self._places.items() if name not in self._loaded]
        self._loaded |= self._places.keys()
        pool = ThreadPoolExecutor(LOADED_AT_ONCE)
        try:
            list(pool.map(self._load, missing))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def restore(self, name: str) -> None:
        """Load one again; the server may know it by now."""
        self._load(self._places[name])

    def _load(self, path: Path) -> None:
        try:
            self._client.order("/v1/load_lora_adapter", {"lora_name": path.name, "lora_path": str(path.resolve())})
        except Refused as refusal:
            if refusal.status == 404 and "not found" in str(refusal).lower() and "adapter" not in str(refusal).lower():
                raise InputError(
                    "--engine vllm: the server loads no adapters; start it with --enable-lora and the environment "
                    "variable VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
                ) from refusal
            if "already" not in str(refusal):
                raise


def _served(client: Client) -> tuple[str | None, set[str]]:
    """The base model that a server serves, and the adapters over it."""
    listed: Any = client.get("/v1/models")
    entries = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ServerError("the server's list of models cannot be read")
    names = {str(entry.get("id")): entry.get("parent") for entry in entries}
    bases = [name for name, parent in names.items() if parent is None]
    return bases[0] if bases else None, {name for name, parent in names.items() if parent is not None}


def _check_base(interface: Completions, model: str, name: str, kit: PromptKit) -> None:
    """Refuse a server of another base model: its log-probabilities under a content-free prompt would be others.

    Raises:
        InputError: As described.
    """
    grammar, scorer = kit.builder.grammar, kit.scorer
    prompt = content_free_prompt(kit.builder, len(scorer.digit_ids))
    served = torch.tensor(interface.label_logprobs(model, prompt, list(grammar.verb_ids.values())))
    local = torch.stack([scorer.verb_bias[VERBS.index(verb)] for verb in grammar.verb_ids]).float().cpu()
    shared = served.isfinite()
    farthest = (served[shared].log_softmax(-1) - local[shared].log_softmax(-1)).abs().max()
    if not float(farthest) <= FARTHEST:
        raise InputError(
            f"--engine vllm: the server's {quoted(name)} is another model than the base model here: under one prompt "
            f"the log-probability of an act differs by {float(farthest):.2f} nats; serve the directory of --base-model"
        )


def _version(client: Client) -> str:
    try:
        answer: Any = client.get("/version")
    except ServerError:
        return ""
    version = answer.get("version") if isinstance(answer, dict) else None
    return version[:60] if isinstance(version, str) and version.isprintable() else ""
