"""What every test must leave as it was, and how tests build networks without touching it."""

import warnings

import pyro
import pytest
import sympy  # noqa: F401  (torch.testing imports it on first use, and it adds a filter)
import torch

from bayesian_layers.noise import seeded

torch.set_num_threads(1)  # for networks this small, threads only wait for each other


@pytest.fixture(autouse=True)
def unchanged_global_state():
    """Pyro's store, torch's random state, dtype and threads, and the warning filters are as before the test."""
    state = torch.get_rng_state()
    before = (torch.get_default_dtype(), torch.get_num_threads(), list(warnings.filters))
    yield
    names = list(pyro.get_param_store().keys())
    pyro.clear_param_store()
    assert names == [], "Pyro's parameter store is not empty"
    assert (torch.get_default_dtype(), torch.get_num_threads(), list(warnings.filters)) == before
    assert torch.equal(torch.get_rng_state(), state), "torch's random state has changed"


@pytest.fixture
def build():
    """Call a function that draws from torch's generator, under a seed of its own."""

    def call(function, seed=0):
        with seeded(seed):
            return function()

    return call
