"""Densities of draws: what importance weights and cross-validation need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..draw_sources import DrawSource, Pruned
from ..errors import DataError, ShapeError, SiteError
from ..guides import Guide
from ..guides.layout import Layout
from ..guides.prior_density import log_prior
from ..likelihoods import Likelihood
from ..model import BayesianModel, log_likelihood, sample
from ..network import Inputs, check_inputs, num_rows, take_rows


@dataclass(frozen=True)
class Densities:
    r"""Log densities of S draws over the unconstrained axis, where positive sites are logarithms.

    Attributes:
        log_likelihood: Of each row under each draw, nats, ``(S, N)``.
        log_joint: :math:`\log p(y, w_s)`, nats, ``(S,)``, ``float64``; point-estimated entries count for nothing.
        log_q: :math:`\log q(w_s)` of the guide, nats, ``(S,)``; ``None`` for stored draws.
    """

    log_likelihood: Tensor
    log_joint: Tensor
    log_q: Tensor | None

    @property
    def log_weights(self) -> Tensor | None:
        """Logarithms of the importance weights from guide to posterior, ``(S,)``; ``None`` for stored draws."""
        return None if self.log_q is None else self.log_joint - self.log_q


@torch.no_grad()
def densities(
    model: BayesianModel, source: DrawSource, draws: Mapping[str, Tensor], x: Inputs, y: Tensor
) -> Densities:
    """Compute the log densities of draws."""
    if isinstance(source, Pruned):
        raise DataError(
            "some weights of a pruned posterior are 0 in every draw, so its draws have no density to judge them by; "
            "ask the posterior before `prune`"
        )
    sites = model.sites()
    layout = Layout.of(sites)
    flat, point = (layout.flat(draws, names) for names in (layout.random, layout.points))
    by_row = log_likelihood(model, draws, x, y)
    log_joint = by_row.double().sum(1) + log_prior(sites, layout, flat, point).double()
    return Densities(
        by_row, log_joint, source.log_density(flat).double() if isinstance(source, Guide) else None
    )


def checked(model: BayesianModel, x: Inputs, y: Tensor) -> tuple[Likelihood, Inputs, Tensor]:
    """Refuse data that the model cannot have seen."""
    likelihood = model.likelihood
    if likelihood is None:
        raise SiteError("the model has no likelihood, so no predictions and no log likelihoods; give it one")
    x = check_inputs(x, model.network)
    if not isinstance(y, Tensor):
        raise TypeError(f"`y` must be a torch tensor; received {type(y).__name__}. Use torch.as_tensor.")
    if y.shape[:1] != (num_rows(x),):
        raise ShapeError("y", (num_rows(x), *y.shape[1:]), y.shape, "One target a row of `x`.")
    point = {name: site.initial.unsqueeze(0) for name, site in model.sites().items()}
    f = sample(model, point, take_rows(x, slice(0, 1)), "f")
    part = x[0] if isinstance(x, tuple) else x
    y = y.to(part.device)
    likelihood.check(y, num_rows(x), f.shape[2:])
    return likelihood, x, y


def check_numbers(num_draws: int, seed: int) -> None:
    """Refuse a number of draws that has no spread, and a seed that is none."""
    for name, value, least in (("num_draws", num_draws, 2), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise DataError(f"`{name}` must be a whole number, {least} or more; received {value!r}")
