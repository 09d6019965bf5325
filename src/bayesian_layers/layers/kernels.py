"""Kernels of Gaussian processes: their hyperparameters, and random functions with these kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import DataError, ShapeError
from ..priors import LogNormal, Normal

Kernel = Literal["rbf", "matern12", "matern32", "matern52"]
KERNELS = get_args(Kernel)

_PYRO_NAMES = {"rbf": "RBF", "matern12": "Exponential", "matern32": "Matern32", "matern52": "Matern52"}
# Degrees of freedom, 2 nu, of the Student t distribution of a Matern kernel's frequencies. Those of "rbf" are Normal.
DEGREES = {"rbf": 0, "matern12": 1, "matern32": 3, "matern52": 5}


def unit_kernel(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return Pyro's kernel with lengthscale and variance 1, as a plain function of two sets of inputs."""
    # A plain function has no parameters that the network would own, and `forward` does not enter them into Pyro's
    # parameter store, as a call of the module would.
    from pyro.contrib.gp import kernels  # on first use

    kernel = getattr(kernels, _PYRO_NAMES[name])(1).requires_grad_(False)
    kernel.active_dims = slice(None)  # all inputs, without a list of them
    return kernel.forward


def random_functions(kernel: str, x: Tensor, weights: Tensor, frequencies: Tensor) -> Tensor:
    """Return random functions of unit variance at inputs in lengthscales, ``(K, N)``, from standard normal noise."""
    # `weights` are (K, 2 F), `frequencies` (F, D) or for Matern kernels (F, D + 2 nu).
    noise, (features, degrees) = frequencies.double(), (x.shape[1], DEGREES[kernel])
    omega = noise[:, :features]
    if degrees:
        # A Normal over the root of a mean square is Student t. If all noise is 0, the frequency is 0 too.
        square = noise[:, features:].square().mean(1, keepdim=True)
        omega = omega * square.clamp(min=torch.finfo(square.dtype).tiny).rsqrt()
    turns = (omega / (2 * math.pi)) @ x.mT
    # Full turns are subtracted in double precision. For the rest the type of the weights is precise enough, and single
    # precision takes a quarter of the time.
    angles = (turns - turns.round()).to(weights.dtype) * (2 * math.pi)
    a, b = weights.chunk(2, dim=1)
    return (a @ angles.cos() + b @ angles.sin()).double() / math.sqrt(len(noise))


def log_parameter(name: str, value: float | Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the logarithm of a positive hyperparameter, expanded to a shape."""
    if like.is_meta:  # a network built without memory, whose values come later
        return like.new_empty(shape)
    value = torch.as_tensor(value, dtype=torch.float64).detach().to(like.device)
    if value.shape not in ((), shape):
        raise ShapeError(name, shape, value.shape, "Or pass one number for all.")
    if not bool((torch.isfinite(value) & (value > 0)).all()):
        raise DataError(f"`{name}` must be finite and above 0; received {value.tolist()}")
    return value.log().expand(shape).to(like, copy=True)


def normal_on_log(name: str, prior: LogNormal | None) -> Normal | None:
    """Return the Normal prior of a logarithm whose exponential has a log-normal prior."""
    if prior is not None and not isinstance(prior, LogNormal):
        raise TypeError(f"`{name}` must be a bl.priors.LogNormal or None; received {prior!r}")
    return None if prior is None else Normal(prior.loc, prior.scale)
