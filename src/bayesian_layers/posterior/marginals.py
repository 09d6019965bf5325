"""Means and standard deviations of the weights, before and after the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..arguments import check_draws
from ..draw_sources import DrawSource, Pruned
from ..guides import Guide
from ..guides.layout import Layout
from ..model import BayesianModel
from ..priors import Prior

_NODES = 64  # of Gauss-Hermite quadrature, for the mean of a log ratio of densities


@dataclass(frozen=True, eq=False)
class Marginals:
    """Moments of the entries of a site on the unconstrained axis, each of the site's shape."""

    mean: Tensor
    std: Tensor
    prior_mean: Tensor  # of the prior, or of the Normal that is its reference
    prior_std: Tensor
    prior: Prior

    @property
    def signal_to_noise(self) -> Tensor:
        """Absolute mean over standard deviation; 0 for a weight that is pruned."""
        return torch.where(self.mean == 0, torch.zeros_like(self.mean), self.mean.abs() / self.std)

    @property
    def kl(self) -> Tensor:
        """KL divergence of Normals with these moments from the prior, in nats; 0 for a weight that is pruned."""
        return torch.where(self.std > 0, self._kl(), torch.zeros_like(self.std))

    def _kl(self) -> Tensor:
        if self.prior.kl == "expected":
            entropy = 0.5 * (2 * math.pi * math.e * self.std.square()).log()
            return -entropy - self.prior.expected_log_density(self.mean, self.std.square())
        ratio = self.std / self.prior_std
        off = (self.mean - self.prior_mean) / self.prior_std
        from_reference = 0.5 * (ratio.square() + off.square() - 1) - ratio.log()
        return from_reference if self.prior.kl == "normal" else from_reference - self._expected_log_ratio()

    def _expected_log_ratio(self) -> Tensor:
        """Mean log ratio of the prior's density to its reference's, by Gauss-Hermite quadrature."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        total = torch.zeros_like(self.mean)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            total += weight * self.prior.log_ratio(self.mean + node * self.std, self.mean)
        return total


def marginals(model: BayesianModel, source: DrawSource, num_draws: int, seed: int) -> dict[str, Marginals]:
    """Return the moments of each site that has a prior."""
    num_draws, seed = check_draws(num_draws, seed, least=2)
    sites = model.sites()
    layout = Layout.of(sites)
    means, stds = _moments(source, layout, num_draws, seed)
    center = source.mean()
    found = {}
    for name in layout.random:
        site = sites[name]
        prior = site.prior
        assert prior is not None  # every random site has one
        prior_mean, prior_std = (
            each.double().expand(site.initial.shape)
            for each in prior.unconstrained(site.initial, site.scale(center))
        )
        found[name] = Marginals(means[name], stds[name], prior_mean, prior_std, prior)
    return found


def signal_to_noise(model: BayesianModel, source: DrawSource, num_draws: int, seed: int) -> dict[str, Tensor]:
    """Return the signal-to-noise ratio of each entry; see ``Posterior.signal_to_noise``."""
    # The distance of a logarithm from 0 has no meaning, so positive sites have no ratio.
    positive = Layout.of(model.sites()).positive
    found = marginals(model, source, num_draws, seed)
    return {name: each.signal_to_noise for name, each in found.items() if name not in positive}


@torch.no_grad()
def _moments(
    source: DrawSource, layout: Layout, num_draws: int, seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Means and standard deviations: exact if the guide is one Gaussian, otherwise those of draws."""
    guide = source.source if isinstance(source, Pruned) else source
    variance = guide.variance() if isinstance(guide, Guide) else None
    if isinstance(guide, Guide) and variance is not None:
        flat = guide.loc, variance.sqrt()
        mean, std = (layout.split(each.detach().double(), layout.random) for each in flat)
        return (source.masked(mean), source.masked(std)) if isinstance(source, Pruned) else (mean, std)
    draws = source.draw(num_draws, seed)
    values = {n: (draws[n].log() if n in layout.positive else draws[n]).double() for n in layout.random}
    return {n: v.mean(0) for n, v in values.items()}, {n: v.std(0) for n, v in values.items()}
