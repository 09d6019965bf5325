"""The density of the priors over a flat vector."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from ..priors import Site
from .layout import Layout


def log_prior(sites: Mapping[str, Site], layout: Layout, flat: Tensor, point: Tensor) -> Tensor:
    """Compute the log density of the priors on the unconstrained axis, ``(S,)``."""
    # For a positive site this is the density of its logarithm u, which includes the Jacobian e^u. A scale of a prior
    # that is itself a site has its value from the same vectors.
    return sum(
        _by_site("log_density", sites, layout, flat, point, layout.random).values(), flat.new_zeros(len(flat))
    )


def log_ratios(
    sites: Mapping[str, Site], layout: Layout, flat: Tensor, point: Tensor, names: Collection[str]
) -> dict[str, Tensor]:
    """Compute per site the log density of the prior minus that of its Normal reference, ``(S,)`` each."""
    return _by_site("log_ratio", sites, layout, flat, point, names)


def _by_site(
    method: str,
    sites: Mapping[str, Site],
    layout: Layout,
    flat: Tensor,
    point: Tensor,
    names: Collection[str],
) -> dict[str, Tensor]:
    """Call a method of each site's prior on the site's values, and sum over its entries."""
    values, parts = layout.values(flat, point), layout.split(flat, layout.random)
    found = {}
    for name in names:
        site = sites[name]
        entries = getattr(site.prior, method)(parts[name], site.initial, site.scale(values))
        found[name] = entries.reshape(len(flat), -1).sum(1)
    return found
