r"""The KL divergence from q to independent priors, as one expression over flat vectors.

For :math:`q(w_j)` with mean :math:`\mu_j` and variance :math:`v_j`, and the prior
:math:`p(w_j \mid \tau) = N(m_j, (c_j \tau)^2)` with a constant :math:`c_j` and a factor :math:`\tau` that is 1, a point
estimate, a log-normal site of its own, or a product of such, :math:`q(\log \tau) = N(a, b^2)`:

.. math:: E_q[-\log p(w_j \mid \tau)] = \log c_j + a
          + \tfrac{1}{2 c_j^2} e^{-2a + 2b^2} \left(v_j + (\mu_j - m_j - 2 \operatorname{cov}(\log \tau, w_j))^2\right)
          + \tfrac12 \log 2\pi,

since weighting by :math:`\tau^{-2}` leaves the covariance of a Gaussian as it is and shifts its mean by the covariance
with :math:`-2 \log \tau`. Minus the entropy of q this is the KL, exactly.

For a prior that is not Normal, but whose :math:`E[\log p]` under a Normal has a closed form, that closed form is used.
For one without, this is the KL from its Normal reference, and the guide subtracts the mean of the log ratio of the two
over its draws (``Guide.kl_estimate``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import SiteError
from ..handlers import check_kl_weight
from ..priors import Prior, Site
from .layout import Layout
from .learned_scales import LearnedScales, group_counts
from .prior_density import log_ratios


@dataclass(frozen=True)
class ExpectedLogDensity:
    """All entries of one prior whose expected log density has a closed form, computed once for all of them."""

    prior: Prior
    places: tuple[slice, ...]  # of the entries in the flat vector; neighbouring sites are one slice
    sizes: list[int]  # entries of each site
    groups: Tensor | None  # the group of each site; `None` if all entries have one sum

    def pick(self, flat: Tensor) -> Tensor:
        """Take the entries."""
        parts = [flat[place] for place in self.places]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True)
class FlatPriors:
    """The priors of a model's random entries, or their Normal references, as flat vectors."""

    # Sums are over groups of entries: one group of all entries where that is enough; otherwise one group per random
    # site, or one per row of a site whose rows have scales of their own; G groups in all. To sum first and scale the
    # few sums costs a quarter of scaling every entry. A number in place of a tensor means that all entries are equal.
    loc: Tensor | float  # means on the unconstrained axis, (P,)
    # Half the inverse variances, (P,); for a scale of 1 if the scale is a site; 0 for priors in `expected`.
    half_precision: Tensor | float
    # Per group the sum over its entries of log standard deviation - 1/2, (G,) or ().
    offset: Tensor
    weight: Tensor | float  # of the KL of each group, (G,)
    sizes: list[int] | None  # entries of each random site; `None` for one group of all
    rows: list[int]  # number of groups of each random site
    learned: LearnedScales | None  # scales of priors that are sites, if there are any
    sites: Mapping[str, Site]  # of the model
    layout: Layout
    expected: tuple[ExpectedLogDensity, ...]  # of the priors that are not Normal but have one in closed form
    sampled: Mapping[str, float]  # random sites whose prior differs from its reference, to their weights

    @classmethod
    def of(
        cls,
        sites: Mapping[str, Site],
        layout: Layout,
        kl_weight: float | Mapping[str, float] = 1.0,
        *,
        by_site: bool = False,
    ) -> FlatPriors:
        """Gather the priors of a model."""
        check_kl_weight(kl_weight, set(sites))
        like = next(iter(sites.values())).initial.detach()
        flat = [_flat(name, sites[name]) for name in layout.random]
        nothing = like.new_empty(0)
        loc, precision, offset = (torch.cat([nothing, *(part[i] for part in flat)]) for i in range(3))
        given = kl_weight if isinstance(kl_weight, Mapping) else dict.fromkeys(sites, kl_weight)
        weights = {name: given.get(name, 1.0) for name in layout.random}
        rows = group_counts(sites, layout)
        by_group = [
            weights[name] for name, count in zip(layout.random, rows, strict=True) for _ in range(count)
        ]
        weight = _number_if_equal(like.new_tensor(by_group))
        learned = LearnedScales.of(sites, layout, like.device)
        apart = by_site or learned is not None or isinstance(weight, Tensor)
        sizes = layout.sizes(layout.random) if apart else None
        return cls(
            loc=_number_if_equal(loc),
            half_precision=_number_if_equal(precision),
            offset=_sums(offset, sizes, rows),
            weight=weight,
            sizes=sizes,
            rows=rows,
            learned=learned,
            sites=sites,
            layout=layout,
            expected=_expected(sites, layout, rows, apart=apart),
            sampled={name: weights[name] for name in _of_kind("sampled", sites, layout)},
        )

    @property
    def are_normal(self) -> bool:
        """Whether all priors are Normals whose scales are numbers."""
        return self.learned is None and not self.expected and not self.sampled

    def cross_entropy(
        self, loc: Tensor, variance: Tensor, point: Tensor, covariance: Tensor | None = None
    ) -> Tensor:
        r"""Compute :math:`E_q[-\log p(w_j)] - \tfrac12 \log 2\pi e`, summed over each group."""
        # For independent entries the KL of a group is this minus the sum of the logarithms of q's standard deviations.
        off = loc if isinstance(self.loc, float) and self.loc == 0 else loc - self.loc
        if self.learned is not None and covariance is not None:
            off = off - 2 * self.learned.own_covariance(covariance)
        square = torch.addcmul(variance, off, off)
        if isinstance(self.half_precision, Tensor):
            energy = self.sums(self.half_precision * square)
        else:
            energy = self.half_precision * self.sums(square)
        if self.learned is None:
            found = energy + self.offset
        else:
            log_scale, precision = self.learned.moments(loc, variance, point, covariance)
            found = energy * precision + self.learned.counts * log_scale + self.offset
        return found - self._expected_log_density(loc, variance, found) if self.expected else found

    def _expected_log_density(self, loc: Tensor, variance: Tensor, like: Tensor) -> Tensor:
        r"""Return :math:`E_q[\log p]` per group for the priors in ``expected``; 0 for the groups of all others."""
        total = torch.zeros_like(like)
        for each in self.expected:
            entries = each.prior.expected_log_density(each.pick(loc), each.pick(variance))
            if each.groups is None:
                total = total + entries.sum()
            else:
                sums = torch.stack([part.sum() for part in entries.split(each.sizes)])
                total = total.index_add(0, each.groups, sums)
        return total

    def log_ratios(self, flat: Tensor, point: Tensor) -> dict[str, Tensor]:
        """Compute per site the log ratio of prior and reference, where the two differ."""
        return log_ratios(self.sites, self.layout, flat, point, self.sampled)

    def log_ratio(self, flat: Tensor, point: Tensor) -> Tensor:
        """Sum :meth:`log_ratios`, each site with its weight."""
        found = self.log_ratios(flat, point)
        return sum((self.sampled[name] * each for name, each in found.items()), flat.new_zeros(len(flat)))

    def sums(self, entries: Tensor) -> Tensor:
        """Sum over each group."""
        return _sums(entries, self.sizes, self.rows)

    def by_site(self, groups: Tensor) -> dict[str, Tensor]:
        """Sum the terms of the groups of each random site."""
        parts = groups.split(self.rows) if self.rows else ()
        return {name: part.sum() for name, part in zip(self.layout.random, parts, strict=True)}

    def total(self, groups: Tensor) -> Tensor:
        """Sum the terms of all groups, each with its weight."""
        return (self.weight * groups).sum()


