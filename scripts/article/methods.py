"""The methods that the article's report compares, and the limit that none can pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from bayesian_layers import likelihoods
from bayesian_layers.layers import Linear
from bayesian_layers.metrics import numeric_array
from bayesian_layers.model import BayesianModel
from bayesian_layers.noise import seeded
from bayesian_layers.priors import Normal

NOISE_SCALE = 0.1  # of the data's rule
KERAS, RECIPE, DEFAULT, WIDE, LIMIT = "keras", "recipe", "default", "wide", "limit"
LABELS = {
    KERAS: "Keras",
    RECIPE: "the article's recipe",
    DEFAULT: "the default, N(0, 1)",
    WIDE: "N(0, 2)",
    LIMIT: "the limit",
}
TITLES = {method: label[0].upper() + label[1:] for method, label in LABELS.items()}
BAYESIAN = (RECIPE, DEFAULT, WIDE)
Recipe = tuple[BayesianModel, dict[str, Any]]


def article_recipe(seed: int) -> Recipe:
    """Build the article's Bayesian network, with the weights of the KL that make its loss."""
    # Kernels have the prior N(0, 1), biases are point estimates. The article's loss is the MEAN cross-
    # entropy plus 0.01 times, for each layer, the MEAN of its kernel's KL; times 200 rows, that is a KL
    # weight of 200 * 0.01 / size a kernel.
    with seeded(seed):
        network = nn.Sequential(Linear(2, 10, bias_prior=None), nn.Tanh(), Linear(10, 1, bias_prior=None))
    kl_weight = {"0.weight": 200 * 0.01 / 20, "2.weight": 200 * 0.01 / 10}
    return BayesianModel(network, likelihoods.Bernoulli()), {"kl_weight": kl_weight}


def normal_prior(seed: int, scale: float = 1.0) -> Recipe:
    """Build the same network with the prior N(0, scale^2) on all 41 weights and biases."""
    prior = Normal(scale=scale)
    with seeded(seed):
        network = nn.Sequential(Linear(2, 10, prior=prior), nn.Tanh(), Linear(10, 1, prior=prior))
    return BayesianModel(network, likelihoods.Bernoulli()), {}


def build(method: str, seed: int) -> Recipe:
    """Build the model of one of the Bayesian methods."""
    if method == RECIPE:
        return article_recipe(seed)
    return normal_prior(seed, 2.0 if method == WIDE else 1.0)


def limit(x: Any) -> np.ndarray:
    r"""Compute P(label = 1 | x) for one who knows the rule and the noise.

    .. math:: P\left[(x_0 + \epsilon_0)^2 < x_1 + \epsilon_1\right] =
        E_{\epsilon_0}\left[\Phi\left(\frac{x_1 - (x_0 + \epsilon_0)^2}{0.1}\right)\right]

    Args:
        x: Points, shape ``(N, 2)``.

    Returns:
        Probabilities by Gauss-Hermite quadrature with 64 nodes, ``float64``, shape ``(N,)``.
    """
    points = numeric_array("x", x)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    noisy = points[:, :1] + NOISE_SCALE * nodes
    z = (points[:, 1:] - noisy**2) / NOISE_SCALE
    below = torch.special.ndtr(torch.from_numpy(z)).numpy()  # NumPy has no normal distribution function
    return (below @ weights / weights.sum()).clip(0.0, 1.0)


def mesh() -> np.ndarray:
    """Give the article's mesh of the square."""
    grid = np.meshgrid(np.linspace(-1, 1), -np.linspace(-1, 1))
    return np.stack([each.ravel() for each in grid], axis=1).astype(np.float32)


def near_and_far(deviation: np.ndarray) -> tuple[float, float]:
    """Average a map of deviations near the parabola and far from it."""
    points = mesh().astype(np.float64)
    distance = np.abs(points[:, 1] - points[:, 0] ** 2)
    near, far = (float(np.mean(deviation[chosen])) for chosen in (distance <= 0.1, distance > 0.4))
    return near, far
