"""Low-rank adapters of many people over one frozen base: stacked factors, one batched product per layer."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyphony.adapters.model.base_model import BaseModel
from polyphony.adapters.model.blocks import decoder_blocks
from polyphony.adapters.model.decode_kernel import add_low_rank, laid_out
from polyphony.adapters.model.lora_shape import LoraShape
from polyphony.adapters.model.pointer import POINTER, Pointer, pointer_size
from polyphony.adapters.model.prepacked_linear import PrepackedLinear
from polyphony.adapters.model.routing import Route, Routing
from polyphony.errors import InputError

# With so few tokens per row, as in decoding, products of low rank are bound by memory: see
# `adapters.model.decode_kernel`. Without its kernel, CPUs compute them several times faster in float32 than in bf16.
FEW_TOKENS = 4

Factors = Mapping[str, tuple[Tensor, Tensor]]
"""Module name -> (A, B); A has shape [rank, in], B [out, rank]; the scale is outside, see `LoraShape.scale`."""


def rank_of(factors: Factors) -> int:
    """The largest rank of a layer; the pointer has a rank of its own, which does not count."""
    return max((len(a) for module, (a, _) in factors.items() if module != POINTER), default=1)


def adapted_modules(base: BaseModel, shape: LoraShape) -> dict[str, nn.Linear]:
    """Name the linear layers that a shape adapts, in the model's order.

    Raises:
        InputError: The blocks hold no linear layer, or none that a target names.
    """
    prefix, blocks = decoder_blocks(base.model)
    first = max(0, len(blocks) - shape.top_blocks)
    linear = {
        f"{prefix}.{index}.{name}": module
        for index in range(first, len(blocks) - shape.skip_blocks)
        for name, module in _linear_layers(blocks[index])
    }
    kinds = {name.rpartition(".")[2] for name in linear}
    if not linear:
        raise InputError(f"{base.name}: its decoder blocks hold no torch.nn.Linear layer to adapt")
    unknown = sorted(set(shape.targets) - kinds)
    if unknown:
        raise InputError(f"--targets {', '.join(unknown)}: {base.name} has {', '.join(sorted(kinds))}")
    return {
        name: module for name, module in linear.items() if not shape.targets or name.rpartition(".")[2] in shape.targets
    }


def _linear_layers(block: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers of a block by name, also where adapters hang on them now."""
    wrapped = tuple(f"{name}." for name, module in block.named_modules() if isinstance(module, StackedLora))
    for name, module in block.named_modules():
        if isinstance(module, StackedLora):
            yield name, module.linear
        elif isinstance(module, nn.Linear) and not name.startswith(wrapped):
            yield name, module


