"""The low-rank terms of a few tokens per row, as in decoding, by a kernel that the machine's C compiler builds once.

Decoding reads every row's factors once per token, so that memory bandwidth bounds the speed. The library's batched
products need gathered float32 factors and three passes over them; the kernel reads half-precision factors in place.
Without a compiler the library's products are used, which give the same result to rounding, slower.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from polyphony.adapters.model.kernel_cache import cached_library
from polyphony.cache_directory import cache_directory

SOURCE = Path(__file__).with_name("decode_kernel.c")
# No fast-math: linking with it would change the rounding of the whole process.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
NAMES = {torch.bfloat16: "add_low_rank_bf16", torch.float32: "add_low_rank_float"}
TURN_OFF = "POLYPHONY_NO_KERNEL"

Kernel = Callable[..., None]


def add_low_rank(y: Tensor, x: Tensor, stack: tuple[Tensor, Tensor], slots: Tensor, run: int, scale: float) -> bool:
    """Add each token's low-rank term to `y` in place; return False and change nothing where the kernel does not apply.

    Args:
        y: Shape [..., out], contiguous.
        x: Shape [..., in], of the same compute type.
        stack: A [slots, rank, in] and B [slots, out, rank], B laid out by rank, see `laid_out`.
        slots: Slot of every `run` neighbouring tokens, -1 for none.
        run: How many neighbouring tokens share a slot.
        scale: Factor on the term.
    """
    a, b = stack
    kernel = _kernel(x.dtype) if x.device.type == "cpu" else None
    alike = a.dtype == b.dtype == x.dtype == y.dtype and a.device == x.device
    if kernel is None or not alike or not (a.is_contiguous() and b.mT.is_contiguous() and y.is_contiguous()):
        return False
    x, slots = x.contiguous(), slots.contiguous()
    tokens = x.numel() // x.shape[-1]
    pointers = (tensor.data_ptr() for tensor in (y, x, a, b, slots))
    kernel(*pointers, tokens, run, x.shape[-1], a.shape[1], y.shape[-1], scale)
    return True


def laid_out(b: Tensor) -> Tensor:
    """Return B [slots, out, rank] with the numbers of each rank contiguous in memory, as the kernel reads them."""
    return b if b.requires_grad or b.mT.is_contiguous() else b.mT.contiguous().mT


def kernel_built() -> bool:
    """Whether this machine has the kernel; a run records it, since the last bits of its sums differ."""
    return _library() is not None


@cache
def _kernel(dtype: torch.dtype) -> Kernel | None:
    library = _library()
    if library is None or dtype not in NAMES:
        return None
    function: Kernel = getattr(library, NAMES[dtype])
    function.restype = None  # type: ignore[attr-defined]
    whole = [ctypes.c_int64] * 5
    function.argtypes = [*[ctypes.c_void_p] * 5, *whole, ctypes.c_float]  # type: ignore[attr-defined]
    return function


@cache
def _library() -> ctypes.CDLL | None:
    """Load the kernel; build it first where the cache has none for this processor."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or os.environ.get(TURN_OFF):
        return None
    try:
        library = cached_library(
            cache_directory() / "kernels", f"decode_kernel-{_fingerprint(compiler)}", partial(_build, compiler)
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return library if all(hasattr(library, name) for name in NAMES.values()) else None


def _fingerprint(compiler: str) -> str:
    """The name of a build: machines with other processors may share a cache."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return hashlib.sha256(f"{SOURCE.read_text()}{FLAGS}{compiler}{flags}".encode()).hexdigest()[:16]


def _build(compiler: str, library: Path) -> None:
    subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(library)], check=True, capture_output=True, timeout=60)
