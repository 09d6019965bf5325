"""Checks of draws that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..arguments import check_finite_tensor, check_tensor
from ..errors import ShapeError, SiteError
from ..priors import Site


def check_samples(sites: Mapping[str, Site], samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of draws in the order and dtypes of the sites."""
    if samples.keys() != sites.keys():
        raise SiteError(f"`samples` must hold the sites {sorted(sites)}; received {sorted(samples)}")
    ordered = {name: torch.as_tensor(samples[name]) for name in sites}
    size = next((len(value) for value in ordered.values() if value.dim()), 0)
    copies = {}
    for name, value in ordered.items():
        shown, initial = f"samples[{name!r}]", sites[name].initial
        expected = (size, *initial.shape)
        if value.shape != expected or size < 2:
            raise ShapeError(shown, ("M >= 2", *expected[1:]), value.shape)
        copies[name] = check_tensor(shown, value).detach().to(initial, copy=True)
        check_finite_tensor(shown, copies[name])
    return copies
