"""What every estimator offers, and the plain one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..handlers import LogLikelihood
from ..model import BayesianModel
from ..network import Inputs


class Estimator(ABC):
    r"""An unbiased, differentiable estimate of :math:`E_q[\log p(y \mid x, w)]`.

    Only the likelihood term: the KL is in closed form, and no estimator's business. The log density is
    always that of the model's own Pyro program. No state changes from call to call: all that is random comes
    in as a tensor, so a call can be recorded once and replayed.

    Attributes:
        name: The name by which it was asked for.
        covered: Sites whose noise the estimator treats its own way; all others are plain.
        note: Empty, or one sentence: what is plain reparameterization although it was asked otherwise, and why.
        uses_noise: Whether the result depends on ``noise`` beyond its shape. If not, noise that
            costs nothing will do: ``torch.zeros(()).expand(S, guide.noise_size)``.
        judges: Whether fits are better judged by it than by whole draws.
    """

    name: str
    supported: tuple[str, ...] = ()
    note: str = ""
    uses_noise: bool = True
    use_for_evaluation: bool = False

    def describe(self) -> str:
        """Name the estimator, and what it does not cover."""
        return f"{self.name}; {self.note}" if self.note else self.name

    def row_noise(self, particles: int, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the noise that the estimator needs beyond the guide's own."""
        return ()

    @abstractmethod
    def __call__(
        self,
        guide: Any,
        noise: Tensor,
        row_noise: tuple[Tensor, ...],
        x: Inputs,
        y: Tensor,
        *,
        scale: float,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Estimate the expected log likelihood."""


class Reparameterization(Estimator):
    r"""The plain estimator: the model's program on draws :math:`w_s = t(\epsilon_s)` of the guide.

    All rows of a particle see the same weights. Covers everything that PyTorch can write; with antithetic
    noise (see :class:`bayesian_layers.noise.PairedNoise`) the odd part of the noise cancels.

    Args:
        model: The model.
        note: Why this one stands in for another.

    References:
        Kingma & Welling (2014), arXiv 1312.6114.
    """

    name = "reparameterization"

    def __init__(self, model: BayesianModel, note: str = "") -> None:
        self.note = note
        self._model = model

    def __call__(
        self,
        guide: Any,
        noise: Tensor,
        row_noise: tuple[Tensor, ...],
        x: Inputs,
        y: Tensor,
        *,
        scale: float,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Estimate the expected log likelihood; see :meth:`Estimator.__call__`."""
        particles = len(noise)
        # One particle goes without an axis of particles, and so without vmap; else the axis of size 1 is
        # the data plate's, which the rows take.
        values = {
            name: value.squeeze(0) if particles == 1 else value.unsqueeze(1)
            for name, value in guide.transform(noise).items()
        }
        return log_likelihood(self._model, values, x, y, weight) * (scale / particles)


def log_likelihood(
    model: BayesianModel, values: Mapping[str, Tensor], x: Inputs, y: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Run the model's program on given values, and sum the log likelihood over rows and particles."""
    with LogLikelihood(values, weight=weight) as likelihood:
        model(x, y)
    return likelihood.log_prob
