"""Every likelihood against scipy: densities, moments, quantiles; draws against their own frequencies."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import bayesian_layers as bl
from bayesian_layers.likelihoods import (
    Beta,
    DiscretizedMixtureOfLogistics,
    Gamma,
    HeteroscedasticNormal,
    LogNormal,
    MixtureOfLogistics,
    MixtureOfNormals,
    NegativeBinomial,
    Poisson,
    StudentT,
)
from bayesian_layers.noise import seeded

F = torch.tensor([[0.3], [-2.0], [1.0], [4.0], [0.0]], dtype=torch.float64)
MANY = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def column(f, i):
    return f[:, i].numpy()


def mixture(family, anchors, f):
    """Textbook mixture of three components: its weights and its parts, each ``(N, 3)``."""
    logits, shift, log_scale = (part.numpy() for part in f.chunk(3, -1))
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return weights, family(shift + anchors, np.exp(log_scale))


class Mixed:
    """scipy's face of a mixture."""

    def __init__(self, weights, parts):
        self.weights, self.parts = weights, parts

    def _sum(self, each):
        return (self.weights * each).sum(-1)

    def logpdf(self, y):
        return np.log(self._sum(self.parts.pdf(np.asarray(y)[..., None])))

    def cdf(self, y):
        return self._sum(self.parts.cdf(np.asarray(y)[..., None]))

    def mean(self):
        return self._sum(self.parts.mean())

    def var(self):
        return self._sum(self.parts.var() + self.parts.mean() ** 2) - self.mean() ** 2


ANCHORS = stats.norm.ppf([1 / 6, 1 / 2, 5 / 6])
Y = np.array([0.1, -1.5, 2.0, 0.0, 7.0])
COUNTS = np.array([0, 1, 3, 60, 7])
AMOUNTS = np.array([0.3, 0.02, 2.0, 90.0, 1.0])
NEAR = np.exp(column(F, 0)) * np.array([1.0, 0.999, 1.002, 0.9985, 1.0005])
SHARES = np.array([0.1, 0.02, 0.7, 0.999, 0.5])

# A likelihood, its outputs, scipy's distribution of these, targets.
CASES = {
    "heteroscedastic": (
        HeteroscedasticNormal(),
        MANY[:, :2],
        stats.norm(column(MANY, 0), np.exp(column(MANY, 1))),
        Y,
    ),
    "student t": (StudentT(df=2.5, noise_scale=0.7), F, stats.t(2.5, column(F, 0), 0.7), Y),
    "student t, nearly normal": (StudentT(df=1e7, noise_scale=0.7), F, stats.t(1e7, column(F, 0), 0.7), Y),
    "poisson": (Poisson(), F, stats.poisson(np.exp(column(F, 0))), COUNTS),
    "negative binomial": (
        NegativeBinomial(0.4),
        F,
        stats.nbinom(2.5, 1 / (1 + 0.4 * np.exp(column(F, 0)))),
        COUNTS,
    ),
    "negative binomial, nearly poisson": (
        NegativeBinomial(1e-9),
        F,
        stats.poisson(np.exp(column(F, 0))),
        COUNTS,
    ),
    "beta": (
        Beta(6.0),
        F,
        stats.beta(6 / (1 + np.exp(-column(F, 0))), 6 / (1 + np.exp(column(F, 0)))),
        SHARES,
    ),
    "gamma": (Gamma(0.4), F, stats.gamma(2.5, scale=0.4 * np.exp(column(F, 0))), AMOUNTS),
    "gamma, unbounded at 0": (Gamma(5.0), F, stats.gamma(0.2, scale=5 * np.exp(column(F, 0))), AMOUNTS),
    "gamma, nearly normal": (Gamma(1e-6), F, stats.gamma(1e6, scale=1e-6 * np.exp(column(F, 0))), NEAR),
    "log-normal": (LogNormal(0.7), F, stats.lognorm(0.7, scale=np.exp(column(F, 0))), AMOUNTS),
    "normals": (MixtureOfNormals(3), MANY, Mixed(*mixture(stats.norm, ANCHORS, MANY)), Y),
    "logistics": (MixtureOfLogistics(3), MANY, Mixed(*mixture(stats.logistic, ANCHORS, MANY)), Y),
}


