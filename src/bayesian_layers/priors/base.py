"""What every prior offers, and the sites that priors make of parameters."""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from ..saving.storable import Storable
from .entrywise import Entrywise

PRIOR_SCALE = "prior_scale"  # of a parameter with one: what follows its name


class Prior(Storable, ABC):
    r"""A distribution over the independent entries of a parameter.

    All is said on the unconstrained axis u: the value itself, or its logarithm for a positive parameter. There every
    prior names a Normal, its reference, and says by ``kl`` what it is beside that:

    ``"normal"``: the prior IS the reference, so that the KL from a Gaussian guide has a closed form.

    ``"expected"``: it has a :meth:`log_density` of its own, whose mean under a Normal has a closed form,
    :meth:`expected_log_density`; so has the KL.

    ``"sampled"``: it has a :meth:`log_density` of its own, and the KL is that from the reference, in closed form, less
    the mean of :meth:`log_ratio` over the draws of a step:

    .. math:: \mathrm{KL}(q \| p) = \mathrm{KL}(q \| r) - E_q[\log p(u) - \log r(u)], \quad r \text{ the reference}.

    The nearer the reference, the less noise; the estimate has no bias whatever it is.
    """

    FAMILY: ClassVar = "bl.priors"
    kl: Literal["normal", "expected", "sampled"] = "normal"
    proper = True  # whether the density has an integral, so that there are draws
    positive = False  # whether values are positive numbers, not all of them
    drawn = False  # whether guides draw it from the prior and keep nothing of it: the base noise of a random function
    joint = False  # whether the entries along the last axis belong together, in a full covariance

    def hypers(self, like: Tensor) -> dict[str, Site]:
        """List what the prior's scale is made of, where that is latent sites of its own: their product is the scale.

        Args:
            like: Any tensor with the parameter's shape, dtype and device.

        Returns:
            What follows the parameter's name in the name of a site, to that site: of shape ``()`` for one scale, or
            of the parameter's first axes for one scale each, all such sites of the same; empty for a prior with a
            fixed scale.
        """
        return {}

    @abstractmethod
    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give the reference's mean and standard deviation, on the logarithm for a positive parameter.

        Args:
            like: Any tensor with the parameter's shape, dtype and device.
            scale: Product of the values of the sites :meth:`hypers`, ``(*batch, *first axes)``; ``None`` without them.

        Returns:
            Mean with the parameter's shape, and deviation with shape ``(*batch, *shape)``; both may be
            expanded views.
        """

    def log_density(self, u: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Compute the log density of unconstrained values, entry by entry: of logarithms for a positive parameter.

        Args:
            u: Unconstrained values, ``(*batch, *shape)``.
            like: Any tensor with the parameter's shape, dtype and device.
            scale: Product of the values of the sites :meth:`hypers`, ``(*batch, *first axes)``; ``None`` without them.

        Returns:
            Nats, ``(*batch, *shape)``.
        """
        return self._log_reference(u, like, scale)

    def log_ratio(self, u: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Compute the log density less that of the reference, entry by entry.

        Args:
            u: Unconstrained values, ``(*batch, *shape)``.
            like: Any tensor with the parameter's shape, dtype and device.
            scale: Product of the values of the sites :meth:`hypers`, ``(*batch, *first axes)``; ``None`` without them.

        Returns:
            Nats, ``(*batch, *shape)``; 0 where the prior is the reference.
        """
        if self.kl == "normal":
            return torch.zeros_like(u)
        return self.log_density(u, like, scale) - self._log_reference(u, like, scale)

    def _log_reference(self, u: Tensor, like: Tensor, scale: Tensor | None) -> Tensor:
        # The flat vectors of a guide hold finite and infinite numbers alike: whoever asks looks at the answer.
        return torch.distributions.Normal(*self.unconstrained(like, scale), validate_args=False).log_prob(u)

    def from_normal(self, noise: Tensor, like: Tensor, scale: Tensor | None = None) -> Tensor:
        """Turn standard normal noise into draws.

        Args:
            noise: Standard normal, ``(*batch, *shape)``.
            like: Any tensor with the parameter's shape, dtype and device.
            scale: Product of the values of the sites :meth:`hypers`, ``(*batch, *first axes)``; ``None`` without them.

        Returns:
            Unconstrained values, ``(*batch, *shape)``.

        Raises:
            SiteError: If the prior is improper.
        """
        loc, deviation = self.unconstrained(like, scale)
        return loc + deviation * noise

    def expected_log_density(self, loc: Tensor, variance: Tensor) -> Tensor:
        r"""Compute :math:`E[\log p(u)]` for :math:`u \sim N(\text{loc}, \text{variance})`, entry by entry.

        Only priors whose ``kl`` is ``"expected"`` have it.

        Args:
            loc: Means.
            variance: Variances, in the shape of ``loc``.

        Returns:
            Nats, in the shape of ``loc``; gradients flow to both.

        Raises:
            NotImplementedError: If there is no closed form.
        """
        raise NotImplementedError(f"E[log p] under a Normal has no closed form for {self}")

    def distribution(self, like: Tensor, scale: Tensor | None = None) -> Any:
        """Build the distribution of a parameter.

        Args:
            like: Any tensor with the parameter's shape, dtype and device.
            scale: Product of the values of the sites :meth:`hypers`, ``(*batch, *first axes)``; ``None`` without them.

        Returns:
            A Pyro distribution with batch shape ``batch`` and the parameter's shape as event shape.
        """
        if self.kl != "normal":
            return Entrywise(self, like, scale)
        family = dist.LogNormal if self.positive else dist.Normal
        return family(*self.unconstrained(like, scale)).to_event(like.dim())

    def arrays(self, like: Tensor) -> dict[str, Tensor]:
        """Return the arrays that a file must hold in addition to :meth:`spec`.

        Args:
            like: Any tensor with the parameter's shape, dtype and device.

        Returns:
            Constructor argument to its value; empty for most priors.
        """
        return {}

    def with_arrays(self, arrays: Mapping[str, Tensor]) -> Prior:
        """Return this prior with the arrays that were stored for it.

        Args:
            arrays: What :meth:`arrays` returned when the prior was saved.

        Returns:
            The prior; it is itself where it has none.
        """
        return self

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, like: Tensor | None = None) -> Self:
        """Build a stored prior; ``like`` is the parameter, where it belongs to one."""
        return cls(**arguments)


class _PointEstimate(dist.Delta):
    """The model's half of a point estimate: stands at a value, has log density 0 everywhere.

    With a ``Delta`` in the guide the pair adds nothing to the ELBO but the gradient of the likelihood.
    """

    def log_prob(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[: x.dim() - self.event_dim])


class _PositivePointEstimate(_PointEstimate):
    support = constraints.positive  # pyright: ignore


@dataclass(frozen=True)
class Site:
    """One latent site of a model: a parameter of the network, of a prior or of the likelihood.

    Attributes:
        initial: The value at which a fit begins; it also carries shape, dtype and device.
        prior: Its prior, or ``None`` for a point estimate.
        positive: Whether values are positive numbers: a scale, not a weight.
        scale_sites: Names of the latent sites whose product is the scale of the prior, each with the number of its own
            axes: as many of the parameter's first ones.
    """

    initial: Tensor
    prior: Prior | None
    positive: bool = False
    scale_sites: Mapping[str, int] = field(default_factory=dict)

    @property
    def scale_axes(self) -> int:
        """Over how many of the parameter's first axes the scales of its prior differ."""
        return max(self.scale_sites.values(), default=0)

    def scale(self, values: Mapping[str, Tensor]) -> Tensor | None:
        """Multiply the scales that are sites.

        Args:
            values: Site name to value, ``(*batch, *its shape)``; the scales' are needed.

        Returns:
            The scale, ``(*batch, *first axes)``; ``None`` where it is no site.
        """
        parts = [
            values[name].reshape((*values[name].shape, *[1] * (self.scale_axes - axes)))
            for name, axes in self.scale_sites.items()
        ]
        return functools.reduce(operator.mul, parts) if parts else None

    def distribution(self, scale: Tensor | None = None) -> Any:
        """Build the site's distribution in the model.

        Args:
            scale: What :meth:`scale` gives, ``(*batch, *first axes)``.

        Returns:
            The prior's, or for a point estimate one that stands at ``initial`` with log density 0.
        """
        if self.prior is not None:
            return self.prior.distribution(self.initial, scale)
        kind = _PositivePointEstimate if self.positive else _PointEstimate
        return kind(self.initial, event_dim=self.initial.dim())


def needed(prior: Prior, scale: Tensor | None) -> Tensor:
    """Refuse a call that forgets the value of the scale's site."""
    if scale is None:
        raise TypeError(f"the scale of {prior} is a latent site of its own: pass its value as `scale`")
    return scale


def not_needed(prior: Prior, scale: Tensor | None) -> None:
    """Refuse a call that brings a scale where the prior has its own."""
    if scale is not None:
        raise TypeError(f"the scale of {prior} is given, so `scale` must be None; received {scale}")


def check_is_prior(prior: object) -> None:
    """Refuse what is neither a prior nor ``None``."""
    if not isinstance(prior, Prior | None):
        raise TypeError(f"a prior must be one of bl.priors; received {prior!r}")
