"""Fresh initialisations of a model's network: the starts of the members of an Ensemble."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from ..model import BayesianModel
from ..noise import seeded
from ..priors import Site

_RESTART = 11  # separates this random stream from others of the same seed


def restarted_sites(model: BayesianModel, noise_scale: float, seed: int, member: int) -> dict[str, Site]:
    """Return the model's sites with the values of a fresh initialisation of its network."""
    present = model.sites()
    fresh = copy.deepcopy(model)
    with seeded(seed, member, _RESTART), torch.no_grad():
        known = _reset(fresh.network)
        for name, parameter in fresh.network.named_parameters():
            if name not in present:
                continue
            if present[name].positive:
                parameter.copy_(present[name].initial)
            elif id(parameter) not in known:
                parameter.add_(noise_scale * torch.randn_like(parameter))
    return fresh.sites()


def _reset(network: nn.Module) -> set[int]:
    """Initialise again every module with a method for it; return the ids of its parameters."""
    known: set[int] = set()
    for module in network.modules():
        reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
        reset = reset or getattr(module, "_reset_parameters", None)  # attention's
        if callable(reset):
            reset()
            known |= {id(parameter) for parameter in module.parameters(recurse=False)}
    return known
