"""The density of the priors over a flat vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.distributions import Normal

from ..priors import Site
from .layout import Layout


def log_prior(sites: Mapping[str, Site], layout: Layout, flat: Tensor, point: Tensor) -> Tensor:
    r"""Compute the log density of the priors on the unconstrained axis.

    For a positive site u is its logarithm, and the density that of u: the Jacobian :math:`e^u` is in it. The scale
    of a prior that is itself a site takes its value from the same vectors.

    Args:
        sites: What ``model.sites()`` gives.
        layout: Where they lie in the flat vectors.
        flat: Values of the random entries, ``(S, P)``, unconstrained.
        point: Values of the point-estimated entries, ``(S, Q)``, unconstrained.

    Returns:
        Nats, ``(S,)``; gradients flow to both.
    """
    values = layout.values(flat, point)
    total = flat.new_zeros(len(flat))
    for name, part in layout.split(flat, layout.random).items():
        site = sites[name]
        prior: Any = site.prior
        if site.scale_site is None:
            loc, scale = prior.unconstrained(site.initial)
        else:
            loc, one = prior.unconstrained(site.initial, site.initial.new_ones(()))
            scale = one * values[site.scale_site].reshape(-1, *[1] * site.initial.dim())
        # The flat vector holds finite or infinite numbers alike: whoever asks looks at the answer.
        total = total + Normal(loc, scale, validate_args=False).log_prob(part).reshape(len(flat), -1).sum(1)
    return total
