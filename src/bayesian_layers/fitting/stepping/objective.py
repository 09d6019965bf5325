"""The objective of a fit: what each step minimises, and its exact evaluation on common draws."""

from __future__ import annotations

from torch import Tensor, nn

from ...estimators import Estimator
from ...guides import Guide
from ...guides.kl import FlatPriors
from ...network import Inputs


class Objective(nn.Module):
    r"""What a fit minimises, estimated on one batch, in nats of the whole data set.

    .. math:: -\widehat{E_q}[\log p(y \mid x, w)] + \sum_j \text{weight}_j \, \mathrm{KL}(q_j \| p_j)

    The first term is the estimator's, from the model's own program; the second is in closed form over the
    guide's flat parameters, or for a guide that has none an estimate on the same draws. For guides with
    independent Normal sites and the plain estimator it is Pyro's ``TraceMeanField_ELBO`` on the same draws.

    Args:
        guide: The guide; its parameters are this module's.
        estimator: How the first term is estimated.
        priors: The priors as flat vectors, with the weights of the KL.
    """

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
