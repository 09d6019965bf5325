"""Bayesian linear regression: posterior, best mean-field Normal and ELBO have closed forms.

With ``y = X w + noise`` and ``w ~ N(0, s^2)`` the posterior is Normal with precision
``A = X'X / sigma^2 + I / s^2`` and mean ``A^-1 X'y / sigma^2``; the mean-field optimum has the same means and the
standard deviations ``1 / sqrt(diag(A))`` (Bishop 2006, section 10.1.2).
"""

import math

import numpy as np
import pytest
import torch

import bayesian_layers as bl

SIGMA, PRIOR = 0.5, 1.5


@pytest.fixture
def data():
    generator = np.random.default_rng(5)
    mix = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.2, 0.9]])
    x = generator.normal(size=(60, 3)) @ mix
    y = x @ np.array([0.7, -1.2, 0.4]) + 0.3 + SIGMA * generator.normal(size=60)
    return torch.tensor(x), torch.tensor(y)


@pytest.fixture
def closed_form(data):
    x, y = (values.numpy() for values in data)
    design = np.column_stack([x, np.ones(len(x))])
    precision = design.T @ design / SIGMA**2 + np.eye(4) / PRIOR**2
    mean = np.linalg.solve(precision, design.T @ y / SIGMA**2)
    return design, precision, mean


@pytest.fixture
def model(build):
    prior = bl.priors.Normal(scale=PRIOR)
    layer = build(lambda: bl.Linear(3, 1, prior=prior, dtype=torch.float64))
    return bl.BayesianModel(layer, bl.likelihoods.Normal(SIGMA))


def test_default_fit_finds_the_mean_field_optimum(model, data, closed_form):
    _, precision, mean = closed_form
    result = bl.fit(model, *data, progress=False)
    guide = result.posterior.source
    scale = 1 / np.sqrt(np.diag(precision))
    # within 1 %: of the scale for both, since the error of a mean matters in units of its standard deviation
    np.testing.assert_allclose(guide.log_scale.detach().exp().numpy(), scale, rtol=0.01)
    assert np.max(np.abs(guide.loc.detach().numpy() - mean) / scale) < 0.01
    np.testing.assert_allclose(guide.loc.detach().numpy(), mean, rtol=0.01)


def test_elbo_equals_the_closed_form(model, data, closed_form):
    """ELBO of the mean-field optimum = log evidence - KL(q || posterior), both Gaussian integrals."""
    design, precision, _ = closed_form
    result = bl.fit(model, *data, progress=False)
    y = data[1].numpy()
    marginal = SIGMA**2 * np.eye(len(y)) + PRIOR**2 * design @ design.T
    evidence = -0.5 * (y @ np.linalg.solve(marginal, y) + np.linalg.slogdet(2 * math.pi * marginal)[1])
    kl = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert abs(result.elbo - (evidence - kl)) < 4 * result.elbo_stderr + 1e-3
    assert result.objective == pytest.approx(-result.elbo)


@pytest.mark.slow
def test_minibatches_reach_the_same_optimum(model, data, closed_form):
    _, precision, mean = closed_form
    result = bl.fit(model, *data, batch_size=25, max_steps=3000, progress=False)
    scale = 1 / np.sqrt(np.diag(precision))
    guide = result.posterior.source
    # minibatch noise leaves a larger error than the full batch; a standard deviation that is wrong by a factor of
    # sqrt(60 / 25) would be off by 55 %
    np.testing.assert_allclose(guide.log_scale.detach().exp().numpy(), scale, rtol=0.05)
    assert np.max(np.abs(guide.loc.detach().numpy() - mean) / scale) < 0.1


def test_tempering_scales_the_standard_deviations(model, data, closed_form):
    """At KL weight w the optimum has precision X'X / sigma^2 + w I / s^2, times 1 / w in variance."""
    design, _, _ = closed_form
    weight = 0.25
    result = bl.fit(model, *data, kl_weight=weight, progress=False)
    precision = design.T @ design / SIGMA**2 + weight * np.eye(4) / PRIOR**2
    guide = result.posterior.source
    np.testing.assert_allclose(
        guide.log_scale.detach().exp().numpy(), np.sqrt(weight / np.diag(precision)), rtol=0.01
    )
    assert result.objective < -result.elbo
    assert "TEMPERED" in str(result)


def test_predictive_moments_equal_the_closed_form(model, data):
    result = bl.fit(model, *data, progress=False)
    guide = result.posterior.source
    x_new = torch.tensor([[0.5, -0.5, 1.0], [2.0, 0.0, -1.0]], dtype=torch.float64)
    design = np.column_stack([x_new.numpy(), np.ones(2)])
    mean, variance = guide.loc.detach().numpy(), guide.log_scale.detach().exp().numpy() ** 2
    prediction = result.posterior.predict(x_new, num_draws=100_000)
    epistemic = np.sqrt(design**2 @ variance)
    # Monte Carlo: 4 standard errors of a mean and of a standard deviation, over 100,000 draws
    assert np.all(np.abs(prediction.mean.numpy() - design @ mean) < 4 * epistemic / math.sqrt(1e5))
    np.testing.assert_allclose(prediction.epistemic_std.numpy(), epistemic, rtol=4 / math.sqrt(2e5))
    np.testing.assert_allclose(prediction.aleatoric_std.numpy(), SIGMA, rtol=1e-12)
    np.testing.assert_allclose(prediction.std.numpy() ** 2, prediction.epistemic_std.numpy() ** 2 + SIGMA**2)
