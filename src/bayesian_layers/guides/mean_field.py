"""Independent Normals."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..arguments import check_positive
from ..model import BayesianModel
from .base import Guide
from .kl import FlatPriors


class MeanFieldNormal(Guide):
    r"""Independent Normals: :math:`q(w) = \prod_j N(w_j; \text{loc}_j, \exp(\text{log\_scale}_j)^2)`.

    A Pyro guide with one site for each latent site of the model. A site with a Normal prior is Normal. A positive site
    (a noise scale with a LogNormal prior) is log-normal: its logarithm is Normal. A site without a prior is a
    ``Delta`` at its point estimate. All sites are views of flat parameters. The locations start at the network's
    present values.

    It is trained by ``bl.fit``, by ``pyro.infer.SVI``, or by a torch optimizer on
    ``TraceMeanField_ELBO()(model, guide)``; the last two leave Pyro's parameter store as it was.

    Args:
        model: The model that the guide is for; it is only read.
        init_scale: Standard deviation at which each Normal starts, above 0; ``None`` for one over the inputs of
            the widest layer, between 0.02 and 0.1.

    Attributes:
        loc: Means of the P entries that have a prior, ``(P,)``, unconstrained.
        log_scale: Logarithms of their standard deviations, ``(P,)``.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If ``init_scale`` is not positive.
        SiteError: If the model has no latent site.
        TypeError: If ``model`` is not a ``BayesianModel``.

    References:
        Graves (2011), "Practical variational inference for neural networks"; Blundell et al. (2015),
        arXiv 1505.05424.

    Example:
        >>> import bayesian_layers as bl
        >>> guide = MeanFieldNormal(bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli()))
        >>> guide.loc.shape, guide.point.shape
        (torch.Size([3]), torch.Size([0]))
    """

    ARGUMENTS: ClassVar = {}

    def __init__(self, model: BayesianModel, *, init_scale: float | None = None) -> None:
        super().__init__(model, init_scale=init_scale)

    @classmethod
    def from_pretrained(
        cls, model: BayesianModel, fraction: float = 0.1, *, floor: float = 1e-3
    ) -> MeanFieldNormal:
        r"""Start at a pretrained network: means at its weights, standard deviations a fraction of their sizes.

        .. math:: \text{scale}_j = \max(\text{fraction} \cdot |w_j|, \text{floor})

        Positive entries (a noise scale) start as usual. ``bl.priors.around`` makes the priors that go with this start.

        Args:
            model: The model; its network's present weights are the means.
            fraction: Standard deviation over size, above 0.
            floor: The smallest standard deviation: a weight of 0 would have a standard deviation of 0 without it.

        Returns:
            A guide.

        Raises:
            DataError: If ``fraction`` or ``floor`` is not finite and above 0.

        References:
            Krishnan, Subedar & Tickoo (2020), arXiv 1906.05323 (MOPED).

        Example:
            >>> import bayesian_layers as bl
            >>> from torch import nn
            >>> network = nn.Linear(1, 1)
            >>> _ = nn.init.constant_(network.weight, -2.0), nn.init.zeros_(network.bias)
            >>> model = bl.BayesianModel(bl.bayesianize(network), bl.likelihoods.Bernoulli())
            >>> MeanFieldNormal.from_pretrained(model, floor=0.01).log_scale.exp()
            tensor([0.2000, 0.0100], grad_fn=<ExpBackward0>)
        """
        check_positive("fraction", fraction)
        check_positive("floor", floor)
        guide = cls(model)
        loc, log_scale = (
            guide.layout.split(flat.detach(), guide.layout.random) for flat in (guide.loc, guide.log_scale)
        )
        for name, part in log_scale.items():
            if name not in guide.layout.positive:
                part.copy_((fraction * loc[name].abs()).clamp_min(floor).log())
        return guide

    @property
    def is_mean_field(self) -> bool:
        """Whether all entries are independent."""
        return True

    def _unconstrained(self, noise: Tensor) -> Tensor:
        return self.loc + self.log_scale.exp() * noise

    def variance(self) -> Tensor:
        """Return the variances of the entries."""
        return self.log_scale.exp().square()

    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of q over the flat vector."""
        return dist.Normal(self.loc, self.log_scale.exp()).log_prob(flat).sum(1)

    def kl_to(self, priors: FlatPriors) -> Tensor:
        r"""Compute :math:`\sum_j \text{weight}_j \mathrm{KL}(q_j \| p_j)` in closed form."""
        return priors.total(self._kl_groups(priors))

    def kl_divergence(self, model: BayesianModel) -> dict[str, Tensor]:
        """Compute the KL divergence from the prior per site; their sum is :meth:`Guide.weighted_kl`.

        Args:
            model: The model that the guide was made for.

        Returns:
            Site name to KL in nats; 0 for point estimates.
        """
        self.check_made_for(model)
        if not self.layout.random:
            return {name: self.loc.new_zeros(()) for name in self.layout.shapes}
        priors = FlatPriors.of(model.sites(), self.layout, by_site=True)
        found = priors.by_site(self._kl_groups(priors))
        if priors.sampled:
            noise = torch.cat(self._fixed_noise())
            for name, ratio in priors.log_ratios(self.unconstrained(noise), self.points(len(noise))).items():
                found[name] = found[name] - ratio.mean()
        return {name: found.get(name, self.loc.new_zeros(())) for name in self.layout.shapes}

    def distributions(self) -> dict[str, Any]:
        """Build the distribution of each site.

        Returns:
            Site name to a Pyro distribution with the site's shape as event shape.
        """
        return self._independent_normals(self.loc, self.log_scale.exp(), self.point)

    def moments(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return mean and standard deviation of the sites that are Normal: neither positive nor point-estimated."""
        locs = self.layout.split(self.loc, self.layout.random)
        scales = self.layout.split(self.log_scale.exp(), self.layout.random)
        return {name: (locs[name], scales[name]) for name in locs if name not in self.layout.positive}

    def _sample(self) -> dict[str, Tensor]:
        return {name: pyro.sample(name, q) for name, q in self.distributions().items()}

    def _kl_groups(self, priors: FlatPriors) -> Tensor:
        return priors.cross_entropy(self.loc, self.variance(), self.point) - priors.sums(self.log_scale)
