"""The ELBO computed a second time with plain numpy, from the guide's numbers alone."""

import numpy as np
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import nn

import bayesian_layers as bl
from bayesian_layers.fitting.evaluation import estimate_elbo
from bayesian_layers.model import log_likelihood
from bayesian_layers.noise import seeded


def expected_log_p(model, guide, x, y, num_draws):
    return float(log_likelihood(model, guide.draw(num_draws, seed=0), x, y).double().sum(1).mean())


def normal_kl(loc, scale, prior_loc, prior_scale):
    return np.sum(
        np.log(prior_scale / scale) + (scale**2 + (loc - prior_loc) ** 2) / (2 * prior_scale**2) - 0.5
    )


@pytest.fixture
def article(build):
    """The article's network with a prior of its own on each layer, a guide away from its start."""
    network = build(
        lambda: nn.Sequential(
            bl.Linear(2, 10, prior=bl.priors.Normal(0.1, 2.0), bias_prior=None),
            nn.Tanh(),
            bl.Linear(10, 1, bias_prior=bl.priors.Normal(scale=0.5)),
        ).double()
    )
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.2)
    with torch.no_grad():
        guide.log_scale += torch.linspace(-0.5, 0.5, len(guide.log_scale))
    x, y = bl.datasets.parabola(50)
    return model, guide, x.double(), y.double()


def numpy_elbo(guide, x, y, num_draws, seed):
    """E log p by hand: forward pass, Bernoulli log likelihood; the flat vector is cut as the network has it."""
    loc, scale = guide.loc.detach().numpy(), guide.log_scale.detach().exp().numpy()
    b1 = guide.point.detach().numpy()
    kl = normal_kl(loc[:20], scale[:20], 0.1, 2.0) + normal_kl(loc[20:30], scale[20:30], 0, 1)
    kl += normal_kl(loc[30:], scale[30:], 0, 0.5)
    w = loc + scale * np.random.default_rng(seed).normal(size=(num_draws, 31))
    hidden = np.tanh(np.einsum("nd,skd->snk", x, w[:, :20].reshape(-1, 10, 2)) + b1)
    f = np.einsum("snk,sk->sn", hidden, w[:, 20:30]) + w[:, 30:]
    log_p = -np.logaddexp(0, np.where(y == 1, -f, f)).sum(1)
    return log_p.mean() - kl, log_p.std() / np.sqrt(num_draws), kl


@pytest.mark.slow
def test_estimate_elbo(article):
    model, guide, x, y = article
    by_hand, error, kl = numpy_elbo(guide, x.numpy(), y.numpy(), 100_000, seed=3)
    ours, our_error = estimate_elbo(model, guide, x, y, num_draws=20_000, seed=4)
    assert abs(ours - by_hand) < 4 * np.hypot(error, our_error)
    assert float(sum(guide.kl_divergence(model).values()).detach()) == pytest.approx(kl, rel=1e-12)
    assert our_error == pytest.approx(error * np.sqrt(5), rel=0.1)


@pytest.mark.slow
def test_pyros_own_elbo_of_model_and_guide(article):
    model, guide, x, y = article
    by_hand, error, _ = numpy_elbo(guide, x.numpy(), y.numpy(), 100_000, seed=3)
    elbo = TraceMeanField_ELBO(num_particles=10_000, vectorize_particles=True, max_plate_nesting=1)
    with seeded(1), torch.no_grad():
        value = -float(elbo(model, guide)(x, y))
    assert abs(value - by_hand) < 4 * error * np.sqrt(11)


def test_num_data_scales_the_likelihood_and_counts_the_kl_once(article):
    model, guide, x, y = article
    whole, _ = estimate_elbo(model, guide, x, y, num_draws=100, seed=0)
    kl = float(sum(guide.kl_divergence(model).values()).detach())
    assert expected_log_p(model, guide, x, y, 100) == pytest.approx(whole + kl, rel=1e-10)
    elbo = TraceMeanField_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    values = []
    for num_data in (50, 150):
        with seeded(1), torch.no_grad():
            values.append(-float(elbo(model, guide)(x, y, num_data=num_data)))
    assert values[1] + kl == pytest.approx(3 * (values[0] + kl), rel=1e-10)


@pytest.mark.parametrize("kl_weight", [0.1, {"0.weight": 0.1, "2.bias": 3.0}])
def test_tempering_weighs_each_kl(article, kl_weight):
    model, guide, x, y = article
    kl = {name: float(value.detach()) for name, value in guide.kl_divergence(model).items()}
    weights = kl_weight if isinstance(kl_weight, dict) else dict.fromkeys(kl, kl_weight)
    expected = sum(value * (weights.get(name, 1.0) - 1.0) for name, value in kl.items())
    elbo = TraceMeanField_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1)
    with seeded(1), torch.no_grad():
        cold = -float(elbo(bl.temper(model, kl_weight), bl.temper(guide, kl_weight))(x, y))
    with seeded(1), torch.no_grad():
        warm = -float(elbo(model, guide)(x, y))
    assert cold - warm == pytest.approx(-expected, rel=1e-8)


def test_the_articles_own_loss_is_the_objective(article):
    """mean BCE + 0.01 * sum over layers of the mean KL over the kernel's elements, times N."""
    model, guide, x, y = article
    n = len(y)
    kl = {name: float(value.detach()) for name, value in guide.kl_divergence(model).items()}
    kl_weight = {"0.weight": n * 0.01 / 20, "2.weight": n * 0.01 / 10, "2.bias": 0.0}
    log_p = expected_log_p(model, guide, x, y, 50)
    article_loss = -log_p / n + 0.01 * (kl["0.weight"] / 20 + kl["2.weight"] / 10)
    assert float(guide.weighted_kl(model, kl_weight).detach()) - log_p == pytest.approx(
        n * article_loss, rel=1e-10
    )


def test_learned_noise_and_log_normal_noise(build):
    """Gaussian log likelihood and the KL of a log-normal noise scale, by hand."""
    x = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    y = (0.5 * x + 0.1).squeeze(-1)
    layer = build(lambda: bl.Linear(1, 1, dtype=torch.float64))
    prior = bl.priors.LogNormal(-1.0, 0.5)
    for noise, points in (("learned", 1), (prior, 0)):
        model = bl.BayesianModel(layer, bl.likelihoods.Normal(noise))
        guide = bl.guides.MeanFieldNormal(model)
        assert len(guide.point) == points
        loc, scale = guide.loc.detach().numpy(), guide.log_scale.detach().exp().numpy()
        generator = np.random.default_rng(0)
        w = loc[:2] + scale[:2] * generator.normal(size=(100_000, 2))
        kl, sigma = normal_kl(loc[:2], scale[:2], 0, 1), np.ones((100_000, 1))
        if not points:
            kl += normal_kl(loc[2:], scale[2:], -1.0, 0.5)
            sigma = np.exp(loc[2] + scale[2] * generator.normal(size=(100_000, 1)))
        f = w[:, :1] * x.numpy().T + w[:, 1:]
        log_p = (-0.5 * np.log(2 * np.pi) - np.log(sigma) - (y.numpy() - f) ** 2 / (2 * sigma**2)).sum(1)
        ours, error = estimate_elbo(model, guide, x, y, num_draws=20_000, seed=1)
        assert abs(ours - (log_p.mean() - kl)) < 4 * error * np.sqrt(1.2)
