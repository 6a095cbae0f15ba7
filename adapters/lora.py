"""Low-rank adapters of many people over one frozen base: stacked factors, one batched product a layer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapters.base_model import BaseModel
from adapters.blocks import decoder_blocks

Factors = Mapping[str, tuple[Tensor, Tensor]]
"""Module name -> (A, B); A has shape [rank, in], B [out, rank]; the scale is outside, see `LoraShape.scale`."""


@dataclass(frozen=True)
class LoraShape:
    """Which layers an adapter changes, and how.

    Attributes:
        rank: Rank of the update, at least 1.
        alpha: The update is scaled by alpha / rank (Hu et al. 2021, section 4.1).
        top_blocks: How many of the last decoder blocks carry factors.
    """

    rank: int = 4
    alpha: float = 8.0
    top_blocks: int = 10

    def __post_init__(self) -> None:
        if self.rank < 1 or self.top_blocks < 1:
            raise ValueError(f"rank {self.rank} and top_blocks {self.top_blocks} must be at least 1")

    @property
    def scale(self) -> float:
        """Factor on the low-rank product."""
        return self.alpha / self.rank


def adapted_modules(base: BaseModel, shape: LoraShape) -> dict[str, nn.Linear]:
    """Name every linear layer of the top decoder blocks, in the model's order."""
    prefix, blocks = decoder_blocks(base.model)
    first = max(0, len(blocks) - shape.top_blocks)
    found = {
        f"{prefix}.{index}.{name}": module
        for index in range(first, len(blocks))
        for name, module in blocks[index].named_modules()
        if isinstance(module, nn.Linear)
    }
    if not found:
        raise ValueError(f"{base.name}: its decoder blocks hold no torch.nn.Linear layer to adapt")
    return found


@dataclass(frozen=True, eq=False)
class Route:
    """Which factors each row of a batch uses.

    Attributes:
        slots: Shape [rows]; index of each row's own factors in the stacks, -1 where the row has none.
        prior: Shape [rows]; whether the row uses the population prior. None: all rows do.
    """

    slots: Tensor
    prior: Tensor | None = None


@dataclass
class Routing:
    """The route of the current batch, shared by all adapted layers of one model; None is the bare base."""

    route: Route | None = None


class StackedLora(nn.Module):
    """One frozen linear layer with an optional shared prior and a stack of people's own factors."""

    def __init__(self, linear: nn.Linear, routing: Routing) -> None:
        """Wrap `linear`; `routing` says per batch which row uses what."""
        super().__init__()
        self.linear = linear
        self._routing = routing
        self.prior: tuple[Tensor, Tensor] | None = None
        self.stack: tuple[Tensor, Tensor] | None = None
        self.scale = 1.0
        self._gathered: tuple[Route, Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape [rows, length, in] to [rows, length, out]."""
        y: Tensor = self.linear(x)
        route = self._routing.route
        if route is None or (self.stack is None and self.prior is None):
            return y
        if self.stack is None and self.prior is not None and route.prior is None:
            a, b = self.prior
            return y + functional.linear(functional.linear(x, a.to(x.dtype)), b.to(x.dtype))
        a, b = self._rows(route, x.dtype)
        return torch.baddbmm(y, torch.bmm(x, a), b)

    def forget_rows(self) -> None:
        """Drop the factors gathered for the last route."""
        self._gathered = None

    def _rows(self, route: Route, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Each row's prior and own factors side by side along the rank: A [rows, in, ranks], B [rows, ranks, out].

        Without gradients they are kept for the next call under the same route: decoding asks once a token.
        """
        kept = self._gathered
        if kept is not None and kept[0] is route and not torch.is_grad_enabled() and kept[1].dtype == dtype:
            return kept[1], kept[2]
        parts = [part for part in (self._prior_rows(route), self._own_rows(route)) if part is not None]
        a = torch.cat([part[0] for part in parts], dim=1).to(dtype).mT
        b = torch.cat([part[1] for part in parts], dim=2).to(dtype).mT
        if not torch.is_grad_enabled():
            self._gathered = route, a, b
        return a, b

    def _prior_rows(self, route: Route) -> tuple[Tensor, Tensor] | None:
        if self.prior is None:
            return None
        rows = len(route.slots)
        a, b = (factor.expand(rows, -1, -1) for factor in self.prior)
        return (a, b) if route.prior is None else (a, b * route.prior.view(-1, 1, 1))

    def _own_rows(self, route: Route) -> tuple[Tensor, Tensor] | None:
        if self.stack is None:
            return None
        a, b = (factor.index_select(0, route.slots.clamp(min=0)) for factor in self.stack)
        return a, b * (self.scale * (route.slots >= 0)).view(-1, 1, 1)


class AdaptedModel:
    """A base model whose top blocks can be routed through people's factors.

    The base's own modules stay untouched and are put back by `close`; one base carries one AdaptedModel at a time.
    """

    def __init__(self, base: BaseModel, shape: LoraShape) -> None:
        """Wrap the linear layers of the top blocks."""
        self.base = base
        self.shape = shape
        self.routing = Routing()
        self._original = adapted_modules(base, shape)
        self.layers = {name: StackedLora(module, self.routing) for name, module in self._original.items()}
        for name, layer in self.layers.items():
            _replace(base.model, name, layer)

    def close(self) -> None:
        """Put the base's own layers back."""
        for name, module in self._original.items():
            _replace(self.base.model, name, module)

    def __enter__(self) -> "AdaptedModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Module name -> (in, out)."""
        return {name: (module.in_features, module.out_features) for name, module in self._original.items()}

    def set_prior(self, prior: Factors | None, scale: float = 1.0) -> None:
        """Install the population prior that rows share; None takes it out."""
        device = self.base.device
        for name, layer in self.layers.items():
            layer.prior = None
            layer.forget_rows()
            if prior is not None:
                a, b = prior[name]
                layer.prior = (a.to(device), (b * scale).to(device))

    def set_stack(self, stack: Factors | None, scale: float) -> None:
        """Install people's factors, A of shape [slots, rank, in] and B [slots, out, rank]; None takes them out."""
        for name, layer in self.layers.items():
            layer.stack = None if stack is None else stack[name]
            layer.scale = scale
            layer.forget_rows()

    @contextmanager
    def routed(self, route: Route | None) -> Iterator[None]:
        """Route the rows of every forward pass inside the block; None for the bare base."""
        self.routing.route = route
        try:
            yield
        finally:
            self.routing.route = None

    def forget_rows(self) -> None:
        """Free what the last route gathered."""
        for layer in self.layers.values():
            layer.forget_rows()


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
