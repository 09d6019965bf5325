"""A prior that switches whole units off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..arguments import check_positive
from ..saving.schema import SCALE
from ._numbers import filled, spread
from .base import Prior, Site, needed
from .half_cauchy import HalfCauchy


@dataclass(frozen=True)
class Horseshoe(Prior):
    r"""Normal priors with a half-Cauchy scale for each unit, and one for the layer.

    .. math:: w_{kd} \sim N(0, (\tau_k \upsilon)^2), \quad \tau_k \sim C^+(0, \text{unit\_scale}), \quad
              \upsilon \sim C^+(0, \text{layer\_scale})

    A unit k is an entry of the parameter's first axis: all weights into one output of a layer, or one entry of a bias.
    A scale near 0 switches its whole unit off, and the heavy tail allows large scales for units that are needed. The
    scales are the latent sites ``<name>.unit_scale`` ``(K,)`` and ``<name>.layer_scale`` ``()``, for which the guide
    has log-normals; given them the KL of the weights is in closed form.

    The parameters are the weights themselves (the centred form): mean field treats a weight and its scale as
    independent, which loses some of what Ghosh et al. gain from :math:`w = \tau \upsilon \beta`. A
    ``bl.guides.FullRankNormal`` has their covariance.

    Attributes:
        unit_scale: Median of the units' scales, above 0.
        layer_scale: Median of the layer's scale, above 0; the smaller, the fewer units are expected to be needed.

    Raises:
        DataError: If a scale is not a finite number above 0.

    References:
        Carvalho, Polson & Scott (2010), "The horseshoe estimator for sparse signals"; Ghosh, Yao & Doshi-Velez (2018),
        arXiv 1806.05975; Louizos, Ullrich & Welling (2017), arXiv 1705.08665.

    Example:
        >>> import torch
        >>> prior = Horseshoe(layer_scale=0.1)
        >>> {name: tuple(site.initial.shape) for name, site in prior.hypers(torch.zeros(3, 2)).items()}
        {'unit_scale': (3,), 'layer_scale': ()}
    """

    ARGUMENTS: ClassVar = {"unit_scale": SCALE, "layer_scale": SCALE}

    unit_scale: float = 1.0
    layer_scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive("unit_scale", self.unit_scale)
        check_positive("layer_scale", self.layer_scale)

    def hypers(self, like: Tensor) -> dict[str, Site]:
        """Return the sites of the scales; see :meth:`Prior.hypers`."""
        scales = {"unit_scale": (like.shape[:1], self.unit_scale), "layer_scale": ((), self.layer_scale)}
        return {
            name: Site(like.detach().new_full(shape, scale), HalfCauchy(scale), positive=True)
            for name, (shape, scale) in scales.items()
        }

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation; see :meth:`Prior.unconstrained`."""
        return filled(like, 0.0), spread(like, needed(self, scale), min(like.dim(), 1))
