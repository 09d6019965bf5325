r"""The KL divergence from independent priors, as one expression over flat vectors.

For :math:`q(w_j)` with mean :math:`\mu_j` and variance :math:`v_j`, and the prior
:math:`p(w_j \mid \tau) = N(m_j, (c_j \tau)^2)` with a constant :math:`c_j` and a factor :math:`\tau` that is 1, a point
estimate, or a log-normal site of its own, :math:`q(\log \tau) = N(a, b^2)`:

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
    """Which random sites have a prior whose scale is itself a site, and where that site lies.

    Attributes:
        points: Positions in ``point`` of the logarithms of point-estimated scales, ``(K1,)``.
        random: Positions in ``loc`` of the logarithms of scales that have a prior, ``(K2,)``.
        place: For each of the K random sites its scale's place among ``points``, then ``random``, then a scale
            of 1; ``(K,)``.
        counts: Entries of each random site, ``(K,)``.
    """

    points: Tensor
    random: Tensor
    place: Tensor
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
        scales = [sites[name].scale_site for name in layout.random]
        if not any(scales):
            return None
        points, random = (_starts(layout, names, set(scales)) for names in (layout.points, layout.random))
        order = [*points, *random, None]
        return cls(
            points=torch.tensor(list(points.values()), dtype=torch.long, device=device),
            random=torch.tensor(list(random.values()), dtype=torch.long, device=device),
            place=torch.tensor([order.index(name) for name in scales], device=device),
            counts=torch.tensor(layout.sizes(layout.random), device=device),
        )

    def moments(self, loc: Tensor, variance: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        r"""Give :math:`E[\log \tau]` and :math:`E[\tau^{-2}]` for each random site.

        Args:
            loc: Means, ``(P,)``.
            variance: Variances, ``(P,)``.
            point: Point estimates, ``(Q,)``.

        Returns:
            Two vectors, ``(K,)``; 0 and 1 where the scale is a number.
        """
        number = loc.new_zeros(1)
        mean = torch.cat([point[self.points], loc[self.random], number])
        spread = torch.cat([loc.new_zeros(len(self.points)), variance[self.random], number])
        return mean[self.place], torch.exp(2 * (spread - mean))[self.place]

    def own_covariance(self, rows: Tensor) -> Tensor:
        r"""Pick :math:`\operatorname{cov}(\log \tau, w_j)`, each entry with the scale of its own prior.

        Args:
            rows: Covariances of the entries ``random`` with all entries, ``(K2, P)``.

        Returns:
            A vector, ``(P,)``; 0 where the scale is no random site.
        """
        size = rows.shape[1]
        padded = torch.cat([rows.new_zeros(len(self.points), size), rows, rows.new_zeros(1, size)])
        entry = self.place.repeat_interleave(self.counts, output_size=size)
        return padded.gather(0, entry.unsqueeze(0)).squeeze(0)


@dataclass(frozen=True)
class FlatPriors:
    """The priors of a model's random entries, or their references, as flat vectors; a number stands for equal ones.

    Sums run over groups of entries: all together where that is enough, else one group for each of the K random
    sites. Summing first and scaling the few sums costs a quarter of scaling every entry.

    Attributes:
        loc: Means on the unconstrained axis, ``(P,)``.
        half_precision: Half the inverse variances, ``(P,)``; where the scale is a site, for the scale 1; 0 where
            another density stands in the Normal's place.
        offset: Sum over each group of the logarithm of the deviation, less a half an entry; ``(K,)`` or ``()``.
        weight: Weights of the groups' KL, ``(K,)``.
        sizes: Entries of each group, or ``None`` for one group.
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
        weight = _number_if_equal(like.new_tensor(list(weights.values())))
        learned = LearnedScales.of(sites, layout, like.device)
        apart = by_site or learned is not None or isinstance(weight, Tensor)
        sizes = layout.sizes(layout.random) if apart else None
        return cls(
            loc=_number_if_equal(loc),
            half_precision=_number_if_equal(precision),
            offset=_sums(offset, sizes),
            weight=weight,
            sizes=sizes,
            learned=learned,
            sites=sites,
            layout=layout,
            expected=_places(layout, _of_kind("expected", sites, layout), apart),
            sampled={name: weights[name] for name in _of_kind("sampled", sites, layout)},
        )

    @property
    def are_normal(self) -> bool:
        """Whether all are Normals whose scales are numbers."""
        return self.learned is None and not self.expected and not self.sampled

    def surprise(
        self, loc: Tensor, variance: Tensor, point: Tensor, own_covariance: Tensor | None = None
    ) -> Tensor:
        r"""Compute :math:`E_q[-\log p(w_j)] - \tfrac12 \log 2\pi e`, summed over each group.

        Less the sum of the logarithms of independent entries' deviations it is the group's KL.

        Args:
            loc: Means of q, ``(P,)``.
            variance: Variances of q, ``(P,)``.
            point: Point estimates, ``(Q,)``.
            own_covariance: Covariance of each entry with the logarithm of its prior's scale, ``(P,)``; ``None``
                where they are independent.

        Returns:
            Nats, ``(K,)`` or ``()``.
        """
        off = loc if isinstance(self.loc, float) and self.loc == 0 else loc - self.loc
        if own_covariance is not None:
            off = off - 2 * own_covariance
        square = torch.addcmul(variance, off, off)
        if isinstance(self.half_precision, Tensor):
            energy = self.sums(self.half_precision * square)
        else:
            energy = self.half_precision * self.sums(square)
        if self.learned is None:
            found = energy + self.offset
        else:
            log_scale, precision = self.learned.moments(loc, variance, point)
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
            Sums, ``(K,)`` or ``()``.
        """
        return _sums(entries, self.sizes)

    def total(self, groups: Tensor) -> Tensor:
        """Add up what the groups contribute, each with its weight.

        Args:
            groups: Nats, ``(K,)`` or ``()``.

        Returns:
            Nats, ``()``.
        """
        return (self.weight * groups).sum()


def _sums(entries: Tensor, sizes: list[int] | None) -> Tensor:
    if not sizes:
        return entries.sum()
    return torch.stack([part.sum() for part in entries.split(sizes)])


def _flat(name: str, site: Site) -> tuple[Tensor, Tensor, Tensor]:
    """Of each entry of a site: mean and half the precision of the Normal on the unconstrained axis, and its offset."""
    like, prior = site.initial, site.prior
    if not isinstance(prior, Prior):
        raise SiteError(f"`{name}` has the prior {prior}, which is none of bl.priors")
    if prior.kl == "expected":  # no Normal: what is left is what the entropy of q brings
        zero = torch.zeros_like(like).reshape(-1)
        return zero, zero, zero - 0.5 * math.log(2 * math.pi * math.e)
    one = None if site.scale_site is None else like.new_ones(())
    loc, scale = (part.reshape(-1) for part in prior.unconstrained(like, one))
    return loc, 0.5 / scale.square(), scale.log() - 0.5


def _of_kind(kind: str, sites: Mapping[str, Site], layout: Layout) -> list[str]:
    return [name for name in layout.random if getattr(sites[name].prior, "kl", "") == kind]


def _places(layout: Layout, names: list[str], apart: bool) -> dict[str, tuple[slice, int]]:
    """Where the entries of sites lie in ``loc``, and in which group they are."""
    found, start = {}, 0
    for i, (name, size) in enumerate(zip(layout.random, layout.sizes(layout.random), strict=True)):
        if name in names:
            found[name] = slice(start, start + size), i if apart else 0
        start += size
    return found


def _number_if_equal(vector: Tensor) -> Tensor | float:
    if not len(vector):
        return 1.0
    return float(vector[0]) if bool((vector == vector[0]).all()) else vector


def _starts(layout: Layout, names: tuple[str, ...], wanted: set[str | None]) -> dict[str, int]:
    """Where the wanted sites begin in the flat vector of ``names``."""
    found, start = {}, 0
    for name, size in zip(names, layout.sizes(names), strict=True):
        if name in wanted:
            found[name] = start
        start += size
    return found
