"""The guides' closed forms against a second implementation: torch's distributions, quadrature, conjugate posteriors.

The covariance is taken from what a guide does to unit noise, so its own formulas for it are tested too.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

import bayesian_layers as bl
from bayesian_layers.guides import FullRankNormal, LowRankNormal, MeanFieldNormal
from bayesian_layers.model import log_likelihood

LEARNED = bl.priors.Normal(0.2, scale="learned")
HIERARCHICAL = bl.priors.HierarchicalNormal(-0.1, scale=bl.priors.LogNormal(0.3, 0.6))
GIVEN = bl.priors.Normal(0.1, 2.0)
PRIORS = {
    "one for all": (None, None),
    "given": (GIVEN, bl.priors.Normal(scale="fan_in")),
    "learned": (LEARNED, GIVEN),
    "hierarchical": (HIERARCHICAL, GIVEN),
    "all kinds": (LEARNED, HIERARCHICAL),
}
JOINT = (LowRankNormal, FullRankNormal)
GUIDES = (MeanFieldNormal, *JOINT)


def away_from_its_start(guide, seed=0):
    """The guide with all parameters moved, so that nothing is zero or equal by chance."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.4 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return guide


@pytest.fixture(params=PRIORS)
def model(request, build):
    """Random noise scale, a point-estimated bias, and a different kind of prior on each layer."""
    first, second = PRIORS[request.param]
    network = build(
        lambda: nn.Sequential(
            bl.Linear(2, 3, prior=first, bias_prior=None), nn.Tanh(), bl.Linear(3, 1, prior=second)
        ).double()
    )
    noise = 0.3 if first is None else bl.priors.LogNormal(-1.0, 0.5)
    return bl.BayesianModel(network, bl.likelihoods.Normal(noise))


def covariance(guide):
    """From the guide's own map of noise, which is affine."""
    unit = torch.eye(guide.noise_size, dtype=guide.loc.dtype)
    factor = guide.unconstrained(unit) - guide.unconstrained(torch.zeros_like(unit))
    return factor.T @ factor


def positions(guide):
    """Site name to the places of its entries in the flat vector, by hand."""
    found, start = {}, 0
    for name in guide.layout.random:
        size = guide.shapes[name].numel()
        found[name] = range(start, start + size)
        start += size
    return found


def kl_by_quadrature(guide, model):
    """KL(q || p): Gaussian entropy, and E[-log p] given the scale, integrated over its logarithm by 80 points."""
    loc, sigma = guide.loc.detach().numpy(), covariance(guide).detach().numpy()
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    places = positions(guide)
    points = {
        name: value.detach() for name, value in guide.layout.split(guide.point, guide.layout.points).items()
    }
    total = -0.5 * np.linalg.slogdet(2 * math.pi * math.e * sigma)[1]
    for name, site in model.sites().items():
        for j in places.get(name, ()):
            if not site.scale_sites:
                prior_loc, prior_scale = (
                    float(v.reshape(-1)[0]) for v in site.prior.unconstrained(site.initial)
                )
                log_scale, mean, variance = np.log(prior_scale), loc[j], sigma[j, j]
            else:
                prior_loc = site.prior.loc
                (own,) = site.scale_sites
                if own in points:
                    log_scale, mean, variance = float(points[own]), loc[j], sigma[j, j]
                else:
                    (k,) = places[own]
                    log_scale = loc[k] + np.sqrt(sigma[k, k]) * nodes
                    mean = loc[j] + sigma[j, k] / sigma[k, k] * (log_scale - loc[k])
                    variance = sigma[j, j] - sigma[j, k] ** 2 / sigma[k, k]
            square = variance + (mean - prior_loc) ** 2
            each = 0.5 * math.log(2 * math.pi) + log_scale + 0.5 * np.exp(-2 * log_scale) * square
            total += np.sum(weights * each)
    return total


