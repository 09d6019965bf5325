"""What every guide offers."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from ..draw_sources import DrawSource
from ..errors import DataError, ShapeError, SiteError
from ..model import BayesianModel, check_is_model
from ..noise import standard_normal
from ..private_apis import pyro_handlers
from .kl import FlatPriors
from .layout import Layout, flatten
from .loaded import check_positive_sites, check_range

_BLOCK = 16  # draws in one matrix product
_REPLICATES, _SET, _NUMBERS = 16, 64, 2**24  # sets of fixed draws, draws in each, and numbers in all of them
_LEAST_SCALE, _MOST_SCALE = 0.02, 0.1  # of the deviations at the start; `reports/decisions/005`


class Guide(DrawSource):
    r"""A family of posteriors :math:`q(w)`, and the member that its parameters say.

    A Pyro guide with one site for each latent site of the model. The entries of all sites with a prior lie
    in one flat vector on the unconstrained axis (the logarithm of a positive site), in which the families
    are Gaussian; a site without a prior is a ``Delta`` at its point estimate, and one with the prior
    ``bl.priors.Noise`` is drawn from it, so that it is in neither q's density nor the KL. The locations begin at the
    network's present values; all parameters exist from construction, without data and without randomness.

    Trained by ``bl.fit``, by ``pyro.infer.SVI``, or by a torch optimizer on
    ``TraceMeanField_ELBO()(model, guide)``; the last two leave Pyro's parameter store as it was.

    Args:
        model: The model whose sites the guide covers; it is only read.
        init_scale: Standard deviation at which each random entry begins, above 0; ``None`` for one over the inputs
            of the widest layer, between 0.02 and 0.1.

    Attributes:
        layout: Where each site lies in the flat vectors.
        init_scale: Standard deviation at which each random entry begins.
        loc: Means of the P entries that have a prior, ``(P,)``, unconstrained.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If ``init_scale`` is not positive.
        SiteError: If the model has no latent site.
        TypeError: If ``model`` is not a ``BayesianModel``.
    """

    def __init__(self, model: BayesianModel, *, init_scale: float | None) -> None:
        super().__init__()
        check_is_model(model)
        sites = model.sites()
        self.layout = Layout.of(sites)
        self.init_scale = _first_scale(self.layout.max_fan_in) if init_scale is None else init_scale
        if not 0 < self.init_scale < float("inf"):
            raise DataError(
                f"`init_scale` is a standard deviation, finite and above 0; received {init_scale}"
            )
        self._store_name = _fresh_name()
        self.loc = nn.Parameter(flatten(sites, self.layout.random))
        self.point = nn.Parameter(flatten(sites, self.layout.points))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy must not share its entry in Pyro's store with the original."""
        super().__setstate__(state)
        self._store_name = _fresh_name()

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Site name to shape, in the order of the model's sites."""
        return dict(self.layout.shapes)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one draw takes: the family's own, then the entries drawn from their prior."""
        return self.own_noise_size + self.layout.drawn_size

    @property
    @abstractmethod
    def own_noise_size(self) -> int:
        """Standard normal numbers that one draw of the random entries takes."""

    @property
    def particle_multiple(self) -> int:
        """The number of draws that a step takes should be a multiple of this."""
        return 1

    @property
    def max_fan_in(self) -> int:
        """Inputs of the widest layer that a step of a fit moves: the larger, the smaller its steps must be."""
        return self.layout.max_fan_in

    def unconstrained(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise into draws of the flat vector.

        Args:
            noise: Standard normal, ``(S, noise_size)``.

        Returns:
            Draws of the random entries, ``(S, P)``, unconstrained; gradients flow to the parameters.
        """
        return self._unconstrained(self.own_noise(noise))

    @abstractmethod
    def _unconstrained(self, noise: Tensor) -> Tensor:
        """The same of the family's own noise, ``(S, own_noise_size)``."""

    def own_noise(self, noise: Tensor) -> Tensor:
        """Take the part of the noise that the random entries are made of.

        Args:
            noise: Standard normal, ``(S, noise_size)``.

        Returns:
            A view, ``(S, own_noise_size)``; what follows it are the values of the sites drawn from their prior.
        """
        return noise[:, : self.own_noise_size] if self.layout.drawn else noise

    @abstractmethod
    def log_density(self, flat: Tensor) -> Tensor:
        """Compute the log density of q over the flat vector.

        Args:
            flat: Values of the random entries, ``(S, P)``, unconstrained.

        Returns:
            Nats, ``(S,)``.
        """

    @abstractmethod
    def kl_to(self, priors: FlatPriors) -> Tensor:
        r"""Compute :math:`\mathrm{KL}(q \| p)` in closed form, weighted as ``priors`` says.

        Of a prior that has none the KL from its Normal reference (``bl.priors.Prior``).

        Args:
            priors: From :meth:`flat_priors`.

        Returns:
            Nats, ``()``; gradients flow to the parameters.
        """

    @abstractmethod
    def _sample(self) -> dict[str, Tensor]:
        """The Pyro program: one sample statement a site, in the order of the model's."""

    def forward(self, x: Any = None, y: Any = None, *, num_data: int | None = None) -> dict[str, Tensor]:
        """Run the Pyro program; it takes the model's arguments and needs none of them.

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

    def points(self, num_draws: int) -> Tensor:
        """Give the point-estimated entries that go with the draws of :meth:`unconstrained`.

        Args:
            num_draws: Number of draws S.

        Returns:
            ``(S, Q)``, unconstrained; gradients flow to the parameters.
        """
        return self.point.expand(num_draws, -1)

    @property
    def has_natural_coordinates(self) -> bool:
        """Whether :meth:`retract` is anything but addition."""
        return False

    def retract(self, here: Mapping[str, Tensor], step: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take a step in the coordinates in which an optimizer without knowledge of the family goes best.

        Args:
            here: Name of a trained parameter to its value.
            step: The same names to steps, of the same shapes.

        Returns:
            The same names to the values after it; where all steps are 0, those of ``here``. Addition, unless the family
            knows better coordinates.
        """
        return {name: value + step[name] for name, value in here.items()}

    def finalize(self, log_likelihoods: Tensor, model: BayesianModel) -> None:
        """Decide what is only decided after training; called once, at the end of a fit. Here nothing.

        Args:
            log_likelihoods: Log likelihood of the whole data set under each draw of :meth:`transform`, nats, ``(S,)``.
            model: The model that the guide was made for.
        """

    def draw(self, num_draws: int, seed: int, start: int = 0) -> dict[str, Tensor]:
        """Draw from q.

        Args:
            num_draws: Number of draws S.
            seed: Draw ``i`` depends on ``(seed, i)`` alone.
            start: The first: these are the draws ``start`` to ``start + S`` of the seed, to the last bit.

        Returns:
            Site name to draws, ``(S, *shape)``.
        """
        like = self.loc
        noise = standard_normal(seed, num_draws, self.noise_size, start, dtype=like.dtype, device=like.device)
        return {name: value.detach() for name, value in self.transform(noise).items()}

    def mean(self) -> dict[str, Tensor]:
        """Give the mean of q; for a log-normal site its median.

        Returns:
            Site name to a tensor of the site's shape.
        """
        return self._center(self.loc, self.point)

    def _center(self, loc: Tensor, point: Tensor) -> dict[str, Tensor]:
        center = self.layout.values(loc, point, loc.new_zeros(self.layout.drawn_size))
        return {name: value.detach().clone() for name, value in center.items()}

    @classmethod
    def num_entries(cls, arguments: Mapping[str, Any], model: BayesianModel) -> int:
        """Return how many numbers the guide's arrays hold: means, standard deviations and points."""
        layout = Layout.of(model.sites())
        random, points = (sum(layout.sizes(names)) for names in (layout.random, layout.points))
        return 2 * random + points + cls._further_entries(layout, random, arguments)

    @classmethod
    def _further_entries(cls, layout: Layout, random: int, arguments: Mapping[str, Any]) -> int:
        """Return how many numbers a family has in addition to those of independent Normals."""
        return 0

    def check_loaded(self, model: BayesianModel) -> None:
        """Raise StorageError unless draws are finite, and positive where needed; for a guide from a folder."""
        check_range(self)
        check_positive_sites(self, model)

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

    def _drawn_distributions(self) -> dict[str, Any]:
        """The sites drawn from their prior, for the Pyro program."""
        zeros = self.layout.split(self.loc.new_zeros(self.layout.drawn_size), self.layout.drawn)
        return {name: dist.Normal(zero, 1.0).to_event(zero.dim()) for name, zero in zeros.items()}

    def flat_priors(self, model: BayesianModel, kl_weight: float | Mapping[str, float] = 1.0) -> FlatPriors:
        """Gather the constants of the KL, once for many calls of :meth:`kl_to`.

        Args:
            model: The model that the guide was made for.
            kl_weight: As in :func:`bayesian_layers.temper`.

        Returns:
            The priors as flat vectors.

        Raises:
            DataError: If a weight is negative or not finite.
            SiteError: If the guide was made for another model, or ``kl_weight`` names a site that does not exist.
        """
        self.check_made_for(model)
        return FlatPriors.of(model.sites(), self.layout, kl_weight)

    def kl_estimate(self, priors: FlatPriors, noise: Tensor) -> Tensor:
        r"""Compute :math:`\mathrm{KL}(q \| p)` where it has a closed form, else estimate it on the draws of a step.

        .. math:: \mathrm{KL}(q \| p) \approx \mathrm{KL}(q \| \text{references})
                  - \tfrac1S \textstyle\sum_s \log p(w_s) - \log \text{references}(w_s)

        without bias, its gradient neither; the last term is there for priors alone that are not their reference.

        Args:
            priors: From :meth:`flat_priors`.
            noise: Standard normal, ``(S, noise_size)``: that of the draws.

        Returns:
            Nats, ``()``; gradients flow to the parameters.
        """
        kl = self.kl_to(priors)
        return kl - self._log_ratio(priors, noise).mean() if self.estimates_kl(priors) else kl

    def estimates_kl(self, priors: FlatPriors) -> bool:
        """Tell whether :meth:`kl_estimate` depends on the noise.

        Args:
            priors: From :meth:`flat_priors`.

        Returns:
            Whether some of the KL has no closed form.
        """
        return bool(priors.sampled)

    def weighted_kl(self, model: BayesianModel, kl_weight: float | Mapping[str, float] = 1.0) -> Tensor:
        r"""Compute :math:`\sum_j \text{weight}_j \mathrm{KL}(q_j \| p_j)`.

        In closed form where there is one; else the mean of :meth:`kl_replicates`.

        Args:
            model: The model that the guide was made for.
            kl_weight: As in :func:`bayesian_layers.temper`.

        Returns:
            Nats, ``()``; gradients flow to the guide's parameters.
        """
        priors = self.flat_priors(model, kl_weight)
        return self._kl_replicates(priors).mean() if self.estimates_kl(priors) else self._closed_kl(priors)

    def kl_replicates(self, model: BayesianModel, kl_weight: float | Mapping[str, float] = 1.0) -> Tensor:
        """Compute :meth:`weighted_kl` by 16 independent sets of 64 draws, of large guides fewer.

        The draws are the same at every call: what has no closed form is without noise from call to call, yet an
        estimate, and the spread over the sets tells its error.

        Args:
            model: The model that the guide was made for.
            kl_weight: As in :func:`bayesian_layers.temper`.

        Returns:
            Nats, ``(16,)``; all the same where the KL has a closed form.
        """
        priors = self.flat_priors(model, kl_weight)
        if self.estimates_kl(priors):
            return self._kl_replicates(priors)
        return self._closed_kl(priors).expand(_REPLICATES)

    def _closed_kl(self, priors: FlatPriors) -> Tensor:
        """Of the guide as :meth:`draw` draws from it."""
        return self.kl_to(priors)

    def _kl_replicates(self, priors: FlatPriors) -> Tensor:
        sets = self._fixed_noise()
        ratios = [self._log_ratio(priors, noise).mean() for noise in sets]
        return self._closed_kl(priors) - torch.stack(ratios)

    def _log_ratio(self, priors: FlatPriors, noise: Tensor) -> Tensor:
        """What the closed form of the KL lacks, draw by draw: ``(S,)``."""
        return priors.log_ratio(self.unconstrained(noise), self.points(len(noise)))

    def _fixed_noise(self) -> tuple[Tensor, ...]:
        """Sets of antithetic noise, always the same, for estimates on no data."""
        like, least = self.loc, 2 * self.particle_multiple
        wanted = min(_SET, _NUMBERS // (_REPLICATES * max(1, self.noise_size)))
        draws = max(1, wanted // least) * least
        half = standard_normal(
            0, _REPLICATES * draws // 2, self.noise_size, dtype=like.dtype, device=like.device
        )
        return tuple(torch.cat([part, -part]) for part in half.split(draws // 2))


@torch.no_grad()
def draw_in_blocks(guide: Guide, num_draws: int, seed: int, start: int) -> dict[str, Tensor]:
    """Draw as :meth:`Guide.draw` does from a guide that multiplies its noise by matrices."""
    # A matrix product may round otherwise for another number of rows: full blocks, wherever the draws begin
    # and end.
    like, size = guide.loc, guide.noise_size
    skipped = start % _BLOCK
    count = skipped + num_draws
    noise = standard_normal(seed, count, size, start - skipped, dtype=like.dtype, device=like.device)
    full = torch.cat([noise, noise.new_zeros(-count % _BLOCK, size)])
    flat = torch.cat([guide.unconstrained(block) for block in full.split(_BLOCK)])
    drawn = noise[skipped:, guide.own_noise_size :]
    return guide.layout.values(flat[skipped:count], guide.points(num_draws).detach(), drawn)


def _first_scale(widest: int) -> float:
    """Wide deviations at the start prune units of wide layers, narrow ones end in worse optima of small networks."""
    return min(_MOST_SCALE, max(_LEAST_SCALE, 1 / max(widest, 1)))


def _fresh_name() -> str:
    return f"bayesian_layers.guide.{uuid.uuid4().hex}"


def _svi_collects_parameters() -> bool:
    """``SVI.step`` trains what a ``param_only`` trace sees; every other caller owns the parameters already."""
    return any(isinstance(handler, TraceMessenger) and handler.param_only for handler in pyro_handlers())
