"""The objective of a fit, step by step, and its value at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

from ..guides import MeanFieldNormal
from ..handlers import Given, temper
from ..model import BayesianModel, log_likelihood
from ..network import Inputs
from ..noise import PairedNoise

Objective = Callable[[Inputs, Tensor], Tensor]
_FORWARD_PASSES = 2**20  # rows x draws for the final estimate; between these bounds of draws:
_FEWEST, _MOST = 64, 4096
_NUMBERS = 2**25  # draws x size: 128 MiB in float32


def neg_elbo(
    model: BayesianModel,
    guide: MeanFieldNormal,
    *,
    kl_weight: float | Mapping[str, float],
    particles: int,
    num_data: int,
    seed: int,
) -> Objective:
    r"""Build what is minimised: Pyro's own ``TraceMeanField_ELBO``, particles vectorized and in pairs.

    .. math:: -\tfrac{N}{B} \, \tfrac1S \sum_s \sum_{n \in B} \log p(y_n \mid x_n, w_s)
              + \sum_j \text{weight}_j \, \mathrm{KL}(q_j \| p_j)

    The draws are :math:`w_s = \text{loc} \pm \text{scale}\,\epsilon_s`, antithetic pairs from a
    :class:`~bayesian_layers.noise.PairedNoise` of the fit's own; the KL is in closed form.

    Args:
        model: The model.
        guide: The guide.
        kl_weight: As in :func:`bayesian_layers.temper`.
        particles: Draws S a step.
        num_data: Rows N of the whole data set.
        seed: Seed of the noise.

    Returns:
        A function of a batch ``(x, y)`` that gives the objective in nats of the whole data set.
    """
    elbo = TraceMeanField_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    loss = elbo(temper(model, kl_weight), temper(guide, kl_weight))
    noise = PairedNoise(len(guide.loc), seed, dtype=guide.loc.dtype, device=guide.loc.device)

    def objective(x: Inputs, y: Tensor) -> Tensor:
        with Given(guide.transform(noise(particles))):
            return loss(x, y, num_data=num_data)

    return objective


def final_draws(n: int, size: int) -> int:
    """Choose how many draws the final estimate takes.

    Args:
        n: Rows of the data.
        size: Numbers a draw has.

    Returns:
        A number between 64 and 4096, smaller for more rows and for larger networks.
    """
    return min(_MOST, max(_FEWEST, min(_FORWARD_PASSES // n, _NUMBERS // max(size, 1))))


@torch.no_grad()
def expected_log_likelihood(
    model: BayesianModel,
    guide: MeanFieldNormal,
    x: Inputs,
    y: Tensor,
    *,
    num_draws: int,
    seed: int,
    num_data: int | None = None,
) -> tuple[float, float]:
    r"""Estimate :math:`E_q[\log p(y \mid x, w)]` on fresh draws.

    Args:
        model: The model.
        guide: The guide.
        x: All inputs.
        y: All targets.
        num_draws: Draws S, at least 2.
        seed: Seed of the draws.
        num_data: Rows of the whole data set, where ``x`` is a part of it.

    Returns:
        The estimate and its Monte Carlo standard error, in nats of the whole data set.
    """
    scale = (num_data or len(y)) / len(y)
    log_p = scale * log_likelihood(model, guide.draw(num_draws, seed), x, y).double().sum(1)
    return float(log_p.mean()), float(log_p.std()) / num_draws**0.5


@torch.no_grad()
def weighted_kl(
    model: BayesianModel, guide: MeanFieldNormal, kl_weight: float | Mapping[str, float] = 1.0
) -> float:
    r"""Compute :math:`\sum_j \text{weight}_j \mathrm{KL}(q_j \| p_j)`, in closed form.

    Args:
        model: The model.
        guide: The guide.
        kl_weight: As in :func:`bayesian_layers.temper`.

    Returns:
        Nats.
    """
    return sum(
        float(value) * (kl_weight.get(name, 1.0) if isinstance(kl_weight, Mapping) else kl_weight)
        for name, value in guide.kl_divergence(model).items()
    )


def estimate_elbo(
    model: BayesianModel, guide: MeanFieldNormal, x: Inputs, y: Tensor, *, num_draws: int, seed: int
) -> tuple[float, float]:
    r"""Estimate :math:`E_q[\log p(y \mid x, w)] - \sum_j \mathrm{KL}_j` on fresh draws.

    Args:
        model: The model.
        guide: The guide.
        x: All inputs.
        y: All targets.
        num_draws: Draws S, at least 2.
        seed: Seed of the draws.

    Returns:
        The ELBO and its Monte Carlo standard error, in nats.
    """
    log_p, stderr = expected_log_likelihood(model, guide, x, y, num_draws=num_draws, seed=seed)
    return log_p - weighted_kl(model, guide), stderr
