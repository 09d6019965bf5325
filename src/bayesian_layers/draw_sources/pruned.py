"""Draws in which the weights that the data do not hold are zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..model import BayesianModel


class Pruned(nn.Module):
    """A source of draws, some of whose weights are exactly zero in every draw; all others are as they were.

    Args:
        source: A guide or stored draws; kept, not copied.
        kept: Site name to a truth value for each weight: whether it stays.
    """

    def __init__(self, source: Any, kept: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.source = source
        # Buffers may not have dots in their names, as sites do.
        self._buffers_of = {name: f"kept_{i}" for i, name in enumerate(kept)}
        for name, value in kept.items():
            self.register_buffer(self._buffers_of[name], value)

    @property
    def kept(self) -> dict[str, Tensor]:
        """Site name to whether each weight stays."""
        return {name: self.get_buffer(buffer) for name, buffer in self._buffers_of.items()}

    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Draw as the source does, and put zeros in place."""
        return self.masked(self.source.draw(num_draws, seed, start))

    def mean(self) -> dict[str, Tensor]:
        """Give the means of the source, with zeros in place."""
        return self.masked(self.source.mean())

    def describe(self) -> str:
        """Say how many weights are zero."""
        kept = self.kept.values()
        entries = sum(each.numel() for each in kept)
        return f"; PRUNED: {entries - sum(int(each.sum()) for each in kept)} of {entries} weights are 0"

    def masked(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put zeros in place of what is pruned."""
        kept = self.kept
        return {
            name: torch.where(kept[name], value, torch.zeros_like(value)) if name in kept else value
            for name, value in values.items()
        }


def prunable(model: BayesianModel) -> list[str]:
    """List the sites whose entries may be zero: weights of the network that have a prior."""
    # Values of functions (``bl.priors.Whitened``) and what is only drawn are no weights.
    sites = model.sites()
    priors = {name: sites[name].prior for name, _ in model.network.named_parameters() if name in sites}
    return [
        name
        for name, prior in priors.items()
        if prior is not None and not (prior.positive or prior.drawn or prior.joint)
    ]
