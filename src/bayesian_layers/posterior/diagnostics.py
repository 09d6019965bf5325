"""Diagnostics of a posterior: its weights, its importance weights, and checks of its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..inference_data import Loo
from ..metrics import PredictiveCheck
from ..metrics.predictive_checks import STATISTICS, Statistic
from ..network import Inputs
from . import importance, marginals, pruning, simulated_data
from .arviz_groups import to_arviz
from .fitted_model import FittedModel
from .pruning import Sparsity
from .weight_table import WeightTable, weight_table


class Diagnostics(FittedModel):
    """The methods of a posterior that describe its weights, and check it against data."""

    def to_arviz(
        self,
        x: Inputs,
        y: Tensor,
        num_draws: int = 1000,
        seed: int = 0,
        *,
        input_names: Sequence[str] | None = None,
        target_name: str = "y",
    ) -> Any:
        r"""Return draws, predictions and data in ArviZ's container.

        Groups: ``posterior``; ``prior``, with the fitted values of parameters without one; ``posterior_predictive`` and
        ``prior_predictive``; ``log_likelihood``; ``observed_data``; ``constant_data`` (``x``, or ``x_0`` and so on);
        ``sample_stats`` with ``lp`` :math:`= \log p(y, w_s)` over the unconstrained axis and, for guides, ``log_q``
        :math:`= \log q(w_s)` and their difference ``log_weight``, the log importance weight. Attributes: ``elbo``,
        ``k_hat`` of these weights, versions, seed, network, likelihood and a description of the fit. ``lp``,
        ``log_weight`` and ``k_hat`` are meaningful for all data of the fit only.

        Dimensions: ``row``, ``target`` if there are several, and ``input`` for the columns of ``x``. Weight and bias of
        layer ``0`` share ``0_output``; others are ``0_input`` and, in convolutions, ``0_kernel_0`` and so on.

        Args:
            x: Inputs ``(N, ...)``, or a tuple of inputs.
            y: Targets, ``(N,)`` or ``(N, K)``.
            num_draws: Number of draws S, at least 2. Predictions and likelihoods take memory for S times N numbers.
            seed: Seed of the draws.
            input_names: Names of the inputs: the coordinates of ``input`` and of the layer that receives ``x``.
            target_name: Name of the target in all groups.

        Returns:
            ``InferenceData`` (arviz 0.23) or ``DataTree`` (1.x), with the same variables, dimensions and coordinates,
            and one chain, as the draws are independent.

        Example:
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
            >>> posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
            >>> data = posterior.to_arviz(*bl.datasets.parabola(50), num_draws=40, input_names=["a", "b"])
            >>> data["posterior"]["weight"].sel(input="a").shape
            (1, 40, 1)
        """
        return to_arviz(
            self.model,
            self.source,
            x,
            y,
            num_draws,
            seed,
            input_names=input_names,
            target_name=target_name,
            data_schema=self.data_schema,
            elbo=self.elbo,
            fit=self.describe_fit(),
        )

    def loo(self, x: Inputs, y: Tensor, num_draws: int = 1000, seed: int = 0) -> Loo:
        r"""Estimate how well each row is predicted from all others, by PSIS-LOO for approximate posteriors.

        .. math:: \mathrm{elpd} = \sum_i \log \frac{\sum_s r_{is}\, p(y_i \mid w_s)}{\sum_s r_{is}},\qquad
            r_{is} \propto \frac{p(y, w_s)}{q(w_s)} \cdot \frac{1}{p(y_i \mid w_s)},

        with the largest weights of each row smoothed. This evaluates the exact posterior at KL weight 1, not the guide;
        a large k-hat means that the guide's draws cannot represent it. Stored draws count as draws from the posterior
        (:math:`q = p(w \mid y)`), each at most once.

        Args:
            x: All inputs of the fit.
            y: All targets of the fit.
            num_draws: Number of draws S, at least 2; more make heavy tails visible. They take memory for S times N
                numbers.
            seed: Seed of the draws.

        Returns:
            ``elpd`` with its standard error, pointwise values, k-hat per row, ``p_loo``, and a warning if k is too
            large.

        References:
            Vehtari, Gelman & Gabry (2017), arXiv 1507.04544; Magnusson et al. (2019), arXiv 1904.10679; Yao et al.
            (2018), arXiv 1802.02538.

        Example:
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
            >>> posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
            >>> loo = posterior.loo(*bl.datasets.parabola(50))
            >>> loo.pointwise.shape, loo.k_hat.shape
            ((50,), (50,))
        """
        return importance.loo(self.model, self.source, x, y, num_draws, seed)

    def k_hat(self, x: Inputs, y: Tensor, num_draws: int = 1000, seed: int = 0) -> float:
        r"""Estimate how heavy the tail of the importance weights :math:`p(y, w_s) / q(w_s)` is (PSIS).

        Below 0.5 weighted draws have the moments of the exact posterior; below 0.7 importance sampling still works.
        Above, importance weights cannot correct the guide, because somewhere in its tails the posterior's density is
        much larger than the guide's. Stored draws have no density, and so no k-hat.

        A high k-hat does not mean that the fit did not converge, nor that its means, standard deviations or predictions
        are wrong: the tails hardly affect moments. At the optimum of a mean-field guide of a network it is often above
        1. Poisson regressions with one parameter, whose mean a Normal guide finds to 1 % of a standard deviation and
        whose standard deviation to 3 %, have a k-hat of 1.2 to 1.7 with 1000 draws and 3 to 6 with 10,000 (as by
        ArviZ), because one tail of their exact posterior is heavier than a Normal's. To judge predictions, use rows
        that the fit has not seen.

        Args:
            x: All inputs of the fit.
            y: All targets of the fit.
            num_draws: Number of draws S, in parts of bounded memory; more reach farther into the tail.
            seed: Seed of the draws.

        Returns:
            The shape k of the tail: 0 if the weights are nearly equal, infinity if the tail cannot be estimated.

        References:
            Vehtari et al. (2024), arXiv 1507.02646; Yao et al. (2018), arXiv 1802.02538.

        Example:
            >>> import torch
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Normal(0.5))
            >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # orthogonal columns
            >>> posterior = bl.fit(model, x, x[:, 0], progress=False).posterior
            >>> posterior.k_hat(x, x[:, 0]) < 0.5
            True
        """
        return importance.k_hat(self.model, self.source, x, y, num_draws, seed)

    def signal_to_noise(self, num_draws: int = 1000, seed: int = 0) -> dict[str, Tensor]:
        r"""Return :math:`|\text{mean}| / \text{std}` of each weight: large for weights that the data determine.

        Args:
            num_draws: Number of draws, if the moments of the guide are not known exactly.
            seed: Seed of the draws.

        Returns:
            Site name to ratios of the site's shape, ``float64``, for sites that have a prior and are not positive.

        References:
            Blundell et al. (2015), arXiv 1505.05424, section 5.1.
        """
        return marginals.signal_to_noise(self.model, self.source, num_draws, seed)

    def weight_table(self, num_draws: int = 1000, seed: int = 0) -> WeightTable:
        """Compare the weights of each site with their prior.

        Args:
            num_draws: Number of draws, if the moments of the guide are not known exactly.
            seed: Seed of the draws.

        Returns:
            Entries, scales before and after the fit, signal-to-noise ratios and KL in nats per site; ``print`` it.
        """
        return weight_table(self.model, self.source, num_draws, seed)

    def sparsity(self, threshold: float = 3.0, num_draws: int = 1000, seed: int = 0) -> Sparsity:
        r"""Count the weights that are more noise than weight: :math:`\log \alpha = \log(\text{std}^2 / \text{mean}^2)`.

        This is the result of variational dropout (``bl.priors.LogUniform``); with any other prior :math:`\alpha =
        \text{SNR}^{-2}` counts weights by their signal-to-noise ratio. The threshold 3 corresponds to a dropout rate of
        0.95 and an SNR of 0.22. It is cautious: under the log-uniform prior :math:`\log \alpha` is above 3 for
        estimates within 1.05 standard errors of 0, above 0 within 1.7 and above -2 within 3.4, so at 3 a third of the
        weights without effect remain.

        Args:
            threshold: Threshold of :math:`\log \alpha`.
            num_draws: Number of draws, if the moments of the guide are not known exactly.
            seed: Seed of the draws.

        Returns:
            The numbers of weights, and of those above the threshold, per parameter with a prior; ``print`` it.

        References:
            Molchanov, Ashukha & Vetrov (2017), arXiv 1701.05369; Blundell et al. (2015), arXiv 1505.05424, for SNR.

        Example:
            >>> import torch
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1, prior=bl.priors.LogUniform()), bl.likelihoods.Normal(0.1))
            >>> guide = bl.guides.MeanFieldNormal(model, init_scale=0.1)
            >>> _ = guide.loc.data.copy_(torch.tensor([1.0, 0.001, 0.5]))
            >>> print(bl.Posterior.from_guide(model, guide).sparsity())
            site      weights    log alpha > 3    share
            weight          2                1    50.0%
            bias            1                0     0.0%
            all             3                1    33.3%
        """
        return pruning.sparsity(self.model, self.source, threshold, num_draws, seed)

    def predictive_check(
        self,
        x: Inputs,
        y: Tensor,
        statistics: Mapping[str, Statistic] = STATISTICS,
        num_draws: int = 1000,
        seed: int = 0,
    ) -> PredictiveCheck:
        """Compare statistics of the data with those of data drawn from the posterior predictive distribution.

        Args:
            x: Inputs.
            y: Targets; several per row are taken as one long vector.
            statistics: Name to a function from a vector to a number; by default mean, sd, min and max.
            num_draws: Number of data sets S, each under one draw of the weights.
            seed: Seed of the draws.

        Returns:
            The statistics and their tail probabilities; ``print`` it.
        """
        arguments = self.model, self.source, x, y, statistics, num_draws, seed
        return simulated_data.predictive_check(*arguments, prior=False)

    def prior_check(
        self,
        x: Inputs,
        y: Tensor,
        statistics: Mapping[str, Statistic] = STATISTICS,
        num_draws: int = 1000,
        seed: int = 0,
    ) -> PredictiveCheck:
        """Like :meth:`predictive_check`, with weights from the prior; parameters without one keep their fitted values.

        Args:
            x: Inputs.
            y: Targets; several per row are taken as one long vector.
            statistics: As for :meth:`predictive_check`.
            num_draws: Number of data sets S.
            seed: Seed of the draws.

        Returns:
            The statistics and their tail probabilities.
        """
        arguments = self.model, self.source, x, y, statistics, num_draws, seed
        return simulated_data.predictive_check(*arguments, prior=True)

    def pit(self, x: Inputs, y: Tensor, num_draws: int = 1000, seed: int = 0) -> np.ndarray:
        """Compute randomized probability integral transforms, for ``bl.metrics.pit_histogram`` and ``coverage_curve``.

        Args:
            x: Inputs of rows that the fit has not seen.
            y: Their targets.
            num_draws: Number of draws S, which take memory for S times N numbers.
            seed: Seed of the draws.

        Returns:
            Numbers between 0 and 1 in the shape of ``y``, uniformly distributed if the predictions are calibrated.
        """
        return simulated_data.pit(self.model, self.source, x, y, num_draws, seed)
