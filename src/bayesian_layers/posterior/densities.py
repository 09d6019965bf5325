"""Log densities of draws, for importance weights and cross-validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..draw_sources import DrawSource, Pruned
from ..errors import DataError
from ..guides import Guide
from ..guides.layout import Layout
from ..guides.prior_density import log_prior
from ..model import BayesianModel, log_likelihood
from ..network import Inputs, check_inputs, check_targets, num_rows, output_shape
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


def check_data(model: BayesianModel, source: DrawSource, x: Inputs, y: Tensor) -> tuple[Inputs, Tensor]:
    """Return inputs and targets on the model's device; raise if the model cannot have produced the targets."""
    likelihood = check_likelihood(model.likelihood)
    x = check_inputs(x, model.network)
    y = check_targets(y, num_rows(x), model.network)
    outputs = output_shape(model.network, x, 0, lambda: source.draw(2, 0))
    likelihood.check(y, num_rows(x), outputs)
    return x, y
