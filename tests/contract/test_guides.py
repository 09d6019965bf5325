"""Every guide through one table of checks of its draws and its state; the other files have it as a Pyro program."""

import copy

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import standard_normal
from contract_tables import GUIDES


@pytest.fixture(params=GUIDES)
def make(request):
    return GUIDES[request.param]


@pytest.fixture
def model(make_problem):
    return make_problem("all kinds of sites")[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_draws_are_the_start_of_more(build, make, dtype):
    """To the last bit, whatever the number of rows in a matrix product."""
    network = build(lambda: nn.Sequential(bl.Linear(7, 9, bias_prior=None), bl.Linear(9, 1)).to(dtype))
    guide = make(bl.BayesianModel(network, bl.likelihoods.Normal("learned")))
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.1
    many = guide.draw(1000, 5)
    for size in (1, 2, 10, 16, 17, 500):
        few = guide.draw(size, 5)
        assert all(torch.equal(value, many[name][:size]) for name, value in few.items())


def test_draws_are_the_transformed_noise(model, make):
    guide = make(model)
    if isinstance(guide, bl.guides.Ensemble):
        return  # `transform` gives each member as many rows, `draw` as many as its weight
    noise = standard_normal(5, 40, guide.noise_size, dtype=torch.float64)
    expected = guide.transform(noise)
    for name, value in guide.draw(40, 5).items():
        assert value.shape == (40, *guide.shapes[name])
        assert not value.requires_grad
        torch.testing.assert_close(value, expected[name].detach(), rtol=1e-12, atol=1e-14)


def test_two_guides_of_one_model_start_alike(model, make):
    for one, other in zip(make(model).parameters(), make(model).parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_copy_shares_nothing(model, make):
    guide = make(model)
    before = guide.draw(2, 0)
    twin = copy.deepcopy(guide)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter += 1
    assert all(torch.equal(value, before[name]) for name, value in guide.draw(2, 0).items())
    assert twin._store_name != guide._store_name


def test_state_dict_is_the_whole_state(model, make):
    guide, other = make(model), make(model)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.1
    other.load_state_dict(guide.state_dict())
    assert all(torch.equal(value, other.draw(2, 0)[name]) for name, value in guide.draw(2, 0).items())


def test_kl_weights_are_checked(model, make):
    guide = make(model)
    with pytest.raises(bl.errors.SiteError, match="not latent sites"):
        guide.flat_priors(model, {"weight": 0.5})
    with pytest.raises(bl.errors.DataError, match="weight"):
        guide.flat_priors(model, -1.0)
