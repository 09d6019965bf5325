"""A guide's parameters as one flat vector: what a step works on."""

from __future__ import annotations

import torch
from torch import Tensor

from ...guides import Guide


class FlatParameters:
    """The trained parameters of a guide, one after the other.

    One vector costs an optimizer a tenth of what many small tensors do.

    Args:
        guide: The guide; parameters that are empty or do not require a gradient are left alone.
    """

    def __init__(self, guide: Guide) -> None:
        self._trained = {
            name: parameter
            for name, parameter in guide.named_parameters()
            if parameter.requires_grad and parameter.numel()
        }

    def gather(self) -> Tensor:
        """Copy the guide's present values."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self._trained.values()])

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Cut a vector into the parameters."""
        parts = flat.split([parameter.numel() for parameter in self._trained.values()])
        return {
            name: part.view(parameter.shape)
            for (name, parameter), part in zip(self._trained.items(), parts, strict=True)
        }

    @torch.no_grad()
    def scatter(self, flat: Tensor) -> None:
        """Write a vector into the guide."""
        for name, value in self.views(flat).items():
            self._trained[name].copy_(value)
