"""Distribution of a reversible layer's image of noise, under one or many draws of its parameters."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.func import functional_call, vmap

from ..noise import PairedNoise

_PAIRS = 32  # pairs of fixed points for moments; twice the number of features if that is more
_VECTORS = 2**16  # vectors mapped at a time for moments


class FlowDistribution(TorchDistribution):
    """Distribution of ``inverse(z, context)`` for standard normal z."""

    # `program` is a module (vectors, context, inverse) -> (image, log_det) with the attribute `flow`. `values` are its
    # parameters by name, (*draws, *shape), where a last axis of size 1 in `draws` is the place of the rows; parameters
    # that are absent keep their values in the module. `context` is (*draws, N, *axes, C) or (N, *axes, C).
    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (as torch declares it)
    has_rsample = True

    def __init__(
        self, program: Any, values: Mapping[str, Tensor], context: Tensor, row_axes: int = 1
    ) -> None:
        self._arguments = program, values, row_axes
        self._features = program.flow.features
        shapes = {name: program.get_parameter(name).shape for name in values}
        batches = {name: draw_axes(value, len(shapes[name])) for name, value in values.items()}
        self._draws = torch.broadcast_shapes(context.shape[: -1 - row_axes], *batches.values())
        self._batched = {name: 0 if batches[name] else None for name in values}
        self._values = {
            name: value.reshape(*batches[name], *shapes[name]).expand(*self._draws, *shapes[name])
            if batches[name]
            else value.reshape(shapes[name])
            for name, value in values.items()
        }
        self._context = context
        batch = torch.Size((*self._draws, *context.shape[-1 - row_axes : -1]))
        super().__init__(batch, torch.Size([self._features][: self._features - 1]), validate_args=False)

    @property
    def support(self) -> Any:
        """All real numbers, or vectors of them."""
        return constraints.real_vector if self._features > 1 else constraints.real

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDistribution:
        """Return the same distribution for more draws."""
        program, values, row_axes = self._arguments
        context = self._context.expand(*batch_shape, self._context.shape[-1])
        return FlowDistribution(program, values, context, row_axes)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log density."""
        z, log_det = self._mapped(self._vectors(value), inverse=False)
        return log_det - 0.5 * z.square().sum(-1) - 0.5 * self._features * math.log(2 * math.pi)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw with gradients."""
        size = (*sample_shape, *self.batch_shape, self._features)
        return self._targets(self._mapped(self._context.new_empty(size).normal_(), inverse=True)[0])

    def cdf(self, value: Tensor) -> Tensor:
        """Compute the distribution function of one feature, on which all flows of the library are increasing."""
        self._one_feature()
        return torch.special.ndtr(self._targets(self._mapped(self._vectors(value), inverse=False)[0]))

    def icdf(self, value: Tensor) -> Tensor:
        """Compute quantiles of one feature."""
        self._one_feature()
        return self._targets(self._mapped(self._vectors(torch.special.ndtri(value)), inverse=True)[0])

    @property
    def mean(self) -> Tensor:
        """The mean over the fixed points of noise."""
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        """The variance over the fixed points of noise."""
        return self._moments[1]

    @functools.cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Compute mean and variance over fixed points of noise that have mean 0 and identity covariance."""
        points = _points(self._features).to(self._context)
        shape = *self.batch_shape, self._features
        start = self._mapped(points.new_zeros(shape), inverse=True)[0]
        first, second = torch.zeros_like(start), torch.zeros_like(start)
        for z in points.split(max(1, _VECTORS // max(1, self.batch_shape.numel()))):
            noise = z.reshape(len(z), *[1] * len(self.batch_shape), self._features).expand(len(z), *shape)
            # Differences from the image of 0, so that the variance is accurate for large means.
            shift = self._mapped(noise, inverse=True)[0] - start
            first, second = first + shift.sum(0) / len(points), second + shift.square().sum(0) / len(points)
        return self._targets(start + first), self._targets(second - first.square())

    def _mapped(self, vectors: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Map vectors that expand to ``(*sample, *batch, K)``; return the image and the log determinant."""
        shape = torch.broadcast_shapes(vectors.shape[:-1], self.batch_shape)
        vectors = vectors.expand(*shape, self._features)
        context = self._context.expand(*shape, self._context.shape[-1])
        if all(axis is None for axis in self._batched.values()):
            return self._call(self._values, vectors, context, inverse)
        first, count = len(shape) - len(self.batch_shape), len(self._draws)
        values = {
            name: value if self._batched[name] is None else value.flatten(0, count - 1)
            for name, value in self._values.items()
        }
        vectors, context = (each.flatten(first, first + count - 1) for each in (vectors, context))
        call = functools.partial(self._call, inverse=inverse)
        many = vmap(call, in_dims=(self._batched, first, first), out_dims=first)
        image, log_det = many(values, vectors, context)
        return image.unflatten(first, self._draws), log_det.unflatten(first, self._draws)

    def _call(
        self, values: Mapping[str, Tensor], vectors: Tensor, context: Tensor, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        return functional_call(self._arguments[0], dict(values), (vectors, context, inverse))

    def _vectors(self, value: Tensor) -> Tensor:
        return value if self._features > 1 else value.unsqueeze(-1)

    def _targets(self, vectors: Tensor) -> Tensor:
        return vectors if self._features > 1 else vectors.squeeze(-1)

    def _one_feature(self) -> None:
        if self._features > 1:
            raise NotImplementedError("the distribution function is implemented for one feature only")


def draw_axes(value: Tensor, axes: int) -> torch.Size:
    """Return the axes of draws before the ``axes`` of the value itself, without a last one of size 1 for the rows."""
    batch = value.shape[: value.dim() - axes]
    return batch[:-1] if batch and batch[-1] == 1 else batch


@functools.cache
def _points(features: int) -> Tensor:
    """Return antithetic points of a Sobol sequence, standardized to mean 0 and identity covariance: ``(M, K)``."""
    particles = 2 * max(_PAIRS, 2 * features)
    points = PairedNoise(features, 0, particles, dtype=torch.float64, block=1).at(0)[0]
    covariance = points.T @ points / particles
    return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), points.T, upper=False).T