class StackedLora(nn.Module):
    """One frozen linear layer with an optional shared prior and a stack of the people's own factors."""

    def __init__(self, linear: nn.Linear, routing: Routing) -> None:
        """Wrap `linear`; `routing` says for each batch which factors a row uses."""
        super().__init__()
        self.linear = linear
        self._routing = routing
        self.prior: tuple[Tensor, Tensor] | None = None
        self.stack: tuple[Tensor, Tensor] | None = None
        self.basis: tuple[Tensor, Tensor] | None = None
        self.coefficients: Tensor | None = None
        self.scale: float | Tensor = 1.0
        self._merged: PrepackedLinear | None = None
        self._gathered: tuple[int, Tensor, Tensor] | None = None

    def set_prior(self, prior: tuple[Tensor, Tensor] | None) -> None:
        """Take the shared prior with its scale in B; where all rows use it, it is merged into the weight."""
        self.prior, self._merged = prior, None
        if prior is not None:
            weight = self.linear.weight.detach()
            self._merged = PrepackedLinear((weight.float() + prior[1] @ prior[0]).to(weight.dtype), self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape [rows, length, in] to [rows, length, out]."""
        route = self._routing.route
        if route is None:
            bare: Tensor = self.linear(x)
            return bare
        y = self._shared(x, route)
        if self.basis is not None and self.coefficients is not None:
            few = x.numel() // x.shape[-1] <= FEW_TOKENS * len(route.slots) and not torch.is_grad_enabled()
            part = x.float() if few and x.device.type == "cpu" else x
            return y + self._in_basis(part, route, self.basis, self.coefficients).to(y.dtype)
        if self.stack is None:
            return y
        groups = len(route.slots)
        grouped = x.reshape(groups, -1, x.shape[-1])
        is_few = grouped.shape[1] <= FEW_TOKENS and x.device.type == "cpu" and not torch.is_grad_enabled()
        if is_few and not route.static:
            if not isinstance(self.scale, Tensor) and add_low_rank(
                y, x, self.stack, route.slots, grouped.shape[1], self.scale
            ):
                return y
            a, b = self._own(route, torch.float32)
            own = torch.bmm(torch.bmm(grouped.float(), a), b)
            return y.add_(own.view_as(y))
        a, b = self._own(route, x.dtype)
        return torch.baddbmm(y.view(groups, -1, y.shape[-1]), torch.bmm(grouped, a), b).view_as(y)

    def _shared(self, x: Tensor, route: Route) -> Tensor:
        """Apply the base and the prior to x."""
        if self._merged is not None and route.prior is None:
            return self._merged(x)
        y: Tensor = self.linear(x)
        if self.prior is None or route.prior is None:
            return y
        a, b = (factor.to(x.dtype) for factor in self.prior)
        inner = functional.linear(x, a) * route.prior.to(x).view(-1, 1, 1)
        return y + functional.linear(inner, b)

    def _in_basis(self, x: Tensor, route: Route, basis: tuple[Tensor, Tensor], coefficients: Tensor) -> Tensor:
        """The product B R A x: what all people share once for all rows, and each row's own small R between."""
        slots = route.slots.to(coefficients.device)
        a, b = (side.to(x.dtype) for side in basis)
        own = coefficients.index_select(0, slots.clamp(min=0)) * (self.scale * (slots >= 0)).view(-1, 1, 1)
        inner = functional.linear(x, a)
        outer = torch.bmm(inner.view(len(slots), -1, inner.shape[-1]), own.to(x.dtype).mT)
        return functional.linear(outer.view(*x.shape[:-1], -1), b)

    def _own(self, route: Route, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Each group's own factors, A [groups, in, rank] and B [groups, rank, out]."""
        if torch.is_grad_enabled() or route.static:
            return self._gather(route.slots, dtype)
        version, changed, groups = self._routing.version, self._routing.changed, len(route.slots)
        last = self._gathered
        if last is None or last[1].dtype != dtype or last[0] < version - 1 or (last[0] < version and changed is None):
            last = (version, *self._gather(route.slots, dtype))
        elif last[0] < version and changed is not None:
            last = (version, last[1], last[2])
            if len(changed):
                last[1][changed], last[2][changed] = self._gather(route.slots[changed], dtype)
        self._gathered = last
        return last[1][:groups], last[2][:groups]

    def _gather(self, slots: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        if self.stack is None:
            raise RuntimeError("no factors are installed")
        present = slots.to(self.stack[0].device)
        a, b = (factor.index_select(0, present.clamp(min=0)) for factor in self.stack)
        scale = self.scale[present.clamp(min=0)] if isinstance(self.scale, Tensor) else self.scale
        return a.to(dtype).mT, (b * (scale * (present >= 0)).view(-1, 1, 1)).to(dtype).mT

    def forget_rows(self) -> None:
        """Drop the factors gathered for the last route."""
        self._gathered = None


class AdaptedModel:
    """A base model whose top blocks can be routed through people's factors.

    Within a `with` block its layers replace those of the base, which are put back unchanged at the end. One base
    carries one AdaptedModel at a time.
    """

    def __init__(self, base: BaseModel, shape: LoraShape, *others: LoraShape) -> None:
        """Wrap the linear layers that `shape` names, and those of other shapes, as a prior's."""
        self.base = base
        self.shape = shape
        self.routing = Routing()
        self.generation = 0
        """Number of changes of all installed factors; results computed under an earlier number are stale."""
        self.slot_versions: Counter[int] = Counter()
        """Slot -> number of changes of its factors alone."""
        self._own = adapted_modules(base, shape)
        self._original = self._own.copy()
        for other in others:
            self._original |= adapted_modules(base, other)
        self.layers = {name: StackedLora(module, self.routing) for name, module in self._original.items()}
        self.pointer = Pointer()
        self._replaced: dict[str, nn.Module] = {}

    def close(self) -> None:
        """Put the layers back that were there before."""
        for name, module in self._replaced.items():
            _replace(self.base.model, name, module)
        self._replaced = {}

    def __enter__(self) -> "AdaptedModel":
        self._replaced = {name: self.base.model.get_submodule(name) for name in self.layers}
        for name, layer in self.layers.items():
            _replace(self.base.model, name, layer)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Name -> (in, out) of the modules of its own shape."""
        return {name: (module.in_features, module.out_features) for name, module in self._own.items()}

    @property
    def stack_sizes(self) -> dict[str, tuple[int, int]]:
        """`sizes` with the pointer's, which has no layer in the model."""
        return {**self.sizes, POINTER: pointer_size(self.base)}

    def set_prior(self, prior: Factors | None, scale: float = 1.0) -> None:
        """Install the population prior that rows share; None removes it. Layers that it does not name have no prior.

        Raises:
            InputError: It changes layers that are not wrapped.
        """
        self._check(prior)
        pointer, device = (prior or {}).get(POINTER), self.base.device
        if pointer is not None and (pointer[0].shape[1], pointer[1].shape[0]) != pointer_size(self.base):
            raise InputError("the prior's pointer is of an earlier version; train into another --bank")
        self.pointer.set_prior(pointer, scale)
        for name, layer in self.layers.items():
            layer.set_prior(None)
            if prior is not None and name in prior:
                a, b = prior[name]
                layer.set_prior((a.to(device), (b * scale).to(device)))
        self.generation += 1
        self.forget_rows()

    def set_stack(self, stack: Factors | None, scale: float | Tensor) -> None:
        """Install people's factors, A of shape [slots, rank, in] and B [slots, out, rank]; None removes them.

        Args:
            stack: The factors.
            scale: Factor on all products, or one for each slot, shape [slots], where no pointer is installed.

        Raises:
            InputError: They change layers that are not wrapped.
        """
        self._check(stack)
        self.pointer.set_stack((stack or {}).get(POINTER), 1.0 if isinstance(scale, Tensor) else scale)
        for name, layer in self.layers.items():
            pair = None if stack is None else stack.get(name)
            layer.stack = None if pair is None else (pair[0], laid_out(pair[1]))
            layer.scale = scale
        self.generation += 1
        self.forget_rows()

    def set_coefficients(
        self, basis: Factors | None, coefficients: Mapping[str, Tensor] | None, scale: float = 1.0
    ) -> None:
        """Install people as coefficients in one frozen basis, beside no stack of factors; None removes them.

        Args:
            basis: Module name to A of shape [rank, in] and B of shape [out, rank].
            coefficients: Module name to R of shape [slots, rank, rank]; a layer without any stays as it is.
            scale: Factor on all products B R A.

        Raises:
            InputError: They change layers that are not wrapped.
        """
        self._check(basis)
        device = self.base.device
        for name, layer in self.layers.items():
            present = basis is not None and coefficients is not None and name in coefficients
            layer.basis = (basis[name][0].to(device), basis[name][1].to(device)) if basis and present else None
            layer.coefficients = coefficients[name] if coefficients and present else None
            layer.scale = scale
        self.generation += 1
        self.forget_rows()

    def changed(self, slots: Iterable[int]) -> None:
        """Note that the factors in some slots of the installed stack have been overwritten."""
        self.slot_versions.update(slots)
        self.forget_rows()

    def _check(self, factors: Factors | None) -> None:
        unknown = sorted(set(factors or {}) - set(self.layers) - {POINTER})
        if unknown:
            raise InputError(
                f"an adapter changes {unknown[0]} and {len(unknown) - 1} more layers that are not adapted here; "
                "give the --top-blocks and --targets it was trained with"
            )

    @contextmanager
    def routed(self, route: Route | None) -> Iterator[None]:
        """Route the rows of every forward pass inside the block; None for the bare base."""
        self.routing.set(route)
        try:
            yield
        finally:
            self.routing.route = None

    def forget_rows(self) -> None:
        """Free the factors gathered for the last route."""
        self.routing.forget()
        for layer in self.layers.values():
            layer.forget_rows()


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