@pytest.fixture(params=CASES)
def case(request):
    likelihood, f, theirs, y = CASES[request.param]
    return likelihood, f, theirs, torch.as_tensor(y)


def log_density(theirs, y):
    return (theirs.logpmf if hasattr(getattr(theirs, "dist", None), "pmf") else theirs.logpdf)(np.asarray(y))


def test_log_densities(case):
    likelihood, f, theirs, y = case
    ours = likelihood.distribution(f).log_prob(likelihood.observed(f, y))
    np.testing.assert_allclose(ours, log_density(theirs, y), rtol=1e-6)


def test_moments(case):
    likelihood, f, theirs, _ = case
    mean, variance = likelihood.moments(f)
    np.testing.assert_allclose(mean, theirs.mean(), rtol=1e-6)
    np.testing.assert_allclose(variance.expand_as(mean), theirs.var(), rtol=1e-6)


def test_cdfs(case):
    likelihood, f, theirs, y = case
    np.testing.assert_allclose(likelihood.distribution(f).cdf(y.double()), theirs.cdf(y.numpy()), rtol=1e-6)


@pytest.mark.parametrize("level", [1e-4, 0.3, 0.5, 0.975])
def test_quantiles_of_one_draw(case, level):
    """Against scipy's inverse, or, of mixtures, by scipy's CDF at our quantile."""
    likelihood, f, theirs, _ = case
    ours = bl.predictive.quantiles(bl.PredictiveDraws(f.unsqueeze(0), likelihood, {}), level).squeeze(-1)
    if isinstance(theirs, Mixed):
        np.testing.assert_allclose(theirs.cdf(ours.numpy()), level, rtol=1e-6)
    else:
        np.testing.assert_allclose(ours, theirs.ppf(level), rtol=1e-6)


@pytest.mark.parametrize("level", [0.01, 0.5, 0.9])
def test_quantiles_of_a_mixture_over_draws(case, level):
    """The mean over draws of scipy's CDFs is the level there; for integers, at the least one that reaches it."""
    likelihood, f, theirs, y = case
    draws = f.unsqueeze(1)  # five draws of one row
    t = bl.predictive.quantiles(bl.PredictiveDraws(draws, likelihood, {}), level).item()
    if np.issubdtype(y.numpy().dtype, np.integer):
        assert theirs.cdf(np.full(5, t)).mean() >= level > theirs.cdf(np.full(5, t - 1)).mean()
    else:
        assert theirs.cdf(np.full(5, t)).mean() == pytest.approx(level, rel=1e-6)


def test_draws_have_the_frequencies_of_the_cdf(case):
    """At the observed targets, by z-tests over 20,000 draws: a dozen likelihoods x five rows, so below 4.5."""
    likelihood, f, theirs, y = case
    distribution = likelihood.distribution(f)
    with seeded(1):
        drawn = distribution.sample((20_000,))
    assert drawn.shape == (20_000, 5)
    likelihood.check_values(drawn, f.shape[1:])
    p = theirs.cdf(y.numpy())
    share = (drawn <= y).double().mean(0).numpy()
    assert (np.abs(share - p) <= 4.5 * np.sqrt(p * (1 - p) / 20_000) + 1e-12).all()


def test_crps_of_integers_is_near_the_sum_over_the_cdf():
    f = torch.full((4000, 1, 1), 1.0, dtype=torch.float64)
    k = np.arange(60)
    expected = ((stats.poisson(math.e).cdf(k) - (k >= 2)) ** 2).sum()
    ours = bl.predictive.crps(bl.PredictiveDraws(f, Poisson(), {}), torch.tensor([2])).item()
    assert ours == pytest.approx(expected, abs=5 * math.sqrt(math.e / 4000))


# --- discretized -----------------------------------------------------------------------------------------------


def masses(f, levels, components):
    """Log probabilities of all levels, ``(levels, N)``, in the dtype of ``f``."""
    likelihood = DiscretizedMixtureOfLogistics(components, levels=levels)
    every = torch.arange(levels, dtype=f.dtype).unsqueeze(1).expand(-1, len(f))
    return likelihood.distribution(f).log_prob(every)


