r"""The KL divergence from independent priors, as one expression over flat vectors.

For :math:`q(w_j)` with mean :math:`\mu_j` and variance :math:`v_j`, and the prior
:math:`p(w_j \mid \tau) = N(m_j, (c_j \tau)^2)` with a constant :math:`c_j` and a factor :math:`\tau` that is 1, a point
estimate, a log-normal site of its own, or a product of such, :math:`q(\log \tau) = N(a, b^2)`:

.. math:: E_q[-\log p(w_j \mid \tau)] = \log c_j + a
          + \tfrac{1}{2 c_j^2} e^{-2a + 2b^2} \left(v_j + (\mu_j - m_j - 2 \operatorname{cov}(\log \tau, w_j))^2\right)
          + \tfrac12 \log 2\pi,

since under the weight :math:`\tau^{-2}` a Gaussian keeps its covariance and its mean moves by the covariance with
:math:`-2 \log \tau`. Less the entropy of q this is the KL, exactly.

Where a prior is no Normal, but :math:`E[\log p]` under a Normal has a closed form, that stands in its place. Where
it has none, this is the KL from the prior's Normal reference, and the guide takes off the mean of the log ratio of the
two over its draws (``Guide.kl_estimate``).
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
class Expected:
    """All entries of one prior whose expected log density has a closed form, so that it is computed once for all.

    Attributes:
        prior: The prior.
        places: Where the entries lie in the flat vector; neighbouring sites are one stretch.
        sizes: Entries of each site.
        groups: The site's groups, or ``None`` where all entries have one sum.
    """

    prior: Prior
    places: tuple[slice, ...]
    sizes: list[int]
    groups: Tensor | None

    def pick(self, flat: Tensor) -> Tensor:
        """Take the entries."""
        parts = [flat[place] for place in self.places]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True)
class FlatPriors:
    """The priors of a model's random entries, or their references, as flat vectors; a number stands for equal ones.

    Sums run over groups of entries: all together where that is enough, else one group for each of the K random
    sites, or for each row of a site whose rows have scales of their own; G in all. Summing first and scaling the few
    sums costs a quarter of scaling every entry.

    Attributes:
        loc: Means on the unconstrained axis, ``(P,)``.
        half_precision: Half the inverse variances, ``(P,)``; where the scale is a site, for the scale 1; 0 where
            another density stands in the Normal's place.
        offset: Sum over each group of the logarithm of the deviation, less a half an entry; ``(G,)`` or ``()``.
        weight: Weights of the groups' KL, ``(G,)``.
        sizes: Entries of each random site, or ``None`` for one group.
        rows: Groups of each random site.
        learned: Where the scales that are sites lie, if there are any.
        sites: The model's sites.
        layout: Where they lie.
        expected: Priors whose expected log density has a closed form but is no Normal's, with their entries.
        sampled: Random sites whose prior is more than its reference, each with its weight.
    """

    loc: Tensor | float
    half_precision: Tensor | float
    offset: Tensor
    weight: Tensor | float
    sizes: list[int] | None
    rows: list[int]
    learned: LearnedScales | None
    sites: Mapping[str, Site]
    layout: Layout
    expected: tuple[Expected, ...]
    sampled: Mapping[str, float]

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
        """Whether all are Normals whose scales are numbers."""
        return self.learned is None and not self.expected and not self.sampled

    def surprise(
        self, loc: Tensor, variance: Tensor, point: Tensor, covariance: Tensor | None = None
    ) -> Tensor:
        r"""Compute :math:`E_q[-\log p(w_j)] - \tfrac12 \log 2\pi e`, summed over each group."""
        # Less the sum of the logarithms of independent entries' deviations it is the group's KL.
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
        """Of the priors that have one of their own, by group; 0 in the groups of all others."""
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
        """Compute the log density of priors less that of their references, of sites where the two differ."""
        return log_ratios(self.sites, self.layout, flat, point, self.sampled)

    def log_ratio(self, flat: Tensor, point: Tensor) -> Tensor:
        """Add up :meth:`log_ratios`, each site with its weight."""
        found = self.log_ratios(flat, point)
        return sum((self.sampled[name] * each for name, each in found.items()), flat.new_zeros(len(flat)))

    def sums(self, entries: Tensor) -> Tensor:
        """Sum over each group."""
        return _sums(entries, self.sizes, self.rows)

    def by_site(self, groups: Tensor) -> dict[str, Tensor]:
        """Add up what the groups of each random site contribute."""
        parts = groups.split(self.rows) if self.rows else ()
        return {name: part.sum() for name, part in zip(self.layout.random, parts, strict=True)}

    def total(self, groups: Tensor) -> Tensor:
        """Add up what the groups contribute, each with its weight."""
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
    """Of each entry of a site: mean and half the precision of the Normal on the unconstrained axis, and its offset."""
    like, prior = site.initial, site.prior
    if not isinstance(prior, Prior):
        raise SiteError(f"`{name}` has the prior {prior}, which is none of bl.priors")
    if prior.kl == "expected":  # no Normal: what is left is what the entropy of q brings
        zero = torch.zeros_like(like).reshape(-1)
        return zero, zero, zero - 0.5 * math.log(2 * math.pi * math.e)
    one = like.new_ones(like.shape[: site.scale_axes]) if site.scale_sites else None
    loc, scale = (part.reshape(-1) for part in prior.unconstrained(like, one))
    return loc, 0.5 / scale.square(), scale.log() - 0.5


def _of_kind(kind: str, sites: Mapping[str, Site], layout: Layout) -> list[str]:
    return [name for name in layout.random if getattr(sites[name].prior, "kl", "") == kind]


def _expected(
    sites: Mapping[str, Site], layout: Layout, rows: list[int], *, apart: bool
) -> tuple[Expected, ...]:
    """Gather the entries of priors whose expected log density is no Normal's."""
    stretches: dict[Prior, list[slice]] = defaultdict(list)
    sizes: dict[Prior, list[int]] = defaultdict(list)
    groups: dict[Prior, list[int]] = defaultdict(list)
    start, group = 0, 0
    for name, size, count in zip(layout.random, layout.sizes(layout.random), rows, strict=True):
        prior = sites[name].prior
        if prior is not None and prior.kl == "expected":
            places = stretches[prior]
            first = places.pop().start if places and places[-1].stop == start else start
            places.append(slice(first, start + size))
            sizes[prior].append(size)
            groups[prior].append(group)
        start, group = start + size, group + count
    device = next(iter(sites.values())).initial.device
    return tuple(
        Expected(p, tuple(places), sizes[p], torch.tensor(groups[p], device=device) if apart else None)
        for p, places in stretches.items()
    )


def _number_if_equal(vector: Tensor) -> Tensor | float:
    if not len(vector):
        return 1.0
    return float(vector[0]) if bool((vector == vector[0]).all()) else vector
