"""The base classes of reversible layers, and the dense networks inside them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...arguments import check_integer
from ...errors import DataError, ShapeError
from ...priors import Normal, Prior
from ..base import BiasPrior, set_layer_priors

FlowPrior = Prior | Literal["point"] | None
MakeLinear = Callable[[int, int], nn.Linear]


class Reversible(nn.Module, ABC):
    """A bijection of vectors with its inverse and the log determinant of its Jacobian, perhaps given a context."""

    # As a density: if z = t(x) is standard normal, log p(x) = log N(z; 0, I) + log |det dz/dx|. With a context c there
    # is one bijection per c, and the density is that of x given c.

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        self.features = check_integer("features", features, least=1)  # entries of a vector, K
        self.context = check_integer("context", context, least=0)  # entries of the context, C

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map vectors ``(*batch, K)``, for a density from data to noise; with the log determinants ``(*batch,)``."""
        return self._forward(x, self._full_context("x", x, context))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Invert :meth:`forward`, for a density from noise to data; with the log determinants of the inverse."""
        return self._inverse(z, self._full_context("z", z, context))

    @abstractmethod
    def _forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]: ...

    def _full_context(self, name: str, x: Tensor, context: Tensor | None) -> Tensor:
        """Check shapes, and return the context of each vector, ``(*batch, C)``."""
        if x.dim() < 1 or x.shape[-1] != self.features:
            raise ShapeError(name, ("...", self.features), x.shape)
        given = x.new_empty(0) if context is None else context
        if given.dim() < 1 or given.shape[-1] != self.context:
            raise ShapeError("context", ("...", self.context), given.shape)
        return given.expand(*x.shape[:-1], self.context)


class ReversibleStack(Reversible):
    """Reversible layers in sequence, whose log determinants add up."""

    # `make` makes a step; its argument is whether the order of the entries is reversed, as in every second step.
    def __init__(
        self,
        make: Callable[[bool], Reversible],
        features: int,
        hidden: Sequence[int],
        layers: int,
        context: int,
    ) -> None:
        super().__init__(features, context)
        self.hidden = check_hidden(hidden)
        self.layers = check_integer("layers", layers, least=1)
        self.steps = nn.ModuleList(make(i % 2 == 1) for i in range(self.layers))

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"{self.features}, hidden={self.hidden}, layers={self.layers}, context={self.context}"

    def _forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(())
        for step in self.steps:
            x, log_det = step(x, context)
            total = total + log_det
        return x, total

    def _inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        total: Any = z.new_zeros(())
        for step in reversed(self.steps):
            z, log_det = step.inverse(z, context)  # pyright: ignore[reportCallIssue]
            total = total + log_det
        return z, total


def linear_layers(prior: FlowPrior, bias_prior: BiasPrior, device: Any, dtype: Any) -> MakeLinear:
    """Return the function that makes the dense layers of the networks inside a reversible layer."""

    def make(inputs: int, outputs: int) -> nn.Linear:
        layer = nn.Linear(inputs, outputs, device=device, dtype=dtype)
        if prior != "point":
            # Not the default of other layers: under N(0, 1) a mean-field flow is worse than none (`decisions/011`).
            set_layer_priors(layer, Normal(scale="learned") if prior is None else prior, bias_prior)
        return layer

    return make


def dense(inputs: int, hidden: Sequence[int], outputs: int, linear: MakeLinear) -> nn.Sequential:
    """Build a network whose output is 0 at first, so that a reversible layer with it starts as the identity."""
    parts: list[nn.Module] = []
    for fan_in, fan_out in pairwise([inputs, *hidden, outputs]):
        parts += [linear(fan_in, fan_out), nn.SiLU()]
    start_at_zero(parts[-2])
    return nn.Sequential(*parts[:-1])


def with_context(x: Tensor, context: Tensor) -> Tensor:
    """Concatenate entries and their context; without a copy if the context has no entries."""
    return torch.cat([x, context], -1) if context.shape[-1] else x


def start_at_zero(layer: Any) -> None:
    """Set the parameters of a dense layer to 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def bounded(log_scale: Tensor) -> Tensor:
    """Bound the logarithm of a scale between -3 and 3, with slope 1 at 0: one layer multiplies by 20 at most."""
    return 3 * (log_scale / 3).tanh()


def check_hidden(hidden: Sequence[int]) -> tuple[int, ...]:
    """Return the widths of hidden layers if they are integers above 0, at least one; raise DataError otherwise."""
    if not isinstance(hidden, Sequence) or not hidden:
        raise DataError(f"`hidden` must list the widths of one or more hidden layers; received {hidden!r}")
    return tuple(check_integer(f"hidden[{i}]", width, least=1) for i, width in enumerate(hidden))
