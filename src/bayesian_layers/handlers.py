"""Pyro effect handlers: the log likelihood of given latent values, and tempering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from .arguments import is_number
from .errors import DataError, SiteError


class LogLikelihood(Messenger):
    """Run a program with values substituted for its latent sites, and keep the log likelihood in ``log_prob``."""

    # Cheaper than a trace: no plates of particles, and no log density of latent sites. The values are substituted
    # without a check of their shape. `log_prob` is scaled as in the program and summed: a scalar, in nats.
    log_prob: Tensor

    def __init__(self, values: Mapping[str, Tensor], site: str = "y", weight: Tensor | None = None) -> None:
        super().__init__()
        self.values = values
        self.site = site
        self.weight = weight  # factor of each row's log density, (N,)

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["done"] and not msg["is_observed"] and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] == self.site and msg["is_observed"]:
            log_prob = scale_and_mask(msg["fn"].log_prob(msg["value"]), msg["scale"], msg["mask"])
            self.log_prob = self._reduced(log_prob)

    def _reduced(self, log_prob: Tensor) -> Tensor:
        return (log_prob if self.weight is None else log_prob * self.weight).sum()


class _ScaleLatent(Messenger):
    """Multiplies the scale of latent sites, and collects their names."""

    def __init__(self, weights: float | Mapping[str, float]) -> None:
        super().__init__()
        self.weights = weights
        self.names: set[str] = set()

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"]:
            return
        self.names.add(msg["name"])
        weights = self.weights
        weight = weights.get(msg["name"], 1.0) if isinstance(weights, Mapping) else weights
        msg["scale"] = msg["scale"] * weight


class _Tempered(nn.Module):
    """A Pyro program whose latent sites are scaled."""

    def __init__(self, program: Callable[..., Any], kl_weight: float | Mapping[str, float]) -> None:
        super().__init__()
        self.program = program
        self.kl_weight = dict(kl_weight) if isinstance(kl_weight, Mapping) else float(kl_weight)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _ScaleLatent(self.kl_weight) as handler:
            result = self.program(*args, **kwargs)
        check_kl_weight(self.kl_weight, handler.names)
        return result


def temper(program: Callable[..., Any], kl_weight: float | Mapping[str, float]) -> nn.Module:
    r"""Scale the latent sites of a model or a guide, and so their part of the ELBO.

    With model and guide tempered, :math:`\mathrm{ELBO}_w = E_q[\log p(y \mid w)] - \sum_j w_j \mathrm{KL}_j`.
    Temper both: Pyro's ``TraceMeanField_ELBO`` takes the weight of a KL from the guide's site, other
    estimators take it from both.

    Args:
        program: A Pyro model or guide.
        kl_weight: One weight for all latent sites, or a mapping from site name to weight; other sites keep weight 1.

    Returns:
        A Pyro program that takes the same arguments and returns the same value.

    Raises:
        DataError: If a weight is negative or not finite.

    Example:
        >>> import bayesian_layers as bl
        >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
        >>> cold = bl.temper(model, 0.1), bl.temper(bl.guides.MeanFieldNormal(model), 0.1)

    References:
        Wenzel et al. (2020), arXiv 2002.02405 (cold posteriors).
    """
    check_kl_weight(kl_weight)
    return _Tempered(program, kl_weight)


def check_kl_weight(kl_weight: float | Mapping[str, float], sites: set[str] | None = None) -> None:
    """Raise DataError for a weight below 0 or not finite, and SiteError for a name that is not a latent site."""
    weights = kl_weight.values() if isinstance(kl_weight, Mapping) else [kl_weight]
    for weight in weights:
        if not is_number(weight) or not 0 <= weight < float("inf"):
            raise DataError(f"`kl_weight` must be finite and 0 or more; received {weight!r}")
    if sites is not None and isinstance(kl_weight, Mapping) and not kl_weight.keys() <= sites:
        unknown, known = sorted(kl_weight.keys() - sites), sorted(sites)
        raise SiteError(f"`kl_weight` names {unknown}, which are not latent sites; these are {known}")
