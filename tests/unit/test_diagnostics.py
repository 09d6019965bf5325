"""Diagnostics of a posterior: weights against their prior, k-hat in parts, predictive checks."""

import math

import numpy as np
import pytest
import torch
from torch import distributions, nn

import bayesian_layers as bl
from bayesian_layers.inference_data import pareto_k_hat
from bayesian_layers.posterior import importance
from bayesian_layers.posterior.densities import densities
from bayesian_layers.posterior.marginals import marginals
from bayesian_layers.posterior.weight_table import WeightTable

PRIOR = bl.priors.Normal(0.3, 2.0)
NOISE = bl.priors.LogNormal(-1.0, 0.5)


def moved(model, kind=bl.guides.MeanFieldNormal, seed=0):
    guide = kind(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return bl.Posterior.from_guide(model, guide)


@pytest.fixture
def model(build):
    """A site of each kind: weights, a point-estimated bias, a positive noise scale with a prior."""
    network = build(
        lambda: nn.Sequential(
            bl.Linear(2, 3, prior=PRIOR, bias_prior=None), nn.Tanh(), bl.Linear(3, 1, prior=PRIOR)
        ).double()
    )
    return bl.BayesianModel(network, bl.likelihoods.Normal(NOISE))


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(30, 2, generator=generator, dtype=torch.float64)
    return x, x[:, 0] + 0.3 * torch.randn(30, generator=generator, dtype=torch.float64)


# --- weights ------------------------------------------------------------------------------------------


def test_table_of_a_mean_field_guide_is_the_closed_form(model):
    posterior = moved(model)
    guide, table = posterior.source, posterior.weight_table()
    assert table.names == ("0.weight", "2.weight", "2.bias", "noise_scale")
    layout = guide.layout
    loc, scale = (layout.split(each.detach(), layout.random) for each in (guide.loc, guide.log_scale.exp()))
    for j, name in enumerate(table.names):
        prior = distributions.Normal(-1.0, 0.5) if "noise" in name else distributions.Normal(0.3, 2.0)
        kl = distributions.kl_divergence(distributions.Normal(loc[name], scale[name]), prior).sum()
        assert table.kl[j] == pytest.approx(float(kl), rel=1e-9)
        assert table.entries[j] == loc[name].numel()
        assert table.prior_scale[j] == pytest.approx(float(prior.scale))
        assert table.relative_scale[j] == pytest.approx(float((scale[name] / prior.scale).median()))
    np.testing.assert_allclose(table.kl_per_entry, table.kl / [6, 3, 1, 1])


def test_signal_to_noise_by_hand(model):
    posterior = moved(model)
    guide = posterior.source
    flat = (guide.loc.abs() / guide.log_scale.exp()).detach()
    ratios = posterior.signal_to_noise()
    assert {
        name: tuple(each.shape) for name, each in ratios.items()
    } == {  # no positive site: a logarithm's distance from 0 has no meaning
        "0.weight": (3, 2),
        "2.weight": (1, 3),
        "2.bias": (1,),
    }
    for name, each in ratios.items():
        torch.testing.assert_close(each, guide.layout.split(flat, guide.layout.random)[name])
    table = posterior.weight_table()
    np.testing.assert_allclose(table.signal_to_noise[:3], [np.median(each) for each in ratios.values()])
    np.testing.assert_allclose(
        table.share_above_one[:3], [(each > 1).double().mean() for each in ratios.values()]
    )
    assert np.isnan(table.signal_to_noise[3])
    assert np.isnan(table.share_above_one[3])


@pytest.mark.parametrize("kind", [bl.guides.FullRankNormal, bl.guides.LowRankNormal])
def test_moments_of_joint_guides_are_exact(model, kind):
    posterior = moved(model, kind)
    exact = marginals(posterior.model, posterior.source, 2, 0)
    drawn = posterior.sample(20_000)
    for name, each in exact.items():
        values = drawn[name].log() if "noise" in name else drawn[name]
        # 5 standard errors of 20,000 draws
        assert torch.all((values.mean(0) - each.mean).abs() < 5 * each.std / math.sqrt(20_000))
        torch.testing.assert_close(values.std(0), each.std, rtol=5 / math.sqrt(40_000), atol=0.0)


def test_moments_of_stored_draws(model):
    samples = moved(model).sample(50)
    found = marginals(model, bl.Posterior.from_samples(model, samples).source, 50, 0)
    torch.testing.assert_close(found["0.weight"].mean, samples["0.weight"].mean(0))
    torch.testing.assert_close(found["noise_scale"].std, samples["noise_scale"].log().std(0))


def test_a_weight_that_is_the_prior_has_not_left_it(model):
    guide = bl.guides.MeanFieldNormal(model)
    with torch.no_grad():
        guide.loc.fill_(0.3)
        guide.log_scale.fill_(math.log(2.0))
    table = bl.Posterior.from_guide(model, guide).weight_table()
    np.testing.assert_allclose(table.kl[:3], 0.0, atol=1e-12)
    np.testing.assert_allclose(table.relative_scale[:3], 1.0)
    np.testing.assert_array_equal(table.share_above_one[:3], 0.0)


def test_prior_scale_that_is_a_site(build):
    prior = bl.priors.Normal(scale="learned")
    model = bl.BayesianModel(
        build(lambda: bl.Linear(2, 1, prior=prior, bias_prior=None)), bl.likelihoods.Bernoulli()
    )
    posterior = moved(model)
    learned = next(value for name, value in posterior.source.mean().items() if "scale" in name)
    assert posterior.weight_table().prior_scale[0] == pytest.approx(float(learned), rel=1e-6)


def test_table_prints_a_line_a_site(model):
    lines = str(moved(model).weight_table()).splitlines()
    assert [line.split()[0] for line in lines] == [
        "site",
        "0.weight",
        "2.weight",
        "2.bias",
        "noise_scale",
    ]
    assert len({len(line) for line in lines}) == 1


def test_nothing_with_a_prior_is_refused(build):
    model = bl.BayesianModel(build(lambda: nn.Linear(2, 1)), bl.likelihoods.Bernoulli())
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    with pytest.raises(bl.errors.SiteError, match="prior"):
        posterior.weight_table()


def test_a_table_checks_itself():
    with pytest.raises(bl.errors.ShapeError, match="kl"):
        WeightTable(("a",), *[np.zeros(1)] * 5, np.zeros(2))


# --- k-hat --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [2**24, 330])  # 330: eleven draws at a time
def test_k_hat_in_parts_is_that_of_all_weights(model, data, monkeypatch, numbers):
    posterior = moved(model)
    monkeypatch.setattr(importance, "_NUMBERS", numbers)
    found = densities(model, posterior.source, posterior.sample(200, seed=3), *data)
    assert posterior.k_hat(*data, num_draws=200, seed=3) == pytest.approx(
        pareto_k_hat(found.log_weights.numpy()), rel=1e-6
    )


def test_k_hat_is_what_arviz_gets(model, data):
    posterior = moved(model)
    assert posterior.to_arviz(*data, num_draws=200).attrs["k_hat"] == pytest.approx(
        posterior.k_hat(*data, 200)
    )


def test_k_hat_of_stored_draws_is_refused(model, data):
    posterior = bl.Posterior.from_samples(model, moved(model).sample(50))
    with pytest.raises(bl.errors.DataError, match="stored draws"):
        posterior.k_hat(*data)


def test_k_hat_of_few_draws_or_infinite_weights_is_infinite(model, data):
    posterior = moved(model)
    assert posterior.k_hat(*data, num_draws=10) == math.inf
    with torch.no_grad():
        posterior.source.loc[-1] = -400.0  # a noise scale of 0 in effect: the likelihood is 0
    assert posterior.k_hat(*data) == math.inf


@pytest.mark.parametrize("settings", [{"num_draws": 1}, {"num_draws": 10.0}, {"seed": -1}])
def test_numbers_are_checked(model, data, settings):
    posterior = moved(model)
    for ask in (posterior.k_hat, posterior.pit, posterior.predictive_check):
        with pytest.raises(bl.errors.DataError):
            ask(*data, **settings)


# --- data compared with data of the model --------------------------------------------------------------------


def linear(build, y_scale=1.0, seed=0):
    """A linear model, data from it but for their standard deviation, and its exact posterior."""
    layer = build(lambda: bl.Linear(1, 1, bias=False, dtype=torch.float64))
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(0.5))
    generator = torch.Generator().manual_seed(seed)
    x = torch.linspace(-1, 1, 300, dtype=torch.float64).unsqueeze(1)
    y = 0.8 * x[:, 0] + y_scale * 0.5 * torch.randn(300, generator=generator, dtype=torch.float64)
    precision = x[:, 0] @ x[:, 0] / 0.25 + 1
    guide = bl.guides.MeanFieldNormal(model)
    with torch.no_grad():
        guide.loc.copy_((x[:, 0] @ y / 0.25 / precision).reshape(1))
        guide.log_scale.copy_(precision.rsqrt().log().reshape(1))
    return bl.Posterior.from_guide(model, guide), x, y


