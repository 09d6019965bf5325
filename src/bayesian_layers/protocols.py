"""Types of objects that a room uses but does not import, because they are defined in a room above or next to it.

Each has only what is used; the classes themselves have the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

Moments = Mapping[str, tuple[Tensor, Tensor]]  # site to mean, and standard deviation or Cholesky factor


class Prior(Protocol):
    """As ``priors.Prior``."""

    positive: bool
    drawn: bool


class Site(Protocol):
    """As ``priors.Site``."""

    @property
    def prior(self) -> Prior | None: ...


class Model(Protocol):
    """As ``bl.BayesianModel``."""

    network: nn.Module

    def sites(self) -> Mapping[str, Site]: ...


class Layout(Protocol):
    """As ``guides.layout.Layout``."""

    @property
    def random(self) -> tuple[str, ...]: ...

    def split(self, flat: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]: ...


class DrawSource(Protocol):
    """As ``draw_sources.DrawSource``."""

    def mean(self) -> dict[str, Tensor]: ...

    def moments(self) -> Moments | None: ...


class Guide(DrawSource, Protocol):
    """As ``bl.guides.Guide``."""

    @property
    def layout(self) -> Layout: ...

    @property
    def loc(self) -> Tensor: ...

    @property
    def point(self) -> Tensor: ...

    @property
    def shapes(self) -> dict[str, torch.Size]: ...

    @property
    def noise_size(self) -> int: ...

    def own_noise(self, noise: Tensor) -> Tensor: ...

    def transform(self, noise: Tensor) -> dict[str, Tensor]: ...

    def blocks(self) -> Moments: ...


class Posterior(Protocol):
    """As ``bl.Posterior``."""

    @property
    def model(self) -> Model: ...

    @property
    def source(self) -> DrawSource: ...

    def sample(self, num_draws: int, seed: int) -> Mapping[str, Tensor]: ...
