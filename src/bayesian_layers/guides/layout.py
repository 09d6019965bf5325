"""Where each site is in the flat vectors of a guide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import SiteError
from ..network import is_shared
from ..priors import Site


@dataclass(frozen=True)
class Layout:
    """The order of the sites in flat vectors: one of the P random entries, one of the Q point-estimated entries."""

    shapes: Mapping[str, torch.Size]  # all sites, in the order of the model
    positive: frozenset[str]  # sites whose values are positive; the flat vectors have their logarithms
    random: tuple[str, ...]  # sites with a prior, in order
    points: tuple[str, ...]  # sites without one, in order
    drawn: tuple[
        str, ...
    ] = ()  # sites that every guide draws from their prior, N(0, 1); they have no parameters
    joint: tuple[
        str, ...
    ] = ()  # random sites whose entries along the last axis are correlated in a BlockNormal

    @classmethod
    def of(cls, sites: Mapping[str, Site]) -> Layout:
        """Make the layout of a model's sites."""
        if not sites:
            raise SiteError("the model has no latent site: all parameters of its network are frozen")
        priors = {name: site.prior for name, site in sites.items() if site.prior is not None}
        random = tuple(name for name, prior in priors.items() if not prior.drawn)
        return cls(
            shapes={name: site.initial.shape for name, site in sites.items()},
            positive=frozenset(name for name, site in sites.items() if site.positive),
            random=random,
            points=tuple(name for name in sites if name not in priors),
            drawn=tuple(name for name, prior in priors.items() if prior.drawn),
            joint=tuple(name for name in random if priors[name].joint),
        )

    @property
    def max_fan_in(self) -> int:
        """Inputs of the widest layer: the largest product of all axes of a site but the first, the outputs."""
        # Joint sites do not count: they are values of functions, not weights of a sum.
        sites = [self.shapes[name] for name in (*self.random, *self.points) if name not in self.joint]
        return max((shape[1:].numel() for shape in sites if len(shape) > 1), default=1)

    @property
    def depth(self) -> int:
        """Number of layers with random weights: of random sites with two axes or more that are not joint."""
        return sum(len(self.shapes[name]) > 1 for name in self.random if name not in self.joint)

    @property
    def drawn_size(self) -> int:
        """Number of entries that are drawn from their prior."""
        return sum(self.sizes(self.drawn))

    @property
    def factor_size(self) -> int:
        """Numbers in the square matrices of all rows of all joint sites."""
        return sum(self.shapes[name].numel() * self.shapes[name][-1] for name in self.joint)

    def split(self, flat: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Split a flat vector into its sites."""
        parts = flat.split(self.sizes(names), dim=-1) if names else ()
        return {
            name: part.unflatten(-1, self.shapes[name]) if self.shapes[name] else part.squeeze(-1)
            for name, part in zip(names, parts, strict=True)
        }

    def sizes(self, names: tuple[str, ...]) -> list[int]:
        """Return the number of entries of each site."""
        return [self.shapes[name].numel() for name in names]

    def values(self, random: Tensor, point: Tensor, drawn: Tensor | None = None) -> dict[str, Tensor]:
        """Turn flat unconstrained values into values of the sites."""
        parts = {**self.split(random, self.random), **self.split(point, self.points)}
        if drawn is not None:
            parts |= self.split(drawn, self.drawn)
        return {name: self.constrain(name, parts[name]) for name in self.shapes if name in parts}

    def flat(self, draws: Mapping[str, Tensor], names: tuple[str, ...]) -> Tensor:
        """Gather draws of sites as a flat unconstrained vector each, ``(S, size)``; the inverse of :meth:`values`."""
        some = next(iter(draws.values()))
        if names and all(is_shared(draws[name]) for name in names):
            return self.flat({name: draws[name][:1] for name in names}, names).expand(len(some), -1)
        parts = [draws[name].log() if name in self.positive else draws[name] for name in names]
        return torch.cat([some.new_empty(len(some), 0), *(part.reshape(len(part), -1) for part in parts)], 1)

    def constrain(self, name: str, value: Tensor) -> Tensor:
        """Turn an unconstrained value of a site into its value; draws that share one value still do."""
        if name not in self.positive:
            return value
        return value[:1].exp().expand_as(value) if value.dim() and is_shared(value) else value.exp()


def flatten(sites: Mapping[str, Site], names: tuple[str, ...]) -> Tensor:
    """Gather the values at which a fit starts; those of positive sites as logarithms."""
    if not names:
        return next(iter(sites.values())).initial.new_empty(0)
    chosen = [sites[name] for name in names]
    return torch.cat([(site.initial.log() if site.positive else site.initial).reshape(-1) for site in chosen])
