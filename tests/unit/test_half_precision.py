"""Networks in half precision: what is computed in NumPy works, and equals that of the same weights in float32."""

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl

X = torch.linspace(-1, 1, 40).reshape(20, 2)
DTYPES = [torch.bfloat16, torch.float16]


def posteriors(dtype, likelihood, outputs=1):
    """Of the same eight draws, in half precision and in float32."""
    network = bl.bayesianize(nn.Linear(2, outputs).to(dtype))
    half = bl.BayesianModel(network, likelihood)
    draws = half.prior_draws(40, seed=0)
    posterior = bl.Posterior.from_samples(half, draws)
    wide = bl.BayesianModel(bl.bayesianize(nn.Linear(2, outputs)), likelihood)
    return posterior, bl.Posterior.from_samples(wide, {name: each.float() for name, each in draws.items()})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("same", [False, True], ids=["y float32", "y half"])
def test_diagnostics_equal_those_in_float32(dtype, same, build):
    half, wide = build(lambda: posteriors(dtype, bl.likelihoods.Bernoulli()))
    y = (X[:, 0] > 0).float()
    given = y.to(dtype) if same else y
    ours, theirs = half.loo(X, given, 40), wide.loo(X, y, 40)
    # A half precision number has 8 bits (bfloat16) or 11; the log likelihoods are between -5 and 0.
    np.testing.assert_allclose(ours.pointwise, theirs.pointwise, atol=0.05)
    summary = half.summary(40)
    np.testing.assert_allclose(summary.to_numpy(), wide.summary(40).to_numpy(), rtol=1e-6)
    data = half.to_arviz(X, given, 40)
    assert data["posterior"]["weight"].dtype == np.float32
    np.testing.assert_array_equal(data["observed_data"]["y"], y)
    assert half.pit(X, given, 40).shape == (20,)
    for check in (half.predictive_check(X, given, num_draws=40), half.prior_check(X, given, num_draws=40)):
        assert check.observed[0] == 0.5


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_tail_of_a_guides_weights(dtype, build):
    model = build(
        lambda: bl.BayesianModel(bl.bayesianize(nn.Linear(2, 1).to(dtype)), bl.likelihoods.Normal(0.5))
    )
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.1))
    assert np.isfinite(posterior.k_hat(X, X[:, 0].to(dtype), 100))
    assert np.isfinite(posterior.loo(X, X[:, 0].to(dtype), 100).posterior_k_hat)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_draws_of_students_prior(dtype, build):
    prior = bl.priors.StudentT(4.0)
    network = build(lambda: bl.bayesianize(nn.Linear(2, 1).to(dtype), prior=prior))
    draws = bl.BayesianModel(network).prior_draws(5, seed=0)["weight"]
    posterior = bl.Posterior.from_guide(
        model := bl.BayesianModel(network, bl.likelihoods.Bernoulli()), bl.guides.MeanFieldNormal(model)
    )
    assert draws.dtype == dtype
    assert posterior.prior_check(X, (X[:, 0] > 0).to(dtype), num_draws=5).observed[0] == 0.5


def test_metrics_take_bfloat16():
    y, mean = torch.tensor([1.0, 2.0, 3.0]).bfloat16(), torch.tensor([1.5, 2.0, 2.5]).bfloat16()
    assert bl.metrics.rmse(y, mean) == bl.metrics.rmse(y.float(), mean.float())
