"""`Posterior`: the result of a fit, independent of the inference method."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data_schema import DataSchema
from ..draw_sources import Pruned, StoredDraws
from ..errors import DataError, FitWarning, SiteError
from ..guides import Guide
from ..guides.base import check_is_guide
from ..model import BayesianModel
from ..network import Inputs
from ..refinement import ITERATIONS, Settings, refine
from . import pruning, writing
from .diagnostics import Diagnostics
from .fitted_model import KlWeight
from .predictions import Predictions
from .samples import check_samples


class Posterior(Predictions, Diagnostics):
    """A posterior over the weights of a network: from a fit, from samples, or from a file.

    It holds copies, so later changes of network, model or guide do not change it. Its network is in ``eval`` mode.
    Its methods raise ``SiteError`` if the model lacks a likelihood or prior that they need, ``ShapeError`` if arrays do
    not belong together, and ``DataError`` for values that the model cannot take and for numbers out of range.

    Args:
        model: The model, which belongs to the posterior from now on.
        source: The source of its draws, which belongs to the posterior from now on.
        elbo: The ELBO of the fit in nats, if there was one.
        kl_weight: The weight of the KL in the fit; other values than 1 mean tempered.
        converged: Whether the fit passed its test of convergence; ``None`` without a test.
        refinement: The record of a refinement, if the draws were refined.
        data_schema: The names, shapes and dtypes of the data of the fit, if they are known.

    Attributes:
        model: The model.
        source: The source of its draws.
        elbo: The ELBO of the fit, or ``None``.
        kl_weight: The weight of the KL.
        converged: Whether the fit passed its test of convergence, or ``None``.
        refinement: The record of :meth:`refine`, or ``None``.
        data_schema: Names, shapes and dtypes of the data of the fit, or ``None``.
    """

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
        """Copy a trained guide, whether by ``bl.fit``, Pyro's SVI or a loop of your own.

        Args:
            model: The model.
            guide: A guide for it.
            elbo: The ELBO, if known.
            kl_weight: The weight of the KL that the guide was trained with.
            converged: Whether a test of convergence was passed, if there was one.
            data_schema: Names, shapes and dtypes of the data, if known.

        Returns:
            A posterior with copies of both.

        Raises:
            SiteError: If the guide was made for another model.
            TypeError: If it is not one of ``bl.guides``; for guides of Pyro there is :meth:`from_samples`.
        """
        check_is_guide(guide)
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
        """Copy draws that were made elsewhere, for instance ``MCMC(NUTS(model)).get_samples()``.

        Args:
            model: The model.
            samples: Draws of every latent site, ``(M, *shape)`` with ``M >= 2``.

        Returns:
            A posterior of these draws.

        Raises:
            SiteError: If a site is missing or unknown.
            ShapeError: If draws do not have the shape of their site.
            DataError: If a draw is complex, NaN or infinite.
        """
        return cls(copy.deepcopy(model), StoredDraws(check_samples(model.sites(), samples)))

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
        r"""Move draws from the guide's approximation towards the exact posterior, by many short chains.

        Each of ``sample(num_chains, seed)`` starts a chain of Hamiltonian Monte Carlo; all chains move in one batch.
        The inverse masses are the variances of the guide (for an Ensemble the mean of its members', for stored draws
        those of the draws). The step size is adapted in the first half, on the mean acceptance over the chains. The
        target is :math:`p(y, w \mid x)` of the model, never tempered. Positive sites move on the log scale; point
        estimates keep their values.

        **It corrects within modes only.** A chain stays in the mode in which it starts: modes that the guide does not
        cover are not found, and the relative weights of modes are not re-estimated.

        Every gradient uses all rows, so ``x`` and ``y`` must fit into memory.

        Args:
            x: Inputs of the fit, ``(N, ...)``, or a tuple of inputs.
            y: Targets of the fit, ``(N,)`` or ``(N, K)``.
            seconds: Limit in wall-clock seconds, including preparations; there is at least one iteration. The result
                then depends on the speed of the machine.
            iterations: Transitions per chain; reproducible to the bit for a seed and a number of threads; 60 by
                default.
            num_chains: Number of chains S; at least 16 for the nested R-hat.
            seed: Seed of the starts and of the chains.
            leapfrog_steps: Gradients per transition.
            progress: Whether to show a progress bar on stderr.

        Returns:
            A posterior of S stored draws; ``refinement`` holds acceptance, nested R-hat, effective sample size and
            problems.

        Raises:
            DataError: If both ``seconds`` and ``iterations`` are given, or a number is out of range.
            SiteError: If the model has no likelihood or no prior, a prior is improper, or weights are pruned.
            ShapeError: If ``x`` and ``y`` do not belong together.
            TypeError: If they are not tensors.

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
                "chains would move the pruned weights; refine before `prune`, and prune the result"
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
        return [f"the fit was TEMPERED (KL weight {self.kl_weight}); the refined draws are not"]

    def prune(self, threshold: float = 3.0, num_draws: int = 1000, seed: int = 0) -> Posterior:
        r"""Set the weights that :meth:`sparsity` counts to exactly zero, in every draw and in the mean.

        Draw i is draw i of this posterior, with zeros. It has no density, so ``loo``, ``k_hat``, ``to_arviz`` and
        ``refine`` raise an error, and no ELBO.

        Args:
            threshold: Threshold of :math:`\log \alpha`; smaller ones prune more.
            num_draws: Number of draws, if the moments of the guide are not known exactly.
            seed: Seed of the draws.

        Returns:
            A posterior with copies of model and guide.

        Example:
            >>> import torch
            >>> import bayesian_layers as bl
            >>> model = bl.BayesianModel(bl.Linear(2, 1, prior=bl.priors.LogUniform()), bl.likelihoods.Normal(0.1))
            >>> guide = bl.guides.MeanFieldNormal(model, init_scale=0.1)
            >>> _ = guide.loc.data.copy_(torch.tensor([1.0, 0.001, 0.5]))
            >>> bl.Posterior.from_guide(model, guide).prune().mean_function().weight.tolist()
            [[1.0, 0.0]]
        """
        return Posterior(
            copy.deepcopy(self.model),
            pruning.prune(self.model, self.source, threshold, num_draws, seed),
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

    def save(
        self, folder: str | Path, *, extra_documents: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Write the posterior to a folder: safetensors and JSON, never a pickle, and a model card for people.

        ``MODEL_CARD.md`` is never read back; the next ``save`` overwrites edits of it.

        Args:
            folder: A folder that does not exist yet, or one that ``save`` wrote, which is replaced.
            extra_documents: Name to further JSON documents to save with it, such as a table's schema.

        Raises:
            StorageError: If the folder holds something else, a class of the model cannot be described, or the disk
                fails; what was there before is unchanged.
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
