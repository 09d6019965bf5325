"""Small awkward problems from a seed: every likelihood that takes the output of a plain network, on unpleasant data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded

Random = np.random.Generator
Array = np.ndarray

MAX_ROWS, MAX_INPUTS, MAX_WIDTHS = 500, 10, {1: 20, 2: 12}  # widths by the number of hidden layers
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}


@dataclass(frozen=True)
class Family:
    """A likelihood, and targets that it could have produced."""

    likelihood: Callable[[Random], bl.likelihoods.Likelihood]
    outputs: int
    # From three functions of the inputs, (N, 3), of about unit scale; without noise if the last argument is 0.
    targets: Callable[[Random, Array, float], Array]
    has_units: bool = False  # whether the targets may be multiplied by a number


def _count_targets(random: Random, mean: Array, noise: float) -> Array:
    return random.poisson(mean).astype(float) if noise else mean.round()


def _two_modes(random: Random, s: Array, noise: float) -> Array:
    return random.choice([-1, 1], len(s)) * (1 + s[:, 0]) + 0.2 * noise * random.normal(size=len(s))


FAMILIES: dict[str, Family] = {
    "bernoulli": Family(
        lambda _: bl.likelihoods.Bernoulli(),
        1,
        lambda random, s, noise: (2 * s[:, 0] + noise * random.logistic(size=len(s)) > 0).astype(float),
    ),
    "categorical": Family(
        lambda _: bl.likelihoods.Categorical(),
        3,
        lambda random, s, noise: (2 * s + noise * random.gumbel(size=s.shape)).argmax(1),
    ),
    "normal": Family(
        lambda random: bl.likelihoods.Normal(("learned", 0.3, _noise_prior())[random.integers(3)]),
        1,
        lambda random, s, noise: s[:, 0] + 0.3 * noise * random.normal(size=len(s)),
        has_units=True,
    ),
    "heteroscedastic": Family(
        lambda _: bl.likelihoods.HeteroscedasticNormal(),
        2,
        lambda random, s, noise: s[:, 0] + noise * np.exp(s[:, 1] - 1.5) * random.normal(size=len(s)),
        has_units=True,
    ),
    "student-t": Family(
        lambda random: bl.likelihoods.StudentT(("learned", 4.0)[random.integers(2)]),
        1,
        lambda random, s, noise: s[:, 0] + 0.3 * noise * random.standard_t(3, size=len(s)),
        has_units=True,
    ),
    "log-normal": Family(
        lambda _: bl.likelihoods.LogNormal(),
        1,
        lambda random, s, noise: np.exp(s[:, 0] + 0.3 * noise * random.normal(size=len(s))),
        has_units=True,
    ),
    "gamma": Family(
        lambda _: bl.likelihoods.Gamma(),
        1,
        lambda random, s, noise: (
            np.exp(s[:, 0]) * (random.gamma(3, 1 / 3, size=len(s)) + 1e-3 if noise else 1.0)
        ),
        has_units=True,
    ),
    "beta": Family(
        lambda _: bl.likelihoods.Beta(),
        1,
        lambda random, s, noise: np.clip(
            1 / (1 + np.exp(-s[:, 0] - 0.5 * noise * random.normal(size=len(s)))), 1e-4, 1 - 1e-4
        ),
    ),
    "poisson": Family(
        lambda _: bl.likelihoods.Poisson(),
        1,
        lambda random, s, noise: _count_targets(random, np.exp(s[:, 0] + 1), noise),
    ),
    "negative-binomial": Family(
        lambda _: bl.likelihoods.NegativeBinomial(),
        1,
        lambda random, s, noise: _count_targets(
            random, np.exp(s[:, 0] + 1) * (random.gamma(2, 0.5, size=len(s)) if noise else 1.0), noise
        ),
    ),
    "mixture-of-normals": Family(lambda _: bl.likelihoods.MixtureOfNormals(2), 6, _two_modes, has_units=True),
    "mixture-of-logistics": Family(
        lambda _: bl.likelihoods.MixtureOfLogistics(2), 6, _two_modes, has_units=True
    ),
    "discretized": Family(
        lambda _: bl.likelihoods.DiscretizedMixtureOfLogistics(2, levels=10),
        6,
        lambda random, s, noise: (
            (2 * s[:, 0] + 4.5 + noise * random.logistic(size=len(s))).round().clip(0, 9)
        ),
    ),
}
DESIGNS = ("plain", "collinear", "duplicated", "separable", "imbalanced", "constant", "scaled", "outliers")


def _noise_prior() -> bl.priors.LogNormal:
    return bl.priors.LogNormal(-1.0, 0.5)


@dataclass(frozen=True)
class Problem:
    """Data and a model."""

    name: str
    family: str
    design: str
    network: str  # in words
    x: Tensor
    y: Tensor
    model: bl.BayesianModel


def make_problem(seed: int, index: int) -> Problem:
    """Make a problem; likelihood and design depend on the index alone, all else on seed and index."""
    random = np.random.default_rng([seed, index])
    name, design = list(FAMILIES)[index % len(FAMILIES)], DESIGNS[index % len(DESIGNS)]
    family = FAMILIES[name]
    rows = int(MAX_ROWS ** random.uniform())
    x = make_inputs(random, design, rows, int(random.integers(1, MAX_INPUTS + 1)))
    signals = make_signals(random, x, design)
    y = family.targets(random, signals, 0.0 if design == "separable" else 1.0)
    if design == "scaled":
        x = x * 10 ** random.uniform(-2, 2, size=x.shape[1])
        y = y * 10 ** random.uniform(-1, 1) if family.has_units else y
    likelihood, layers = family.likelihood(random), int(random.integers(3))
    activation = str(random.choice(list(ACTIVATIONS)))
    widths = layers * [int(random.integers(3, MAX_WIDTHS.get(layers, 3) + 1))]
    with seeded(seed, index):
        network = make_network([x.shape[1], *widths, family.outputs], ACTIVATIONS[activation])
    return Problem(
        name=f"{index:03d}-{name}-{design}",
        family=name,
        design=design,
        network="-".join(map(str, [x.shape[1], *widths, family.outputs]))
        + (f" {activation}" if layers else ""),
        x=torch.tensor(x, dtype=torch.float32),
        y=torch.tensor(y, dtype=torch.int64 if name == "categorical" else torch.float32),
        model=bl.BayesianModel(network, likelihood),
    )


def make_inputs(random: Random, design: str, rows: int, inputs: int) -> Array:
    """Draw inputs of unit scale."""
    x = random.normal(size=(rows, inputs))
    source = x @ random.normal(size=inputs) / inputs**0.5
    if design == "collinear":
        x = np.column_stack([x, source + 1e-3 * random.normal(size=rows)])
    elif design == "duplicated":
        x = np.column_stack([x, x[:, 0], x[:, 0]])
    elif design == "constant":
        x = np.column_stack([x, np.zeros(rows), np.full(rows, random.normal())])
    elif design == "outliers":
        x[random.choice(rows, size=max(1, rows // 30), replace=False)] *= 10
    return x


def make_signals(random: Random, x: Array, design: str) -> Array:
    """Return three smooth functions of the inputs, ``(N, 3)``, of about unit scale."""
    directions = random.normal(size=(2, x.shape[1], 3)) / x.shape[1] ** 0.5
    s = np.clip(0.7 * x @ directions[0], -3, 3) + np.sin(x @ directions[1])
    if design == "imbalanced":
        s[:, 0] -= 3  # few successes, a rare class, mostly zero counts, targets far from 0
    if design == "outliers":
        s[random.choice(len(x), size=max(1, len(x) // 30), replace=False)] *= -4
    return np.clip(s, -6, 6)


def make_network(widths: list[int], activation: type[nn.Module]) -> nn.Module:
    """Build a plain network with N(0, 1) priors."""
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        modules += [bl.Linear(inputs, outputs), activation()]
    return nn.Sequential(*modules[:-1])
