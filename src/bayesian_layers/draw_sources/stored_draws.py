"""Draws that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from ..model import BayesianModel
from ..network import is_shared
from ..saving.schema import Integer
from .base import DrawSource, check_positive


class StoredDraws(DrawSource):
    """Draws that were made elsewhere, ``(M, *shape)`` per site; kept as they are, not copied."""

    ARGUMENTS: ClassVar = {"draws": Integer(2, 2**40)}

    def __init__(self, samples: Mapping[str, Tensor]) -> None:
        super().__init__()
        # Names of buffers may not have dots, as names of sites do.
        self._buffers_of = {name: f"draws_{i}" for i, name in enumerate(samples)}
        for name, value in samples.items():
            self.register_buffer(self._buffers_of[name], value.detach())

    @property
    def samples(self) -> dict[str, Tensor]:
        """Site name to all stored draws, ``(M, *shape)``."""
        return {name: self.get_buffer(buffer) for name, buffer in self._buffers_of.items()}

    @property
    def draws(self) -> int:
        """Number of stored draws M."""
        return len(next(iter(self.samples.values())))

    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Return stored draws in an order that the seed shuffles; after the last the first comes again."""
        order = np.random.default_rng(seed).permutation(self.draws)
        index = torch.from_numpy(order[np.arange(start, start + num_draws) % self.draws])
        return {
            name: value[:1].expand(num_draws, *value.shape[1:])
            if _all_equal(value)
            else value[index.to(value.device)]
            for name, value in self.samples.items()
        }

    def mean(self) -> dict[str, Tensor]:
        """Average the stored draws."""
        return {name: value.mean(0) for name, value in self.samples.items()}

    @classmethod
    def num_entries(cls, arguments: Mapping[str, Any], model: BayesianModel) -> int:
        """Count the numbers of all sites, for each draw."""
        return sum(site.initial.numel() for site in model.sites().values()) * arguments["draws"]

    def check_loaded(self, model: BayesianModel) -> None:
        """Check that positive sites are positive."""
        check_positive(self.samples, model)

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, model: BayesianModel | None = None) -> Self:
        sites = {} if model is None else model.sites()
        draws = arguments["draws"]
        return cls({name: site.initial.expand(draws, *site.initial.shape) for name, site in sites.items()})


def _all_equal(draws: Tensor) -> bool:
    """Check whether all draws are one value, as those of point estimates are; most others differ in the first two."""
    return is_shared(draws) or all(torch.equal(each, draws[0]) for each in draws[1:])