@pytest.mark.parametrize(
    ("y_scale", "verdict"),
    [
        (1.0, "calibrated, as far as this shows"),
        (2.0, "too narrow (over-confident)"),
        (0.5, "too wide (under-confident)"),
    ],
)
def test_pit_and_check_tell_right_narrow_and_wide_apart(build, y_scale, verdict):
    posterior, x, y = linear(build, y_scale)
    p = posterior.pit(x, y, num_draws=400)
    assert p.shape == (300,)
    assert bl.metrics.uniformity(p).verdict() == verdict
    assert bl.metrics.coverage_curve(p).verdict() == verdict
    tail = dict(
        zip(
            ("mean", "sd", "min", "max"),
            posterior.predictive_check(x, y, num_draws=400).tail_probability,
            strict=False,
        )
    )
    assert {1.0: 0.025 < tail["sd"] < 0.975, 2.0: tail["sd"] < 0.01, 0.5: tail["sd"] > 0.99}[y_scale]


def test_checks_use_the_data_sets_that_arviz_gets(build):
    posterior, x, y = linear(build)
    groups = posterior.to_arviz(x, y, num_draws=100, seed=2)
    for check, group in (
        (posterior.predictive_check, "posterior_predictive"),
        (posterior.prior_check, "prior_predictive"),
    ):
        made = check(x, y, {"third": lambda v: v[2]}, num_draws=100, seed=2)
        np.testing.assert_allclose(made.replicated[:, 0], groups[group]["y"].values[0, :, 2])


