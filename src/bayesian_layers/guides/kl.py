r"""The KL divergence from independent Normal priors, as one expression over flat vectors.

For :math:`q(w_j)` with mean :math:`\mu_j` and variance :math:`v_j`, and the prior
:math:`p(w_j \mid \tau) = N(m_j, (c_j \tau)^2)` with a constant :math:`c_j` and a factor :math:`\tau` that is 1, a point
estimate, or a log-normal site of its own, :math:`q(\log \tau) = N(a, b^2)`:

.. math:: E_q[-\log p(w_j \mid \tau)] = \log c_j + a
          + \tfrac{1}{2 c_j^2} e^{-2a + 2b^2} \left(v_j + (\mu_j - m_j - 2 \operatorname{cov}(\log \tau, w_j))^2\right)
          + \tfrac12 \log 2\pi,

since under the weight :math:`\tau^{-2}` a Gaussian keeps its covariance and its mean moves by the covariance with
:math:`-2 \log \tau`. Less the entropy of q this is the KL, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import SiteError
from ..handlers import check_kl_weight
from ..priors import Site
from .layout import Layout


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
    """The priors of a model's random entries as flat vectors, a number standing for a vector of equal ones.

    Sums run over groups of entries: all together where that is enough, else one group for each of the K random
    sites. Summing first and scaling the few sums costs a quarter of scaling every entry.

    Attributes:
        loc: Means on the unconstrained axis, ``(P,)``.
        half_precision: Half the inverse variances, ``(P,)``; where the scale is a site, for the scale 1.
        offset: Sum over each group of the logarithm of the deviation, less a half an entry; ``(K,)`` or ``()``.
        weight: Weights of the groups' KL, ``(K,)``.
        sizes: Entries of each group, or ``None`` for one group.
        learned: Where the scales that are sites lie, if there are any.
    """

    loc: Tensor | float
    half_precision: Tensor | float
    offset: Tensor
    weight: Tensor | float
    sizes: list[int] | None
    learned: LearnedScales | None

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
            SiteError: If ``kl_weight`` names a site that does not exist, or a prior has no closed form.
        """
        check_kl_weight(kl_weight, set(sites))
        like = next(iter(sites.values())).initial.detach()
        flat = [_flat(name, sites[name]) for name in layout.random]
        nothing = like.new_empty(0)
        loc, scale = (torch.cat([nothing, *(pair[i] for pair in flat)]) for i in (0, 1))
        weights = kl_weight if isinstance(kl_weight, Mapping) else dict.fromkeys(sites, kl_weight)
        weight = _number_if_equal(like.new_tensor([weights.get(name, 1.0) for name in layout.random]))
        learned = LearnedScales.of(sites, layout, like.device)
        apart = by_site or learned is not None or isinstance(weight, Tensor)
        sizes = layout.sizes(layout.random) if apart else None
        return cls(
            loc=_number_if_equal(loc),
            half_precision=_number_if_equal(0.5 / scale.square()),
            offset=_sums(scale.log() - 0.5, sizes),
            weight=weight,
            sizes=sizes,
            learned=learned,
        )

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
            return energy + self.offset
        log_scale, precision = self.learned.moments(loc, variance, point)
        return energy * precision + self.learned.counts * log_scale + self.offset

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


def _flat(name: str, site: Site) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a site's prior on the unconstrained axis, one an entry."""
    like = site.initial
    unconstrained = getattr(site.prior, "unconstrained", None)
    if unconstrained is None:
        raise SiteError(
            f"the KL has a closed form for Normal and LogNormal priors only; `{name}` has the prior {site.prior}"
        )
    loc, scale = unconstrained(like, None if site.scale_site is None else like.new_ones(()))
    return loc.reshape(-1), scale.reshape(-1)


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
