"""Random Bayesian linear regressions compared with the best mean-field Normal in closed form: no silent miss."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded

GAP, OFF = 1e-2, 1e-2  # nats; marginal posterior standard deviations


def random_problem(seed):
    """Rows, targets, noise and prior scale, with singular values over up to six orders of magnitude."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 60))
    n = int(rng.integers(max(d // 2, 5), 200))
    k = min(n, d)
    left, right = (np.linalg.qr(rng.normal(size=(size, k)))[0] for size in (n, d))
    x = (left * np.geomspace(1, 10 ** -rng.uniform(0, 6), k)) @ right.T * math.sqrt(n) * rng.choice([1, 10])
    noise, scale = 10 ** rng.uniform(-2, 0.5), 10 ** rng.uniform(-0.5, 0.5)
    y = x @ (rng.normal(size=d) * scale) + noise * rng.normal(size=n)
    return x, y, noise, scale


def miss(guide, x, y, noise, scale, weight=1.0):
    """Nats below the best mean-field Normal, and the largest error of a mean in marginal standard deviations."""
    precision = x.T @ x / noise**2 + weight * np.eye(x.shape[1]) / scale**2
    error = guide.loc.detach().double().numpy() - np.linalg.solve(precision, x.T @ y / noise**2)
    ratio = np.exp(2 * guide.log_scale.detach().double().numpy()) * np.diag(precision) / weight
    gap = 0.5 * error @ precision @ error + 0.5 * weight * (ratio - 1 - np.log(ratio)).sum()
    return gap, np.abs(error / np.sqrt(np.diag(np.linalg.inv(precision)))).max()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`[xy]` is far from unit scale")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(20))
def test_no_silent_miss(seed, dtype):
    x, y, noise, scale = random_problem(seed)
    x, y = torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype)
    with seeded(seed):
        layer = bl.Linear(x.shape[1], 1, bias=False, prior=bl.priors.Normal(0.0, scale), dtype=dtype)
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(noise))
    result = bl.fit(model, x, y, seed=seed, progress=False)
    gap, off = miss(result.posterior.source, x.double().numpy(), y.double().numpy(), noise, scale)
    assert result.converged
    assert gap < GAP
    assert off < OFF
    assert gap < result.gap + 1e-4


def test_weights_of_rows_and_of_the_kl(build):
    x, y, noise, scale = random_problem(3)
    layer = build(lambda: bl.Linear(x.shape[1], 1, bias=False, prior=bl.priors.Normal(0.0, scale)).double())
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(noise))
    rows = np.random.default_rng(0).integers(0, 3, size=len(y))
    tensors = torch.tensor(x), torch.tensor(y)
    result = bl.fit(model, *tensors, sample_weight=torch.tensor(rows), kl_weight=0.3, progress=False)
    gap, off = miss(result.posterior.source, np.repeat(x, rows, 0), np.repeat(y, rows), noise, scale, 0.3)
    assert gap < GAP
    assert off < OFF


def test_a_point_estimated_bias_is_solved_too(build):
    x = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None]
    y = 3 * x[:, 0] + 7
    layer = build(lambda: bl.Linear(1, 1, bias_prior=None).double())
    result = bl.fit(bl.BayesianModel(layer, bl.likelihoods.Normal(0.1)), x, y, progress=False)
    assert result.step_mode == "none"
    assert result.steps == 0
    assert float(result.posterior.source.point.detach()) == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("make", "likelihood"),
    [
        (lambda: bl.Linear(2, 1), bl.likelihoods.Bernoulli()),
        (lambda: bl.Linear(2, 1), bl.likelihoods.Normal("learned")),
        (lambda: nn.Sequential(bl.Linear(2, 4), nn.ReLU(), bl.Linear(4, 1)), bl.likelihoods.Normal(1.0)),
        (lambda: nn.Sequential(bl.Linear(2, 4), bl.Linear(4, 1)), bl.likelihoods.Normal(1.0)),
        (lambda: bl.Linear(2, 1, prior=bl.priors.Normal(scale="learned")), bl.likelihoods.Normal(1.0)),
    ],
)
def test_fits_that_are_not_quadratic_take_steps(build, make, likelihood):
    x, y = bl.datasets.parabola(40)
    result = bl.fit(bl.BayesianModel(build(make), likelihood), x, y, max_steps=20, progress=False)
    assert result.steps == 20
