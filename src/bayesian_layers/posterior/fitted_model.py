"""A fitted model: where draws of its weights come from, and how it was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .. import inference_data
from ..arguments import check_draws, check_fraction
from ..data_schema import DataSchema
from ..draw_sources import DrawSource, Pruned
from ..guides.layout import Layout
from ..model import BayesianModel
from ..refinement import Refinement
from .arrays import as_array

KlWeight = float | Mapping[str, float]


class FittedModel:
    """A model with draws of its weights; :class:`Posterior` documents the arguments."""

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

    def describe_fit(self) -> str:
        """Describe how the posterior was fitted or refined.

        Returns:
            KL weight and convergence, for instance ``KL weight 1; converged`` or ``TEMPERED: KL weight 0.1; NOT
            CONVERGED``; of a pruned posterior also the number of weights that are 0.
        """
        pruned = self.source.describe() if isinstance(self.source, Pruned) else ""
        if self.refinement is not None:
            return self.refinement.describe() + pruned
        weight = "KL weight 1" if self.kl_weight == 1.0 else f"TEMPERED: KL weight {self.kl_weight}"
        converged = {None: "", True: "; converged", False: "; NOT CONVERGED"}[self.converged]
        return weight + converged + pruned

    def sample(self, num_draws: int = 1000, seed: int = 0) -> dict[str, Tensor]:
        """Draw weights.

        Args:
            num_draws: Number of draws S.
            seed: Draw ``i`` depends only on ``(seed, i)``, so ``sample(10)`` is the start of ``sample(1000)``.

        Returns:
            Site name to draws, ``(S, *shape)``.
        """
        return self.source.draw(*check_draws(num_draws, seed, least=1))

    def summary(self, num_draws: int = 1000, seed: int = 0, interval_prob: float = 0.94) -> Any:
        """Summarize the weights by ArviZ: mean, standard deviation and highest-density interval.

        The draws are independent, so R-hat and ESS would not describe the fit and are omitted. Sites that every draw
        takes from their prior (``bl.priors.Noise``) are omitted as well.

        Args:
            num_draws: Number of draws S, at least 2.
            seed: Seed of the draws.
            interval_prob: Probability of the interval.

        Returns:
            A pandas ``DataFrame`` with one row per entry (``0.weight[3, 1]``). The name of its columns' axis is
            :meth:`describe_fit`.
        """
        check_fraction("interval_prob", interval_prob)
        num_draws, seed = check_draws(num_draws, seed, least=2)
        hidden = Layout.of(self.model.sites()).drawn
        draws = {n: as_array(v) for n, v in self.sample(num_draws, seed).items() if n not in hidden}
        table = inference_data.summarize(draws, interval_prob=interval_prob)
        return table.rename_axis(columns=self.describe_fit())
