"""The density of the priors over a flat vector."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from ..priors import Site
from .layout import Layout


def log_prior(sites: Mapping[str, Site], layout: Layout, flat: Tensor, point: Tensor) -> Tensor:
    r"""Compute the log density of the priors on the unconstrained axis."""
    # For a positive site u is its logarithm, and the density that of u: the Jacobian :math:`e^u` is in it.
    # The scale of a prior that is itself a site takes its value from the same vectors.
    return sum(
        _by_site("log_density", sites, layout, flat, point, layout.random).values(), flat.new_zeros(len(flat))
    )


def log_ratios(
    sites: Mapping[str, Site], layout: Layout, flat: Tensor, point: Tensor, names: Collection[str]
) -> dict[str, Tensor]:
    """Compute the log density of priors less that of their Normal references, site by site."""
    return _by_site("log_ratio", sites, layout, flat, point, names)


def _by_site(
    method: str,
    sites: Mapping[str, Site],
    layout: Layout,
    flat: Tensor,
    point: Tensor,
    names: Collection[str],
) -> dict[str, Tensor]:
    """What a method of the priors gives at the values of their sites, summed over the entries of each."""
    values, parts = layout.values(flat, point), layout.split(flat, layout.random)
    found = {}
    for name in names:
        site = sites[name]
        entries = getattr(site.prior, method)(parts[name], site.initial, site.scale(values))
        found[name] = entries.reshape(len(flat), -1).sum(1)
    return found
