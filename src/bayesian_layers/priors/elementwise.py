"""Normal priors with a mean and a standard deviation for each entry: a posterior as the next prior."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from .. import protocols
from ..errors import DataError, ShapeError, StorageError
from .base import Prior, not_needed
from .parameter_priors import set_priors_by_id

_DRAWS = 1000


class ElementwiseNormal(Prior):
    r"""Independent Normal priors, each entry with its own: :math:`w_j \sim N(\text{loc}_j, \text{scale}_j^2)`.

    Two priors are equal if their numbers are. Tensors are copied and never written to.

    Attributes:
        loc: Means, of the parameter's shape.
        scale: Standard deviations above 0, of the same shape.

    Raises:
        DataError: If a mean is not finite or a standard deviation not finite and positive.
        ShapeError: If the two shapes differ.
        TypeError: If one is not a tensor of a floating type.

    Example:
        >>> ElementwiseNormal(torch.tensor([0.0, 3.0]), torch.tensor([1.0, 0.1]))
        ElementwiseNormal(shape=(2,), loc in [0, 3], scale in [0.1, 1])
    """

    ARGUMENTS: ClassVar = {}  # its arrays are stored as arrays

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        for name, value in (("loc", loc), ("scale", scale)):
            if not isinstance(value, Tensor) or not value.is_floating_point():
                raise TypeError(f"`{name}` must be a floating tensor; received {value!r}")
        if loc.shape != scale.shape:
            raise ShapeError("scale", loc.shape, scale.shape, "It must have the shape of `loc`.")
        if not torch.isfinite(loc).all():
            raise DataError("the `loc` of a prior must be finite; some entries are NaN or infinite")
        if not (torch.isfinite(scale) & (scale > 0)).all():
            raise DataError(
                "the `scale` of a prior must hold standard deviations; some entries are NaN, infinite or not above 0"
            )
        self.loc, self.scale = loc.detach().clone(), scale.detach().clone()

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations; see :meth:`Prior.unconstrained`."""
        not_needed(self, scale)
        if like.shape != self.loc.shape:
            raise ShapeError("parameter", self.loc.shape, like.shape, "Its prior has a mean for each entry.")
        return self.loc.to(like), self.scale.to(like)

    def arrays(self, like: Tensor) -> dict[str, Tensor]:
        """Return ``loc`` and ``scale``; see :meth:`Prior.arrays`."""
        return dict(zip(("loc", "scale"), self.unconstrained(like), strict=True))

    def with_arrays(self, arrays: Mapping[str, Tensor]) -> ElementwiseNormal:
        """Return a prior with these arrays; see :meth:`Prior.with_arrays`."""
        return ElementwiseNormal(arrays["loc"], arrays["scale"])

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], *, like: Tensor | None = None) -> Self:
        """Build a stand-in with the shape of the parameter, until :meth:`with_arrays` replaces it."""
        if like is None:
            raise StorageError("an ElementwiseNormal must be the prior of a parameter of the network")
        stand_in = like.detach().new_ones(())
        prior = cls(stand_in, stand_in)
        prior.loc = prior.scale = stand_in.expand(like.shape)  # takes no memory
        return prior

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ElementwiseNormal):
            return NotImplemented
        return torch.equal(self.loc, other.loc) and torch.equal(self.scale, other.scale)

    def __hash__(self) -> int:
        return hash((type(self), self.loc.shape))

    def __repr__(self) -> str:
        shape = tuple(self.loc.shape)
        if not self.loc.numel():
            return f"ElementwiseNormal(shape={shape})"
        loc, scale = (f"[{float(v.min()):.3g}, {float(v.max()):.3g}]" for v in (self.loc, self.scale))
        return f"ElementwiseNormal(shape={shape}, loc in {loc}, scale in {scale})"


def from_posterior(posterior: protocols.Posterior) -> nn.Module:
    """Make a posterior the prior of a new model.

    Each parameter that had a prior gets Normal priors, entry by entry, with the posterior's means and standard
    deviations (exact for a mean-field guide, else those of 1000 draws: correlations are lost); learned and hierarchical
    scales are no longer sites. Parameters start at the posterior's means; those without a prior stay point estimates.
    The noise scale belongs to the likelihood and is not carried over.

    Args:
        posterior: A ``bl.Posterior``.

    Returns:
        A network in training mode, for ``bl.BayesianModel(network, likelihood)``.

    Raises:
        DataError: If an entry that has a prior has the same value in all draws.

    Example:
        >>> import bayesian_layers as bl
        >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Normal(0.1))
        >>> posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.5))
        >>> network = bl.priors.from_posterior(posterior)
        >>> network.parameter_priors["bias"].distribution(network.bias).stddev
        tensor([0.5000])
    """
    network = copy.deepcopy(posterior.model.network)
    sites, means = posterior.model.sites(), posterior.source.mean()
    priors = {name: site.prior for name, site in sites.items() if site.prior is not None}
    moments = _moments(posterior, [n for n, p in priors.items() if not p.positive and not p.drawn])
    replaced: dict[int, Prior] = {}
    for name, parameter in network.named_parameters():
        if name in sites:
            parameter.data.copy_(means[name])
            if name in moments:
                replaced[id(parameter)] = ElementwiseNormal(*moments[name])
    set_priors_by_id(network, replaced)
    return network.train()


def _moments(posterior: protocols.Posterior, names: Collection[str]) -> protocols.Moments:
    """Return mean and standard deviation of sites, exact where the guide has them in closed form."""
    known = posterior.source.moments() or {}
    draws = {} if known.keys() >= set(names) else posterior.sample(_DRAWS, 0)
    return {n: known[n] if n in known else (draws[n].mean(0), draws[n].std(0)) for n in names}
