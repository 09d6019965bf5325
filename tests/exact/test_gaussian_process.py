"""The layer against Gaussian process regression written out in numpy."""

import math

import numpy as np
import pytest
import torch

import bayesian_layers as bl
from bayesian_layers import estimators
from bayesian_layers.guides import BlockNormal
from bayesian_layers.layers.kernels import KERNELS
from bayesian_layers.network import call
from bayesian_layers.noise import standard_normal

NOISE, LENGTHSCALE, VARIANCE = 0.2, 0.7, 1.3
X = np.sort(np.random.default_rng(0).uniform(-2, 2, (24, 1)), axis=0)
Y = np.sin(2 * X[:, 0]) + NOISE * np.random.default_rng(1).standard_normal(24)
NEW = np.linspace(-3.0, 3.0, 9)[:, None]
LARGEST_Z = 4.5  # of some hundred numbers: 1 run in 1500 would exceed it, and the seeds are fixed


def covariance(kernel, x, z, lengthscale=LENGTHSCALE, variance=VARIANCE):
    r = np.sqrt((((x[:, None] - z[None]) / lengthscale) ** 2).sum(-1))
    three, five = math.sqrt(3) * r, math.sqrt(5) * r
    return (
        variance
        * {
            "rbf": np.exp(-0.5 * r**2),
            "matern12": np.exp(-r),
            "matern32": (1 + three) * np.exp(-three),
            "matern52": (1 + five + five**2 / 3) * np.exp(-five),
        }[kernel]
    )


def regression(kernel, new=NEW):
    """Mean and covariance of the function, and the log marginal likelihood (Rasmussen & Williams, algorithm 2.1)."""
    noisy = covariance(kernel, X, X) + NOISE**2 * np.eye(len(X))
    between = covariance(kernel, new, X)
    mean = between @ np.linalg.solve(noisy, Y)
    spread = covariance(kernel, new, new) - between @ np.linalg.solve(noisy, between.T)
    evidence = -0.5 * (
        Y @ np.linalg.solve(noisy, Y) + np.linalg.slogdet(noisy)[1] + len(X) * math.log(2 * math.pi)
    )
    return mean, spread, evidence


def at_the_data(kernel, **options):
    layer = bl.GaussianProcess(
        1, 1, kernel=kernel, inducing=torch.as_tensor(X), lengthscale=LENGTHSCALE, variance=VARIANCE,
        dtype=torch.float64, **options,
    )  # fmt: skip
    for parameter in (layer.inducing_moves, layer.log_lengthscale, layer.log_variance):
        parameter.requires_grad_(False)
    return layer, bl.BayesianModel(layer, bl.likelihoods.Normal(NOISE))


def closed_form(kernel):
    """The exact posterior of the whitened values: u = L v, y = u + noise."""
    root = np.linalg.cholesky(covariance(kernel, X, X) + 1e-6 * VARIANCE * np.eye(len(X)))
    precision = np.eye(len(X)) + root.T @ root / NOISE**2
    return np.linalg.solve(precision, root.T @ Y) / NOISE**2, precision


def optimal(kernel):
    layer, model = at_the_data(kernel)
    loc, precision = closed_form(kernel)
    return layer, model, with_posterior(BlockNormal(model), loc, np.linalg.cholesky(np.linalg.inv(precision)))


@torch.no_grad()
def with_posterior(guide, loc, scale_tril):
    """Give a guide of one block a mean and a Cholesky factor."""
    scale_tril = torch.as_tensor(scale_tril)
    guide.loc.copy_(torch.as_tensor(loc))
    guide.log_scale.copy_(scale_tril.diagonal().log())
    guide.factor.copy_((scale_tril / scale_tril.diagonal()[:, None]).reshape(-1))
    return guide


def elbo(layer, model, guide):
    """The bound in closed form."""
    mean, variance = (
        part[:, 0] for part in layer.marginals(torch.as_tensor(X), *guide.blocks()["inducing_values"])
    )
    expected = torch.distributions.Normal(mean, NOISE).log_prob(torch.as_tensor(Y)) - variance / (
        2 * NOISE**2
    )
    return float((expected.sum() - guide.weighted_kl(model)).detach())


