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

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import SiteError
from ..handlers import check_kl_weight
from ..priors import Prior, Site
from .layout import Layout
from .prior_density import log_ratios


@dataclass(frozen=True)
class LearnedScales:
    """Which random sites have a prior whose scale is a site, or a product of several, and where those lie.

    Entries with the same scale are a group; a site is one group, or one for each of its rows.

    Attributes:
        points: Positions in ``point`` of the logarithms of point-estimated scales, ``(K1,)``.
        random: Positions in ``loc`` of the logarithms of scales that have a prior, ``(K2,)``.
        places: For each of the G groups its scale's place among ``points``, then ``random``, then a scale of 1;
            ``(G,)`` for each factor of the product.
        counts: Entries of each group, ``(G,)``.
    """

    points: Tensor
    random: Tensor
    places: tuple[Tensor, ...]
    counts: Tensor

    @classmethod
    def of(cls, sites: Mapping[str, Site], layout: Layout, device: torch.device) -> LearnedScales | None:
        """Find the sites that are scales of priors.

        Args:
            sites: The model's sites.
            layout: Where they lie.
            device: Where the result lives.

        Returns:
            The positions, or ``None`` where all scales are numbers.
        """
        scales = [sites[name].scale_sites for name in layout.random]
        if not any(scales):
            return None
        wanted = {name for each in scales for name in each}
        points, random = (_positions(layout, names, wanted) for names in (layout.points, layout.random))
        first, number = {}, 0  # place of each scale's first entry
        for name, positions in [*points.items(), *random.items()]:
            first[name] = number
            number += len(positions)
        rows = group_counts(sites, layout)
        places = []
        for factor in range(max(map(len, scales))):
            place = []
            for each, count in zip(scales, rows, strict=True):
                names = list(each)[factor : factor + 1]
                start, step = (first[names[0]], each[names[0]]) if names else (number, 0)
                place += [start + step * i for i in range(count)]
            places.append(torch.tensor(place, device=device))
        return cls(
            points=torch.tensor(
                [i for each in points.values() for i in each], dtype=torch.long, device=device
            ),
            random=torch.tensor(
                [i for each in random.values() for i in each], dtype=torch.long, device=device
            ),
            places=tuple(places),
            counts=torch.tensor(_group_sizes(layout.sizes(layout.random), rows), device=device),
        )

    def moments(
        self, loc: Tensor, variance: Tensor, point: Tensor, covariance: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Give :math:`E[\log \tau]` and :math:`E[\tau^{-2}]` for each group.

        Args:
            loc: Means, ``(P,)``.
            variance: Variances, ``(P,)``.
            point: Point estimates, ``(Q,)``.
            covariance: Covariances of the entries ``random`` with all entries, ``(K2, P)``; ``None`` where they are
                independent.

        Returns:
            Two vectors, ``(G,)``; 0 and 1 where the scale is a number.
        """
        number = loc.new_zeros(1)
        mean = torch.cat([point[self.points], loc[self.random], number])
        spread = torch.cat([loc.new_zeros(len(self.points)), variance[self.random], number])
        log_scale, log_root = (_sum([each[place] for place in self.places]) for each in (mean, spread - mean))
        if covariance is not None and len(self.places) > 1:
            between = self._padded(covariance[:, self.random], (1, 1))
            pairs = itertools.combinations(self.places, 2)
            log_root = log_root + 2 * _sum([between[one, two] for one, two in pairs])
        return log_scale, torch.exp(2 * log_root)

    def own_covariance(self, rows: Tensor) -> Tensor:
        r"""Pick :math:`\operatorname{cov}(\log \tau, w_j)`, each entry with the scale of its own prior.

        Args:
            rows: Covariances of the entries ``random`` with all entries, ``(K2, P)``.

        Returns:
            A vector, ``(P,)``; 0 where the scale is no random site.
        """
        size = rows.shape[1]
        padded = self._padded(rows, (1, 0))
        entries = [place.repeat_interleave(self.counts, output_size=size) for place in self.places]
        return _sum([padded.gather(0, entry.unsqueeze(0)).squeeze(0) for entry in entries])

    def _padded(self, rows: Tensor, axes: tuple[int, int]) -> Tensor:
        """With zeros for the point-estimated scales and the scale of 1, on either or both axes."""
        left, right = ([count * axis for axis in reversed(axes)] for count in (len(self.points), 1))
        return torch.nn.functional.pad(rows, [left[0], right[0], left[1], right[1]])


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
        expected: Random sites whose expected log density has a closed form but is no Normal's, each with the place of
            its entries and its group.
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
    expected: Mapping[str, tuple[slice, int]]
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
        """Gather the priors of a model.

        Args:
            sites: The model's sites.
            layout: Where they lie.
            kl_weight: As in :func:`bayesian_layers.temper`.
            by_site: Keep the sites apart even where one sum would do.

        Returns:
            The priors as flat vectors.

        Raises:
            DataError: If a weight is negative or not finite.
            SiteError: If ``kl_weight`` names a site that does not exist, or a site has what is no prior.
        """
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
            expected=_places(layout, _of_kind("expected", sites, layout), rows if apart else None),
            sampled={name: weights[name] for name in _of_kind("sampled", sites, layout)},
        )

    @property
    def are_normal(self) -> bool:
        """Whether all are Normals whose scales are numbers."""
        return self.learned is None and not self.expected and not self.sampled

    def surprise(
        self, loc: Tensor, variance: Tensor, point: Tensor, covariance: Tensor | None = None
    ) -> Tensor:
        r"""Compute :math:`E_q[-\log p(w_j)] - \tfrac12 \log 2\pi e`, summed over each group.

        Less the sum of the logarithms of independent entries' deviations it is the group's KL.

        Args:
            loc: Means of q, ``(P,)``.
            variance: Variances of q, ``(P,)``.
            point: Point estimates, ``(Q,)``.
            covariance: Covariances of the logarithms of random scales (``learned.random``) with all entries,
                ``(K2, P)``; ``None`` where they are independent.

        Returns:
            Nats, ``(G,)`` or ``()``.
        """
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
        """Of the sites that have one of their own, and 0 in the groups of all others."""
        sums, groups = [], []
        for name, (place, group) in self.expected.items():
            prior: Any = self.sites[name].prior
            sums.append(prior.expected_log_density(loc[place], variance[place]).sum())
            groups.append(group)
        if not like.dim():
            return torch.stack(sums).sum()
        return torch.zeros_like(like).index_add(
            0, torch.tensor(groups, device=like.device), torch.stack(sums)
        )

    def log_ratios(self, flat: Tensor, point: Tensor) -> dict[str, Tensor]:
        """Compute the log density of priors less that of their references, of sites where the two differ.

        Args:
            flat: Values of the random entries, ``(S, P)``, unconstrained.
            point: Values of the point-estimated entries, ``(S, Q)``, unconstrained.

        Returns:
            Site name to nats, ``(S,)``, at weight 1.
        """
        return log_ratios(self.sites, self.layout, flat, point, self.sampled)

    def log_ratio(self, flat: Tensor, point: Tensor) -> Tensor:
        """Add up :meth:`log_ratios`, each site with its weight.

        Args:
            flat: Values of the random entries, ``(S, P)``, unconstrained.
            point: Values of the point-estimated entries, ``(S, Q)``, unconstrained.

        Returns:
            Nats, ``(S,)``.
        """
        found = self.log_ratios(flat, point)
        return sum((self.sampled[name] * each for name, each in found.items()), flat.new_zeros(len(flat)))

    def sums(self, entries: Tensor) -> Tensor:
        """Sum over each group.

        Args:
            entries: Numbers, ``(P,)``.

        Returns:
            Sums, ``(G,)`` or ``()``.
        """
        return _sums(entries, self.sizes, self.rows)

    def by_site(self, groups: Tensor) -> dict[str, Tensor]:
        """Add up what the groups of each random site contribute.

        Args:
            groups: Nats, ``(G,)``.

        Returns:
            Site name to nats, ``()``, at weight 1.
        """
        parts = groups.split(self.rows) if self.rows else ()
        return {name: part.sum() for name, part in zip(self.layout.random, parts, strict=True)}

    def total(self, groups: Tensor) -> Tensor:
        """Add up what the groups contribute, each with its weight.

        Args:
            groups: Nats, ``(G,)`` or ``()``.

        Returns:
            Nats, ``()``.
        """
        return (self.weight * groups).sum()


def group_counts(sites: Mapping[str, Site], layout: Layout) -> list[int]:
    """Count the groups of each random site: its rows, where these have scales of their own, else one.

    Args:
        sites: The model's sites.
        layout: Where they lie.

    Returns:
        Numbers, ``(K,)``.
    """
    return [sites[n].initial.shape[: sites[n].scale_axes].numel() for n in layout.random]


def _group_sizes(sizes: list[int], rows: list[int]) -> list[int]:
    return [size // count for size, count in zip(sizes, rows, strict=True) for _ in range(count)]


def _sum(tensors: list[Tensor]) -> Tensor:
    return functools.reduce(torch.add, tensors)


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


def _places(layout: Layout, names: list[str], rows: list[int] | None) -> dict[str, tuple[slice, int]]:
    """Where the entries of sites lie in ``loc``, and in which group they are; all in one group without ``rows``."""
    found, start, group = {}, 0, 0
    for i, (name, size) in enumerate(zip(layout.random, layout.sizes(layout.random), strict=True)):
        if name in names:
            found[name] = slice(start, start + size), group
        start += size
        group += rows[i] if rows else 0
    return found


def _number_if_equal(vector: Tensor) -> Tensor | float:
    if not len(vector):
        return 1.0
    return float(vector[0]) if bool((vector == vector[0]).all()) else vector


def _positions(layout: Layout, names: tuple[str, ...], wanted: set[str]) -> dict[str, range]:
    """Where the wanted sites lie in the flat vector of ``names``."""
    found, start = {}, 0
    for name, size in zip(names, layout.sizes(names), strict=True):
        if name in wanted:
            found[name] = range(start, start + size)
        start += size
    return found
