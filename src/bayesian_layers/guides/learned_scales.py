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
    """Where the scales of priors are in the flat vectors, if they are sites or products of sites."""

    # Entries with the same scale are a group: all entries of a site, or those of one of its rows.
    points: Tensor  # positions in `point` of the logarithms of point-estimated scales, (K1,)
    random: Tensor  # positions in `loc` of the logarithms of scales that have a prior, (K2,)
    # Index of the scale of each group among `points`, then `random`, then a scale of 1; (G,) per factor of the product.
    places: tuple[Tensor, ...]
    counts: Tensor  # entries of each group, (G,)

    @classmethod
    def of(cls, sites: Mapping[str, Site], layout: Layout, device: torch.device) -> LearnedScales | None:
        """Find the sites that are scales of priors; ``None`` if there are none."""
        scales = [sites[name].scale_sites for name in layout.random]
        if not any(scales):
            return None
        wanted = {name for each in scales for name in each}
        points, random = (_positions(layout, names, wanted) for names in (layout.points, layout.random))
        first, number = {}, 0  # index of the first entry of each scale
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
        r"""Return :math:`E[\log \tau]` and :math:`E[\tau^{-2}]` for each group."""
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
        r"""Return :math:`\operatorname{cov}(\log \tau, w_j)` of each entry and the scale of its own prior."""
        size = rows.shape[1]
        padded = self._padded(rows, (1, 0))
        entries = [place.repeat_interleave(self.counts, output_size=size) for place in self.places]
        return _sum([padded.gather(0, entry.unsqueeze(0)).squeeze(0) for entry in entries])

    def _padded(self, rows: Tensor, axes: tuple[int, int]) -> Tensor:
        """Add zeros for the point-estimated scales and the scale of 1, along one axis or both."""
        left, right = ([count * axis for axis in reversed(axes)] for count in (len(self.points), 1))
        return torch.nn.functional.pad(rows, [left[0], right[0], left[1], right[1]])


def group_counts(sites: Mapping[str, Site], layout: Layout) -> list[int]:
    """Return the number of groups of each random site: its rows if these have scales of their own, otherwise 1."""
    return [sites[n].initial.shape[: sites[n].scale_axes].numel() for n in layout.random]


def _places(
    factor: int, scales: list[Mapping[str, int]], rows: list[int], first: Mapping[str, int], one: int
) -> list[int]:
    """Return for each group the index of one factor of its scale; ``one`` for groups without that factor."""
    found = []
    for names, count in zip(scales, rows, strict=True):
        chosen = list(names)[factor : factor + 1]
        start, step = (first[chosen[0]], min(names[chosen[0]], 1)) if chosen else (one, 0)
        found += [start + step * i for i in range(count)]
    return found


def _sum(tensors: list[Tensor]) -> Tensor:
    return functools.reduce(torch.add, tensors)


def _positions(layout: Layout, names: tuple[str, ...], wanted: set[str]) -> dict[str, range]:
    """Return the positions of the wanted sites in the flat vector of ``names``."""
    found, start = {}, 0
    for name, size in zip(names, layout.sizes(names), strict=True):
        if name in wanted:
            found[name] = range(start, start + size)
        start += size
    return found