def z_scores(draws, mean, spread):
    """Of means and of all covariances of draws, ``(S, N)``, each by its own standard error."""
    size, off = len(draws), draws - mean
    products = off[:, :, None] * off[:, None, :]
    return np.concatenate(
        [
            (off.mean(0) / (off.std(0) / math.sqrt(size))).ravel(),
            ((products.mean(0) - spread) / (products.std(0) / math.sqrt(size))).ravel(),
        ]
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_with_inducing_points_at_the_data_it_is_gaussian_process_regression(kernel):
    layer, model, guide = optimal(kernel)
    mean, spread, evidence = regression(kernel)
    ours = layer.marginals(torch.as_tensor(NEW), *guide.blocks()["inducing_values"])
    np.testing.assert_allclose(ours[0][:, 0].detach(), mean, atol=1e-3)
    np.testing.assert_allclose(ours[1][:, 0].detach(), spread.diagonal(), atol=1e-3)
    assert (
        abs(elbo(layer, model, guide) - evidence) < 1e-2
    )  # a jitter of 1e-6 over the noise's 0.04, 24 times


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_draws_have_the_mean_and_the_covariance_of_the_regression(kernel):
    _, model, guide = optimal(kernel)
    mean, spread, _ = regression(kernel)
    draws = call(model.network, guide.draw(10_000, seed=1), torch.as_tensor(NEW))[..., 0]
    assert np.abs(z_scores(draws.numpy(), mean, spread)).max() < LARGEST_Z


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("frequencies", [1, 16])
def test_the_prior_has_the_covariance_of_the_kernel_however_few_the_frequencies(kernel, frequencies):
    """Far from the few inducing points most of it is random features; two inputs, two lengthscales, two functions."""
    scales = torch.tensor([0.5, 2.0], dtype=torch.float64)
    layer = bl.GaussianProcess(
        2, 2, kernel=kernel, num_inducing=3, num_frequencies=frequencies, lengthscale=scales, variance=VARIANCE,
        dtype=torch.float64,
    )  # fmt: skip
    guide = BlockNormal(bl.BayesianModel(layer))  # starts at the prior
    x = standard_normal(3, 5, 2, dtype=torch.float64)
    f = call(layer, guide.draw(10_000, seed=0), x)
    spread = covariance(kernel, x.numpy(), x.numpy(), scales.numpy())
    draws = f.mT.flatten(1).numpy()  # both functions at all inputs, independent of each other
    assert np.abs(z_scores(draws, np.zeros(10), np.kron(np.eye(2), spread))).max() < LARGEST_Z


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_draws_have_the_marginals_of_any_guide_between_few_inducing_points(kernel):
    layer = bl.GaussianProcess(1, 2, kernel=kernel, num_inducing=4, mean="linear", dtype=torch.float64)
    guide = BlockNormal(bl.BayesianModel(layer))
    with torch.no_grad():
        guide.loc += standard_normal(0, 1, 8, dtype=torch.float64)[0]
        guide.log_scale -= 1
        guide.factor += 0.5 * standard_normal(1, 1, 32, dtype=torch.float64)[0]
    x = torch.as_tensor(NEW)
    mean, variance = (
        part.detach().numpy() for part in layer.marginals(x, *guide.blocks()["inducing_values"])
    )
    draws = call(layer, guide.draw(10_000, seed=2), x).numpy()
    off = (draws - mean) ** 2
    z = (off.mean(0) - variance) / (off.std(0) / 100)
    assert np.abs((draws.mean(0) - mean) / (draws.std(0) / 100)).max() < LARGEST_Z
    assert np.abs(z).max() < LARGEST_Z


def gradient(value, guide):
    parameters = list(guide.parameters())
    parts = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([value.detach()[None], *(part.reshape(-1) for part in parts)])


@pytest.mark.slow
@pytest.mark.parametrize("family", [BlockNormal, bl.guides.MeanFieldNormal])
@pytest.mark.parametrize("kernel", KERNELS)
def test_by_rows_the_expected_log_likelihood_is_the_closed_form(kernel, family):
    """Value and gradient, hyperparameters too: sum of log N(y; m, s^2) - v / (2 s^2), of 40 sets of 500 draws."""
    layer = bl.GaussianProcess(1, 1, kernel=kernel, num_inducing=4, mean="linear", dtype=torch.float64)
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(NOISE))
    guide, x, y = family(model), torch.as_tensor(X), torch.as_tensor(Y)
    with torch.no_grad():
        guide.loc += standard_normal(0, 1, 4, dtype=torch.float64)[0]
        guide.log_scale -= 1 + 0.3 * standard_normal(1, 1, 4, dtype=torch.float64)[0]
        if family is BlockNormal:
            guide.factor += 0.5 * standard_normal(2, 1, 16, dtype=torch.float64)[0]
    estimator = estimators.default(model, guide, x, y, prefer_local=False)
    assert (estimator.name, estimator.supported, estimator.use_for_evaluation) == (
        "local",
        ("inducing_values",),
        True,
    )

    values = {
        name: value.squeeze(0)
        for name, value in guide.transform(torch.zeros(1, guide.noise_size).double()).items()
    }
    loc, scale_tril = guide.blocks().get("inducing_values") or (
        values["inducing_values"], torch.diag_embed(guide.moments()["inducing_values"][1])
    )  # fmt: skip
    mean, variance = torch.func.functional_call(
        Marginals(layer), {f"layer.{name}": v for name, v in values.items()}, (x, loc, scale_tril)
    )
    log_p = torch.distributions.Normal(mean[:, 0], NOISE).log_prob(y) - variance[:, 0] / (2 * NOISE**2)
    exact = gradient(log_p.sum(), guide)

    generator, free = (
        torch.Generator().manual_seed(3),
        torch.zeros((), dtype=torch.float64).expand(500, guide.noise_size),
    )
    sets = [
        gradient(estimator(guide, free, estimator.row_noise(500, len(y), generator), x, y, scale=1.0), guide)
        for _ in range(40)
    ]
    found = torch.stack(sets)
    error = found.std(0) / 40**0.5
    assert ((found.mean(0) - exact).abs() <= LARGEST_Z * error + 1e-9 * exact.abs()).all()
    assert (error[0] < 0.02 * exact[0].abs()).all()


