"""Weights whose noise exceeds their size, and a posterior without them."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..arguments import check_finite
from ..draw_sources import DrawSource, Pruned, prunable
from ..errors import SiteError
from ..model import BayesianModel
from .marginals import signal_to_noise


@dataclass(frozen=True, eq=False)
class Sparsity:
    r"""How many weights of each site are more noise than weight; ``print`` it.

    Attributes:
        names: The J sites of the network that have a prior.
        entries: Number of weights of each, ``(J,)``.
        pruned: Number of weights whose :math:`\log \alpha` is above the threshold, ``(J,)``.
        threshold: The threshold.
    """

    names: tuple[str, ...]
    entries: np.ndarray
    pruned: np.ndarray
    threshold: float

    @property
    def share(self) -> np.ndarray:
        """Share of the weights above the threshold, per site, ``(J,)``."""
        return self.pruned / np.maximum(self.entries, 1)

    @property
    def total(self) -> float:
        """Share of all weights above the threshold."""
        return float(self.pruned.sum() / max(self.entries.sum(), 1))

    def __str__(self) -> str:
        rows = [*zip(self.names, self.entries, self.pruned, self.share, strict=True)]
        rows.append(("all", self.entries.sum(), self.pruned.sum(), self.total))
        width = max(len(str(row[0])) for row in rows)
        title = f"log alpha > {self.threshold:g}"
        head = f"{'site':{width}} {'weights':>10} {title:>16} {'share':>8}"
        lines = [
            f"{name:{width}} {entries:>10} {pruned:>16} {share:>8.1%}"
            for name, entries, pruned, share in rows
        ]
        return "\n".join([head, *lines])


def sparsity(
    model: BayesianModel, source: DrawSource, threshold: float, num_draws: int, seed: int
) -> Sparsity:
    """Count the weights that are more noise than weight; see ``Posterior.sparsity``."""
    kept = _kept_weights(model, source, threshold, num_draws, seed)
    return Sparsity(
        names=tuple(kept),
        entries=np.array([each.numel() for each in kept.values()]),
        pruned=np.array([int((~each).sum()) for each in kept.values()]),
        threshold=float(threshold),
    )


def prune(model: BayesianModel, source: DrawSource, threshold: float, num_draws: int, seed: int) -> Pruned:
    """Set the weights that are more noise than weight to zero; see ``Posterior.prune``."""
    kept = _kept_weights(model, source, threshold, num_draws, seed)
    return Pruned(copy.deepcopy(source.source if isinstance(source, Pruned) else source), kept)


def _kept_weights(
    model: BayesianModel, source: DrawSource, threshold: float, num_draws: int, seed: int
) -> dict[str, Tensor]:
    """Return for each weight whether log alpha = -2 log(signal-to-noise) is at most the threshold."""
    check_finite("threshold", threshold)
    names = prunable(model)
    if not names:
        raise SiteError(
            "no weight has a prior, so pruning has no signal-to-noise ratios; use bl.bayesianize on the network"
        )
    ratios = signal_to_noise(model, source, num_draws, seed)
    return {name: ratios[name] >= math.exp(-threshold / 2) for name in names}
