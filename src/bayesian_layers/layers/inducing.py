"""Inducing inputs of a Gaussian process: where they start, and the process that their values determine."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function
from torch.quasirandom import SobolEngine

from ..errors import DataError, ShapeError

_HALF_WIDTH = 2.0  # of the box, in units of standardized inputs


def initial_inputs(given: Tensor | None, count: int, features: int, like: Tensor) -> Tensor:
    """Return given inducing inputs, or without them a Sobol design in the box ``[-2, 2]^D``; ``(M, D)``."""
    if like.is_meta:  # a network built without memory, whose values come later
        return like.new_empty(count, features)
    if given is not None:
        if given.dim() != 2 or given.shape[1] != features:
            raise ShapeError("inducing", ("M", features), given.shape)
        return given.detach().to(like, copy=True)
    if features > SobolEngine.MAXDIM:
        raise DataError(
            f"the default inducing inputs support up to {SobolEngine.MAXDIM} inputs; received {features}. Pass "
            "`inducing`, or use GaussianProcess.from_data."
        )
    points = SobolEngine(features).draw(count, dtype=torch.float64)
    cell = 2.0 ** -math.ceil(math.log2(max(count, 2)))  # the points are at the corners of cells of this width
    return (2 * _HALF_WIDTH * (points + 0.5 * cell - 0.5)).to(like)


def farthest_rows(x: Tensor, count: int) -> list[int]:
    """Return indices of distinct rows: first the farthest from the mean, then always the farthest from all chosen."""
    chosen = [int((x - x.mean(0)).square().sum(1).argmax())]
    distance = (x - x[chosen[0]]).square().sum(1)
    while len(chosen) < count and bool(distance.max() > 0):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (x - x[chosen[-1]]).square().sum(1))
    return chosen


def sparse_process(
    features: Tensor, values: Tensor, noise: tuple[Tensor, ...], residual: Callable[[], Tensor]
) -> Tensor:
    """Return a process of unit variance, ``B v + r``: the part that inducing values determine, and the residual."""
    # A function of its own, so that torch function modes see it: an estimator that has the distribution of the values
    # and only needs the process at each row uses that r has the variance 1 - |B_n|^2 there.
    tensors = (features, values, *noise)
    if has_torch_function(tensors):
        return handle_torch_function(sparse_process, tensors, features, values, noise, residual)
    return features @ values.to(features.dtype).mT + residual()
