"""A guide of any shape: standard normal noise, transformed by a reversible layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..draw_sources import check_all
from ..draw_sources.base import check_positive
from ..errors import DataError, StorageError
from ..layers import RealNVP
from ..model import BayesianModel
from ..noise import seeded
from ..saving import AGAIN
from ..saving.architecture import MOST_MODULES, modules_in
from ..saving.schema import Integer, ListOf
from .joint import Mapped
from .kl import FlatPriors
from .layout import Layout
from .loaded import check_range
from .prior_density import log_prior

_CHECKED_DRAWS = 64  # of a guide that was read from a folder


class Flow(Mapped):
    r"""Noise transformed by affine couplings: a guide that can be skewed, curved and heavy-tailed.

    .. math:: q(w): \quad w = \text{loc} + e^{\text{log\_scale}} \odot t(\epsilon), \quad \epsilon \sim N(0, I)

    with a :class:`~bayesian_layers.RealNVP` t over all random entries together. It starts as the identity, so the guide
    starts as the :class:`MeanFieldNormal` of the same arguments. Positive sites (a noise scale) take part with their
    logarithms; sites without a prior are points.

    The KL has no closed form; it is estimated on the draws of a step,

    .. math:: \mathrm{KL}(q \| p) \approx \tfrac1S \textstyle\sum_s \log q(w_s) - \log p(w_s),

    so its ELBO has the noise of both terms, and more draws per step help. It is meant for some hundred entries at most:
    the network of each coupling has half of them as inputs and twice the other half as outputs.

    It is trained by ``bl.fit``, by ``pyro.infer.SVI``, or by a torch optimizer, as :class:`MeanFieldNormal`.

    Args:
        model: The model that the guide is for; it is only read.
        layers: Number of couplings.
        hidden: Widths of the hidden layers of each coupling's network.
        init_scale: Standard deviation at which each entry starts, above 0; ``None`` for one over the inputs of
            the widest layer, between 0.02 and 0.1.

    Attributes:
        loc: The shift of the affine map, ``(P,)``, unconstrained.
        log_scale: Logarithms of its scales, ``(P,)``.
        flow: The couplings.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If a size is not an integer or too small, or there are fewer than 2 entries with a prior.
        SiteError: If no site of the model has a prior.
        TypeError: If ``model`` is not a ``BayesianModel``.

    References:
        Rezende & Mohamed (2015), arXiv 1505.05770; Dinh, Sohl-Dickstein & Bengio (2017), arXiv 1605.08803; Louizos &
        Welling (2017), arXiv 1703.01961, for flows over the weights of networks.

    Example:
        >>> import bayesian_layers as bl
        >>> guide = Flow(bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli()), layers=2)
        >>> guide.noise_size, len(guide.flow.steps)
        (3, 2)
    """

    ARGUMENTS: ClassVar = {"layers": Integer(1, 1000), "hidden": ListOf(Integer(1, 2**20), most=64)}

    def __init__(
        self,
        model: BayesianModel,
        *,
        layers: int = 4,
        hidden: Sequence[int] = (32,),
        init_scale: float | None = None,
    ) -> None:
        super().__init__(model, init_scale=init_scale)
        like = self.loc.detach()
        if len(like) < 2:
            raise DataError(
                "a guides.Flow needs two entries with a prior or more; this model has one. Use MeanFieldNormal."
            )
        with seeded(0):  # a guide exists without randomness
            self.flow = RealNVP(
                len(like), hidden, layers, device=like.device, dtype=like.dtype, prior="point"
            )

    def _argument(self, name: str) -> Any:
        return getattr(self.flow, name)

    @classmethod
    def _further_entries(cls, layout: Layout, random: int, arguments: Mapping[str, Any]) -> int:
        sizes = {name: arguments[name] for name in ("layers", "hidden")}
        if random < 2 or modules_in(RealNVP, sizes) > MOST_MODULES:
            raise StorageError(
                f"a Flow must couple 2 entries or more, by {MOST_MODULES} modules at most. {AGAIN}"
            )
        flow = RealNVP(random, sizes["hidden"], sizes["layers"], device="meta", prior="point")
        return sum(value.numel() for value in flow.parameters())

    def check_loaded(self, model: BayesianModel) -> None:
        """Check some draws: the arrays alone do not show what the couplings do."""
        check_range(dict(self.named_parameters()))
        draws = self.draw(_CHECKED_DRAWS, seed=0)
        for name, value in draws.items():
            check_all(value, torch.isfinite, f"the draws of {name!a:.60} must be finite")
        check_positive(draws, model)

    @property
    def max_fan_in(self) -> int:
        """Inputs of the widest layer, the couplings' layers included."""
        return max(
            self.layout.max_fan_in, *(value.shape[1] for value in self.flow.parameters() if value.dim() > 1)
        )

    def _draws_and_log_det(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        values, log_det = self.flow(noise)
        return self.loc + self.log_scale.exp() * values, log_det + self.log_scale.sum()

    def from_noise(self, noise: Tensor) -> Tensor:
        """Return draws of the flat vector."""
        return self._draws_and_log_det(noise)[0]

    def log_det(self, noise: Tensor) -> Tensor:
        """Return the logarithm of the determinant of the Jacobian."""
        return self._draws_and_log_det(noise)[1]

    def to_noise(self, flat: Tensor) -> Tensor:
        """Return the noise of draws."""
        return self.flow.inverse((flat - self.loc) * (-self.log_scale).exp())[0]

    def mean(self) -> dict[str, Tensor]:
        """Return the mean of 1024 fixed draws; for a positive site the exponential of the mean logarithm."""
        with torch.no_grad():
            center = self.unconstrained(torch.cat(self._fixed_noise())).mean(0)
        return self._center(center, self.point)

    def kl_to(self, priors: FlatPriors) -> Tensor:
        """Raise DataError: the KL of a flow has no closed form."""
        raise DataError("the KL of a guides.Flow has no closed form; use kl_estimate(priors, noise)")

    def kl_estimate(self, priors: FlatPriors, noise: Tensor) -> Tensor:
        r"""Estimate :math:`\text{weight} \cdot \mathrm{KL}(q \| p)` by the mean of log q - log p."""
        own = self.own_noise(noise)
        flat, log_det = self._draws_and_log_det(own)
        log_p = log_prior(priors.sites, self.layout, flat, self.points(len(flat)))
        return priors.total((_log_normal(own) - log_det - log_p).mean())

    def estimates_kl(self, priors: FlatPriors) -> bool:
        """Return True: :meth:`kl_estimate` always depends on the noise."""
        return True

    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of q over the flat vector."""
        noise = self.to_noise(flat)
        return _log_normal(noise) - self.log_det(noise)

    def _kl_replicates(self, priors: FlatPriors) -> Tensor:
        return torch.stack([self.kl_estimate(priors, noise) for noise in self._fixed_noise()])


def _log_normal(noise: Tensor) -> Tensor:
    return -0.5 * noise.square().sum(-1) - 0.5 * noise.shape[-1] * math.log(2 * math.pi)
