"""Draws in which the weights that the data do not determine are zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..model import BayesianModel
from ..saving.storable import MemberOf
from .base import DrawSource, num_entries


class _AnotherSource(MemberOf):
    """A source that is not pruned itself; it needs the model to be built."""

    def __init__(self) -> None:
        super().__init__(DrawSource, without=("Pruned",))

    def build(self, value: Any) -> Any:
        return value


class Pruned(DrawSource):
    """A guide or stored draws, some of whose weights are exactly zero in every draw; all others are as they were."""

    ARGUMENTS: ClassVar = {"source": _AnotherSource()}

    # `kept` maps the name of a site to a boolean for each weight: whether it stays.
    def __init__(self, source: DrawSource, kept: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.source = source
        # Names of buffers may not have dots, as names of sites do.
        self._buffers_of = {name: f"kept_{i}" for i, name in enumerate(kept)}
        for name, value in kept.items():
            self.register_buffer(self._buffers_of[name], value)

    @property
    def kept(self) -> dict[str, Tensor]:
        """Site name to whether each weight stays."""
        return {name: self.get_buffer(buffer) for name, buffer in self._buffers_of.items()}

    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Draw as the source does, with zeros for the pruned weights."""
        return self.masked(self.source.draw(num_draws, seed, start))

    def mean(self) -> dict[str, Tensor]:
        """Return the means of the source, with zeros for the pruned weights."""
        return self.masked(self.source.mean())

    def describe(self) -> str:
        """Describe how many weights are zero."""
        kept = self.kept.values()
        entries = sum(each.numel() for each in kept)
        return f"; PRUNED: {entries - sum(int(each.sum()) for each in kept)} of {entries} weights are 0"

    def masked(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Replace pruned weights by zeros in values or draws of the sites."""
        kept = self.kept
        return {
            name: torch.where(kept[name], value, torch.zeros_like(value)) if name in kept else value
            for name, value in values.items()
        }

    @classmethod
    def num_entries(cls, arguments: Mapping[str, Any], model: BayesianModel) -> int:
        """Count those of the source, and one boolean for each weight that may be zero."""
        sites = model.sites()
        kept = sum(sites[name].initial.numel() for name in prunable(model))
        return num_entries(arguments["source"], model) + kept

    def check_loaded(self, model: BayesianModel) -> None:
        """Check the source."""
        self.source.check_loaded(model)

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, model: BayesianModel | None = None) -> Self:
        assert model is not None
        sites = model.sites()
        kept = {name: sites[name].initial.new_ones((), dtype=torch.bool) for name in prunable(model)}
        kept = {name: value.expand(sites[name].initial.shape) for name, value in kept.items()}
        return cls(DrawSource.from_spec(arguments["source"], model=model), kept)


def prunable(model: BayesianModel) -> list[str]:
    """List the sites whose entries may be zero: weights of the network that have a prior."""
    # Values of functions (bl.priors.Whitened) and sites that are only drawn are not weights.
    sites = model.sites()
    priors = {name: sites[name].prior for name, _ in model.network.named_parameters() if name in sites}
    return [
        name
        for name, prior in priors.items()
        if prior is not None and not (prior.positive or prior.drawn or prior.joint)
    ]
