"""Our moments beside those of Pyro's ``Predictive``, for every network and guide of the table."""

import pytest
import torch
from pyro.infer import Predictive
from torch.nn import functional

import bayesian_layers as bl
from bayesian_layers.likelihoods import Categorical
from bayesian_layers.noise import seeded

OURS = 4000


def moments_of_draws(likelihood, drawn, x):
    """Mean and variance of the targets for each of ``Predictive``'s draws, ``(S, *shape of y)``."""
    f = drawn["f"]
    latents = {
        name: drawn[name].reshape(len(f), 1, *site.initial.shape)
        for name, site in likelihood.sites(x).items()
    }
    mean, variance = likelihood.moments(f, output_axes=f.dim() - 2, **latents)
    return mean, variance.expand_as(mean)


@pytest.mark.slow
def test_moments_are_those_of_the_same_draws(case, x):
    model, guide, _ = case
    given = {
        name: value.unsqueeze(1) for name, value in guide.draw(50, seed=6).items()
    }  # the axis of the rows
    with seeded(2):
        drawn = {**given, **Predictive(model, given, parallel=True, return_sites=("f",))(x)}
    mean, variance = moments_of_draws(model.likelihood, drawn, x)
    ours = bl.Posterior.from_guide(model, guide).predict(x, 50, seed=6)
    for found, expected in (
        (ours.mean, mean.mean(0)),
        (ours.epistemic_std, mean.std(0, correction=0)),
        (ours.aleatoric_std, variance.mean(0).sqrt()),
        (ours.std, (mean.var(0, correction=0) + variance.mean(0)).sqrt()),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


def indicators(likelihood, y, mean):
    """Targets in the shape of their means: of classes one number each."""
    return (functional.one_hot(y, mean.shape[-1]) if isinstance(likelihood, Categorical) else y).double()


def assert_mean(draws, ours):
    """Within 4 standard errors of a mean over ``OURS`` draws of ours and over those of Pyro."""
    error = draws.std(0) * (1 / len(draws) + 1 / OURS) ** 0.5
    assert ((draws.mean(0) - ours).abs() <= 4 * error + 1e-9 * ours.abs()).all()


@pytest.mark.slow
def test_moments_are_those_of_other_draws(case, x):
    """Deviations by their squares, which are means over draws; 4000, as squares of few draws are no Normal's."""
    model, guide, y = case
    x, y = x[::3], y[::3]  # four rows hold each moment as well as twelve
    with seeded(2):
        drawn = Predictive(model, guide=guide, num_samples=4000, parallel=True)(x)
    assert drawn["y"].shape == (4000, *y.shape)
    assert drawn["f"].shape == (4000, *model.network(x).shape)
    ours = bl.Posterior.from_guide(model, guide).predict(x, num_draws=OURS)
    mean, variance = moments_of_draws(model.likelihood, drawn, x)
    targets = indicators(model.likelihood, drawn["y"], mean)
    assert_mean(mean, ours.mean)
    assert_mean(targets, ours.mean)
    assert_mean((mean - ours.mean) ** 2, ours.epistemic_std**2)
    assert_mean(variance, ours.aleatoric_std**2)
    assert_mean((targets - ours.mean) ** 2, ours.std**2)


@pytest.mark.slow
def test_predictive_in_a_loop_has_the_same_mean(case, x):
    model, guide, y = case
    with seeded(2):
        drawn = Predictive(model, guide=guide, num_samples=16, parallel=False)(x)
    assert drawn["y"].shape == (16, *y.shape)
    assert drawn["f"].shape == (16, *model.network(x).shape)
    ours = bl.Posterior.from_guide(model, guide).predict(x, num_draws=1000)  # nearly exact beside 16 draws
    targets = indicators(model.likelihood, drawn["y"], ours.mean)
    error = ours.std * (1 / 16 + 1 / 1000) ** 0.5
    assert ((targets.mean(0) - ours.mean).abs() < 4 * error).all()


def test_the_comparison_tells_a_wrong_deviation(build, x):
    """A tenth too wide or too narrow is not within 4 standard errors."""
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1).double()), bl.likelihoods.Normal(0.3))
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.5)
    with seeded(2):
        drawn = Predictive(model, guide=guide, num_samples=4000, parallel=True)(x)
    ours = bl.Posterior.from_guide(model, guide).predict(x, num_draws=OURS)
    mean, _ = moments_of_draws(model.likelihood, drawn, x)
    squares = (mean - ours.mean) ** 2
    assert_mean(squares, ours.epistemic_std**2)
    for factor in (0.9, 1.1):
        with pytest.raises(AssertionError):
            assert_mean(squares, (factor * ours.epistemic_std) ** 2)
