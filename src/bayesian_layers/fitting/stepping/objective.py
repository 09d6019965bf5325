"""The objective that each step of a fit minimises."""

from __future__ import annotations

from torch import Tensor, nn

from ...estimators import Estimator
from ...guides import Guide
from ...guides.kl import FlatPriors
from ...network import Inputs


class Objective(nn.Module):
    """Estimates the negative ELBO on one batch: the weighted KL minus the expected log likelihood."""

    # In nats of the whole data set. The first term is the estimator's, from the model's own program. The second one
    # has a closed form in the guide's flat parameters, or is estimated on the same draws. For guides with independent
    # Normal sites and the plain estimator the sum equals Pyro's `TraceMeanField_ELBO` on the same draws.

    def __init__(self, guide: Guide, estimator: Estimator, priors: FlatPriors) -> None:
        super().__init__()
        self.guide = guide
        self.estimator = estimator
        self.priors = priors

    def forward(
        self,
        noise: Tensor,
        row_noise: tuple[Tensor, ...],
        x: Inputs,
        y: Tensor,
        weight: Tensor | None,
        scale: float,
    ) -> Tensor:
        """Estimate the objective."""
        log_p = self.estimator(self.guide, noise, row_noise, x, y, scale=scale, weight=weight)
        return self.guide.kl_estimate(self.priors, noise) - log_p
