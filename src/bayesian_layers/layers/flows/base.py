"""What all reversible layers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...errors import DataError, ShapeError
from ...priors import Normal, Prior
from ..base import BiasPrior, remember_weight_and_bias

FlowPrior = Prior | Literal["point"] | None
MakeLinear = Callable[[int, int], nn.Linear]


class Reversible(nn.Module, ABC):
    r"""A bijection of vectors that knows its inverse and the determinant of its Jacobian.

    As a density: if :math:`z = t(x)` is standard normal, :math:`\log p(x) = \log N(z; 0, I) + \log|\det dz/dx|`.
    Where there is a context c, the bijection is another for each c, and the density that of x given c.

    Args:
        features: Entries K of a vector.
        context: Entries C of the context, 0 for none.

    Attributes:
        features: Entries K of a vector.
        context: Entries C of the context.

    Raises:
        DataError: If one of the two is no such number.
    """

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        check_count("features", features, 1)
        check_count("context", context, 0)
        self.features = features
        self.context = context

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map vectors, for a density from the data's side to the noise's."""
        return self._forward(x, self._checked("x", x, context))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo :meth:`forward`: for a density, from noise to data."""
        return self._inverse(z, self._checked("z", z, context))

    @abstractmethod
    def _forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _inverse(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]: ...

    def _checked(self, name: str, x: Tensor, context: Tensor | None) -> Tensor:
        """The context, one for each vector, also where it has no entries."""
        if x.dim() < 1 or x.shape[-1] != self.features:
            raise ShapeError(name, ("...", self.features), x.shape)
        given = x.new_empty(0) if context is None else context
        if given.dim() < 1 or given.shape[-1] != self.context:
            raise ShapeError("context", ("...", self.context), given.shape)
        return given.expand(*x.shape[:-1], self.context)


class ReversibleStack(Reversible):
    """Reversible steps, one after the other; their determinants multiply.

    Args:
        steps: At least one.
        features: Entries K of a vector.
        context: Entries C of the context.
    """

    def __init__(self, steps: Sequence[Reversible], features: int, context: int) -> None:
        super().__init__(features, context)
        self.steps = nn.ModuleList(steps)

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
    """Choose the dense layers that the networks inside a reversible layer are made of."""

    def make(inputs: int, outputs: int) -> nn.Linear:
        layer = nn.Linear(inputs, outputs, device=device, dtype=dtype)
        if prior != "point":
            # Not the other layers' default: under N(0, 1) a mean-field flow is worse than none (`decisions/011`).
            remember_weight_and_bias(layer, Normal(scale="learned") if prior is None else prior, bias_prior)
        return layer

    return make


def dense(inputs: int, hidden: Sequence[int], outputs: int, linear: MakeLinear) -> nn.Sequential:
    """Build a network that is 0 everywhere at first, so that what it steers begins as the identity."""
    sizes = [inputs, *hidden, outputs]
    parts: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        parts += [linear(fan_in, fan_out), nn.SiLU()]
    start_at_zero(parts[-2])
    return nn.Sequential(*parts[:-1])


def joined(kept: Tensor, context: Tensor) -> Tensor:
    """Put entries and context together; without a copy where there is no context."""
    return torch.cat([kept, context], -1) if context.shape[-1] else kept


def start_at_zero(layer: Any) -> None:
    """Set the parameters of a dense layer to 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def bounded(log_scale: Tensor) -> Tensor:
    """Keep the logarithm of a scale between -3 and 3, with slope 1 at 0: a step multiplies by 20 at most."""
    return 3 * (log_scale / 3).tanh()


def check_sizes(hidden: Sequence[int], layers: int) -> tuple[int, ...]:
    """Refuse sizes that no network has."""
    if not isinstance(hidden, Sequence) or not hidden:
        raise DataError(
            f"`hidden` must list the width of each hidden layer, at least one; received {hidden!r}"
        )
    for width in hidden:
        check_count("hidden", width, 1)
    check_count("layers", layers, 1)
    return tuple(hidden)


def check_count(name: str, value: object, least: int) -> None:
    """Refuse what counts nothing."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"`{name}` must be a whole number, {least} or more; received {value!r}")