def test_prior_check_draws_weights_from_the_prior(build):
    """At x = 1 the prior predictive standard deviation is sqrt(1 + 0.5^2), the posterior's nearly 0.5."""
    posterior, x, y = linear(build)
    last = {"last": lambda v: v[-1]}
    before = posterior.prior_check(x, y, last, num_draws=4000).replicated.std()
    after = posterior.predictive_check(x, y, last, num_draws=4000).replicated.std()
    assert before == pytest.approx(math.sqrt(1.25), rel=5 / math.sqrt(8000))
    assert after == pytest.approx(0.5, rel=5 / math.sqrt(8000) + 0.01)


def test_several_targets_and_labels(build):
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 3)), bl.likelihoods.Normal(0.5))
    x = torch.zeros(4, 2)
    p = moved(model).pit(x, torch.zeros(4, 3), num_draws=20)
    assert p.shape == (4, 3)
    labels = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Bernoulli())
    p = moved(labels).pit(*bl.datasets.parabola(50), num_draws=20)
    assert p.shape == (50,)
    assert 0 < p.min() < p.max() < 1


def test_wrong_targets_are_refused(build):
    posterior, x, y = linear(build)
    for ask in (posterior.pit, posterior.predictive_check, posterior.prior_check, posterior.k_hat):
        with pytest.raises(bl.errors.ShapeError, match="`y`"):
            ask(x, y.unsqueeze(1))
