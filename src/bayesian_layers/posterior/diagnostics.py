"""What a posterior says about itself: how far it went from its prior, and whether data look like its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .. import inference_data, metrics
from ..draw_sources import Pruned
from ..errors import DataError, ShapeError, SiteError
from ..guides import FullRankNormal, LowRankNormal, MeanFieldNormal
from ..guides.layout import Layout
from ..metrics.predictive_checks import Statistic
from ..network import Inputs, num_rows
from ..priors import Prior
from .arviz_groups import drawn_targets, prior_draws
from .densities import check_numbers, checked, densities

if TYPE_CHECKING:
    from .posterior import Posterior

_SEEDS = 2**32  # noise of the targets: seeds of its own for each seed of draws
_NUMBERS = 2**24  # weights, or densities of rows, in memory at a time
_NODES = 64  # where a log ratio of densities is looked at, for its mean
_COLUMNS = ("entries", "prior scale", "scale / prior", "median SNR", "SNR > 1", "KL (nats)", "KL / entry")


@dataclass(frozen=True, eq=False)
class WeightTable:
    r"""How far each site went from its prior; ``print`` it.

    A site that stayed has scale / prior 1, a small signal-to-noise ratio and KL 0: the data said nothing about it, or
    the fit pruned it. All is on the unconstrained axis, where a positive site is its logarithm.

    Attributes:
        names: The J sites that have a prior.
        entries: Numbers in each, ``(J,)``.
        prior_scale: Deviation of the prior, root mean square over entries, ``(J,)``; where it is a site itself,
            that of the scale's mean.
        relative_scale: Median over entries of the posterior's deviation over the prior's, ``(J,)``.
        signal_to_noise: Median of :math:`|\text{mean}| / \text{deviation}`, ``(J,)``; NaN for positive sites, whose
            distance from 0 says nothing.
        share_above_one: Share of entries where that is above 1, ``(J,)``.
        kl: KL from the prior in nats, summed over entries, ``(J,)``: of Normals with the posterior's means and
            deviations, which a mean-field guide's are.

    Raises:
        ShapeError: If there is not one number a site.
    """

    names: tuple[str, ...]
    entries: np.ndarray
    prior_scale: np.ndarray
    relative_scale: np.ndarray
    signal_to_noise: np.ndarray
    share_above_one: np.ndarray
    kl: np.ndarray

    def __post_init__(self) -> None:
        expected = (len(self.names),)
        for name in (
            "entries",
            "prior_scale",
            "relative_scale",
            "signal_to_noise",
            "share_above_one",
            "kl",
        ):
            shape = getattr(self, name).shape
            if shape != expected:
                raise ShapeError(name, expected, shape, "One number a site.")

    @property
    def kl_per_entry(self) -> np.ndarray:
        """Nats an entry, ``(J,)``."""
        return self.kl / np.maximum(self.entries, 1)

    def __str__(self) -> str:
        width = max(map(len, (*self.names, "site")))
        columns = (
            self.entries,
            self.prior_scale,
            self.relative_scale,
            self.signal_to_noise,
            self.share_above_one,
            self.kl,
            self.kl_per_entry,
        )
        rows = [
            " ".join([f"{name:{width}}", *(f"{value:13.4g}" for value in numbers)])
            for name, *numbers in zip(self.names, *columns, strict=True)
        ]
        return "\n".join([" ".join([f"{'site':{width}}", *(f"{name:>13}" for name in _COLUMNS)]), *rows])


@dataclass(frozen=True, eq=False)
class Marginals:
    """Means and deviations of the entries of a site, before and after the data, on the unconstrained axis.

    Attributes:
        mean: Posterior means, of the site's shape.
        std: Posterior deviations.
        prior_mean: Means of the prior, or of the Normal that is its reference.
        prior_std: Deviations of the same.
        prior: The prior.
    """

    mean: Tensor
    std: Tensor
    prior_mean: Tensor
    prior_std: Tensor
    prior: Prior

    @property
    def signal_to_noise(self) -> Tensor:
        """Mean over deviation, without sign; 0 for a weight that is pruned."""
        return torch.where(self.mean == 0, torch.zeros_like(self.mean), self.mean.abs() / self.std)

    @property
    def kl(self) -> Tensor:
        """KL divergence of Normals with these moments from the prior, nats, of the site's shape; of 0 where pruned."""
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
        """Of a prior that is given entry by entry, by Gauss and Hermite."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        total = torch.zeros_like(self.mean)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            total += weight * self.prior.log_ratio(self.mean + node * self.std, self.mean)
        return total


def marginals(posterior: Posterior, num_draws: int, seed: int) -> dict[str, Marginals]:
    """Give means and deviations of each site that has a prior."""
    check_numbers(num_draws, seed)
    sites = posterior.model.sites()
    layout, source = Layout.of(sites), posterior.source
    locs, scales = _moments(posterior, layout, num_draws, seed)
    center = source.mean()
    found = {}
    for name in layout.random:
        site = sites[name]
        prior = site.prior
        assert prior is not None  # it is a random site
        loc, scale = (
            each.double().expand(site.initial.shape)
            for each in prior.unconstrained(site.initial, site.scale(center))
        )
        found[name] = Marginals(locs[name], scales[name], loc, scale, prior)
    return found


@torch.no_grad()
def _moments(
    posterior: Posterior, layout: Layout, num_draws: int, seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Exact where the guide is one Gaussian, else of draws."""
    source = posterior.source
    guide = source.source if isinstance(source, Pruned) else source
    if isinstance(guide, MeanFieldNormal | FullRankNormal | LowRankNormal):
        scale = guide.variance().sqrt()
        loc, deviation = (layout.split(each.detach().double(), layout.random) for each in (guide.loc, scale))
        return (
            (source.masked(loc), source.masked(deviation)) if isinstance(source, Pruned) else (loc, deviation)
        )
    draws = posterior.sample(num_draws, seed)
    flat = {n: (draws[n].log() if n in layout.positive else draws[n]).double() for n in layout.random}
    return {n: v.mean(0) for n, v in flat.items()}, {n: v.std(0) for n, v in flat.items()}