def _sums(entries: Tensor, sizes: list[int] | None, rows: list[int]) -> Tensor:
    if not sizes:
        return entries.sum()
    parts = entries.split(sizes)
    if max(rows) == 1:
        return torch.stack([part.sum() for part in parts])
    # An empty parameter may have no group.
    by_row = zip(parts, sizes, rows, strict=True)
    return torch.cat([part.reshape(count, size // max(count, 1)).sum(1) for part, size, count in by_row])


def _flat(name: str, site: Site) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each entry of a site: mean, half the precision on the unconstrained axis, and the offset."""
    like, prior = site.initial, site.prior
    if not isinstance(prior, Prior):
        raise SiteError(f"`{name}` must have a prior of bl.priors; received {prior}")
    if prior.kl == "expected":  # only the constant of q's entropy is left
        zero = torch.zeros_like(like).reshape(-1)
        return zero, zero, zero - 0.5 * math.log(2 * math.pi * math.e)
    one = like.new_ones(like.shape[: site.scale_axes]) if site.scale_sites else None
    loc, scale = (part.reshape(-1) for part in prior.unconstrained(like, one))
    return loc, 0.5 / scale.square(), scale.log() - 0.5


def _of_kind(kind: str, sites: Mapping[str, Site], layout: Layout) -> list[str]:
    return [name for name in layout.random if getattr(sites[name].prior, "kl", "") == kind]


def _expected(
    sites: Mapping[str, Site], layout: Layout, rows: list[int], *, apart: bool
) -> tuple[ExpectedLogDensity, ...]:
    """Gather the entries of priors that are not Normal, but whose expected log density has a closed form."""
    slices: dict[Prior, list[slice]] = defaultdict(list)
    sizes: dict[Prior, list[int]] = defaultdict(list)
    groups: dict[Prior, list[int]] = defaultdict(list)
    start, group = 0, 0
    for name, size, count in zip(layout.random, layout.sizes(layout.random), rows, strict=True):
        prior = sites[name].prior
        if prior is not None and prior.kl == "expected":
            places = slices[prior]
            first = places.pop().start if places and places[-1].stop == start else start
            places.append(slice(first, start + size))
            sizes[prior].append(size)
            groups[prior].append(group)
        start, group = start + size, group + count
    device = next(iter(sites.values())).initial.device
    return tuple(
        ExpectedLogDensity(
            p, tuple(places), sizes[p], torch.tensor(groups[p], device=device) if apart else None
        )
        for p, places in slices.items()
    )


def _number_if_equal(vector: Tensor) -> Tensor | float:
    if not len(vector):
        return 1.0
    return float(vector[0]) if bool((vector == vector[0]).all()) else vector