def scipys_masses(f, levels, components):
    """The same by differences of scipy's CDFs, on the side of the mean where these are small, in ``float64``."""
    logits, shift, log_scale = f.double().numpy().reshape(len(f), 3, components).transpose(1, 0, 2)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    anchors = (2 * np.arange(components) + 1) / components - 1
    half = (levels - 1) / 2
    parts = stats.logistic(half * (1 + shift + anchors), half * np.exp(log_scale))
    k = np.arange(levels)[:, None, None]
    lower, upper = np.where(k == 0, -np.inf, k - 0.5), np.where(k == levels - 1, np.inf, k + 0.5)
    right = lower > parts.mean()
    each = np.where(right, parts.sf(lower) - parts.sf(upper), parts.cdf(upper) - parts.cdf(lower))
    return (weights * each).sum(-1)


@pytest.mark.parametrize("levels", [2, 3, 256])
def test_discretized_masses_equal_scipys(levels):
    p = masses(MANY, levels, 3).exp().numpy()
    np.testing.assert_allclose(p, scipys_masses(MANY, levels, 3), rtol=1e-6)
    narrow = torch.cat([MANY[:, :6], MANY[:, 6:] - 4], 1)
    p = masses(narrow, levels, 3).exp().numpy()
    expected = scipys_masses(narrow, levels, 3)
    np.testing.assert_allclose(p, expected, rtol=1e-6, atol=1e-14)  # differences of CDFs near 1 have no more


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_scale", [-30.0, -9.0, -7.0, -4.0, -1.0, 2.0, 9.0, 30.0])
def test_discretized_masses_sum_to_one(dtype, log_scale):
    """Narrow and wide components, in the middle, at an edge between two numbers, and far outside."""
    shift = torch.tensor([0.0, 0.123, 2 / 255, -1.0, 1.0, 5.0, -300.0], dtype=dtype)
    f = torch.stack([torch.zeros_like(shift), shift, torch.full_like(shift, log_scale)], 1)
    total = masses(f, 256, 1).double().exp().sum(0)
    np.testing.assert_allclose(total, 1.0, atol=1e-6)


def test_discretized_masses_in_float32_are_those_of_float64():
    for narrower in (0.0, 3.0, 6.0):
        f = torch.cat([MANY[:, :6], MANY[:, 6:] - narrower], 1).float()
        fine = masses(f.double(), 256, 3)
        # A log probability of -1e4 in float32 has six digits, as each number there.
        torch.testing.assert_close(masses(f, 256, 3).double(), fine, rtol=1e-4, atol=1e-4)


def test_discretized_moments_are_sums_over_masses():
    likelihood = DiscretizedMixtureOfLogistics(3, levels=256)
    k = np.arange(256)[:, None]
    for narrower in (-5.0, 0.0, 4.0, 8.0):
        f = torch.cat([MANY[:, :6], MANY[:, 6:] - narrower], 1)
        p = masses(f, 256, 3).exp().numpy()
        mean, variance = likelihood.moments(f)
        np.testing.assert_allclose(mean, (p * k).sum(0), rtol=1e-6)
        np.testing.assert_allclose(variance, (p * (k - (p * k).sum(0)) ** 2).sum(0), rtol=1e-6)


def test_discretized_cdf_and_quantiles_are_sums_over_masses():
    likelihood = DiscretizedMixtureOfLogistics(3, levels=256)
    p = masses(MANY, 256, 3).exp()
    every = torch.arange(256, dtype=torch.float64).unsqueeze(1).expand(-1, 5)
    below = likelihood.distribution(MANY).cdf(every)
    torch.testing.assert_close(below, p.cumsum(0), rtol=0, atol=1e-9)
    draws = bl.PredictiveDraws(MANY.unsqueeze(0), likelihood, {})
    for level in (0.001, 0.3, 0.99):
        expected = (below < level).sum(0).double()
        assert torch.equal(bl.predictive.quantiles(draws, level).squeeze(-1), expected)
    with seeded(2):
        drawn = likelihood.distribution(MANY).sample((20_000,))
    share = torch.stack([(drawn <= k).double().mean(0) for k in (0, 40, 127, 254)])
    at = below[[0, 40, 127, 254]]
    assert ((share - at).abs() <= 4.5 * (at * (1 - at) / 20_000).sqrt()).all()
