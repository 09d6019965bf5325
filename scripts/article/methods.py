"""The methods that the article's report compares, and the best possible prediction."""

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

NOISE_SCALE = 0.1  # of the rule that made the data
KERAS, RECIPE, DEFAULT, WIDE, OPTIMAL = "keras", "recipe", "default", "wide", "limit"  # keys of metrics.json
LABELS = {
    KERAS: "Keras",
    RECIPE: "the article's recipe",
    DEFAULT: "the default, N(0, 1)",
    WIDE: "N(0, 2)",
    OPTIMAL: "the best possible",
}
TITLES = {method: label[0].upper() + label[1:] for method, label in LABELS.items()}
BAYESIAN = (RECIPE, DEFAULT, WIDE)
Recipe = tuple[BayesianModel, dict[str, Any]]


def article_recipe(seed: int) -> Recipe:
    """Build the article's Bayesian network, and the KL weights that give the article's loss."""
    # Kernels have the prior N(0, 1), biases are point estimates. The article's loss is the MEAN cross-entropy plus,
    # for each layer, 0.01 times the MEAN KL of its kernel's entries. Times 200 rows this is the sum of cross-entropies
    # plus the KL of each kernel, weighted by 200 * 0.01 / (size of the kernel).
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


def optimal_probability(x: Any) -> np.ndarray:
    """Compute P(label = 1 | x) from the rule and the noise that made the data, for points (N, 2)."""
    # P[(x0 + e0)² < x1 + e1] = E[Phi((x1 - (x0 + e0)²) / 0.1)] over e0, by Gauss-Hermite quadrature with 64 nodes
    points = numeric_array("x", x)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    noisy = points[:, :1] + NOISE_SCALE * nodes
    z = (points[:, 1:] - noisy**2) / NOISE_SCALE
    below = torch.special.ndtr(torch.from_numpy(z)).numpy()  # NumPy has no normal distribution function
    return (below @ weights / weights.sum()).clip(0.0, 1.0)


def mesh() -> np.ndarray:
    """Return the article's mesh of the square, (2500, 2)."""
    grid = np.meshgrid(np.linspace(-1, 1), -np.linspace(-1, 1))
    return np.stack([each.ravel() for each in grid], axis=1).astype(np.float32)


def near_and_far(std: np.ndarray) -> tuple[float, float]:
    """Average a map of standard deviations near the parabola and far from it."""
    points = mesh().astype(np.float64)
    distance = np.abs(points[:, 1] - points[:, 0] ** 2)
    near, far = (float(np.mean(std[chosen])) for chosen in (distance <= 0.1, distance > 0.4))
    return near, far
