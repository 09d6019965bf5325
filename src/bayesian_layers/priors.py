"""Priors: from the shape of a parameter to its distribution.

A module remembers the priors of its own parameters in a plain dict (attributes of a ``Parameter`` do not
survive ``deepcopy``); a parameter without one is estimated as a point.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .errors import DataError, StorageError

_ATTRIBUTE = "parameter_priors"


class Prior(ABC):
    """A distribution over the entries of a parameter, whatever its shape."""

    positive = False  # whether values are positive numbers, not all of them

    @abstractmethod
    def distribution(self, like: Tensor) -> Any:
        """Build the distribution of a parameter.

        Args:
            like: Any tensor with the parameter's shape, dtype and device.

        Returns:
            A Pyro distribution with empty batch shape and the parameter's shape as event shape.
        """


@dataclass(frozen=True)
class Normal(Prior):
    r"""Independent Normal priors, :math:`w_j \sim N(\text{loc}, \text{scale}^2)`.

    Attributes:
        loc: Mean.
        scale: Standard deviation, above 0.

    Raises:
        DataError: If ``loc`` is not finite or ``scale`` is not finite and positive.

    Example:
        >>> Normal(scale=2.0).distribution(torch.zeros(3, 2)).event_shape
        torch.Size([3, 2])
    """

    loc: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        _check_loc_scale(self)

    def distribution(self, like: Tensor) -> Any:
        """Build the Normal of a parameter; see :meth:`Prior.distribution`.

        Args:
            like: Any tensor with the parameter's shape, dtype and device.

        Returns:
            A Pyro distribution with the parameter's shape as event shape.
        """
        return dist.Normal(*_loc_and_scale(self, like)).to_event(like.dim())


@dataclass(frozen=True)
class LogNormal(Prior):
    r"""Independent log-normal priors for positive parameters, :math:`\log s \sim N(\text{loc}, \text{scale}^2)`.

    Attributes:
        loc: Mean of the logarithm; the prior's median is ``exp(loc)``.
        scale: Standard deviation of the logarithm, above 0.

    Raises:
        DataError: If ``loc`` is not finite or ``scale`` is not finite and positive.

    Example:
        >>> LogNormal(loc=-1.0, scale=0.5).distribution(torch.zeros(())).support
        GreaterThan(lower_bound=0.0)
    """

    loc: float = 0.0
    scale: float = 1.0
    positive = True

    def __post_init__(self) -> None:
        _check_loc_scale(self)

    def distribution(self, like: Tensor) -> Any:
        """Build the log-normal of a parameter; see :meth:`Prior.distribution`.

        Args:
            like: Any tensor with the parameter's shape, dtype and device.

        Returns:
            A Pyro distribution with the parameter's shape as event shape.
        """
        return dist.LogNormal(*_loc_and_scale(self, like)).to_event(like.dim())


def _check_loc_scale(prior: Normal | LogNormal) -> None:
    if not math.isfinite(prior.loc):
        raise DataError(f"the `loc` of a prior must be finite; received {prior.loc}")
    if not 0 < prior.scale < math.inf:
        raise DataError(
            f"the `scale` of a prior is a standard deviation, finite and above 0; received {prior.scale}"
        )


def _loc_and_scale(prior: Normal | LogNormal, like: Tensor) -> tuple[Tensor, Tensor]:
    return torch.full_like(like, prior.loc), torch.full_like(like, prior.scale)


def default() -> Prior:
    """Give the library's default prior, N(0, 1).

    Returns:
        The prior that layers and ``bayesianize`` use where none is named.
    """
    return Normal(0.0, 1.0)


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
    """One latent site of a model: a parameter of the network or of the likelihood.

    Attributes:
        initial: The value at which a fit begins; it also carries shape, dtype and device.
        prior: Its prior, or ``None`` for a point estimate.
        positive: Whether values are positive numbers: a scale, not a weight.
    """

    initial: Tensor
    prior: Prior | None
    positive: bool = False

    def distribution(self) -> Any:
        """Build the site's distribution in the model.

        Returns:
            The prior's, or for a point estimate one that stands at ``initial`` with log density 0.
        """
        if self.prior is not None:
            return self.prior.distribution(self.initial)
        kind = _PositivePointEstimate if self.positive else _PointEstimate
        return kind(self.initial, event_dim=self.initial.dim())


def remember(module: nn.Module, priors: Mapping[str, Prior | None]) -> None:
    """Write down the priors of a module's own parameters, on the module.

    Args:
        module: The module that owns the parameters.
        priors: Name of a parameter of ``module`` to its prior; ``None`` means point-estimated.
    """
    setattr(module, _ATTRIBUTE, {**recall(module), **priors})


def recall(module: nn.Module) -> dict[str, Prior | None]:
    """Read what :func:`remember` wrote.

    Args:
        module: Any module.

    Returns:
        Name of a parameter of ``module`` to its prior; empty where nothing was written.
    """
    return dict(getattr(module, _ATTRIBUTE, {}))


def to_document(prior: Prior | None) -> dict[str, Any] | None:
    """Describe a prior in JSON's types.

    Args:
        prior: A prior, or ``None`` for a point estimate.

    Returns:
        Its name and arguments, or ``None``.
    """
    return None if prior is None else {"name": type(prior).__name__, **dataclasses.asdict(prior)}  # pyright: ignore


def from_document(document: Any) -> Prior | None:
    """Build the prior that :func:`to_document` described.

    Args:
        document: What was read from a file; nothing in it is trusted.

    Returns:
        The prior, or ``None`` for a point estimate.

    Raises:
        StorageError: If the description is not one of a known prior.
    """
    if document is None:
        return None
    kinds = {kind.__name__: kind for kind in (Normal, LogNormal)}
    try:
        arguments = dict(document)
        return kinds[arguments.pop("name")](**arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise StorageError(
            f"a prior must be one of {sorted(kinds)} with its numbers; received {document}"
        ) from error
