"""Predictions of a posterior, and its draws as functions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .. import predicting
from ..arguments import check_draws
from ..likelihoods import Prediction
from ..predicting import MAX_MEMORY, PredictiveDraws, Rows, WeightDraws
from .fitted_model import FittedModel
from .fixed_networks import Functions, fixed


class Predictions(FittedModel):
    """The methods of a posterior that predict."""

    def predict(
        self, x: Rows, num_draws: int = 1000, seed: int = 0, *, max_memory: int = MAX_MEMORY
    ) -> Prediction:
        r"""Compute predictive moments of any number of rows, in bounded memory.

        .. math::
            E[y] = \frac1S \sum_s m_s(x), \quad
            \operatorname{Var}[y] = \frac1S \sum_s (m_s(x) - E[y])^2 + \frac1S \sum_s v_s(x)

        with :math:`m_s`, :math:`v_s` the mean and variance of the likelihood under draw s. All rows see the same draws.
        Rows and draws pass through the network in chunks, whose sizes affect the last digits only.

        Args:
            x: Inputs ``(N, ...)``; a tuple of inputs; an iterable of blocks of either; or the path of a ``.csv`` or
                ``.parquet`` file whose columns are the inputs (Parquet needs the extra ``parquet``).
            num_draws: Number of draws S of the weights, at least 2.
            seed: Seed of the draws, which are those of ``sample(num_draws, seed)``.
            max_memory: Most bytes to use in addition to inputs and results. Weights that do not fit are drawn again for
                each block of rows.

        Returns:
            Mean and epistemic, aleatoric and total standard deviation, in the shape and units of ``y``.

        Raises:
            DataError: If an input is NaN, infinite or not accepted by the network, or a number is out of range.
            ShapeError: If there is no row, only one draw, or rows have another shape than in the fit.
            SiteError: If the model has no likelihood.
            MissingExtraError: If ``x`` is a Parquet file and pyarrow is not installed.

        References:
            Kendall & Gal (2017), arXiv 1703.04977.
        """
        weights = self._weights(num_draws, seed)
        with self._explaining(x):
            return predicting.predict(self.model.network, self.model.likelihood, weights, x, max_memory)

    def predict_to(
        self,
        path: str | Path,
        x: Rows,
        num_draws: int = 1000,
        seed: int = 0,
        *,
        max_memory: int = MAX_MEMORY,
    ) -> int:
        """Write the moments of :meth:`predict` to a file as they are computed.

        The columns are ``mean``, ``epistemic_std``, ``aleatoric_std`` and ``std``; with K targets ``mean_0`` to
        ``mean_<K-1>`` and so on.

        Args:
            path: A ``.csv`` or ``.parquet`` file (Parquet needs the extra ``parquet``). It appears, or is replaced,
                when all rows are written.
            x: Inputs, as for :meth:`predict`.
            num_draws: Number of draws S of the weights, at least 2.
            seed: Seed of the draws.
            max_memory: Most bytes to use in addition to the inputs.

        Returns:
            The number of rows written.

        Raises:
            DataError: If the path has another ending, an input is NaN or infinite, or a number is out of range.
            StorageError: If the file cannot be written; what was there before is unchanged.
            MissingExtraError: If a Parquet file is read or written and pyarrow is not installed.
        """
        weights = self._weights(num_draws, seed)
        parts = predicting.predict_blocks(self.model.network, self.model.likelihood, weights, x, max_memory)
        with self._explaining(x):
            return predicting.write_predictions(path, parts)

    def draws(
        self, x: Rows, num_draws: int = 1000, seed: int = 0, *, max_memory: int = MAX_MEMORY
    ) -> PredictiveDraws:
        """Compute the network's outputs under each draw, for the functions in ``bl.predictive``.

        Args:
            x: Inputs, as for :meth:`predict`.
            num_draws: Number of draws S of the weights.
            seed: Seed of the draws.
            max_memory: Most bytes to use in addition to the result.

        Returns:
            Outputs ``f``, ``(S, N, ...)``, with the likelihood and the draws of its own sites.
        """
        weights = self._weights(num_draws, seed)
        with self._explaining(x):
            return predicting.draw_outputs(self.model.network, self.model.likelihood, weights, x, max_memory)

    def over_draws(
        self,
        function: Callable[..., Any],
        x: Rows,
        *per_row: Tensor,
        num_draws: int = 1000,
        seed: int = 0,
        max_memory: int = MAX_MEMORY,
    ) -> Any:
        """Apply a function of draws to any number of rows, a block at a time.

        For instance ``posterior.over_draws(bl.predictive.log_prob, x, y)``.

        Args:
            function: Takes :class:`bayesian_layers.PredictiveDraws` of a block of rows and the block's rows of each of
                ``per_row``; returns a tensor, or a tuple of tensors, whose first axis is the block's rows.
            x: Inputs, as for :meth:`predict`.
            *per_row: Tensors whose first axis is the rows of ``x``, such as the targets.
            num_draws: Number of draws S of the weights.
            seed: Seed of the draws.
            max_memory: Most bytes to use in addition to inputs and results. The outputs of a block, in ``float64``,
                take a twenty-fourth of it; the rest is for what the function computes from them.

        Returns:
            The function's results, for all rows.
        """
        network, likelihood = self.model.network, self.model.likelihood
        weights = self._weights(num_draws, seed)
        with self._explaining(x):
            return predicting.over_draws(network, likelihood, weights, function, x, per_row, max_memory)

    def function(self, seed: int = 0) -> nn.Module:
        """Return the network with one draw of the weights: one draw is one function.

        Args:
            seed: Seed of the draw, which is draw 0 of ``sample(seed=seed)``.

        Returns:
            A copy of the network in ``eval`` mode with fixed weights; it maps ``x`` to ``f``.
        """
        return fixed(self.model.network, {name: value[0] for name, value in self.sample(1, seed).items()})

    def functions(self, num_draws: int = 1000, seed: int = 0) -> Functions:
        """Return S draws of the weights as one module that calls S networks at once.

        Args:
            num_draws: Number of functions S.
            seed: Seed of the draws; function ``i`` has draw ``i`` of ``sample(num_draws, seed)``.

        Returns:
            A module in ``eval`` mode with fixed weights; it maps ``x`` with N rows to ``f``, ``(S, N, ...)``.
        """
        return Functions(self.model.network, self.sample(num_draws, seed))

    def mean_function(self) -> nn.Module:
        """Return the network with the posterior means of the weights.

        Its output is not the predictive mean, which averages outputs instead of weights.

        Returns:
            A copy of the network in ``eval`` mode with fixed weights; it maps ``x`` to ``f``.
        """
        return fixed(self.model.network, self.source.mean())

    def _explaining(self, x: Rows) -> AbstractContextManager[None]:
        return nullcontext() if self.data_schema is None else self.data_schema.explain_errors(x)

    def _weights(self, num_draws: int, seed: int) -> WeightDraws:
        num_draws, seed = check_draws(num_draws, seed, least=1)
        return WeightDraws(num_draws, lambda count, start: self.source.draw(count, seed, start))
