"""Checks of the arrays of a guide that was read from a folder: finite numbers can still give infinite draws."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..draw_sources import check_all
from ..draw_sources.base import check_positive
from ..model import BayesianModel
from .layout import Layout

_STDS = 4  # how far draws of a positive site may be from its median, on the logarithm


def check_range(arrays: Mapping[str, Tensor]) -> None:
    """Raise StorageError unless means, standard deviations and factors are so small that draws cannot overflow."""
    most = torch.finfo(arrays["loc"].dtype).max
    factors = [name for name in arrays if name.endswith("factor")]
    # Factors multiply each other, the standard deviations and the noise: the product must not overflow.
    largest = most ** (1 / (1 + len(factors))) / (16 if factors else 64)
    check_all(
        arrays["loc"],
        lambda it: it.abs() < most / 2,
        "the guide's means must be below half of the largest number",
    )
    check_all(
        arrays["log_scale"],
        lambda it: (it.exp() > 0) & (it.exp() < largest),
        "the guide's standard deviations must be above 0 and must not overflow",
    )
    for name in factors:
        check_all(arrays[name], lambda it: it.abs() < largest, "the guide's factor must not overflow")


def check_positive_sites(arrays: Mapping[str, Tensor], layout: Layout, model: BayesianModel) -> None:
    """Raise StorageError unless positive sites are positive and finite up to 4 standard deviations from the median."""
    if layout.positive:
        arrays = {name: value.detach() for name, value in arrays.items()}
        spread = _STDS * arrays["log_scale"].exp()
        for loc in (arrays["loc"] + spread, arrays["loc"] - spread):
            check_positive(layout.values(loc, arrays["point"]), model)
