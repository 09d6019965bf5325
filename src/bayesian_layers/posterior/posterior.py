"""What every posterior offers, whatever its draws come from.

Long because it is the documentation of one class: the work is done in the modules that it calls.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import inference_data, predicting
from ..data_schema import DataSchema
from ..draw_sources import DrawSource, Pruned, StoredDraws
from ..errors import DataError, FitWarning, ShapeError, SiteError
from ..guides import Guide
from ..guides.layout import Layout
from ..inference_data import Loo
from ..likelihoods import Prediction
from ..metrics import PredictiveCheck
from ..metrics.predictive_checks import STATISTICS, Statistic
from ..model import BayesianModel
from ..network import Inputs
from ..predicting import MAX_MEMORY, PredictiveDraws, Rows, Weights
from ..refinement import ITERATIONS, Refinement, Settings, refine
from . import diagnostics, sparsity, writing
from .arviz_groups import to_arviz
from .functions import Functions, fixed
from .leave_one_out import loo
from .sparsity import Sparsity

KlWeight = float | Mapping[str, float]


class Posterior:
    """A posterior over the weights of a network: from a fit, from draws made elsewhere, or from a file.

    Holds copies: nothing done later to network, model or guide changes it. Its network is in ``eval`` mode.

    Args:
        model: The model, which becomes the posterior's own.
        source: Where draws come from, which becomes the posterior's own.
        elbo: The ELBO of the fit in nats, where there was one.
        kl_weight: The weight of the KL in that fit; not 1 means tempered.
        converged: Whether that fit passed its test of convergence; ``None`` where there was no test.
        refinement: How the draws were refined, where they were.
        data_schema: What the data of the fit looked like, where it is known.

    Attributes:
        model: The model.
        source: Where draws come from.
        elbo: The ELBO of the fit, or ``None``.
        kl_weight: The weight of the KL.
        converged: Whether the fit passed its test of convergence, or ``None``.
        refinement: What :meth:`refine` says about its chains, or ``None``.
        data_schema: Names, shapes and types of the data of the fit, or ``None``.
    """

    def __init__(
        self,
        model: BayesianModel,
        source: DrawSource,
        *,
        elbo: float | None = None,
        kl_weight: KlWeight = 1.0,
        converged: bool | None = None,
        refinement: Refinement | None = None,
        data_schema: DataSchema | None = None,
    ) -> None:
        self.model = model.eval()
        self.source = source
        self.elbo = elbo
        self.kl_weight = kl_weight
        self.converged = converged
        self.refinement = refinement
        self.data_schema = data_schema

    def __repr__(self) -> str:
        sites = ", ".join(self.model.sites())
        return f"Posterior({type(self.source).__name__} over {sites}; {self.describe_fit()})"

    @classmethod
    def from_guide(
        cls,
        model: BayesianModel,
        guide: Guide,
        *,
        elbo: float | None = None,
        kl_weight: KlWeight = 1.0,
        converged: bool | None = None,
        data_schema: DataSchema | None = None,
    ) -> Posterior:
        """Take a snapshot of a guide, however it was trained (``bl.fit``, Pyro's SVI, a loop of one's own).

        Args:
            model: The model.
            guide: A guide for it.
            elbo: The ELBO, if known.
            kl_weight: The weight of the KL that the guide was trained with.
            converged: Whether a test of convergence was passed, if there was one.
            data_schema: What the data looked like, if known.

        Returns:
            A posterior with copies of both.

        Raises:
            SiteError: If the guide was made for another model.
        """
        guide.check_made_for(model)
        return cls(
            copy.deepcopy(model),
            copy.deepcopy(guide),
            elbo=elbo,
            kl_weight=kl_weight,
            converged=converged,
            data_schema=data_schema,
        )

    @classmethod
    def from_samples(cls, model: BayesianModel, samples: Mapping[str, Tensor]) -> Posterior:
        """Take draws that were made elsewhere, for instance ``MCMC(NUTS(model)).get_samples()``.

        Args:
            model: The model.
            samples: For every latent site its draws, ``(M, *shape)`` with ``M >= 2``.

        Returns:
            A posterior of these draws.

        Raises:
            SiteError: If a site is missing or unknown.
            ShapeError: If draws do not have their site's shape.
            DataError: If a draw is NaN or infinite.
        """
        sites = model.sites()
        if samples.keys() != sites.keys():
            raise SiteError(f"`samples` must hold the sites {sorted(sites)}; received {sorted(samples)}")
        ordered = {name: torch.as_tensor(samples[name]) for name in sites}
        size = len(next(iter(ordered.values())))
        for name, value in ordered.items():
            expected = (size, *sites[name].initial.shape)
            if value.shape != expected or size < 2:
                raise ShapeError(f"samples[{name!r}]", ("M >= 2", *expected[1:]), value.shape)
            if not torch.isfinite(value).all():
                raise DataError(f"`samples[{name!r}]` has values that are NaN or infinite")
        like = {name: value.detach().to(sites[name].initial, copy=True) for name, value in ordered.items()}
        return cls(copy.deepcopy(model), StoredDraws(like))

    def refine(
        self,
        x: Inputs,
        y: Tensor,
        *,
        seconds: float | None = None,
        iterations: int | None = None,
        num_chains: int = 1000,
        seed: int = 0,
        leapfrog_steps: int = 8,
        progress: bool = True,
    ) -> Posterior:
        r"""Move draws from the guide's approximation to the posterior itself, by many short chains.

        As many chains as draws, chain i from draw i of ``sample(num_chains, seed)``, each moved by Hamiltonian Monte
        Carlo with the guide's variances as inverse masses (of an Ensemble the members' mean, of stored draws those of
        the draws); all in one batch. The step size is adapted in the first
        half, on the mean acceptance over the chains. The target is the model's own :math:`p(y, w \mid x)`, never
        tempered; positive sites move on the logarithm, point estimates stay where the fit left them.

        **It corrects within a mode only.** Chains wander through the mode in which they begin. A mode that the guide
        does not know is not found, and between modes nothing is weighed anew.

        Every gradient takes all rows: ``x`` and ``y`` must fit into memory, a stream of batches is not supported.

        Args:
            x: Inputs of the fit, N rows in front, or a tuple of inputs.
            y: Targets of the fit, ``(N,)`` or ``(N, K)``.
            seconds: Wall-clock seconds that it may take, preparations included; the first iteration is always made.
                The result depends on the machine; the record says how many iterations there were.
            iterations: Transitions a chain; reproducible to the bit for a seed and a number of threads. Without
                either, 60.
            num_chains: Chains S, and so draws; 16 or more for the nested R-hat.
            seed: Of the starts and of the chains' randomness.
            leapfrog_steps: Gradients a transition.
            progress: Whether to show a progress bar on stderr.

        Returns:
            A posterior of S stored draws; its ``refinement`` says acceptance, nested R-hat, effective sample size,
            and in words what to mind.

        Raises:
            DataError: If both ``seconds`` and ``iterations`` are given, or a number is out of range.
            SiteError: If the model has no likelihood, nothing has a prior, a prior is improper, or weights are pruned.
            ShapeError: If ``x`` and ``y`` do not belong together.
            TypeError: If they are no tensors.

        References:
            Margossian et al. (2023), "Nested R-hat: assessing the convergence of Markov chain Monte Carlo when
            running many short chains", arXiv 2110.13017; Hoffman & Gelman (2014), arXiv 1111.4246; Neal (2011),
            arXiv 1206.1901.

        Example:
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
            >>> posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=1.0))
            >>> refined = posterior.refine(*bl.datasets.parabola(), iterations=10, num_chains=100, progress=False)
            >>> refined.refinement.iterations, refined.sample(100)["weight"].shape
            (10, torch.Size([100, 1, 2]))
        """
        if isinstance(self.source, Pruned):
            raise SiteError(
                "chains would move weights that are pruned; refine the posterior before `prune`, and prune the result"
            )
        if seconds is None and iterations is None:
            iterations = ITERATIONS
        settings = Settings(seconds, iterations, num_chains, seed, leapfrog_steps)
        draws, record = refine(
            self.model, self.source, x, y, settings, notes=self._untempered(), progress=progress
        )
        for text in record.problems():
            warnings.warn(text, FitWarning, stacklevel=2)
        return Posterior(
            copy.deepcopy(self.model), StoredDraws(draws), refinement=record, data_schema=self.data_schema
        )

    def _untempered(self) -> list[str]:
        if self.kl_weight == 1.0:
            return []
        return [
            f"the draws before were TEMPERED (KL weight {self.kl_weight}); these are of the posterior itself, which is "
            "not tempered"
        ]

    def sample(self, num_draws: int = 1000, seed: int = 0) -> dict[str, Tensor]:
        """Draw weights.

        Args:
            num_draws: Number of draws S.
            seed: Draw ``i`` depends on ``(seed, i)`` alone: fewer draws are the start of more.

        Returns:
            Site name to draws, ``(S, *shape)``.

        Raises:
            DataError: If ``num_draws`` is not a whole number above 0, or ``seed`` is negative.
        """
        self._check_draws(num_draws, seed)
        return self.source.draw(num_draws, seed)

    def predict(
        self, x: Rows, num_draws: int = 1000, seed: int = 0, *, max_memory: int = MAX_MEMORY
    ) -> Prediction:
        r"""Give predictive moments: all rows under the same draws of the weights, in bounded memory.

        .. math::
            E[y] = \frac1S \sum_s m_s(x), \quad
            \operatorname{Var}[y] = \frac1S \sum_s (m_s(x) - E[y])^2 + \frac1S \sum_s v_s(x)

        with :math:`m_s`, :math:`v_s` the likelihood's mean and variance under draw s. Rows and draws go through the
        network in chunks; their sizes change results in the last digits only, and no weight at all.

        Args:
            x: Inputs with N rows in front; a tuple of inputs; an iterable of blocks of one of these, predicted one
                after the other; or the path of a ``.parquet`` or ``.csv`` file whose columns are the inputs
                (needs the extra ``parquet``).
            num_draws: Draws S of the weights, at least 2.
            seed: Which draws: those of ``sample(num_draws, seed)``.
            max_memory: Bytes to stay within, beside the inputs and what is returned. Weights that do not fit are
                drawn anew for each block of rows.

        Returns:
            Mean, epistemic, aleatoric and total deviation, in the shape and units of ``y``.

        Raises:
            DataError: If an input is NaN or infinite, or a number out of range.
            ShapeError: If there is no row, or a single draw.
            SiteError: If the model has no likelihood.
            MissingExtraError: If a file is to be read and pyarrow is not installed.

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
        """Write what :meth:`predict` gives to a file, as it comes; needs the extra ``parquet``.

        The columns are ``mean``, ``epistemic_std``, ``aleatoric_std`` and ``std``, with K targets ``mean_0`` to
        ``mean_<K-1>`` and so on.

        Args:
            path: A ``.parquet`` or ``.csv`` file. It appears, or is replaced, when all is written.
            x: Inputs, as for :meth:`predict`.
            num_draws: Draws S of the weights, at least 2.
            seed: Which draws.
            max_memory: Bytes to stay within, beside the inputs.

        Returns:
            The number of rows written.

        Raises:
            DataError: If the path ends otherwise, an input is NaN or infinite, or a number out of range.
            MissingExtraError: If pyarrow is not installed.
        """
        weights = self._weights(num_draws, seed)
        parts = predicting.predictions(self.model.network, self.model.likelihood, weights, x, max_memory)
        with self._explaining(x):
            return predicting.write(path, parts)

    def draws(
        self, x: Inputs, num_draws: int = 1000, seed: int = 0, *, max_memory: int = MAX_MEMORY
    ) -> PredictiveDraws:
        """Give the network's outputs under each draw: the whole array, for the functions in ``bl.predictive``.

        Args:
            x: Inputs with N rows in front, or a tuple of inputs.
            num_draws: Draws S of the weights.
            seed: Which draws: those of ``sample(num_draws, seed)``.
            max_memory: Bytes to stay within, beside what is returned.

        Returns:
            Outputs ``f``, ``(S, N, ...)``, with the likelihood and the draws of its own sites.

        Raises:
            SiteError: If the model has no likelihood.
        """
        weights = self._weights(num_draws, seed)
        with self._explaining(x):
            return predicting.draws(self.model.network, self.model.likelihood, weights, x, max_memory)

    def over_draws(
        self,
        function: Callable[..., Any],
        x: Rows,
        *rowwise: Tensor,
        num_draws: int = 1000,
        seed: int = 0,
        max_memory: int = MAX_MEMORY,
    ) -> Any:
        """Apply a function of draws to any number of rows, a block at a time.

        For instance ``posterior.over_draws(bl.predictive.log_prob, x, y)``.

        Args:
            function: Takes :class:`bayesian_layers.PredictiveDraws` of a block of rows, and the block's rows of each of
                ``rowwise``; gives a tensor, or a tuple of tensors, with the block's rows in front.
            x: Inputs, as for :meth:`predict`.
            *rowwise: Tensors with the rows of ``x`` in front, such as the targets.
            num_draws: Draws S of the weights.
            seed: Which draws: those of ``sample(num_draws, seed)``.
            max_memory: Bytes to stay within, beside inputs and results: a block's outputs, in ``float64``, take a
                twenty-fourth of it, which leaves room for what the function makes of them.

        Returns:
            What the function gives, for all rows.

        Raises:
            ShapeError: If the rows of ``rowwise`` or of a result are not those of ``x``.
            SiteError: If the model has no likelihood.
        """
        network, likelihood = self.model.network, self.model.likelihood
        weights = self._weights(num_draws, seed)
        with self._explaining(x):
            return predicting.over_draws(network, likelihood, weights, function, x, rowwise, max_memory)

    def _explaining(self, x: Rows) -> AbstractContextManager[None]:
        return nullcontext() if self.data_schema is None else self.data_schema.explaining(x)

    def _weights(self, num_draws: int, seed: int) -> Weights:
        self._check_draws(num_draws, seed)
        return Weights(num_draws, lambda count, start: self.source.draw(count, seed, start))

    @staticmethod
    def _check_draws(num_draws: int, seed: int) -> None:
        for name, value, least in (("num_draws", num_draws, 1), ("seed", seed, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise DataError(f"`{name}` must be a whole number, {least} or more; received {value!r}")

    def function(self, seed: int = 0) -> nn.Module:
        """Take one draw of the weights as a plain network: one draw is one function.

        Args:
            seed: The draw is number 0 of ``sample(seed=seed)``.

        Returns:
            A copy of the network in ``eval`` mode with these weights, fixed; maps ``x`` to ``f``.
        """
        return fixed(self.model.network, {name: value[0] for name, value in self.sample(1, seed).items()})

    def functions(self, num_draws: int = 1000, seed: int = 0) -> Functions:
        """Take draws of the weights as plain networks, called at once: S draws are S functions.

        Args:
            num_draws: Number of functions S.
            seed: Function ``i`` has draw ``i`` of ``sample(num_draws, seed)``: fewer are the start of more.

        Returns:
            A module in ``eval`` mode with these weights, fixed; maps ``x`` with N rows to ``f``, ``(S, N, ...)``.

        Raises:
            DataError: If ``num_draws`` is not a whole number above 0, or ``seed`` is negative.
        """
        return Functions(self.model.network, self.sample(num_draws, seed))

    def mean_function(self) -> nn.Module:
        """Take the means of the weights as a plain network.

        Its output is not the predictive mean, which averages outputs, not weights.

        Returns:
            A copy of the network in ``eval`` mode with these weights, fixed; maps ``x`` to ``f``.
        """
        return fixed(self.model.network, self.source.mean())

    def summary(self, num_draws: int = 1000, seed: int = 0, interval_prob: float = 0.94) -> Any:
        """Summarize the weights by ArviZ: mean, deviation and highest-density interval.

        The draws are independent, so R-hat and ESS would say nothing about the fit and are left out, and so are the
        sites that every draw takes from their prior (``bl.priors.Noise``).

        Args:
            num_draws: Draws S.
            seed: Which draws.
            interval_prob: Probability inside the interval.

        Returns:
            A pandas ``DataFrame`` with one row an entry (``0.weight[3, 1]``); the name of its columns' axis
            says the KL weight, and so any tempering, and whether the fit converged.

        Raises:
            DataError: If ``interval_prob`` is not between 0 and 1, or there are fewer than two draws.
        """
        if not 0 < interval_prob < 1 or num_draws < 2:
            raise DataError(
                "a summary needs an `interval_prob` between 0 and 1 and at least 2 draws; "
                f"received {interval_prob} and {num_draws}"
            )
        hidden = Layout.of(self.model.sites()).drawn
        draws = {n: v.cpu().numpy() for n, v in self.sample(num_draws, seed).items() if n not in hidden}
        table = inference_data.summarize(draws, interval_prob=interval_prob)
        return table.rename_axis(columns=self.describe_fit())

    def describe_fit(self) -> str:
        """Say which KL weight the posterior was fitted with, and whether the fit converged, or how it was refined.

        Returns:
            For instance ``KL weight 1; converged`` or ``TEMPERED: KL weight 0.1; NOT CONVERGED``; of a pruned posterior
            with the number of weights that are 0.
        """
        return f"{self._describe_fit()}{self.source.describe() if isinstance(self.source, Pruned) else ''}"

    def _describe_fit(self) -> str:
        weight = "KL weight 1" if self.kl_weight == 1.0 else f"TEMPERED: KL weight {self.kl_weight}"
        if self.refinement is not None:
            return self.refinement.describe()
        if self.converged is None:
            return weight
        return f"{weight}; {'converged' if self.converged else 'NOT CONVERGED'}"

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
        r"""Hand draws, predictions and data to ArviZ.

        Groups: ``posterior``; ``prior``, the sites that have one, under the learned values of those that have none;
        ``posterior_predictive`` and ``prior_predictive``; ``log_likelihood``; ``observed_data``; ``constant_data``
        (``x``, or ``x_0`` and so on); ``sample_stats`` with, for each draw, ``lp``:math:`= \log p(y, w_s)` over the
        unconstrained axis and, where draws come from a guide, ``log_q``:math:`= \log q(w_s)` and their difference
        ``log_weight``, the logarithm of the importance weight. Attributes, here and of ``sample_stats``: ``elbo`` and
        ``k_hat`` of these weights; of the container also versions, seed, network, likelihood and how it was fitted.
        ``lp``, ``log_weight`` and ``k_hat`` mean something only for the data of the fit, all of it.

        Dimensions: rows are ``row``, several targets ``target``, columns of ``x`` ``input``. A layer's axes are named
        after it, shared by its weight and bias: ``0_output``, ``0_input``, of a convolution ``0_kernel_0``.

        Args:
            x: Inputs with N rows in front, or a tuple of inputs.
            y: Targets, ``(N,)`` or ``(N, K)``.
            num_draws: Draws S, at least 2.
            seed: Which draws.
            input_names: Names of the inputs: the coordinates of ``input`` and of the layer that sees ``x`` itself.
            target_name: What the target is called in all groups.

        Returns:
            ``InferenceData`` (arviz 0.23) or ``DataTree`` (1.x), with the same variables, dimensions and coordinates.
            The draws are independent: one chain. Predictions and likelihoods take memory of S times N numbers.

        Raises:
            SiteError: If the model has no likelihood.
            ShapeError: If ``y`` does not belong to ``x``.
            DataError: If names or values do not fit.

        Example:
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
            >>> posterior = Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
            >>> data = posterior.to_arviz(*bl.datasets.parabola(50), num_draws=40, input_names=["a", "b"])
            >>> data["posterior"]["weight"].sel(input="a").shape
            (1, 40, 1)
        """
        return to_arviz(self, x, y, num_draws, seed, input_names=input_names, target_name=target_name)

    def loo(self, x: Inputs, y: Tensor, num_draws: int = 1000, seed: int = 0) -> Loo:
        r"""Estimate how well each row is predicted from all the others, by PSIS-LOO made for approximations.

        .. math:: \mathrm{elpd} = \sum_i \log \frac{\sum_s r_{is}\, p(y_i \mid w_s)}{\sum_s r_{is}},\qquad
            r_{is} \propto \frac{p(y, w_s)}{q(w_s)} \cdot \frac{1}{p(y_i \mid w_s)},

        the largest weights of each row smoothed. So it is the posterior at KL weight 1 that is judged, not the guide,
        and k-hat says whether its draws can reach so far. Stored draws are taken to be the posterior's
        (:math:`q = p(w \mid y)`), each at most once.

        Args:
            x: The inputs of the fit, all of them.
            y: The targets of the fit.
            num_draws: Draws S, at least 2; more make heavy tails easier to see. Memory is S times N numbers.
            seed: Which draws.

        Returns:
            ``elpd`` with its standard error, pointwise values, k-hat a row, ``p_loo``, and a warning in words where k
            is too large.

        Raises:
            SiteError: If the model has no likelihood.
            ShapeError: If ``y`` does not belong to ``x``.
            DataError: If a value cannot be the model's, or a density is not finite.

        References:
            Vehtari, Gelman & Gabry (2017), arXiv 1507.04544; Magnusson et al. (2019), arXiv 1904.10679; Yao et al.
            (2018), arXiv 1802.02538.

        Example:
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
            >>> posterior = Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
            >>> loo = posterior.loo(*bl.datasets.parabola(50))
            >>> loo.pointwise.shape, loo.k_hat.shape
            ((50,), (50,))
        """
        return loo(self, x, y, num_draws, seed)

    def k_hat(self, x: Inputs, y: Tensor, num_draws: int = 1000, seed: int = 0) -> float:
        r"""Estimate the shape of the tail of the importance weights :math:`p(y, w_s) / q(w_s)` (PSIS).

        Below 0.5 the guide is so near the posterior that weighted draws give its moments; below 0.7 importance
        sampling still works; above, the guide lacks some of the posterior. Not a sign of convergence: at the
        optimum of a mean-field guide of a network it is often above 1. 0 for weights that are all but equal.

        Args:
            x: The inputs of the fit, all of them.
            y: The targets of the fit.
            num_draws: Draws S: more see farther into the tail. They are taken in parts of bounded memory.
            seed: Which draws.

        Returns:
            The shape k; infinity where the tail cannot be judged.

        Raises:
            DataError: If the posterior consists of stored draws, whose density is not known.
            SiteError: If the model has no likelihood.

        References:
            Vehtari et al. (2024), arXiv 1507.02646; Yao et al. (2018), arXiv 1802.02538.

        Example:
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Normal(0.5))
            >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # orthogonal columns
            >>> posterior = bl.fit(model, x, x[:, 0], progress=False).posterior
            >>> posterior.k_hat(x, x[:, 0]) < 0.5
            True
        """
        return diagnostics.k_hat(self, x, y, num_draws, seed)

    def signal_to_noise(self, num_draws: int = 1000, seed: int = 0) -> dict[str, Tensor]:
        r"""Give :math:`|\text{mean}| / \text{deviation}` of each weight: which ones the data have determined.

        Args:
            num_draws: Draws to take the moments from, where the guide does not know them.
            seed: Which draws.

        Returns:
            Site name to ratios of the site's shape, ``float64``; only sites that have a prior and are not positive.

        References:
            Blundell et al. (2015), arXiv 1505.05424, section 5.1.
        """
        return diagnostics.signal_to_noise(self, num_draws, seed)

    def sparsity(self, threshold: float = 3.0, num_draws: int = 1000, seed: int = 0) -> Sparsity:
        r"""Count the weights that are more noise than weight: :math:`\log \alpha = \log(\text{std}^2 / \text{mean}^2)`.

        What variational dropout finds (``bl.priors.LogUniform``); for any other prior it counts weights by their
        signal-to-noise ratio, :math:`\alpha = \text{SNR}^{-2}`. The threshold 3 is a dropout rate of 0.95, an SNR of
        0.22. It is cautious: under the log-uniform prior a weight that the data know by itself is above 3 where its
        estimate is within 1.05 standard errors of 0, above 0 within 1.7, above -2 within 3.4; so at 3 a third of the
        weights that do nothing stay.

        Args:
            threshold: Of :math:`\log \alpha`.
            num_draws: Draws to take the moments from, where the guide does not know them.
            seed: Which draws.

        Returns:
            Weights and those above the threshold, of each parameter of the network that has a prior; ``print`` it.

        Raises:
            DataError: If a number is out of range.
            SiteError: If no weight has a prior.

        References:
            Molchanov, Ashukha & Vetrov (2017), arXiv 1701.05369; Blundell et al. (2015), arXiv 1505.05424, for SNR.

        Example:
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
        return sparsity.sparsity(self, threshold, num_draws, seed)

    def prune(self, threshold: float = 3.0, num_draws: int = 1000, seed: int = 0) -> Posterior:
        r"""Set the weights that :meth:`sparsity` counts to zero: exactly, in every draw and in the mean.

        The result predicts, is saved and gives plain networks (``function``, ``functions``, ``mean_function``) as
        any posterior; draw i is draw i of this one, with zeros. It has no density, so ``loo``, ``k_hat``, ``to_arviz``
        and ``refine`` are refused, and no ELBO.

        Args:
            threshold: Of :math:`\log \alpha`; smaller prunes more.
            num_draws: Draws to take the moments from, where the guide does not know them.
            seed: Which draws.

        Returns:
            A posterior with copies of model and guide.

        Raises:
            DataError: If a number is out of range.
            SiteError: If no weight has a prior.

        Example:
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1, prior=bl.priors.LogUniform()), bl.likelihoods.Normal(0.1))
            >>> guide = bl.guides.MeanFieldNormal(model, init_scale=0.1)
            >>> _ = guide.loc.data.copy_(torch.tensor([1.0, 0.001, 0.5]))
            >>> bl.Posterior.from_guide(model, guide).prune().mean_function().weight.tolist()
            [[1.0, 0.0]]
        """
        return Posterior(
            copy.deepcopy(self.model),
            sparsity.prune(self, threshold, num_draws, seed),
            kl_weight=self.kl_weight,
            converged=self.converged,
            refinement=self.refinement,
            data_schema=self.data_schema,
        )

    def with_input_names(self, names: Sequence[str]) -> Posterior:
        """Return the same posterior with names for the columns of its inputs.

        ArviZ's groups, the model card and saved folders show the names. Model and draws are shared, not copied.

        Args:
            names: One name per entry of the last axis of the (first) input.

        Returns:
            A posterior that differs in the names only.

        Raises:
            DataError: If there are not as many names as entries, a name cannot be saved, or the posterior is not that
                of a fit and so has no record of its data.

        Example:
            >>> import bayesian_layers as bl
            >>> x, y = bl.datasets.parabola()
            >>> model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
            >>> posterior = bl.fit(model, x, y, progress=False).posterior.with_input_names(["x0", "x1"])
            >>> posterior.data_schema.inputs[0].names
            ('x0', 'x1')
        """
        if self.data_schema is None:
            raise DataError(
                "the posterior must have a record of its data to name them; use the posterior of a fit"
            )
        named = copy.copy(self)
        named.data_schema = self.data_schema.named(tuple(names))
        return named

    def weight_table(self, num_draws: int = 1000, seed: int = 0) -> diagnostics.WeightTable:
        """Tell, site by site, which weights left their prior, and how far.

        Args:
            num_draws: Draws to take the moments from, where the guide does not know them.
            seed: Which draws.

        Returns:
            Entries, scales before and after, signal-to-noise and KL in nats of each site; ``print`` it.

        Raises:
            SiteError: If nothing has a prior.
        """
        return diagnostics.weight_table(self, num_draws, seed)

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
            y: Targets; several a row are taken as one long vector.
            statistics: Name to a function from a vector to one number; first mean, sd, min and max.
            num_draws: Data sets S, each under one draw of the weights.
            seed: Which draws.

        Returns:
            The statistics and their tail probabilities; ``print`` it.

        Raises:
            SiteError: If the model has no likelihood.
        """
        return diagnostics.predictive_check(self, x, y, statistics, num_draws, seed, prior=False)

    def prior_check(
        self,
        x: Inputs,
        y: Tensor,
        statistics: Mapping[str, Statistic] = STATISTICS,
        num_draws: int = 1000,
        seed: int = 0,
    ) -> PredictiveCheck:
        """Do the same with weights from the prior; what has none stands at what the fit has found.

        Args:
            x: Inputs.
            y: Targets.
            statistics: As for :meth:`predictive_check`.
            num_draws: Data sets S.
            seed: Which draws.

        Returns:
            The statistics and their tail probabilities.
        """
        return diagnostics.predictive_check(self, x, y, statistics, num_draws, seed, prior=True)

    def pit(self, x: Inputs, y: Tensor, num_draws: int = 1000, seed: int = 0) -> np.ndarray:
        """Compute randomized probability integral transforms, for ``bl.metrics.pit_histogram`` and ``coverage_curve``.

        Args:
            x: Inputs, of rows that the fit has not seen.
            y: Their targets.
            num_draws: Draws S. Memory is S times N numbers.
            seed: Which draws.

        Returns:
            Numbers between 0 and 1 in the shape of ``y``, uniform where the predictions are right.
        """
        return diagnostics.pit(self, x, y, num_draws, seed)

    def save(
        self, folder: str | Path, *, extra_documents: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Write the posterior to a folder: safetensors and JSON, never a pickle, and a model card for people.

        ``MODEL_CARD.md`` is never read back: it may be edited, and the next ``save`` writes it anew.

        Args:
            folder: A folder that does not exist yet, or one that ``save`` wrote, which is replaced.
            extra_documents: Further JSON documents to keep beside it, by name (a table's schema).

        Raises:
            StorageError: If the folder is something else, the model is of a class that cannot be described, or the
                disk fails; what was there before stays.
        """
        facts = {
            "elbo": self.elbo,
            "kl_weight": dict(self.kl_weight) if isinstance(self.kl_weight, Mapping) else self.kl_weight,
            "converged": self.converged,
        }
        writing.write(
            folder,
            self.model,
            self.source,
            facts=facts,
            refinement=self.refinement,
            data_schema=self.data_schema,
            extra_documents=extra_documents or {},
        )
