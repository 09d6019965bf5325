"""Likelihoods of real targets with Normal noise, of constant scale or of a scale that is an output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
from torch import Tensor

from .one_output import POSITIVE, OneOutput, Positive
from .several import OUTPUT_AXIS, SeveralOutputs
from .special import soft_clip

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
LOG_SCALE_BOUND = 10.0  # standard deviations from 4.5e-5 to 22,000, for targets of unit scale


class NarrowNormal(dist.Normal):
    """Torch's Normal, with a finite gradient for standard deviations whose fourth power underflows."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log density."""
        z = (value - self.loc) / self.scale
        return -0.5 * z.square() - self.scale.log() - _HALF_LOG_TWO_PI


@dataclass(frozen=True)
class Normal(OneOutput):
    r"""Real targets with Normal noise: :math:`y_k \mid x, w \sim N(f_k(x), \text{noise\_scale}^2)`.

    It needs one output per target; all targets have the same scale. ``y`` has the shape of the outputs without a last
    axis of size 1: ``(N,)`` for one output, ``(N, K)`` for K, ``(N, T)`` or ``(N, T, K)`` for sequences,
    ``(N, C, H, W)`` for images.

    Attributes:
        noise_scale: Standard deviation of the noise, in the units of ``y``; initially 1 if ``"learned"``.

    Example:
        >>> import torch
        >>> Normal(0.1).moments(torch.zeros(1, 5, 1))[1].unique()
        tensor([0.0100])
    """

    ARGUMENTS: ClassVar = {"noise_scale": POSITIVE}
    PARAMETERS: ClassVar = {"noise_scale": ("a standard deviation", 1.0)}
    noise_scale: Positive = "learned"

    def _per_target(self, f: Tensor, noise_scale: Any) -> Any:
        return dist.Normal(f, noise_scale)


@dataclass(frozen=True)
class HeteroscedasticNormal(SeveralOutputs):
    r"""Real targets with Normal noise that depends on the input: :math:`y \mid x, w \sim N(m(x), \sigma(x)^2)`.

    It needs two outputs per target, :math:`(m, \log \sigma)`: the mean, and the logarithm of the standard deviation,
    both in the units of ``y``. The logarithm starts near 0, which is right for standardized targets, and is softly
    clipped at :math:`\pm 10`. The priors of the weights prevent :math:`\sigma \to 0` at a target, where the density is
    unbounded.

    Attributes:
        output_axis: The axis of outputs in a row, ``"last"`` or ``"first"``.

    References:
        Nix & Weigend (1994), "Estimating the mean and variance of the target probability distribution", IEEE ICNN;
        Kendall & Gal (2017), arXiv 1703.04977.

    Example:
        >>> import torch
        >>> f = torch.tensor([[[3.0, 0.0]]])  # one draw, one row: mean 3, standard deviation 1
        >>> HeteroscedasticNormal().moments(f)
        (tensor([[3.]]), tensor([[1.]]))
    """

    ARGUMENTS: ClassVar = OUTPUT_AXIS

    @property
    def outputs_per_target(self) -> int | Literal["classes"]:
        """Mean and logarithm of the standard deviation."""
        return 2

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`."""
        parts, event_dim = self.parts(f, output_axes)
        mean, log_scale = parts.unbind(-1)
        scale = soft_clip(log_scale, LOG_SCALE_BOUND).exp()
        return NarrowNormal(mean, scale, validate_args=False).to_event(event_dim)
