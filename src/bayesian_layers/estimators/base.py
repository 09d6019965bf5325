"""`Estimator`: the interface, and the plain reparameterization estimator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from ..handlers import LogLikelihood
from ..model import BayesianModel
from ..network import Inputs
from ..protocols import Guide


class Estimator(ABC):
    r"""An unbiased, differentiable estimate of :math:`E_q[\log p(y \mid x, w)]`."""

    # Only the likelihood term: the KL term is computed separately by the guide. The log density is always that of the
    # model's own Pyro program. No state changes between calls, and all that is random is passed as a tensor, so that
    # a call can be recorded once and replayed.
    name: str
    supported: tuple[
        str, ...
    ] = ()  # sites that the estimator treats in its own way; others are reparameterized
    note: str = (
        ""  # empty, or a sentence: what is plain reparameterization although another was asked for, and why
    )
    # Whether the result depends on the values of `noise`. If not, noise without memory of its own will do:
    # `torch.zeros(()).expand(S, guide.noise_size)`.
    uses_noise: bool = True
    use_for_evaluation: bool = (
        False  # whether ELBOs are better evaluated with it than on draws of all weights
    )

    def describe(self) -> str:
        """Name the estimator, and what it does not support."""
        return f"{self.name}; {self.note}" if self.note else self.name

    def row_noise(self, particles: int, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the noise that the estimator needs in addition to the guide's."""
        return ()

    @abstractmethod
    def __call__(
        self,
        guide: Guide,
        noise: Tensor,  # (S, guide.noise_size)
        row_noise: tuple[Tensor, ...],
        x: Inputs,
        y: Tensor,
        *,
        scale: float,  # factor of the result
        weight: Tensor | None = None,  # of each row's log likelihood, (N,)
    ) -> Tensor:
        """Estimate the expected log likelihood, summed over rows."""


class Reparameterization(Estimator):
    """The plain estimator: the model's program on draws of the guide (Kingma & Welling, 2014, arXiv 1312.6114)."""

    # All rows of a particle see the same weights, so it supports every network that PyTorch can express. With
    # antithetic noise (`noise.PairedNoise`) the odd part of the noise cancels.
    name = "reparameterization"

    def __init__(self, model: BayesianModel, note: str = "") -> None:
        self.note = note
        self._model = model

    def __call__(
        self,
        guide: Guide,
        noise: Tensor,
        row_noise: tuple[Tensor, ...],
        x: Inputs,
        y: Tensor,
        *,
        scale: float,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Estimate the expected log likelihood, summed over rows."""
        particles = len(noise)
        # One particle needs no axis of particles, and so no vmap. For more, the axis of size 1 is that of the data
        # plate, which becomes that of the rows.
        values = {
            name: value.squeeze(0) if particles == 1 else value.unsqueeze(1)
            for name, value in guide.transform(noise).items()
        }
        return total_log_likelihood(self._model, values, x, y, weight) * (scale / particles)


def total_log_likelihood(
    model: BayesianModel, values: Mapping[str, Tensor], x: Inputs, y: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Run the model's program on given values, and sum the log likelihood over rows and particles."""
    with LogLikelihood(values, weight=weight) as likelihood:
        model(x, y)
    return likelihood.log_prob
