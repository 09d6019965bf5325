"""Variational dropout on a problem whose answer is known: 3 of 30 orthogonal inputs matter."""

import math

import pytest
import torch
from scipy.optimize import minimize

import bayesian_layers as bl
from bayesian_layers.noise import seeded

RELEVANT = [2, 11, 25]
NOISE, ROWS = 0.3, 200
NEVER = 20.0  # of log alpha: where the optimum is at 0 itself


def best_log_alpha(c):
    """Where one weight ends whose least-squares estimate is c standard errors: a problem of two numbers."""

    def loss(at):
        mean, log_variance = (torch.tensor(v, dtype=torch.float64) for v in at)
        entropy = 0.5 * (math.log(2 * math.pi * math.e) + log_variance)
        kl = -entropy - bl.priors.LogUniform().expected_log_density(mean, log_variance.exp())
        return float(0.5 * ((mean - c) ** 2 + log_variance.exp()) + kl)

    start = max(c - 1, 0.1)  # where it ends, nearly
    options = {"xatol": 1e-3, "fatol": 1e-6}
    best = minimize(loss, (start, math.log(start)), method="Nelder-Mead", options=options)
    if best.fun > 0.5 * c**2 - 1e-4:  # a weight of 0 without noise is as good
        return NEVER
    return best.x[1] - 2 * math.log(abs(best.x[0]))


@pytest.fixture(scope="module")
def fitted():
    generator = torch.Generator().manual_seed(0)
    x = torch.linalg.qr(torch.randn(ROWS, 30, generator=generator)).Q * ROWS**0.5
    truth = x[:, RELEVANT] @ torch.tensor([1.0, -0.6, 0.4])
    y = truth + NOISE * torch.randn(ROWS, generator=generator)
    with seeded(0), torch.no_grad():
        layer = bl.Linear(30, 1, bias=False, prior=bl.priors.LogUniform())
        layer.weight.fill_(0.1)
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(NOISE))
    return bl.fit(model, x, y, estimator="local", progress=False), x, y, truth


@pytest.mark.slow
def test_each_weight_ends_where_it_should(fitted):
    """Against the optimum of each weight alone; with orthogonal inputs these are the optimum of all."""
    result, x, y, _ = fitted
    assert result.estimator == "local"
    estimates = (x.T @ y).abs() / (NOISE * ROWS**0.5)
    expected = torch.tensor([best_log_alpha(float(c)) for c in estimates])
    found = -2 * result.posterior.signal_to_noise()["weight"].squeeze(0).log()
    kept = expected < 2  # beyond, the objective is flat
    assert 5 < int(kept.sum()) < 20
    assert (found[kept] - expected[kept]).abs().max() < 0.3
    assert (found[expected == NEVER] > 2).all()
    # what was promised of the threshold: about one standard error
    pruned = ~result.posterior.prune().source.kept["weight"].squeeze(0)
    assert pruned[estimates < 0.9].all()
    assert not pruned[estimates > 1.3].any()


def test_the_three_are_found(fitted):
    result, _, _, _ = fitted
    pruned = result.posterior.prune(threshold=-2.0)
    assert pruned.source.kept["weight"].squeeze(0).nonzero().flatten().tolist() == RELEVANT
    assert result.posterior.sparsity(threshold=-2.0).total == pytest.approx(27 / 30)


def test_predictions_hardly_change(fitted):
    """At the default threshold by a tenth of the noise at most; and at -2 they come nearer to the truth."""
    result, x, _, truth = fitted
    before, after, three = (
        each.predict(x) for each in (result.posterior, result.posterior.prune(), result.posterior.prune(-2.0))
    )
    assert (before.mean - after.mean).abs().max() < 0.1 * NOISE
    errors = [float((each.mean - truth).square().mean().sqrt()) for each in (before, after, three)]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)
    assert errors[2] < 0.7 * errors[0]
