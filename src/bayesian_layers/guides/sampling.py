"""From flat parameters and standard normal noise to draws of all sites, and the Pyro program."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from ..arguments import check_positive
from ..draw_sources import DrawSource
from ..errors import ShapeError, SiteError
from ..model import BayesianModel, check_is_model
from ..noise import standard_normal
from ..private_apis import pyro_handlers
from .layout import Layout, flatten
from .loaded import check_positive_sites, check_range

_MIN_SCALE, _MAX_SCALE = 0.02, 0.1  # of the standard deviations at the start; `reports/decisions/005`
_DRAWS_PER_BLOCK = 16  # in one matrix product


class FlatSampler(DrawSource):
    """The part of a :class:`Guide` that needs no density: its parameters, its draws and its Pyro program."""

    # Whether draws are made of products of matrices. These may round otherwise for another number of rows, so such
    # draws are made in full blocks, wherever the requested draws start and end.
    _MULTIPLIES_NOISE: ClassVar[bool] = False

    def __init__(self, model: BayesianModel, *, init_scale: float | None) -> None:
        super().__init__()
        check_is_model(model)
        sites = model.sites()
        self.layout = Layout.of(sites)
        if init_scale is None:
            self.init_scale = default_scale(self.layout)
        else:
            self.init_scale = check_positive("init_scale", init_scale, hint="It is a standard deviation.")
        self._store_name = _new_store_name()
        self.loc = nn.Parameter(flatten(sites, self.layout.random))
        self.point = nn.Parameter(flatten(sites, self.layout.points))
        self.log_scale = nn.Parameter(torch.full_like(self.loc.detach(), self.init_scale).log())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy must not share its entry in Pyro's store with the original."""
        super().__setstate__(state)
        self._store_name = _new_store_name()

    @property
    def own_noise_size(self) -> int:
        """Standard normal numbers that one draw of the random entries takes: by default one per entry, P."""
        return self.loc.shape[-1]

    @abstractmethod
    def _unconstrained(self, noise: Tensor) -> Tensor:
        """Turn noise ``(S, own_noise_size)`` into draws of the random entries, ``(S, P)``, unconstrained."""

    @abstractmethod
    def _sample(self) -> dict[str, Tensor]:
        """Run the Pyro program: one sample statement per site, in the order of the model's."""

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Site name to shape, in the order of the model's sites."""
        return dict(self.layout.shapes)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one draw takes: the family's own, then the entries drawn from their prior."""
        return self.own_noise_size + self.layout.drawn_size

    def forward(self, x: Any = None, y: Any = None, *, num_data: int | None = None) -> dict[str, Tensor]:
        """Run the Pyro program; it takes the model's arguments and uses none of them.

        Args:
            x: Not used.
            y: Not used.
            num_data: Not used.

        Returns:
            Site name to the value drawn.
        """
        if _svi_collects_parameters():
            pyro.module(self._store_name, self)
        return self._sample()

    def transform(self, noise: Tensor) -> dict[str, Tensor]:
        """Turn standard normal noise into draws.

        Args:
            noise: Standard normal, ``(S, noise_size)``.

        Returns:
            Site name to draws, ``(S, *shape)``; gradients flow to the guide's parameters.

        Raises:
            ShapeError: If ``noise`` has another shape.
        """
        if noise.dim() != 2 or noise.shape[1] != self.noise_size:
            raise ShapeError("noise", ("S", self.noise_size), noise.shape)
        drawn = noise[:, self.own_noise_size :] if self.layout.drawn else None
        return self.layout.values(self.unconstrained(noise), self.points(len(noise)), drawn)

    def unconstrained(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise ``(S, noise_size)`` into draws of the random entries, ``(S, P)``."""
        return self._unconstrained(self.own_noise(noise))

    def own_noise(self, noise: Tensor) -> Tensor:
        """Return the part of the noise that the random entries are made of, ``(S, own_noise_size)``: a view."""
        return noise[:, : self.own_noise_size] if self.layout.drawn else noise

    def points(self, num_draws: int) -> Tensor:
        """Return the point-estimated entries that go with the draws of :meth:`unconstrained`, ``(S, Q)``."""
        return self.point.expand(num_draws, -1)

    @torch.no_grad()
    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Draw from q."""
        like = self.loc
        skipped = start % _DRAWS_PER_BLOCK if self._MULTIPLIES_NOISE else 0
        count = skipped + num_draws
        noise = standard_normal(
            seed, count, self.noise_size, start - skipped, dtype=like.dtype, device=like.device
        )
        flat = self._in_full_blocks(noise) if self._MULTIPLIES_NOISE else self.unconstrained(noise)
        drawn = noise[skipped:, self.own_noise_size :]
        return self.layout.values(flat[skipped:count], self.points(num_draws).detach(), drawn)

    def _in_full_blocks(self, noise: Tensor) -> Tensor:
        full = torch.cat([noise, noise.new_zeros(-len(noise) % _DRAWS_PER_BLOCK, noise.shape[1])])
        return torch.cat([self.unconstrained(block) for block in full.split(_DRAWS_PER_BLOCK)])

    def mean(self) -> dict[str, Tensor]:
        """Return the mean of q; for a log-normal site its median."""
        return self._center(self.loc, self.point)

    def _center(self, loc: Tensor, point: Tensor) -> dict[str, Tensor]:
        center = self.layout.values(loc, point, loc.new_zeros(self.layout.drawn_size))
        return {name: value.detach().clone() for name, value in center.items()}

    @classmethod
    def _further_entries(cls, layout: Layout, random: int, arguments: Mapping[str, Any]) -> int:
        """Return how many numbers a family has in addition to those of independent Normals."""
        return 0

    @classmethod
    def num_entries(cls, arguments: Mapping[str, Any], model: BayesianModel) -> int:
        """Return how many numbers the guide's arrays hold: means, standard deviations and points."""
        layout = Layout.of(model.sites())
        random, points = (sum(layout.sizes(names)) for names in (layout.random, layout.points))
        return 2 * random + points + cls._further_entries(layout, random, arguments)

    def check_loaded(self, model: BayesianModel) -> None:
        """Check means, standard deviations and factors of a guide from a folder."""
        arrays = dict(self.named_parameters())
        check_range(arrays)
        check_positive_sites(arrays, self.layout, model)

    def check_made_for(self, model: BayesianModel) -> None:
        """Check that the guide has the sites of a model.

        Args:
            model: The model.

        Raises:
            SiteError: If names or shapes of the sites differ.
        """
        expected = {name: tuple(site.initial.shape) for name, site in model.sites().items()}
        received = {name: tuple(shape) for name, shape in self.shapes.items()}
        if expected != received:
            raise SiteError(
                f"the guide was made for another model: it has the sites {received}, the model has {expected}"
            )

    def _independent_normals(self, loc: Tensor, scale: Tensor, point: Tensor) -> dict[str, Any]:
        """Build the distribution of each site from flat vectors, ``(*batch, P)`` and ``(*batch, Q)``."""
        layout = self.layout
        locs, scales = (layout.split(flat, layout.random) for flat in (loc, scale))
        found = self._drawn_distributions()
        for name, value in layout.split(point, layout.points).items():
            found[name] = dist.Delta(layout.constrain(name, value), event_dim=len(layout.shapes[name]))
        for name in locs:
            family = dist.LogNormal if name in layout.positive else dist.Normal
            found[name] = family(locs[name], scales[name]).to_event(len(layout.shapes[name]))
        return {name: found[name] for name in layout.shapes}

    def _drawn_distributions(self) -> dict[str, Any]:
        """Return the distributions of the sites that are drawn from their prior, for the Pyro program."""
        zeros = self.layout.split(self.loc.new_zeros(self.layout.drawn_size), self.layout.drawn)
        return {name: dist.Normal(zero, 1.0).to_event(zero.dim()) for name, zero in zeros.items()}


def default_scale(layout: Layout) -> float:
    """Return the standard deviation at which entries start if the caller gives none."""
    # Wide standard deviations prune units of wide layers; narrow ones end in worse optima of small networks.
    return min(_MAX_SCALE, max(_MIN_SCALE, 1 / max(layout.max_fan_in, 1)))


def _new_store_name() -> str:
    return f"bayesian_layers.guide.{uuid.uuid4().hex}"


def _svi_collects_parameters() -> bool:
    """``SVI.step`` trains what a ``param_only`` trace sees; every other caller has the parameters already."""
    return any(isinstance(handler, TraceMessenger) and handler.param_only for handler in pyro_handlers())
