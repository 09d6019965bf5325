"""Real targets with Normal noise: of one deviation, or of one that the network gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
from torch import Tensor

from ..priors import Site
from .base import Likelihood, check_finite, one_a_target
from .positive import POSITIVE, Positive, check_positive, for_targets, positive_site
from .several import OUTPUT_AXIS, SeveralOutputs
from .special import restrained

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
LOG_SCALE_BOUND = 10.0  # deviations of 4.5e-5 to 22,000, where targets have unit scale


class NarrowNormal(dist.Normal):
    """Torch's Normal, whose gradient stays finite for deviations so small that the square of their square is 0."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Give the log density."""
        z = (value - self.loc) / self.scale
        return -0.5 * z.square() - self.scale.log() - _HALF_LOG_TWO_PI


@dataclass(frozen=True)
class Normal(Likelihood):
    r"""Real targets with Normal noise: :math:`y_k \mid x, w \sim N(f_k(x), \text{noise\_scale}^2)`.

    One output a target, all with the same scale; ``y`` has the shape of the outputs without a last axis of size 1:
    ``(N,)`` for one output, ``(N, K)`` for K, ``(N, T)`` or ``(N, T, K)`` for sequences, ``(N, C, H, W)`` for images.

    Attributes:
        noise_scale: Standard deviation of the noise, in the units of ``y``: a number; ``"learned"`` for a
            point estimate (site ``noise_scale``, kept in the guide, first 1); or a ``bl.priors.LogNormal``,
            whose guide is log-normal.

    Raises:
        DataError: If a number is not finite and positive, or something else comes.

    Example:
        >>> import torch
        >>> Normal(0.1).moments(torch.zeros(1, 5, 1))[1].unique()
        tensor([0.0100])
    """

    ARGUMENTS: ClassVar = {"noise_scale": POSITIVE}

    noise_scale: Positive = "learned"

    def __post_init__(self) -> None:
        check_positive("noise_scale", self.noise_scale, "a standard deviation")

    def sites(self, like: Tensor) -> dict[str, Site]:
        """List the site ``noise_scale``, unless its value is given."""
        return positive_site("noise_scale", self.noise_scale, like)

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`."""
        mean, event_dim = one_a_target(f, output_axes)
        scale = for_targets(latents.get("noise_scale", self.noise_scale), event_dim)
        return dist.Normal(mean, scale).to_event(event_dim)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse targets that are not finite."""
        check_finite(y)


@dataclass(frozen=True)
class HeteroscedasticNormal(SeveralOutputs):
    r"""Real targets with Normal noise that depends on the input: :math:`y \mid x, w \sim N(m(x), \sigma(x)^2)`.

    Two outputs a target, :math:`(m, \log \sigma)`: the mean, and the logarithm of the standard deviation, both in the
    units of ``y``. What keeps a fit stable: the logarithm needs no constraint; it begins near 0, so with the deviation
    of standardized targets; beyond :math:`\pm 10` the deviation grows or falls like a line, not like an exponential
    (:func:`~bayesian_layers.likelihoods.special.restrained`), so density and gradient stay finite and
    the gradient is nowhere 0; and the weights' priors, as :math:`\sigma \to 0` at a target has no limit of density.

    Attributes:
        output_axis: See :class:`~bayesian_layers.likelihoods.several.SeveralOutputs`.

    References:
        Nix & Weigend (1994), "Estimating the mean and variance of the target probability distribution", IEEE ICNN;
        Kendall & Gal (2017), arXiv 1703.04977.

    Example:
        >>> import torch
        >>> f = torch.tensor([[[3.0, 0.0]]])  # one draw, one row: mean 3, deviation 1
        >>> HeteroscedasticNormal().moments(f)
        (tensor([[3.]]), tensor([[1.]]))
    """

    ARGUMENTS: ClassVar = OUTPUT_AXIS

    @property
    def outputs_per_target(self) -> int | Literal["classes"]:
        """Mean and logarithm of the deviation."""
        return 2

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`."""
        parts, event_dim = self.parts(f, output_axes)
        mean, log_scale = parts.unbind(-1)
        scale = restrained(log_scale, LOG_SCALE_BOUND).exp()
        return NarrowNormal(mean, scale, validate_args=False).to_event(event_dim)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse targets that are not finite."""
        check_finite(y)
