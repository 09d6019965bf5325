"""The table of how far each site moved from its prior."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ..draw_sources import DrawSource
from ..errors import ShapeError, SiteError
from ..guides.layout import Layout
from ..model import BayesianModel
from .marginals import marginals

_COLUMNS = ("entries", "prior scale", "scale / prior", "median SNR", "SNR > 1", "KL (nats)", "KL / entry")


@dataclass(frozen=True, eq=False)
class WeightTable:
    r"""How far each site moved from its prior; ``print`` it.

    A site that did not move has scale / prior 1, a small signal-to-noise ratio and KL 0: the data do not determine it,
    or the fit pruned it. All values are on the unconstrained axis, where a positive site is its logarithm.

    Attributes:
        names: The J sites that have a prior.
        entries: Number of entries of each site, ``(J,)``.
        prior_scale: Standard deviation of the prior, as a root mean square over entries, ``(J,)``; if it is a site
            itself, at the mean of that site.
        relative_scale: Median over entries of the posterior's standard deviation over the prior's, ``(J,)``.
        signal_to_noise: Median of :math:`|\text{mean}| / \text{std}`, ``(J,)``; NaN for positive sites.
        share_above_one: Share of entries for which that ratio is above 1, ``(J,)``.
        kl: KL divergence from the prior in nats, summed over entries, ``(J,)``: of Normals with the posterior's means
            and standard deviations, which is exact for mean-field guides.

    Raises:
        ShapeError: If an array does not have shape ``(J,)``.
    """

    names: tuple[str, ...]
    entries: np.ndarray
    prior_scale: np.ndarray
    relative_scale: np.ndarray
    signal_to_noise: np.ndarray
    share_above_one: np.ndarray
    kl: np.ndarray

    def __post_init__(self) -> None:
        for name in [field.name for field in fields(self)][1:]:
            shape = getattr(self, name).shape
            if shape != (len(self.names),):
                raise ShapeError(name, (len(self.names),), shape, "Pass one number per site.")

    @property
    def kl_per_entry(self) -> np.ndarray:
        """KL divergence per entry in nats, ``(J,)``."""
        return self.kl / np.maximum(self.entries, 1)

    def __str__(self) -> str:
        width = max(map(len, (*self.names, "site")))
        columns = [getattr(self, field.name) for field in fields(self)][1:]
        rows = [
            " ".join([f"{name:{width}}", *(f"{value:13.4g}" for value in numbers)])
            for name, *numbers in zip(self.names, *columns, self.kl_per_entry, strict=True)
        ]
        return "\n".join([" ".join([f"{'site':{width}}", *(f"{name:>13}" for name in _COLUMNS)]), *rows])


def weight_table(model: BayesianModel, source: DrawSource, num_draws: int, seed: int) -> WeightTable:
    """Compare each site with its prior; see ``Posterior.weight_table``."""
    found = marginals(model, source, num_draws, seed)
    if not found:
        raise SiteError("no parameter has a prior to compare with; use bl.bayesianize on the network")
    positive = Layout.of(model.sites()).positive
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
