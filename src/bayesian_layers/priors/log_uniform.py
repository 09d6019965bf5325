"""The improper prior of variational dropout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import SiteError
from ._numbers import filled
from .base import Prior, not_needed
from .distribution import no_draws

_EULER = 0.57721566490153286
_LOG_CONSTANT = -0.5 * (1 + _EULER + math.log(4 * math.pi))  # with which the least KL is 0


@dataclass(frozen=True)
class LogUniform(Prior):
    r"""A uniform prior over :math:`\log |w_j|`: :math:`p(w_j) \propto 1 / |w_j|`, that of variational dropout.

    All sizes of a weight are equally likely, so only its noise relative to its size matters: the KL from
    :math:`N(\text{loc}, \text{scale}^2)` depends on :math:`\alpha = \text{scale}^2 / \text{loc}^2` only and falls to
    0 as it grows. Weights that the data do not constrain have :math:`\alpha \to \infty` and can be pruned:
    ``posterior.sparsity()``, ``posterior.prune()``. With ``estimator="local"`` gradients have the least noise.

    The prior and the posterior are improper: they have no integral (a pole at 0). So the guide does not approximate a
    proper posterior, the prior predictive distribution, NUTS and ``refine`` are refused, and k-hat is 1 or more. The
    density is :math:`C / |w_j|` with C such that the least KL is 0: do not compare the ELBO with that of another prior.

    .. math:: \mathrm{KL} = 2 \int_0^z D(t) \, dt, \quad z = |\text{loc}| / (\sqrt 2\,\text{scale}) = (2 \alpha)^{-1/2}

    with Dawson's function D. It is computed to 1e-6; the usual formula with three constants errs by up to 0.009.
    This holds for guides of independent Normals. With any other the KL is estimated on draws, and its gradient, which
    has 1 / w in it, has no finite variance.

    References:
        Kingma, Salimans & Welling (2015), arXiv 1506.02557; Molchanov, Ashukha & Vetrov (2017), arXiv 1701.05369;
        Hron, Matthews & Ghahramani (2018), arXiv 1807.01969, for what an improper prior does.

    Example:
        >>> import torch
        >>> LogUniform().expected_log_density(torch.zeros(1), torch.ones(1))  # KL 0: less the entropy
        tensor([-1.4189])
    """

    ARGUMENTS: ClassVar = {}

    kl = "expected"
    proper = False

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean 0 and an infinite standard deviation; see :meth:`Prior.unconstrained`."""
        not_needed(self, scale)
        return filled(like, 0.0), filled(like, math.inf)

    def log_density(self, u: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Compute the log density, up to the constant; see :meth:`Prior.log_density`."""
        not_needed(self, scale)
        return _LOG_CONSTANT - u.abs().log()

    def expected_log_density(self, loc: Tensor, variance: Tensor) -> Tensor:
        """Compute its mean under a Normal; see :meth:`Prior.expected_log_density`."""
        divergence = _Divergence.apply(0.5 * loc.square() / variance)
        return -divergence - 0.5 * (variance.log() + math.log(2 * math.pi * math.e))

    def from_normal(self, noise: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Raise SiteError: there are no draws."""
        raise SiteError(no_draws(self))


# H(t) of `_Divergence`, by least squares on value and slope over 0 < x < 1e6; its error is tested in tests/exact.
_HALFWAY = 1.5
_GROWTH = 4 * math.exp(_EULER)
_COEFFICIENTS = (
    -1.01916505, 1.25835841, -0.248358957, 0.213121187, -0.507779409, -0.0911200921, -0.315263715, 0.324469942,
    0.595618535, -0.656780669, -2.10565277, 2.42268238, 5.47043579, -2.99569028, -7.63198961, 1.56506598, 5.09796099,
    -0.225179411, -1.3641185,
)  # fmt: skip


class _Divergence(torch.autograd.Function):
    r"""The KL as a function of :math:`x = z^2`, :math:`2 \int_0^{\sqrt x} D(t) \, dt`.

    It is about x near 0 and :math:`\tfrac12 \log(c x)` for large x, with :math:`c = 4 e^\gamma`. So
    :math:`\tfrac12 \log(1 + c x) + r (1 - r) H(1 - 2 r)`, r = 1.5 / (x + 1.5), with a polynomial H. The slope is
    written out: torch's own would keep each step of the polynomial in memory.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        r = _HALFWAY / (x + _HALFWAY)
        return 0.5 * torch.log1p(_GROWTH * x) + r * (1 - r) * _polynomial(_COEFFICIENTS, 1 - 2 * r)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        r = _HALFWAY / (x + _HALFWAY)
        t = 1 - 2 * r
        slope_of_coefficients = tuple(i * each for i, each in enumerate(_COEFFICIENTS))[1:]
        by_r = t * _polynomial(_COEFFICIENTS, t) - 2 * r * (1 - r) * _polynomial(slope_of_coefficients, t)
        return slopes[0] * (0.5 * _GROWTH / (1 + _GROWTH * x) - by_r * r.square() / _HALFWAY)


def _polynomial(coefficients: tuple[float, ...], t: Tensor) -> Tensor:
    total = torch.full_like(t, coefficients[-1])
    for each in coefficients[-2::-1]:
        total = total * t + each
    return total