class Marginals(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, *args):
        return self.layer.marginals(*args)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_default_fit_finds_the_evidence(kernel):
    layer, model = at_the_data(kernel, num_frequencies=4)
    result = bl.fit(model, torch.as_tensor(X), torch.as_tensor(Y), progress=False)
    mean, spread, evidence = regression(kernel)
    source = result.posterior.source
    assert type(source) is BlockNormal
    assert result.step_mode == "captured"
    assert result.converged
    assert -0.01 < evidence - elbo(layer, model, source) < 0.05
    ours = layer.marginals(torch.as_tensor(NEW), *source.blocks()["inducing_values"])
    np.testing.assert_allclose(ours[0][:, 0].detach(), mean, atol=0.02)
    np.testing.assert_allclose(ours[1][:, 0].detach().sqrt(), np.sqrt(spread.diagonal()), atol=0.02)


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
def test_independent_normals_miss_the_standard_deviation_by_factors(kernel):
    """The best mean-field Normal of a quadratic: the exact means, and 1 over the root of the precision's diagonal."""
    layer, _ = at_the_data(kernel)
    loc, precision = closed_form(kernel)
    field = torch.as_tensor(np.diag(precision.diagonal() ** -0.5))
    _, variance = layer.marginals(torch.as_tensor(X), torch.as_tensor(loc)[None], field[None])
    ratio = regression(kernel, X)[1].diagonal() / variance[:, 0].detach().numpy()
    assert ratio.max() > 2


@pytest.mark.slow
def test_lengthscale_variance_and_noise_are_found_again():
    """Within a factor of 1.6: about as wide is the likelihood itself for 60 rows of 15 lengthscales."""
    x, random = np.linspace(-3, 3, 60)[:, None], np.random.default_rng(5)
    root = np.linalg.cholesky(covariance("rbf", x, x, 0.4, 1.0) + 1e-6 * np.eye(60))
    y = torch.as_tensor(root @ random.standard_normal(60) + 0.1 * random.standard_normal(60))
    layer = bl.GaussianProcess.from_data(
        torch.as_tensor(x), 1, num_inducing=30, lengthscale=1.0, num_frequencies=4
    )
    model = bl.BayesianModel(layer, bl.likelihoods.Normal("learned"))
    with pytest.warns(bl.errors.ConvergenceWarning):
        result = bl.fit(model, torch.as_tensor(x), y, max_steps=600, progress=False)
    found = result.posterior.mean_function()
    assert 0.4 / 1.6 < float(found.lengthscale.detach()) < 0.4 * 1.6
    assert 1 / 3 < float(found.variance.detach()) < 3
    assert 0.1 / 1.6 < float(result.posterior.source.mean()["noise_scale"]) < 0.1 * 1.6
