"""PSIS-LOO against the closed form of Bayesian linear regression.

With ``y = X w + noise`` and ``w ~ N(0, s^2)`` the posterior without row i is Normal too; with mean m
and covariance C of that one, the target that was left out is Normal with mean ``x_i' m`` and variance
``sigma^2 + x_i' C x_i``.
"""

import math

import numpy as np
import pytest
import torch

import bayesian_layers as bl

SIGMA, PRIOR = 0.5, 1.5
DRAWS = 20_000


@pytest.fixture
def data():
    generator = np.random.default_rng(5)
    mix = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.2, 0.9]])
    x = generator.normal(size=(30, 3)) @ mix
    y = x @ np.array([0.7, -1.2, 0.4]) + 0.3 + SIGMA * generator.normal(size=30)
    return torch.tensor(x), torch.tensor(y)


@pytest.fixture
def model(build):
    prior = bl.priors.Normal(scale=PRIOR)
    return bl.BayesianModel(
        build(lambda: bl.Linear(3, 1, prior=prior, dtype=torch.float64)), bl.likelihoods.Normal(SIGMA)
    )


def posterior_of(design, y):
    precision = design.T @ design / SIGMA**2 + np.eye(design.shape[1]) / PRIOR**2
    return np.linalg.solve(precision, design.T @ y / SIGMA**2), np.linalg.inv(precision)


def log_normal(y, mean, variance):
    return -0.5 * (y - mean) ** 2 / variance - 0.5 * np.log(2 * math.pi * variance)


@pytest.fixture
def truth(data):
    """Log densities of each target given the others, by fitting again without it, and given all."""
    x, y = (values.numpy() for values in data)
    design = np.column_stack([x, np.ones(len(x))])
    mean, covariance = posterior_of(design, y)
    without, given = [], []
    for i, row in enumerate(design):
        loc, spread = posterior_of(np.delete(design, i, 0), np.delete(y, i))
        without.append(log_normal(y[i], row @ loc, SIGMA**2 + row @ spread @ row))
        given.append(log_normal(y[i], row @ mean, SIGMA**2 + row @ covariance @ row))
    return mean, covariance, np.array(without), np.array(given)


def gaussian(model, mean, covariance):
    """The guide that is this Gaussian: its Cholesky factor is D C with ones on the diagonal of C."""
    guide, factor = bl.guides.FullRankNormal(model), np.linalg.cholesky(covariance)
    with torch.no_grad():
        guide.loc.copy_(torch.tensor(mean))
        guide.log_scale.copy_(torch.tensor(np.log(np.diag(factor))))
        guide.factor.copy_(torch.tensor(factor / np.diag(factor)[:, None]))
    return bl.Posterior.from_guide(model, guide)


def independent(model, mean, scale):
    guide = bl.guides.MeanFieldNormal(model)
    with torch.no_grad():
        guide.loc.copy_(torch.tensor(mean))
        guide.log_scale.copy_(torch.tensor(np.log(scale)))
    return bl.Posterior.from_guide(model, guide)


def stored(model, mean, covariance, size=DRAWS):
    draws = torch.tensor(np.random.default_rng(1).multivariate_normal(mean, covariance, size=size))
    return bl.Posterior.from_samples(model, {"weight": draws[:, None, :3], "bias": draws[:, 3:]})


# Monte Carlo: over six seeds the largest error of a row was 0.032, of their sum 0.038.
ROW, SUM = 0.05, 0.1


def test_exact_draws(model, data, truth):
    mean, covariance, without, given = truth
    loo = stored(model, mean, covariance).loo(*data, num_draws=DRAWS)
    np.testing.assert_allclose(loo.pointwise, without, atol=ROW)
    assert loo.elpd == pytest.approx(without.sum(), abs=SUM)
    assert loo.p_loo == pytest.approx((given - without).sum(), abs=SUM)
    assert loo.elpd_stderr == pytest.approx(math.sqrt(30) * without.std(ddof=1), rel=0.01)
    assert loo.k_hat.max() < loo.threshold == 0.7
    assert (loo.warning, loo.posterior_k_hat) == ("", None)


def test_a_guide_that_is_the_posterior(model, data, truth):
    mean, covariance, without, given = truth
    loo = gaussian(model, mean, covariance).loo(*data, num_draws=DRAWS)
    assert loo.posterior_k_hat == 0.0  # the weights are all equal: law of total probability
    np.testing.assert_allclose(loo.pointwise, without, atol=ROW)
    assert loo.p_loo == pytest.approx((given - without).sum(), abs=SUM)
    assert loo.warning == ""


@pytest.mark.parametrize(("shift", "width"), [(0.0, 1.3), (0.02, 1.6), (0.05, 2.0)])
def test_a_mean_field_guide_that_is_off_is_corrected(model, data, truth, shift, width):
    """Its correlations, means and scales are wrong; its draws taken for exact are wrong by 4, 10, 29 nats."""
    mean, covariance, without, given = truth
    posterior = independent(model, mean + shift, width / np.sqrt(np.diag(np.linalg.inv(covariance))))
    corrected = posterior.loo(*data, num_draws=DRAWS)
    plain = bl.Posterior.from_samples(model, posterior.sample(DRAWS)).loo(*data, num_draws=DRAWS)
    error, before = abs(corrected.elpd - without.sum()), abs(plain.elpd - without.sum())
    assert before > 3
    assert error < before / 20
    # Heavier tails than of exact draws: over six seeds the largest error of a row was 0.07, of p_loo 0.13.
    np.testing.assert_allclose(corrected.pointwise, without, atol=0.15)
    assert corrected.p_loo == pytest.approx((given - without).sum(), abs=0.25)
    assert corrected.posterior_k_hat < 0.7


def test_a_guide_far_too_narrow_is_not_believed(model, data, truth):
    mean, covariance, _, _ = truth
    loo = independent(model, mean, 0.2 * np.sqrt(np.diag(covariance))).loo(*data)
    assert loo.posterior_k_hat > 0.7
    assert len(loo.unreliable) > 20
    assert "too far from the posterior" in loo.warning


def test_a_tempered_guide_is_judged_as_the_posterior_at_weight_1(model, data, truth):
    """At half the weight of the KL the guide is another Gaussian; the weights lead back."""
    mean, covariance, without, _ = truth
    posterior = gaussian(model, mean, covariance / 0.5)
    posterior.kl_weight = 2.0
    assert posterior.loo(*data, num_draws=DRAWS).elpd == pytest.approx(without.sum(), abs=SUM)


def test_stored_draws_are_taken_once(model, data, truth):
    mean, covariance, _, _ = truth
    posterior = stored(model, mean, covariance, size=300)
    loo = posterior.loo(*data, num_draws=1000)
    assert loo.num_draws == 300
    np.testing.assert_array_equal(loo.pointwise, posterior.loo(*data, num_draws=300).pointwise)
