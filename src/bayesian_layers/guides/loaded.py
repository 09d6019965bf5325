"""Checks of the arrays of a guide that was read from a folder: finite numbers can still give infinite draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..draw_sources import check_all
from ..draw_sources.base import check_positive
from ..model import BayesianModel

if TYPE_CHECKING:
    from .base import Guide

_STDS = 4  # draws of a positive site may be as far from its median as this, on the logarithm


def check_range(guide: Guide) -> None:
    """Raise StorageError unless means, standard deviations and factor leave room for draws."""
    arrays = dict(guide.named_parameters())
    most = torch.finfo(guide.loc.dtype).max
    factors = [name for name in arrays if name.endswith("factor")]
    # Factors multiply each other, the standard deviations and the noise: the product must not overflow.
    largest = most ** (1 / (1 + len(factors))) / (16 if factors else 64)
    check_all(
        arrays["loc"], lambda it: it.abs() < most / 2, "the guide's means must leave room for its draws"
    )
    check_all(
        arrays["log_scale"],
        lambda it: (it.exp() > 0) & (it.exp() < largest),
        "the guide's standard deviations must be above 0 and must not overflow",
    )
    for name in factors:
        check_all(arrays[name], lambda it: it.abs() < largest, "the guide's factor must not overflow")


def check_positive_sites(guide: Guide, model: BayesianModel) -> None:
    """Raise StorageError unless positive sites are positive and finite up to 4 standard deviations from the median."""
    if any(site.positive for site in model.sites().values()):
        arrays = {name: value.detach() for name, value in guide.named_parameters()}
        spread = _STDS * arrays["log_scale"].exp()
        for loc in (arrays["loc"] + spread, arrays["loc"] - spread):
            check_positive(guide.layout.values(loc, arrays["point"]), model)
