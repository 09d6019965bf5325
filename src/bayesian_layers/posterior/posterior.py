"""What every posterior offers, whatever its draws come from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import documents, inference_data, sources, storage
from ..errors import DataError, ShapeError, SiteError
from ..guides import Guide, check_covers
from ..likelihoods import Prediction
from ..model import BayesianModel, log_likelihood, predict, sample
from ..network import Inputs, place
from ..sources import Source, StoredDraws

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

    Attributes:
        model: The model.
        source: Where draws come from.
        elbo: The ELBO of the fit, or ``None``.
        kl_weight: The weight of the KL.
        converged: Whether the fit passed its test of convergence, or ``None``.
    """

    def __init__(
        self,
        model: BayesianModel,
        source: Source,
        *,
        elbo: float | None = None,
        kl_weight: KlWeight = 1.0,
        converged: bool | None = None,
    ) -> None:
        self.model = model.eval()
        self.source = source
        self.elbo = elbo
        self.kl_weight = kl_weight
        self.converged = converged

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
    ) -> Posterior:
        """Take a snapshot of a guide, however it was trained (``bl.fit``, Pyro's SVI, a loop of one's own).

        Args:
            model: The model.
            guide: A guide for it.
            elbo: The ELBO, if known.
            kl_weight: The weight of the KL that the guide was trained with.
            converged: Whether a test of convergence was passed, if there was one.

        Returns:
            A posterior with copies of both.

        Raises:
            SiteError: If the guide was made for another model.
        """
        check_covers(guide, model)
        return cls(
            copy.deepcopy(model), copy.deepcopy(guide), elbo=elbo, kl_weight=kl_weight, converged=converged
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
        for name, value, least in (("num_draws", num_draws, 1), ("seed", seed, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise DataError(f"`{name}` must be a whole number, {least} or more; received {value!r}")
        return self.source.draw(num_draws, seed)

    def predict(self, x: Inputs, num_draws: int = 1000, seed: int = 0) -> Prediction:
        """Give predictive moments: all rows under the same draws of the weights.

        Args:
            x: Inputs with N rows in front, or a tuple of inputs.
            num_draws: Draws S of the weights, at least 2.
            seed: Which draws: those of ``sample(num_draws, seed)``.

        Returns:
            Mean, epistemic, aleatoric and total deviation, in the shape and units of ``y``.
        """
        return predict(self.model, self.sample(num_draws, seed), x)

    def function(self, seed: int = 0) -> nn.Module:
        """Take one draw of the weights as a plain network: one draw is one function.

        Args:
            seed: The draw is number 0 of ``sample(seed=seed)``.

        Returns:
            A copy of the network in ``eval`` mode with these weights, fixed; maps ``x`` to ``f``.
        """
        return self._network_with({name: value[0] for name, value in self.sample(1, seed).items()})

    def mean_function(self) -> nn.Module:
        """Take the means of the weights as a plain network.

        Its output is not the predictive mean, which averages outputs, not weights.

        Returns:
            A copy of the network in ``eval`` mode with these weights, fixed; maps ``x`` to ``f``.
        """
        return self._network_with(self.source.mean())

    def _network_with(self, values: Mapping[str, Tensor]) -> nn.Module:
        network = copy.deepcopy(self.model.network)
        parameters = dict(network.named_parameters())
        with torch.no_grad():
            for name, parameter in parameters.items():
                if name in values:
                    parameter.copy_(values[name])
        return network.requires_grad_(False)

    def summary(self, num_draws: int = 1000, seed: int = 0, interval_prob: float = 0.94) -> Any:
        """Summarize the weights by ArviZ: mean, deviation and highest-density interval.

        The draws are independent, so R-hat and ESS would say nothing about the fit and are left out.

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
        draws = {name: value.cpu().numpy() for name, value in self.sample(num_draws, seed).items()}
        table = inference_data.summarize(draws, interval_prob=interval_prob)
        return table.rename_axis(columns=self.describe_fit())

    def describe_fit(self) -> str:
        """Say which KL weight the posterior was fitted with, and whether the fit converged.

        Returns:
            For instance ``KL weight 1; converged`` or ``TEMPERED: KL weight 0.1; NOT CONVERGED``.
        """
        weight = "KL weight 1" if self.kl_weight == 1.0 else f"TEMPERED: KL weight {self.kl_weight}"
        if self.converged is None:
            return weight
        return f"{weight}; {'converged' if self.converged else 'NOT CONVERGED'}"

    def to_arviz(self, x: Inputs, y: Tensor, num_draws: int = 1000, seed: int = 0) -> Any:
        """Hand draws, predictions and log likelihoods to ArviZ.

        Args:
            x: Inputs with N rows in front, or a tuple of inputs.
            y: Targets, ``(N,)`` or ``(N, K)``.
            num_draws: Draws S.
            seed: Which draws.

        Returns:
            ``InferenceData`` (arviz 0.23) or ``DataTree`` (1.x) with the groups posterior, posterior_predictive,
            log_likelihood and observed_data. The draws are independent: one chain.

        Raises:
            SiteError: If the model has no likelihood.
        """
        if self.model.likelihood is None:
            raise SiteError("the model has no likelihood, so no predictions or log likelihoods to hand over")
        draws = self.sample(num_draws, seed)
        x, y = place(x, self.model.network), y.to(next(iter(draws.values())).device)
        return inference_data.from_arrays(
            {name: value.cpu().numpy() for name, value in draws.items()},
            posterior_predictive={"y": sample(self.model, draws, x, "y", seed).cpu().numpy()},
            log_likelihood={"y": log_likelihood(self.model, draws, x, y).cpu().numpy()},
            observed_data={"y": y.cpu().numpy()},
            attrs={"seed": seed, "fit": self.describe_fit()}
            | ({} if self.elbo is None else {"elbo": self.elbo}),
        )

    def save(
        self, folder: str | Path, *, extra_documents: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Write the posterior to a folder: safetensors and JSON, never a pickle.

        Args:
            folder: A folder that does not exist yet, or one that ``save`` wrote, which is replaced.
            extra_documents: Further JSON documents to keep beside it, by name (a table's schema).

        Raises:
            StorageError: If the folder is something else, the model is of a class that cannot be described, or the
                disk fails; what was there before stays.
        """
        arrays = {
            **{f"network.{name}": value for name, value in self.model.network.state_dict().items()},
            **{f"source.{name}": value for name, value in self.source.state_dict().items()},
            **documents.prior_arrays(self.model.network),
        }
        document = {
            "model": documents.describe_model(self.model),
            "source": sources.describe(self.source),
            "elbo": self.elbo,
            "kl_weight": dict(self.kl_weight) if isinstance(self.kl_weight, Mapping) else self.kl_weight,
            "converged": self.converged,
            "versions": documents.versions(),
        }
        storage.write_folder(folder, arrays, {"posterior": document, **(extra_documents or {})})
