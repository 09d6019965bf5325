"""Guides q(w): the families in which a posterior is sought.

A guide owns all that is learned, from construction on, without data and without randomness.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn
from torch.distributions import kl_divergence

from .errors import DataError, ShapeError, SiteError
from .model import BayesianModel, check_is_model
from .noise import standard_normal
from .priors import Site


class MeanFieldNormal(nn.Module):
    r"""Independent Normals: :math:`q(w) = \prod_j N(w_j; \text{loc}_j, \exp(\text{log\_scale}_j)^2)`.

    A Pyro guide with one site for each latent site of the model. A site with a Normal prior is Normal; one
    on the positive numbers (a noise scale with a LogNormal prior) is log-normal, the Normal being on
    its logarithm; one without a prior is a ``Delta`` at its point estimate. All sites are views of flat
    parameters. The locations begin at the network's present values.

    Trained by ``bl.fit``, by ``pyro.infer.SVI``, or by a torch optimizer on
    ``TraceMeanField_ELBO()(model, guide)``; the last two leave Pyro's parameter store as it was.

    Args:
        model: The model whose sites the guide covers; it is only read.
        init_scale: Standard deviation at which each Normal begins, above 0.

    Attributes:
        loc: Means of the P entries that have a prior, ``(P,)``, unconstrained.
        log_scale: Logarithms of their standard deviations, ``(P,)``.
        point: The Q point-estimated entries, ``(Q,)``, unconstrained.

    Raises:
        DataError: If ``init_scale`` is not positive.
        SiteError: If the model has no latent site.
        TypeError: If ``model`` is not a ``BayesianModel``.

    References:
        Graves (2011), "Practical variational inference for neural networks"; Blundell et al. (2015),
        arXiv 1505.05424.

    Example:
        >>> import bayesian_layers as bl
        >>> guide = MeanFieldNormal(bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli()))
        >>> guide.loc.shape, guide.point.shape
        (torch.Size([3]), torch.Size([0]))
    """

    def __init__(self, model: BayesianModel, *, init_scale: float = 0.1) -> None:
        super().__init__()
        check_is_model(model)
        if not 0 < init_scale < float("inf"):
            raise DataError(
                f"`init_scale` is a standard deviation, finite and above 0; received {init_scale}"
            )
        sites = model.sites()
        if not sites:
            raise SiteError("the model has no latent site: every parameter of its network is frozen")
        self._shapes = {name: site.initial.shape for name, site in sites.items()}
        self._positive = {name for name, site in sites.items() if site.positive}
        self._random = [name for name, site in sites.items() if site.prior is not None]
        self._points = [name for name in sites if name not in self._random]
        self._store_name = _fresh_name()
        self.loc = nn.Parameter(_unconstrained(sites, self._random))
        self.log_scale = nn.Parameter(torch.full_like(self.loc.detach(), init_scale).log())
        self.point = nn.Parameter(_unconstrained(sites, self._points))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy must not share its entry in Pyro's store with the original."""
        super().__setstate__(state)
        self._store_name = _fresh_name()

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Site name to shape, in the order of the model's sites."""
        return dict(self._shapes)

    def distributions(self) -> dict[str, Any]:
        """Build q, site by site.

        Returns:
            Site name to a Pyro distribution with the site's shape as event shape.
        """
        scales = self._split(self.log_scale.exp(), self._random)
        locs = self._split(self.loc, self._random)
        points = self._split(self.point, self._points)
        return {
            name: self._delta(name, points[name])
            if name in points
            else self._normal(name, locs[name], scales[name])
            for name in self._shapes
        }

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
        return {name: pyro.sample(name, q) for name, q in self.distributions().items()}

    def transform(self, noise: Tensor) -> dict[str, Tensor]:
        r"""Turn standard normal noise into draws, :math:`w = \text{loc} + \exp(\text{log\_scale})\,\epsilon`.

        Args:
            noise: Standard normal, shape ``(S, P)``.

        Returns:
            Site name to draws, ``(S, *shape)``; gradients flow to the guide's parameters.

        Raises:
            ShapeError: If ``noise`` has another shape.
        """
        if noise.dim() != 2 or noise.shape[1] != len(self.loc):
            raise ShapeError("noise", ("S", len(self.loc)), noise.shape)
        random = self._split(self.loc + self.log_scale.exp() * noise, self._random)
        points = self._split(self.point.expand(len(noise), -1), self._points)
        values = {**random, **points}
        return {name: self._constrain(name, values[name]) for name in self._shapes}

    def draw(self, num_draws: int, seed: int) -> dict[str, Tensor]:
        """Draw from q.

        Args:
            num_draws: Number of draws S.
            seed: Draw ``i`` depends on ``(seed, i)`` alone.

        Returns:
            Site name to draws, ``(S, *shape)``.
        """
        noise = standard_normal(seed, num_draws, len(self.loc), dtype=self.loc.dtype, device=self.loc.device)
        return {name: value.detach() for name, value in self.transform(noise).items()}

    def mean(self) -> dict[str, Tensor]:
        """Give the mean of q; for a log-normal site its median.

        Returns:
            Site name to a tensor of the site's shape.
        """
        center = self.transform(torch.zeros(1, len(self.loc), dtype=self.loc.dtype, device=self.loc.device))
        return {name: value[0].detach() for name, value in center.items()}

    def kl_divergence(self, model: BayesianModel) -> dict[str, Tensor]:
        """Compute the KL divergence from the prior, in closed form, site by site.

        Args:
            model: The model that the guide was made for.

        Returns:
            Site name to KL in nats; 0 for point estimates.
        """
        sites = model.sites()
        return {
            name: kl_divergence(q, sites[name].distribution()) for name, q in self.distributions().items()
        }

    def _constrain(self, name: str, value: Tensor) -> Tensor:
        return value.exp() if name in self._positive else value

    def _normal(self, name: str, loc: Tensor, scale: Tensor) -> Any:
        family = dist.LogNormal if name in self._positive else dist.Normal
        return family(loc, scale).to_event(loc.dim())

    def _delta(self, name: str, point: Tensor) -> Any:
        return dist.Delta(self._constrain(name, point), event_dim=point.dim())

    def _split(self, flat: Tensor, names: list[str]) -> dict[str, Tensor]:
        """Views of the last axis, one a site."""
        sizes = [self._shapes[name].numel() for name in names]
        parts = flat.split(sizes, dim=-1) if names else ()
        return {
            name: part.unflatten(-1, self._shapes[name]) if self._shapes[name] else part.squeeze(-1)
            for name, part in zip(names, parts, strict=True)
        }


def check_covers(guide: MeanFieldNormal, model: BayesianModel) -> None:
    """Refuse a guide that was made for another model.

    Args:
        guide: A guide.
        model: A model.

    Raises:
        SiteError: If their sites differ in name or shape.
    """
    expected = {name: tuple(site.initial.shape) for name, site in model.sites().items()}
    received = {name: tuple(shape) for name, shape in guide.shapes.items()}
    if expected != received:
        raise SiteError(
            f"the guide was made for another model: it has the sites {received}, the model has {expected}"
        )


def _fresh_name() -> str:
    return f"bayesian_layers.guide.{uuid.uuid4().hex}"


def _svi_collects_parameters() -> bool:
    """``SVI.step`` trains what a ``param_only`` trace sees; every other caller owns the parameters already."""
    return any(isinstance(handler, TraceMessenger) and handler.param_only for handler in _PYRO_STACK)


def _unconstrained(sites: Mapping[str, Site], names: list[str]) -> Tensor:
    if not names:
        like = next(iter(sites.values())).initial
        return like.new_empty(0)
    chosen = [sites[name] for name in names]
    return torch.cat([(site.initial.log() if site.positive else site.initial).reshape(-1) for site in chosen])
