"""Scales of priors that are sites themselves."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..priors import Site
from .layout import Layout


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
        """Find the sites that are scales of priors."""
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
        sizes = zip(layout.sizes(layout.random), rows, strict=True)
        vector = functools.partial(torch.tensor, dtype=torch.long, device=device)
        return cls(
            points=vector([i for each in points.values() for i in each]),
            random=vector([i for each in random.values() for i in each]),
            places=tuple(
                vector(_places(factor, scales, rows, first, number))
                for factor in range(max(map(len, scales)))
            ),
            counts=vector([size // count for size, count in sizes for _ in range(count)]),
        )

    def moments(
        self, loc: Tensor, variance: Tensor, point: Tensor, covariance: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Give :math:`E[\log \tau]` and :math:`E[\tau^{-2}]` for each group."""
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
        r"""Pick :math:`\operatorname{cov}(\log \tau, w_j)`, each entry with the scale of its own prior."""
        size = rows.shape[1]
        padded = self._padded(rows, (1, 0))
        entries = [place.repeat_interleave(self.counts, output_size=size) for place in self.places]
        return _sum([padded.gather(0, entry.unsqueeze(0)).squeeze(0) for entry in entries])

    def _padded(self, rows: Tensor, axes: tuple[int, int]) -> Tensor:
        """With zeros for the point-estimated scales and the scale of 1, on either or both axes."""
        left, right = ([count * axis for axis in reversed(axes)] for count in (len(self.points), 1))
        return torch.nn.functional.pad(rows, [left[0], right[0], left[1], right[1]])


def group_counts(sites: Mapping[str, Site], layout: Layout) -> list[int]:
    """Count the groups of each random site: its rows, where these have scales of their own, else one."""
    return [sites[n].initial.shape[: sites[n].scale_axes].numel() for n in layout.random]


def _places(
    factor: int, scales: list[Mapping[str, int]], rows: list[int], first: Mapping[str, int], one: int
) -> list[int]:
    """For each group the place of one factor of its scale, by rows or the same for all; ``one`` where there is none."""
    found = []
    for names, count in zip(scales, rows, strict=True):
        chosen = list(names)[factor : factor + 1]
        start, step = (first[chosen[0]], min(names[chosen[0]], 1)) if chosen else (one, 0)
        found += [start + step * i for i in range(count)]
    return found


def _sum(tensors: list[Tensor]) -> Tensor:
    return functools.reduce(torch.add, tensors)


def _positions(layout: Layout, names: tuple[str, ...], wanted: set[str]) -> dict[str, range]:
    """Where the wanted sites lie in the flat vector of ``names``."""
    found, start = {}, 0
    for name, size in zip(names, layout.sizes(names), strict=True):
        if name in wanted:
            found[name] = range(start, start + size)
        start += size
    return found
