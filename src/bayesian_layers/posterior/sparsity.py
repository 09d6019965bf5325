"""Which weights the data do not hold, and a posterior without them."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..draw_sources import Pruned, prunable
from ..errors import DataError, SiteError
from . import diagnostics

if TYPE_CHECKING:
    from .posterior import Posterior


@dataclass(frozen=True, eq=False)
class Sparsity:
    r"""How many weights of each site are more noise than weight; ``print`` it.

    Attributes:
        names: The J sites of the network that have a prior.
        entries: Weights in each, ``(J,)``.
        pruned: Those with :math:`\log \alpha` above the threshold, ``(J,)``.
        threshold: The threshold.
    """

    names: tuple[str, ...]
    entries: np.ndarray
    pruned: np.ndarray
    threshold: float

    @property
    def share(self) -> np.ndarray:
        """Share of the weights above the threshold, site by site, ``(J,)``."""
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


def sparsity(posterior: Posterior, threshold: float, num_draws: int, seed: int) -> Sparsity:
    r"""Count the weights that are more noise than weight; see ``Posterior.sparsity``."""
    kept = kept_weights(posterior, threshold, num_draws, seed)
    return Sparsity(
        names=tuple(kept),
        entries=np.array([each.numel() for each in kept.values()]),
        pruned=np.array([int((~each).sum()) for each in kept.values()]),
        threshold=float(threshold),
    )


def prune(posterior: Posterior, threshold: float, num_draws: int, seed: int) -> Pruned:
    r"""Set the weights that are more noise than weight to zero; see ``Posterior.prune``."""
    kept = kept_weights(posterior, threshold, num_draws, seed)
    source = posterior.source
    return Pruned(copy.deepcopy(source.source if isinstance(source, Pruned) else source), kept)


def kept_weights(posterior: Posterior, threshold: float, num_draws: int, seed: int) -> dict[str, Tensor]:
    r"""Tell which weights have :math:`\log \alpha = -2 \log \text{signal-to-noise}` at most the threshold."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise DataError(f"`threshold` is a finite number, that of log alpha; received {threshold!r}")
    names = prunable(posterior.model)
    if not names:
        raise SiteError(
            "no weight has a prior, so pruning has no signal-to-noise ratios; use bl.bayesianize on the network"
        )
    ratios = diagnostics.signal_to_noise(posterior, num_draws, seed)
    return {name: ratios[name] >= math.exp(-threshold / 2) for name in names}
