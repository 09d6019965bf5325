"""Layers below the first weight that is drawn give the same output under every draw, and run once."""

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.estimators.base import Reparameterization
from bayesian_layers.model import log_likelihood, sample
from bayesian_layers.private_apis import DispatchMode

N, WIDTH = 40, 5
LOOK = 10  # rows that pass before, to find sizes and shapes


class Sine(nn.Module):
    def forward(self, x):
        return x.sin()


class Counter(DispatchMode):
    """Counts the rows, times draws, that pass the activation between the layers."""

    def __init__(self):
        super().__init__()
        self.rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.sin.default, torch.ops.aten.gelu.default):
            self.rows += result.numel() // WIDTH
        return result


@pytest.fixture(params=[Sine, nn.GELU])  # the second is called as a stack of dense layers
def network(request, build):
    return build(lambda: nn.Sequential(nn.Linear(3, WIDTH), request.param(), bl.Linear(WIDTH, 2)))


@pytest.fixture
def posterior(network):
    model = bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal(0.5, 0.1)))
    return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.3))


@pytest.fixture
def data(build):
    return build(lambda: (torch.randn(N, 3), torch.randn(N, 2)))


def assert_once(work, times=1):
    with Counter() as counter:
        work()
    assert times * N <= counter.rows <= times * N + LOOK


def test_predictions(posterior, data):
    x, y = data
    assert_once(lambda: posterior.predict(x, 50))
    assert_once(lambda: posterior.predict(x, 50, max_memory=400_000))
    assert_once(lambda: posterior.draws(x, 50))
    assert_once(lambda: posterior.over_draws(bl.predictive.log_prob, x, y, num_draws=50))
    assert_once(lambda: posterior.functions(50)(x))
    # Pyro runs the program twice more, to find shapes.
    assert_once(lambda: sample(posterior.model, posterior.sample(50), x, "y"), times=3)
    assert_once(lambda: posterior.model.prior_predict(x, 50))


def test_the_results_are_those_of_one_draw_after_the_other(posterior, data):
    x, y = data
    drawn, likelihood = posterior.draws(x, 6), log_likelihood(posterior.model, posterior.sample(6), x, y)
    for i, f in enumerate(drawn.f):
        one = {name: value[i : i + 1] for name, value in posterior.sample(6).items()}
        torch.testing.assert_close(f, sample(posterior.model, one, x, "f")[0])
        torch.testing.assert_close(likelihood[i : i + 1], log_likelihood(posterior.model, one, x, y))
    torch.testing.assert_close(posterior.functions(6)(x), drawn.f)
    torch.testing.assert_close(posterior.function()(x), drawn.f[0])


def test_a_network_of_point_estimates(build, data):
    network = build(lambda: nn.Sequential(nn.Linear(3, WIDTH), Sine(), nn.Linear(WIDTH, 2)))
    model = bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal(0.5, 0.1)))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    assert_once(lambda: posterior.predict(data[0], 50))
    assert_once(lambda: log_likelihood(model, posterior.sample(50), *data))


@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.FitWarning")
def test_stored_draws(network, posterior, data, tmp_path):
    """In memory, in a file, and after a refinement; a copy of the same numbers for each draw does not matter."""
    samples = {name: value.contiguous() for name, value in posterior.sample(20).items()}
    stored = bl.Posterior.from_samples(posterior.model, samples)
    refined = posterior.refine(*data, iterations=2, num_chains=20, progress=False)
    for i, each in enumerate((stored, refined)):
        each.save(tmp_path / str(i))
        loaded = bl.load(tmp_path / str(i), network=network)
        for one in (each, loaded):
            assert_once(lambda one=one: one.predict(data[0], 15))
            torch.testing.assert_close(one.predict(data[0], 15).mean, each.predict(data[0], 15).mean)


def test_log_likelihoods(posterior, data):
    assert_once(lambda: log_likelihood(posterior.model, posterior.sample(50), *data))
    assert_once(lambda: posterior.loo(*data, num_draws=50))


def test_a_step_and_evaluations_of_a_fit(posterior, data):
    x, y = data
    model, guide = posterior.model, posterior.source
    noise = torch.zeros(8, guide.noise_size)
    assert_once(lambda: Reparameterization(model)(guide, noise, (), x, y, scale=1.0).backward())
    with Counter() as counter:
        bl.fit(model, x, y, guide=guide, max_steps=2, particles=8, compile="eager", progress=False)
    assert counter.rows < 10 * N  # with its checks; each evaluation has 64 draws or more


@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.FitWarning")
def test_gradients_of_chains(posterior, data):
    with Counter() as counter:
        posterior.refine(*data, iterations=1, leapfrog_steps=3, num_chains=50, progress=False)
    assert counter.rows < 10 * N