@pytest.mark.parametrize("family", GUIDES)
def test_kl_equals_quadrature(model, family):
    guide = away_from_its_start(family(model))
    # quadrature over log-normal scales: 80 points leave 1e-10 at these deviations
    assert float(guide.weighted_kl(model).detach()) == pytest.approx(kl_by_quadrature(guide, model), rel=1e-9)
    assert float(guide.weighted_kl(model, 0.1).detach()) == pytest.approx(
        0.1 * kl_by_quadrature(guide, model), rel=1e-9
    )


def kl_by_torch(guide, model, weights):
    """Torch's own kl_divergence, site by site, under autograd; for scales that are numbers or points."""
    total, sites = 0.0, model.sites()
    scales = guide.layout.split(guide.log_scale.exp(), guide.layout.random)
    points = guide.layout.split(guide.point, guide.layout.points)
    for name, loc in guide.layout.split(guide.loc, guide.layout.random).items():
        site = sites[name]
        scale = site.scale({each: value.exp() for each, value in points.items()})
        prior = Normal(*site.prior.unconstrained(site.initial, scale))
        total = total + weights.get(name, 1.0) * kl_divergence(Normal(loc, scales[name]), prior).sum()
    return total


@pytest.mark.parametrize("kind", ["one for all", "given", "learned"])
@pytest.mark.parametrize("kl_weight", [1.0, 0.25, {"0.weight": 0.1, "2.bias": 0.0, "2.weight": 3.0}])
def test_flat_kl_equals_torch_in_value_and_gradient(build, kind, kl_weight):
    first, second = PRIORS[kind]
    network = build(
        lambda: nn.Sequential(
            bl.Linear(2, 3, prior=first, bias_prior=None), nn.Tanh(), bl.Linear(3, 1, prior=second)
        ).double()
    )
    model = bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.5)))
    guide = away_from_its_start(MeanFieldNormal(model))
    weights = kl_weight if isinstance(kl_weight, dict) else dict.fromkeys(guide.shapes, kl_weight)
    expected = kl_by_torch(guide, model, weights)
    ours = guide.weighted_kl(model, kl_weight)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=0)
    parameters = list(guide.parameters())
    for one, other in zip(
        torch.autograd.grad(ours, parameters, materialize_grads=True),
        torch.autograd.grad(expected, parameters, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    sites = guide.kl_divergence(model)
    torch.testing.assert_close(
        sum(weights.get(n, 1.0) * kl for n, kl in sites.items()), ours, rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("family", JOINT)
def test_joint_kl_equals_torch_in_value_and_gradient(build, family):
    """Against torch's KL of two multivariate Normals, gradients included."""
    layer = build(lambda: bl.Linear(4, 1, prior=GIVEN, dtype=torch.float64))
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(1.0))
    guide = away_from_its_start(family(model))
    prior = MultivariateNormal(torch.full_like(guide.loc, 0.1), 4.0 * torch.eye(5, dtype=torch.float64))
    expected = kl_divergence(MultivariateNormal(guide.loc, covariance(guide)), prior)
    ours = guide.weighted_kl(model)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=0)
    parameters = [guide.loc, guide.log_scale, guide.factor]
    for one, other in zip(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("family", GUIDES)
def test_kl_equals_the_mean_over_draws(model, family):
    """E_q[log q - log p] from draws and Pyro's densities alone, positive sites with their Jacobian; a z-test."""
    guide = away_from_its_start(family(model), seed=3)
    with torch.no_grad():
        guide.log_scale -= 1.0  # lighter tails of exp(-2 log scale), so that the z-test is a fair one
        generator = torch.Generator().manual_seed(1)
        noise = torch.randn(200_000, guide.noise_size, generator=generator, dtype=torch.float64)
        flat = guide.unconstrained(noise)
        log_q = MultivariateNormal(guide.loc, covariance(guide)).log_prob(flat)
        values = guide.transform(noise)
        log_p = torch.zeros_like(log_q)
        for name, site in model.sites().items():
            if site.prior is None:
                continue
            log_p += site.distribution(site.scale(values)).log_prob(values[name])
            if site.positive:
                log_p += values[name].log()
        difference = log_q - log_p
        error = float(difference.std()) / 200_000**0.5
    assert abs(float(difference.mean()) - float(guide.weighted_kl(model).detach())) < 4.5 * error


@pytest.mark.slow
@pytest.mark.parametrize("family", JOINT)
def test_claimed_covariance_is_that_of_the_draws(model, family):
    guide = away_from_its_start(family(model))
    size = len(guide.loc)
    claimed = covariance(guide).detach()
    torch.testing.assert_close(guide.variance().detach(), claimed.diagonal(), rtol=1e-10, atol=0)
    index = torch.tensor([1, 4])
    others = [j for j in range(size) if j not in (1, 4)]
    torch.testing.assert_close(
        guide.covariance_rows(index).detach()[:, others], claimed[index][:, others], rtol=1e-9, atol=1e-12
    )
    torch.testing.assert_close(
        guide.half_log_det().detach(), 0.5 * torch.logdet(claimed), rtol=1e-10, atol=1e-10
    )
    draws = guide.draw(20_000, seed=2)
    flat = torch.cat(
        [
            (draws[name].log() if name in guide.layout.positive else draws[name]).reshape(20_000, -1)
            for name in guide.layout.random
        ],
        dim=1,
    )
    empirical = torch.cov(flat.T)
    # the standard error of a sample covariance of Normals; 5 of them over all pairs
    error = ((claimed.diagonal()[:, None] * claimed.diagonal() + claimed.square()) / 20_000).sqrt()
    assert ((empirical - claimed).abs() < 5 * error).all()
    assert ((flat.mean(0) - guide.loc.detach()).abs() < 5 * (claimed.diagonal() / 20_000).sqrt()).all()


class Regression:
    """Conjugate Bayesian linear regression with correlated inputs: posterior N(mean, covariance), log evidence."""

    sigma, prior = 0.5, 1.5

    def __init__(self):
        generator = np.random.default_rng(5)
        mix = np.array([[1.0, 0.0, 0.0], [0.9, 0.4, 0.0], [-0.3, 0.2, 0.9]])
        x = generator.normal(size=(60, 3)) @ mix
        y = x @ np.array([0.7, -1.2, 0.4]) + 0.3 + self.sigma * generator.normal(size=60)
        self.x, self.y = torch.tensor(x), torch.tensor(y)
        self.design = torch.cat([self.x, torch.ones(60, 1, dtype=torch.float64)], 1)
        identity = torch.eye(4, dtype=torch.float64)
        self.covariance = (self.design.T @ self.design / self.sigma**2 + identity / self.prior**2).inverse()
        self.mean = self.covariance @ self.design.T @ self.y / self.sigma**2
        marginal = (
            self.sigma**2 * torch.eye(60, dtype=torch.float64) + self.prior**2 * self.design @ self.design.T
        )
        zero = torch.zeros(60, dtype=torch.float64)
        self.log_evidence = float(MultivariateNormal(zero, marginal).log_prob(self.y))

    def model(self, build):
        prior = bl.priors.Normal(scale=self.prior)
        layer = build(lambda: bl.Linear(3, 1, prior=prior, dtype=torch.float64))
        return bl.BayesianModel(layer, bl.likelihoods.Normal(self.sigma))

    def expected_log_likelihood(self, loc, covariance):
        square = (self.y - self.design @ loc).square().sum() + (
            self.design @ covariance @ self.design.T
        ).trace()
        return float(-30 * math.log(2 * math.pi * self.sigma**2) - square / (2 * self.sigma**2))


def at_the_posterior(family, model, regression):
    """Put the known posterior into the guide's parameters."""
    if family is FullRankNormal:
        guide = FullRankNormal(model)
        cholesky = torch.linalg.cholesky(regression.covariance)
        scale = cholesky.diagonal()
        factor = cholesky / scale[:, None]
    else:
        guide = LowRankNormal(model, rank=4)
        least = torch.linalg.eigvalsh(regression.covariance)[0]
        scale = (0.5 * least).sqrt().expand(4)
        rest = regression.covariance - scale.square().diag()
        factor = torch.linalg.cholesky(rest) / scale[:, None]
    with torch.no_grad():
        guide.loc.copy_(regression.mean)
        guide.log_scale.copy_(scale.log())
        guide.factor.copy_(factor)
    return guide


@pytest.mark.parametrize("family", JOINT)
def test_elbo_at_the_exact_posterior_is_the_log_evidence(build, family):
    regression = Regression()
    model = regression.model(build)
    guide = at_the_posterior(family, model, regression)
    torch.testing.assert_close(covariance(guide).detach(), regression.covariance, rtol=1e-10, atol=1e-14)
    log_p = regression.expected_log_likelihood(guide.loc.detach(), covariance(guide).detach())
    kl = float(guide.weighted_kl(model).detach())
    assert log_p - kl == pytest.approx(regression.log_evidence, abs=1e-8)
    draws = log_likelihood(model, guide.draw(20_000, seed=0), regression.x, regression.y).sum(1)
    assert abs(float(draws.mean()) - log_p) < 4 * float(draws.std()) / 20_000**0.5


@pytest.mark.parametrize("family", JOINT)
def test_any_other_member_has_a_lower_elbo(build, family):
    """The closed forms together have their optimum, gradient zero, at the posterior."""
    regression = Regression()
    model = regression.model(build)
    guide = at_the_posterior(family, model, regression)
    sigma = covariance(guide)
    square = (regression.y - regression.design @ guide.loc).square().sum()
    square = square + (regression.design @ sigma @ regression.design.T).trace()
    elbo = -square / (2 * regression.sigma**2) - guide.weighted_kl(model)
    for gradient in torch.autograd.grad(elbo, [guide.loc, guide.log_scale, guide.factor]):
        assert float(gradient.abs().max()) < 1e-8


def test_single_precision_keeps_a_nearly_degenerate_determinant(build):
    """A factor a million times the diagonal: in float32, I + V'V alone would have lost the I."""
    single = LowRankNormal(bl.BayesianModel(build(lambda: bl.Linear(40, 1)), bl.likelihoods.Bernoulli()))
    layer = build(lambda: bl.Linear(40, 1, dtype=torch.float64))
    double = LowRankNormal(bl.BayesianModel(layer, bl.likelihoods.Bernoulli()))
    away_from_its_start(single)
    with torch.no_grad():
        single.factor[:, :5] = single.factor[:, 5:] + 1e-3 * single.factor[:, :5]
        single.factor *= 1e6
        for parameter, own in zip(double.parameters(), single.parameters(), strict=True):
            parameter.copy_(own)
    expected = float(double.half_log_det().detach())
    claimed = double.factor.detach().svd().S.square().log1p().sum() / 2 + double.log_scale.detach().sum()
    assert expected == pytest.approx(float(claimed), abs=1e-6)
    assert float(single.half_log_det().detach()) == pytest.approx(expected, rel=1e-6)


def test_the_flat_kl_takes_few_operations(build):
    """It runs at every step: with given scales no more than 12 operations, however many sites there are."""

    class Count(TorchDispatchMode):
        number = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.number += 1
            return func(*args, **(kwargs or {}))

    network = build(lambda: nn.Sequential(*(bl.Linear(3, 3) for _ in range(5)), bl.Linear(3, 1, prior=GIVEN)))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    guide = MeanFieldNormal(model)
    priors = guide.flat_priors(model, 0.5)
    with torch.no_grad(), Count() as count:
        guide.kl_to(priors)
    assert count.number <= 12
