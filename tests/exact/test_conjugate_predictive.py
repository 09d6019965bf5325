"""Bayesian linear regression, whose predictive distribution is a Normal: functions of draws against closed forms.

The posterior's draws are exact, by `Posterior.from_samples`, so that what is left is the Monte Carlo error of S draws.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import bayesian_layers as bl

SIGMA, S = 0.4, 2000


@pytest.fixture(scope="module")
def regression():
    """Design, and the posterior's mean and covariance, prior N(0, 1) on two weights and a bias."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(12, 2))
    design = np.hstack([x, np.ones((12, 1))])
    y = design @ [0.7, -0.4, 0.2] + SIGMA * generator.normal(size=12)
    covariance = np.linalg.inv(design.T @ design / SIGMA**2 + np.eye(3))
    return covariance @ design.T @ y / SIGMA**2, covariance


@pytest.fixture
def posterior(regression, build):
    mean, covariance = map(torch.from_numpy, regression)
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1).double()), bl.likelihoods.Normal(SIGMA))
    root = torch.linalg.cholesky(covariance)
    noise = build(lambda: torch.randn(S, 3, dtype=torch.float64))
    draws = mean + noise @ root.T
    return bl.Posterior.from_samples(model, {"weight": draws[:, None, :2], "bias": draws[:, 2:]})


@pytest.fixture
def rows(build):
    return build(lambda: 2 * torch.randn(100, 2, dtype=torch.float64), seed=1)


@pytest.fixture
def predictive(regression, rows):
    """The exact mean, epistemic and total standard deviation of each row."""
    mean, covariance = regression
    design = np.hstack([rows.numpy(), np.ones((len(rows), 1))])
    epistemic = np.sqrt(np.einsum("ni,ij,nj->n", design, covariance, design))
    return design @ mean, epistemic, np.hypot(epistemic, SIGMA)


@pytest.fixture
def targets(predictive):
    mean, _, std = predictive
    return torch.from_numpy(mean + std * np.random.default_rng(3).normal(size=len(mean)))


def test_log_prob_is_the_normals(posterior, rows, predictive, targets):
    """Error: the standard deviation over draws of the density, over its mean, by the root of S."""
    mean, _, std = predictive
    ours = posterior.over_draws(bl.predictive.log_prob, rows, targets, num_draws=S)
    expected = stats.norm(mean, std).logpdf(targets.numpy())
    f = posterior.draws(rows, S).f.squeeze(-1)
    density = torch.distributions.Normal(f, SIGMA).log_prob(targets).exp()
    error = (density.std(0) / density.mean(0)).numpy() / math.sqrt(S)
    assert (np.abs(ours.numpy() - expected) < 4.5 * error).all()
    assert np.median(error) < 0.02


def test_moments_are_the_normals(posterior, rows, predictive):
    mean, epistemic, std = predictive
    p = posterior.predict(rows, S)
    assert (np.abs(p.mean.numpy() - mean) < 4.5 * epistemic / math.sqrt(S)).all()
    np.testing.assert_allclose(p.epistemic_std.numpy(), epistemic, rtol=4.5 / math.sqrt(2 * S))
    np.testing.assert_allclose(p.aleatoric_std.numpy(), SIGMA, rtol=1e-12)
    np.testing.assert_allclose(p.std.numpy(), std, rtol=4.5 / math.sqrt(2 * S))


@pytest.mark.parametrize("level", [0.05, 0.5, 0.975])
def test_quantiles_are_the_normals(posterior, rows, predictive, level):
    """Error of a quantile: the standard deviation over draws of the CDF there, over the density."""
    mean, _, std = predictive
    ours = posterior.over_draws(lambda drawn: bl.predictive.quantiles(drawn, level), rows, num_draws=S)
    exact = stats.norm(mean, std)
    t = exact.ppf(level)
    f = posterior.draws(rows, S).f.squeeze(-1).numpy()
    error = stats.norm.cdf((t - f) / SIGMA).std(0) / exact.pdf(t) / math.sqrt(S)
    assert ours.shape == (len(rows), 1)
    assert (np.abs(ours[:, 0].numpy() - t) < 4.5 * error).all()
    assert np.median(error) < 0.05 * np.median(std)


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (0.7, False), (1.4, False)])
def test_coverage_of_intervals(posterior, rows, predictive, factor, right):
    """Exactly: the probability that the true predictive gives the interval; too narrow and too wide ones fail."""
    mean, _, std = predictive
    lower, upper = posterior.over_draws(lambda d: bl.predictive.interval(d, 0.9), rows, num_draws=S)
    center, half = (lower + upper) / 2, factor * (upper - lower) / 2
    exact = stats.norm(mean, std)
    covered = exact.cdf((center + half).numpy()) - exact.cdf((center - half).numpy())
    assert (abs(covered.mean() - 0.9) < 0.01) == right


def test_crps_is_the_normals(posterior, rows, predictive, targets):
    """Row by row within 5 % of a standard deviation, and on average within a hundredth of it."""
    mean, _, std = predictive
    ours = posterior.over_draws(bl.predictive.crps, rows, targets, num_draws=S).numpy()
    z = (targets.numpy() - mean) / std
    exact = std * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    assert (np.abs(ours - exact) < 0.05 * std).all()
    assert abs(ours.mean() - exact.mean()) < 0.01 * std.mean()
    assert abs(ours.mean() - bl.metrics.crps_normal(targets, mean, std)) < 0.01 * std.mean()


@pytest.mark.parametrize("noise", [0.5, 0.01])
def test_crps_of_a_mixture_is_the_sum_over_pairs(build, noise):
    """Both ways: a wide noise takes the trapezoid rule, a narrow one the pairs; against Grimit's sum, pair by pair."""
    loc = build(lambda: torch.randn(40, 3, 1, dtype=torch.float64))
    scale = noise * build(lambda: torch.rand(40, dtype=torch.float64) + 0.5, seed=1)
    drawn = bl.PredictiveDraws(loc, bl.likelihoods.Normal("learned"), {"noise_scale": scale})
    y = torch.tensor([0.3, -2.0, 0.0], dtype=torch.float64)
    m, s = loc[..., 0].numpy(), np.broadcast_to(scale[:, None].numpy(), (40, 3))

    def distance(mean, std):
        return 2 * std * stats.norm.pdf(mean / std) + mean * (2 * stats.norm.cdf(mean / std) - 1)

    pairs = distance(m[:, None] - m[None], np.hypot(s[:, None], s[None])).mean((0, 1))
    expected = distance(y.numpy() - m, s).mean(0) - pairs / 2
    np.testing.assert_allclose(bl.predictive.crps(drawn, y).numpy(), expected, rtol=1e-12)


def test_quantiles_of_far_modes(build):
    """Between two modes the density is all but 0: the CDF at the quantile is the level all the same."""
    f = torch.cat([torch.full((30, 5, 1), -10.0), torch.full((70, 5, 1), 10.0)]).double()
    f += 0.1 * build(lambda: torch.randn(100, 5, 1, dtype=torch.float64))
    drawn = bl.PredictiveDraws(f, bl.likelihoods.Normal(0.05), {})
    levels = [0.001, 0.1, 0.299, 0.301, 0.5, 0.999]
    q = bl.predictive.quantiles(drawn, levels)
    reached = stats.norm.cdf((q.numpy()[None] - f.numpy()) / 0.05).mean(0)
    np.testing.assert_allclose(reached, np.broadcast_to(levels, (5, 6)), rtol=0, atol=1e-12)
