"""Each estimator's mean, value and gradient, against closed forms and 600,000 draws of the plain one.

A z-test for each coordinate, with Bonferroni's correction; the last test shows that it tells a wrong
estimator from a right one.
"""

import math

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.estimators import make
from bayesian_layers.network.vmap_rules import vmap_rules
from bayesian_layers.noise import seeded

DRAWS, CHUNKS = 10_000, 60  # each chunk gives one mean of value and gradient
N, NUM_DATA = 2, 6  # rows of the batch, rows of the data set


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def problem(make_network, *shape, likelihood=None):
    with seeded(0):
        network = bl.bayesianize(make_network())
    model = bl.BayesianModel(network, likelihood or bl.likelihoods.Normal("learned"))
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.4)
    with torch.no_grad():
        guide.loc += 0.5 * randn(len(guide.loc), seed=1)
        guide.log_scale += 0.3 * randn(len(guide.log_scale), seed=2)
    return model, guide, randn(N, *shape, seed=3), randn(N, seed=4)


def chunk_means(estimator, guide, x, y, *, seed, chunks=CHUNKS, draws=DRAWS, particles=1):
    """Means of value and gradient over each chunk, ``(chunks, 1 + parameters)``."""
    generator = torch.Generator().manual_seed(seed)
    plain = estimator.name == "reparameterization"

    def once(noise, *row_noise):
        return estimator(guide, noise, row_noise, x, y, scale=NUM_DATA / N)

    results = []
    for _ in range(chunks):
        noise = torch.randn(draws, guide.noise_size, generator=generator)
        if plain:  # its particles are independent: one call
            value = once(noise)
        else:
            row_noise = estimator.row_noise(draws, N, generator)
            many = [part.view(draws // particles, N * particles, -1) for part in row_noise]
            with vmap_rules(nn.Bilinear(1, 1, 1, device="meta")):  # the layer without a rule of vmap's
                value = torch.vmap(once)(noise.view(draws // particles, particles, -1), *many).mean()
        results.append(value_and_gradient(value, guide))
    return torch.stack(results)


def value_and_gradient(value, guide):
    parameters = list(guide.parameters())
    gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([value.detach()[None], *gradients]).double()


def excess(one, other):
    """The largest |z| over the coordinates, over what one in 1000 right estimators would exceed."""
    difference = one.mean(0) - other.mean(0)
    variance = sum(sample.var(0) / len(sample) if len(sample) > 1 else 0 for sample in (one, other))
    z = difference.abs() / (variance + 1e-10 * (1 + one.mean(0).square())).sqrt()  # and rounding
    level = torch.special.ndtri(torch.tensor(1 - 0.001 / (2 * len(z)), dtype=torch.float64))
    return float(z.max() / level)


def flat(layer, size):
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(size, 1))


class Twice(nn.Module):
    """A weight that each row uses twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)

    def forward(self, x):
        return self.head(self.layer(self.layer(x).tanh()).tanh())


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)

    def forward(self, x):
        return self.head(self.layer(x).tanh().sum(1))


class Products(nn.Module):
    """A bilinear layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Bilinear(2, 2, 1)

    def forward(self, x):
        return self.layer(x, x.flip(1))


NETWORKS = {
    "dense": (lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)), (2,)),
    "bilinear": (Products, (2,)),
    "used twice": (Twice, (2,)),
    "prelu": (lambda: nn.Sequential(nn.Linear(2, 2), nn.PReLU(2), nn.Linear(2, 1)), (2,)),
    "prelu, one slope": (lambda: nn.Sequential(nn.Linear(2, 2), nn.PReLU(), nn.Linear(2, 1)), (2,)),
    "sequence": (Positions, (3, 2)),
    "conv1d": (lambda: flat(nn.Conv1d(2, 2, 2), 4), (2, 3)),
    "conv2d": (lambda: flat(nn.Conv2d(2, 2, 2, stride=2, groups=2), 2), (2, 2, 3)),
    "conv_transpose2d": (lambda: flat(nn.ConvTranspose2d(1, 2, 2), 12), (1, 1, 2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_mean_is_that_of_many_plain_draws(name):
    make_network, shape = NETWORKS[name]
    model, guide, x, y = problem(make_network, *shape)
    plain = chunk_means(make("reparameterization", model, guide, x, y), guide, x, y, seed=5)
    for kind in ("local", "flipout"):
        estimator = make(kind, model, guide, x, y)
        assert estimator.name == kind
        assert excess(chunk_means(estimator, guide, x, y, seed=6, chunks=40), plain) < 1


def linear_gaussian(guide, x, y, noise_scale):
    r"""E_q[log p(y | x, w)] where f is linear in w: Normal mean and variance of f, in closed form."""
    (w, w_scale), (b, b_scale) = (guide.moments()[name] for name in ("weight", "bias"))
    mean = (x @ w.T + b).squeeze(-1)
    variance = (x.square() @ w_scale.square().T + b_scale.square()).squeeze(-1)
    log_p = -0.5 * math.log(2 * math.pi * noise_scale**2) - ((y - mean) ** 2 + variance) / (
        2 * noise_scale**2
    )
    return NUM_DATA / N * log_p.sum()


@pytest.mark.slow
@pytest.mark.parametrize("particles", [1, 4])
@pytest.mark.parametrize("kind", ["reparameterization", "local", "flipout"])
def test_the_mean_is_the_closed_form(kind, particles):
    model, guide, x, y = problem(lambda: nn.Linear(3, 1), 3, likelihood=bl.likelihoods.Normal(0.7))
    exact = value_and_gradient(linear_gaussian(guide, x, y, 0.7), guide)[None]
    estimator = make(kind, model, guide, x, y)
    assert excess(chunk_means(estimator, guide, x, y, seed=7, particles=particles), exact) < 1


def wrong_on_a_convolution(guide, x, noise):
    """Local reparameterization with noise for each position: a model with other weights at each."""
    (w, w_scale), (b, b_scale) = (guide.moments()[f"0.{name}"] for name in ("weight", "bias"))
    variance = nn.functional.conv1d(x.square(), w_scale.square(), b_scale.square())
    hidden = nn.functional.conv1d(x, w, b) + variance.sqrt() * noise
    return hidden.tanh().flatten(-2), "3"


def wrong_where_used_twice(guide, x, noise):
    """Local reparameterization with fresh noise for each use: a model with two layers' weights."""
    (w, w_scale), (b, b_scale) = (guide.moments()[f"layer.{name}"] for name in ("weight", "bias"))
    for use in range(2):
        variance = nn.functional.linear(x.square(), w_scale.square(), b_scale.square())
        x = (nn.functional.linear(x, w, b) + variance.sqrt() * noise[..., use, :]).tanh()
    return x, "head"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv1d", "used twice"])
def test_local_where_it_is_biased_would_be_seen(name):
    make_network, shape = NETWORKS[name]
    noise_shape = {"conv1d": (2, 2), "used twice": (2, 2)}[name]
    hidden = {"conv1d": wrong_on_a_convolution, "used twice": wrong_where_used_twice}[name]
    model, guide, x, y = problem(make_network, *shape)
    generator = torch.Generator().manual_seed(6)

    def wrong(noise, head_noise):
        h, head = hidden(guide, x, noise)
        (w, w_scale), (b, b_scale) = (guide.moments()[f"{head}.{name}"] for name in ("weight", "bias"))
        f = h @ w.T + b + (h.square() @ w_scale.square().T + b_scale.square()).sqrt() * head_noise
        likelihood = torch.distributions.Normal(f.squeeze(-1), guide.point.exp(), validate_args=False)
        return NUM_DATA / N * likelihood.log_prob(y).sum()

    results = []
    for _ in range(40):
        noises = (torch.randn(DRAWS, N, *size, generator=generator) for size in (noise_shape, (1,)))
        results.append(value_and_gradient(torch.vmap(wrong)(*noises).mean(), guide))
    plain = chunk_means(make("reparameterization", model, guide, x, y), guide, x, y, seed=5)
    assert excess(torch.stack(results), plain) > 3
