"""A GPU where there is none: tensors that say "cuda", compute in main memory, and refuse what a real GPU refuses.

A tensor of the pretended GPU holds one of main memory. Every operation is computed on what it holds, so that the real
commands run to their end with real numbers; an operation over both kinds of tensors raises as it does on a GPU. It
finds no fault of a kernel, and tells nothing of speed or memory.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda:0")
aten = torch.ops.aten
MOVES = {aten._to_copy.default, aten.copy_.default}
"""Operations that bring numbers from one device to the other."""
CPU_INDICES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""Operations whose indices may lie in main memory."""
CPU_SCALARS = {
    aten.masked_fill.Tensor, aten.masked_fill_.Tensor, aten.index_fill.int_Tensor, aten.index_fill_.int_Tensor,
    aten.fill.Tensor, aten.fill_.Tensor,
}  # fmt: skip
"""Operations beside the elementwise ones in which a number, of no dimension, may lie in main memory."""


class DeviceMixture(RuntimeError):
    """An operation got tensors of both devices."""


class OnGpu(torch.Tensor):
    """A tensor of the pretended GPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnGpu":
        """Wrap a tensor of main memory."""
        wrapped = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=GPU,
            dispatch_sizes_strides_policy="sizes",
        )
        wrapped.held = held
        return wrapped

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute with what is held."""
        return _computed(func, args, kwargs or {})

    def tolist(self) -> Any:
        """The numbers, which a real GPU copies back."""
        return self.held.tolist()

    def __repr__(self) -> str:
        return f"OnGpu({self.held!r})"


class _Watching(TorchDispatchMode):
    """Creates tensors on the pretended GPU, and moves tensors there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors: list[Tensor] = []
    held_args = [_held(value, tensors) for value in args]
    held_kwargs = {name: _held(value, tensors) for name, value in kwargs.items()}
    wrapped = sum(isinstance(tensor, OnGpu) for tensor in tensors)
    on_gpu = isinstance(args[0], OnGpu) if func is aten.copy_.default else bool(wrapped)
    if wrapped and wrapped < len(tensors) and func not in MOVES:
        _check(func, args, tensors)
    if kwargs.get("device") is not None:
        on_gpu, held_kwargs["device"] = torch.device(kwargs["device"]).type == "cuda", "cpu"
        if not on_gpu and not wrapped:
            return func(*args, **kwargs)  # another device than these two
    if func is aten._fused_sdp_choice.default:
        return 0  # attention by plain products: fused kernels have other names on each device
    result = func(*held_args, **held_kwargs)
    changed = [
        kwargs.get(argument.name, args[place] if place < len(args) else None)
        for place, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    if changed and len(func._schema.returns) == len(changed):
        return changed[0] if len(changed) == 1 else tuple(changed)
    return _wrapped(result) if on_gpu else result


def _held(value: Any, tensors: list[Tensor]) -> Any:
    """The value with what its tensors hold; the tensors themselves are noted."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return value.held if isinstance(value, OnGpu) else value
    return type(value)(_held(part, tensors) for part in value) if type(value) in (list, tuple) else value


def _wrapped(result: Any) -> Any:
    if isinstance(result, Tensor):
        return OnGpu(result)
    return type(result)(map(_wrapped, result)) if type(result) in (list, tuple) else result


def _check(func: Any, args: Any, tensors: list[Tensor]) -> None:
    """Raise where a real GPU would."""
    strangers = [tensor for tensor in tensors if not isinstance(tensor, OnGpu)]
    if func in CPU_INDICES and isinstance(args[0], OnGpu):
        values = [args[2]] if len(args) > 2 and isinstance(args[2], Tensor) else []
        strangers = [value for value in values if not isinstance(value, OnGpu)]
        if all(value.dim() == 0 for value in strangers):
            return
    if (torch.Tag.pointwise in func.tags or func in CPU_SCALARS) and all(tensor.dim() == 0 for tensor in strangers):
        return
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in strangers)
    raise DeviceMixture(
        f"{func}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
        f"In main memory: {shapes}"
    )


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Let torch see the pretended GPU inside the block, in this thread and in those that begin in it."""
    run: Callable[[threading.Thread], None] = threading.Thread.run

    def watched(thread: threading.Thread) -> None:
        with _watching():
            run(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "run", watched)
        for name, value in {
            "_lazy_init": lambda: None, "is_available": lambda: True, "is_initialized": lambda: True,
            "device_count": lambda: 1, "current_device": lambda: 0, "is_bf16_supported": lambda *_: False,
            "synchronize": lambda *_: None, "get_device_name": lambda *_: "a pretended GPU",
            "mem_get_info": lambda *_: (8 << 30, 8 << 30), "empty_cache": lambda: None,
            "graph_pool_handle": lambda: (0, 0),
            "max_memory_allocated": lambda *_: 0, "reset_peak_memory_stats": lambda *_: None,
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, value)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        with _watching():
            yield


@contextmanager
def _watching() -> Iterator[None]:
    """Let this thread create tensors there; `torch.tensor` creates them in main memory first, and moves them."""
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with _Watching():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)
