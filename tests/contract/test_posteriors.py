"""Draws, functions and files of a posterior, for every network and guide of the table."""

import pytest
import torch
from torch.func import functional_call

import bayesian_layers as bl
from bayesian_layers.network import parameter_sites


def one_after_the_other(model, draws, x):
    """The network's output under each draw, ``(S, N, *axes)``."""
    network = model.network
    names = parameter_sites(network)
    size = len(next(iter(draws.values())))
    with torch.no_grad():
        return torch.stack(
            [functional_call(network, {name: draws[name][i] for name in names}, (x,)) for i in range(size)]
        )


@pytest.mark.slow
def test_functions_are_draws_of_sample(case, x):
    """One function is draw 0, S functions at once are the loop, and ``draws`` sees the same weights."""
    model, guide, _ = case
    posterior = bl.Posterior.from_guide(model, guide)
    f = one_after_the_other(model, posterior.sample(5, seed=3), x)
    torch.testing.assert_close(posterior.function(seed=3)(x), f[0])
    torch.testing.assert_close(posterior.functions(5, seed=3)(x), f)
    torch.testing.assert_close(posterior.draws(x, num_draws=5, seed=3).f, f)


@pytest.mark.slow
def test_files_keep_a_posterior(case, x, tmp_path):
    model, guide, _ = case
    posterior = bl.Posterior.from_guide(model, guide)
    posterior.save(tmp_path / "posterior")
    loaded = bl.load(tmp_path / "posterior")
    for name, value in posterior.sample(3, seed=1).items():
        assert torch.equal(loaded.sample(3, seed=1)[name], value)
    assert torch.equal(loaded.predict(x, 4, seed=2).std, posterior.predict(x, 4, seed=2).std)
    assert torch.equal(loaded.function(seed=4)(x), posterior.function(seed=4)(x))
