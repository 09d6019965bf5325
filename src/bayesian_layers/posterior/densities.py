"""Log densities of draws, for importance weights and cross-validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..arguments import check_tensor
from ..draw_sources import DrawSource, Pruned
from ..errors import DataError, ShapeError
from ..guides import Guide
from ..guides.layout import Layout
from ..guides.prior_density import log_prior
from ..model import BayesianModel, log_likelihood, sample
from ..network import Inputs, check_inputs, explain_errors, num_rows, take_rows
from ..predicting import check_likelihood


@dataclass(frozen=True)
class Densities:
    """Log densities of S draws in nats, over the unconstrained axis, where positive sites are logarithms."""

    log_likelihood: Tensor  # of each row under each draw, (S, N)
    log_joint: Tensor  # log p(y, w_s), (S,) in float64; point estimates contribute nothing
    log_q: Tensor | None  # log q(w_s) of the guide, (S,); None for stored draws

    @property
    def log_weights(self) -> Tensor | None:
        """Log importance weights from guide to posterior, ``(S,)``; None for stored draws."""
        return None if self.log_q is None else self.log_joint - self.log_q


@torch.no_grad()
def densities(
    model: BayesianModel, source: DrawSource, draws: Mapping[str, Tensor], x: Inputs, y: Tensor
) -> Densities:
    """Compute the log densities of draws."""
    if isinstance(source, Pruned):
        raise DataError(
            "draws of a pruned posterior have no density, as some weights are 0 in every draw; use the posterior from "
            "before `prune`"
        )
    sites = model.sites()
    layout = Layout.of(sites)
    flat, point = (layout.flat(draws, names) for names in (layout.random, layout.points))
    by_row = log_likelihood(model, draws, x, y)
    log_joint = by_row.double().sum(1) + log_prior(sites, layout, flat, point).double()
    return Densities(
        by_row, log_joint, source.log_density(flat).double() if isinstance(source, Guide) else None
    )


def check_data(model: BayesianModel, x: Inputs, y: Tensor) -> tuple[Inputs, Tensor]:
    """Return inputs and targets on the model's device; raise if the model cannot have produced the targets."""
    likelihood = check_likelihood(model.likelihood)
    x = check_inputs(x, model.network)
    y = check_tensor("y", y)
    if y.shape[:1] != (num_rows(x),):
        raise ShapeError("y", (num_rows(x), *y.shape[1:]), y.shape, "Pass one target per row of `x`.")
    point = {name: site.initial.unsqueeze(0) for name, site in model.sites().items()}
    with explain_errors(x):
        f = sample(model, point, take_rows(x, slice(0, 1)), "f")
    y = y.to(f.device)
    likelihood.check(y, num_rows(x), f.shape[2:])
    return x, y
