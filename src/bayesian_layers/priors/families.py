"""The families of priors: Normal with a given, derived, learned or hierarchical scale, and log-normal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ..arguments import check_finite, check_positive
from ..errors import DataError
from ..saving.schema import SCALE, AnyOf, Number, String
from ..saving.storable import MemberOf
from ._numbers import STD, filled, spread
from .base import PRIOR_SCALE, Prior, Site, needed, not_needed
from .half_cauchy import HalfCauchy


@dataclass(frozen=True)
class Normal(Prior):
    r"""Independent Normal priors, :math:`w_j \sim N(\text{loc}, \text{scale}^2)`.

    ``scale`` is a number or one of two texts.

    ``"fan_in"``: :math:`1 / \sqrt{\text{fan in}}` where the fan-in is the product of all axes but the first, and 1
    for parameters with fewer than two axes (biases), so that the outputs of a layer keep their size however wide it
    is. In transposed convolutions and embeddings the first axis is not that of the outputs: pass a number for these.

    ``"learned"``: one scale for each parameter tensor, the latent site ``<name>.prior_scale`` without a prior: a point
    estimate, which starts at 1 and maximizes the ELBO (empirical Bayes).

    Attributes:
        loc: Mean.
        scale: Standard deviation, above 0, or ``"fan_in"`` or ``"learned"``.

    Raises:
        DataError: If ``loc`` is not finite, or ``scale`` neither a finite positive number nor one of the two texts.

    References:
        Neal (1996), "Bayesian Learning for Neural Networks", and Fortuin (2022), arXiv 2105.06868, for scales by
        fan-in; MacKay (1995), "Probable networks and plausible predictions", for learned ones.

    Example:
        >>> import torch
        >>> Normal(scale=2.0).distribution(torch.zeros(3, 2)).event_shape
        torch.Size([3, 2])
        >>> float(Normal(scale="fan_in").distribution(torch.zeros(3, 4)).stddev[0, 0])
        0.5
    """

    ARGUMENTS: ClassVar = {"loc": Number(), "scale": AnyOf((SCALE, String(("learned", "fan_in"))))}

    loc: float = 0.0
    scale: float | Literal["learned", "fan_in"] = 1.0

    def __post_init__(self) -> None:
        check_finite("loc", self.loc)
        if isinstance(self.scale, str) and self.scale in ("learned", "fan_in"):
            return
        check_positive("scale", self.scale, hint="A scale is a standard deviation, or 'learned' or 'fan_in'.")

    def hypers(self, like: Tensor) -> dict[str, Site]:
        """Return the site of a learned scale; see :meth:`Prior.hypers`."""
        if self.scale != "learned":
            return {}
        return {PRIOR_SCALE: Site(like.detach().new_ones(()), None, positive=True)}

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation; see :meth:`Prior.unconstrained`."""
        if self.scale == "learned":
            return filled(like, self.loc), spread(like, needed(self, scale))
        not_needed(self, scale)
        number = _fan_in_scale(like) if self.scale == "fan_in" else self.scale
        return filled(like, self.loc), filled(like, number)


@dataclass(frozen=True)
class LogNormal(Prior):
    r"""Independent log-normal priors for positive parameters, :math:`\log s \sim N(\text{loc}, \text{scale}^2)`.

    Attributes:
        loc: Mean of the logarithm; the prior's median is ``exp(loc)``.
        scale: Standard deviation of the logarithm, above 0.

    Raises:
        DataError: If ``loc`` is not finite or ``scale`` not finite and positive.

    Example:
        >>> import torch
        >>> LogNormal(loc=-1.0, scale=0.5).distribution(torch.zeros(())).support
        GreaterThan(lower_bound=0.0)
    """

    ARGUMENTS: ClassVar = {"loc": Number(), "scale": SCALE}

    loc: float = 0.0
    scale: float = 1.0
    positive = True

    def __post_init__(self) -> None:
        check_finite("loc", self.loc)
        check_positive("scale", self.scale, hint=STD)

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the logarithm; see :meth:`Prior.unconstrained`."""
        not_needed(self, scale)
        return filled(like, self.loc), filled(like, self.scale)


@dataclass(frozen=True)
class HierarchicalNormal(Prior):
    r"""Normal priors whose scale has a prior, :math:`w_j \sim N(\text{loc}, \tau^2)`.

    :math:`\tau` is log-normal, :math:`\log \tau \sim N(a, b^2)`, or half-Cauchy. One :math:`\tau` for each parameter
    tensor (weights and biases apart): the latent site ``<name>.prior_scale``, for which the guide has a log-normal.

    Attributes:
        loc: Mean.
        scale: Prior of the standard deviation :math:`\tau`.

    Raises:
        DataError: If ``loc`` is not finite or ``scale`` not a ``bl.priors.LogNormal`` or ``HalfCauchy``.

    References:
        Neal (1996), "Bayesian Learning for Neural Networks"; Gelman (2006), "Prior distributions for
        variance parameters in hierarchical models".

    Example:
        >>> import torch
        >>> prior = HierarchicalNormal(scale=LogNormal(0.0, 0.5))
        >>> float(prior.hypers(torch.zeros(3, 2))["prior_scale"].initial)
        1.0
        >>> float(prior.distribution(torch.zeros(3, 2), torch.tensor(2.0)).stddev[0, 0])
        2.0
    """

    ARGUMENTS: ClassVar = {"loc": Number(), "scale": MemberOf(Prior, ("LogNormal", "HalfCauchy"))}

    loc: float = 0.0
    scale: LogNormal | HalfCauchy = LogNormal(0.0, 1.0)

    def __post_init__(self) -> None:
        check_finite("loc", self.loc)
        if not isinstance(self.scale, LogNormal | HalfCauchy):
            raise DataError(
                f"the `scale` of a HierarchicalNormal is a bl.priors.LogNormal or HalfCauchy; received {self.scale!r}. "
                "For a scale without a prior of its own use bl.priors.Normal."
            )

    def hypers(self, like: Tensor) -> dict[str, Site]:
        """Return the site of the scale; see :meth:`Prior.hypers`."""
        median = self.scale.unconstrained(like.detach().new_empty(()))[0].exp()
        return {PRIOR_SCALE: Site(median, self.scale, positive=True)}

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation; see :meth:`Prior.unconstrained`."""
        return filled(like, self.loc), spread(like, needed(self, scale))


def default() -> Prior:
    """Return the library's default prior, N(0, 1)."""
    return Normal(0.0, 1.0)


def _fan_in_scale(like: Tensor) -> float:
    fan_in = math.prod(like.shape[1:]) if like.dim() > 1 else 1
    return 1 / math.sqrt(max(fan_in, 1))  # an empty parameter has no entry to scale
