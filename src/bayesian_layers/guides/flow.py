"""A guide of any shape: standard normal noise, pushed through a reversible layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Transform, constraints

from ..draw_sources import check_all
from ..draw_sources.base import check_positive
from ..errors import DataError, StorageError
from ..layers import RealNVP
from ..model import BayesianModel
from ..noise import seeded
from ..saving import AGAIN
from ..saving.architecture import MOST_MODULES, modules_in
from ..saving.schema import Integer, ListOf
from .joint import Joint
from .kl import FlatPriors
from .layout import Layout
from .loaded import check_range
from .prior_density import log_prior

_CHECKED_DRAWS = 64  # of a guide that was read from a folder


class Flow(Joint):
    r"""Noise that affine couplings bend: a guide that can be skewed, curved and heavy-tailed.

    .. math:: q(w): \quad w = \text{loc} + e^{\text{log\_scale}} \odot t(\epsilon), \quad \epsilon \sim N(0, I)

    with a :class:`~bayesian_layers.RealNVP` t over all random entries together. It begins as the identity, so the guide
    begins as the :class:`MeanFieldNormal` of the same arguments. Positive sites (a noise scale) take part with their
    logarithms; sites without a prior are points.

    The KL has no closed form; it is estimated on the very draws of a step,

    .. math:: \mathrm{KL}(q \| p) \approx \tfrac1S \textstyle\sum_s \log q(w_s) - \log p(w_s),

    so its ELBO has the noise of both terms, and more draws pay. For some hundred entries at most: the network of each
    coupling goes from half of them to twice the other half.

    Trained by ``bl.fit``, by ``pyro.infer.SVI``, or by a torch optimizer, as :class:`MeanFieldNormal`.

    Args:
        model: The model whose sites the guide covers; it is only read.
        layers: Number of couplings.
        hidden: Widths of the hidden layers of each coupling's network.
        init_scale: Standard deviation at which each entry begins, above 0; ``None`` for one over the inputs of
            the widest layer, between 0.02 and 0.1.

    Attributes:
        loc: Where the affine map puts 0, ``(P,)``, unconstrained.
        log_scale: Logarithms of its scales, ``(P,)``.
        flow: The couplings; their parameters are the guide's.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If a size is no whole number or too small, or there are fewer than 2 entries with a prior.
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
                "a guides.Flow couples two entries with a prior, or more; this model has one. Use MeanFieldNormal."
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
        """Check some draws: only they show where the couplings put them."""
        check_range(self)
        draws = self.draw(_CHECKED_DRAWS, seed=0)
        for name, value in draws.items():
            check_all(value, torch.isfinite, f"the draws of {name!a:.60} must be finite")
        check_positive(draws, model)

    @property
    def own_noise_size(self) -> int:
        """Standard normal numbers that one draw of the random entries takes: P."""
        return len(self.loc)

    @property
    def max_fan_in(self) -> int:
        """Inputs of the widest layer that a step of a fit moves, those of the couplings included."""
        return max(
            self.layout.max_fan_in, *(value.shape[1] for value in self.flow.parameters() if value.dim() > 1)
        )

    def _unconstrained(self, noise: Tensor) -> Tensor:
        return self.pushed(noise)[0]

    def pushed(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Turn the random entries' noise into draws.

        Args:
            noise: Standard normal, ``(*batch, P)``.

        Returns:
            Draws, ``(*batch, P)``, and the logarithm of the map's Jacobian's determinant, ``(*batch,)``.
        """
        bent, log_det = self.flow(noise)
        return self.loc + self.log_scale.exp() * bent, log_det + self.log_scale.sum()

    def pulled(self, flat: Tensor) -> Tensor:
        """Undo :meth:`pushed`.

        Args:
            flat: Values of the random entries, ``(*batch, P)``, unconstrained.

        Returns:
            The noise that they are made of, ``(*batch, P)``.
        """
        return self.flow.inverse((flat - self.loc) * (-self.log_scale).exp())[0]

    def mean(self) -> dict[str, Tensor]:
        """Give the mean of q over 1024 fixed draws."""
        # For a positive site the exponential of its logarithm's.
        with torch.no_grad():
            center = self.unconstrained(torch.cat(self._fixed_noise())).mean(0)
        return self._center(center, self.point)

    def kl_to(self, priors: FlatPriors) -> Tensor:
        """Refuse: the KL of a flow has no closed form."""
        raise DataError("the KL of a guides.Flow has no closed form; take kl_estimate(priors, noise)")

    def kl_estimate(self, priors: FlatPriors, noise: Tensor) -> Tensor:
        r"""Estimate :math:`\text{weight} \cdot \mathrm{KL}(q \| p)` by the mean of log q - log p."""
        own = self.own_noise(noise)
        flat, log_det = self.pushed(own)
        log_p = log_prior(priors.sites, self.layout, flat, self.points(len(flat)))
        return priors.total((_log_normal(own) - log_det - log_p).mean())

    def estimates_kl(self, priors: FlatPriors) -> bool:
        """Tell that :meth:`kl_estimate` depends on the noise."""
        return True

    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of q over the flat vector."""
        noise = self.pulled(flat)
        return _log_normal(noise) - self.pushed(noise)[1]

    def _kl_replicates(self, priors: FlatPriors) -> Tensor:
        return torch.stack([self.kl_estimate(priors, noise) for noise in self._fixed_noise()])

    def _flat_distribution(self) -> Any:
        base = dist.Normal(torch.zeros_like(self.loc), 1.0).to_event(1)
        return dist.TransformedDistribution(base, [_Pushed(self)])


class _Pushed(Transform):
    """A guide's map of noise, for Pyro; it keeps no value from call to call."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, guide: Flow) -> None:
        super().__init__(cache_size=0)
        self._guide = guide

    def _call(self, x: Tensor) -> Tensor:
        return self._guide.pushed(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self._guide.pulled(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self._guide.pushed(x)[1]


def _log_normal(noise: Tensor) -> Tensor:
    return -0.5 * noise.square().sum(-1) - 0.5 * noise.shape[-1] * math.log(2 * math.pi)