def signal_to_noise(posterior: Posterior, num_draws: int, seed: int) -> dict[str, Tensor]:
    """Give the signal-to-noise ratio of each entry; see ``Posterior.signal_to_noise``."""
    positive = Layout.of(posterior.model.sites()).positive
    found = marginals(posterior, num_draws, seed)
    return {name: each.signal_to_noise for name, each in found.items() if name not in positive}


def weight_table(posterior: Posterior, num_draws: int, seed: int) -> WeightTable:
    """Compare each site with its prior; see ``Posterior.weight_table``."""
    found = marginals(posterior, num_draws, seed)
    if not found:
        raise SiteError("no parameter has a prior to compare with; use bl.bayesianize on the network")
    positive = Layout.of(posterior.model.sites()).positive
    ratios = [
        np.full(1, np.nan) if name in positive else each.signal_to_noise.cpu().numpy().reshape(-1)
        for name, each in found.items()
    ]
    return WeightTable(
        names=tuple(found),
        entries=np.array([each.mean.numel() for each in found.values()]),
        prior_scale=np.array([float(each.prior_std.square().mean().sqrt()) for each in found.values()]),
        relative_scale=np.array([float((each.std / each.prior_std).median()) for each in found.values()]),
        signal_to_noise=np.array([float(np.median(each)) for each in ratios]),
        share_above_one=np.array([np.nan if np.isnan(each).all() else np.mean(each > 1) for each in ratios]),
        kl=np.array([float(each.kl.sum()) for each in found.values()]),
    )


def k_hat(posterior: Posterior, x: Inputs, y: Tensor, num_draws: int, seed: int) -> float:
    """Estimate how heavy the tail of the importance weights is; see ``Posterior.k_hat``."""
    check_numbers(num_draws, seed)
    model, source = posterior.model, posterior.source
    _, x, y = checked(model, x, y)
    weights_of_one = sum(site.initial.numel() for site in model.sites().values())
    size = max(1, _NUMBERS // max(weights_of_one, num_rows(x)))
    parts = []
    for start in range(0, num_draws, size):
        drawn = source.draw(min(size, num_draws - start), seed, start)
        weights = densities(model, source, drawn, x, y).log_weights
        if weights is None:
            raise DataError(
                "k-hat judges a guide by its density, and stored draws have none; ask the posterior that "
                "they were refined from, or judge the draws by R-hat and effective sample size"
            )
        parts.append(weights)
    log_weights = torch.cat(parts).cpu().numpy()
    return inference_data.pareto_k_hat(log_weights) if np.isfinite(log_weights).all() else float("inf")


def predictive_check(
    posterior: Posterior,
    x: Inputs,
    y: Tensor,
    statistics: Mapping[str, Statistic],
    num_draws: int,
    seed: int,
    *,
    prior: bool,
) -> metrics.PredictiveCheck:
    """Compare data with data drawn from the model."""
    # See ``Posterior.predictive_check`` and ``Posterior.prior_check``.
    y, made = _data_sets(posterior, x, y, num_draws, seed, prior=prior)
    return metrics.predictive_check(y.cpu().reshape(-1), made.reshape(num_draws, -1), statistics)


def pit(posterior: Posterior, x: Inputs, y: Tensor, num_draws: int, seed: int) -> np.ndarray:
    """Compute randomized probability integral transforms; see ``Posterior.pit``."""
    y, made = _data_sets(posterior, x, y, num_draws, seed, prior=False)
    flat = metrics.pit(y.cpu().reshape(-1), made.reshape(num_draws, -1), seed)
    return flat.reshape(tuple(y.shape))


def _data_sets(
    posterior: Posterior, x: Inputs, y: Tensor, num_draws: int, seed: int, *, prior: bool
) -> tuple[Tensor, np.ndarray]:
    """The targets, checked, and S sets of targets that the model has drawn, ``(S, *shape of y)``."""
    check_numbers(num_draws, seed)
    _, x, y = checked(posterior.model, x, y)
    draws = prior_draws(posterior, num_draws, seed) if prior else posterior.sample(num_draws, seed)
    return y, drawn_targets(posterior.model, draws, x, seed * _SEEDS + prior * _SEEDS // 2)
