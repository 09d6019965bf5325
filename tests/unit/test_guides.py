import copy
import math

import pytest
import torch
from scipy import stats
from torch import nn

import bayesian_layers as bl
from bayesian_layers.guides import MeanFieldNormal, check_covers
from bayesian_layers.noise import seeded


@pytest.fixture
def model(build):
    network = build(
        lambda: nn.Sequential(bl.Linear(2, 3, bias_prior=None), nn.Tanh(), bl.Linear(3, 1)).double()
    )
    return bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.5)))


def test_parameters_exist_from_construction_at_the_networks_values(model):
    guide = MeanFieldNormal(model, init_scale=0.3)
    network = model.network
    random = [network[0].weight, network[2].weight, network[2].bias, torch.tensor(-1.0)]
    assert torch.equal(guide.loc, torch.cat([value.detach().reshape(-1).double() for value in random]))
    assert torch.equal(guide.point, network[0].bias.detach())
    torch.testing.assert_close(guide.log_scale, torch.full((11,), math.log(0.3), dtype=torch.float64))
    assert guide.loc.dtype == torch.float64
    assert guide.loc.data_ptr() != network[0].weight.data_ptr()


def test_sites_have_the_families_that_their_priors_call_for(model):
    guide = MeanFieldNormal(model)
    q = guide.distributions()
    assert list(q) == ["0.weight", "0.bias", "2.weight", "2.bias", "noise_scale"]
    assert {name: tuple(each.event_shape) for name, each in q.items()}["0.weight"] == (3, 2)
    names = {name: type(getattr(each, "base_dist", each)).__name__ for name, each in q.items()}
    assert names["0.weight"] == "Normal"
    assert names["0.bias"] == "Delta"
    assert type(q["noise_scale"]).__name__ == "LogNormal"


def test_transform_draws_from_the_distributions(model):
    """The two ways to draw, by noise and as a Pyro program, have one law."""
    guide = MeanFieldNormal(model, init_scale=0.4)
    draws = guide.draw(4000, seed=0)
    q = guide.distributions()
    for name in ("0.weight", "noise_scale"):
        with seeded(1):
            theirs = q[name].sample((4000,))
        ours = draws[name].reshape(4000, -1)[:, 0].numpy()
        assert stats.ks_2samp(ours, theirs.reshape(4000, -1)[:, 0].numpy()).pvalue > 1e-3
    assert torch.equal(draws["0.bias"], guide.point.detach().expand(4000, 3))


def test_fewer_draws_are_the_start_of_more(model):
    guide = MeanFieldNormal(model)
    few, many = guide.draw(10, 5), guide.draw(1000, 5)
    assert all(torch.equal(value, many[name][:10]) for name, value in few.items())


def test_mean_is_the_draw_without_noise(model):
    mean = MeanFieldNormal(model).mean()
    assert torch.equal(mean["0.weight"], model.network[0].weight)
    assert float(mean["noise_scale"]) == pytest.approx(math.exp(-1))
    assert not mean["0.weight"].requires_grad


def test_gradients_flow_to_every_parameter(model):
    guide = MeanFieldNormal(model)
    values = guide.transform(torch.ones(2, 11, dtype=torch.float64))
    sum(value.square().sum() for value in values.values()).backward()
    for parameter in guide.parameters():
        assert (parameter.grad != 0).all()


def test_a_copy_shares_nothing(model):
    guide = MeanFieldNormal(model)
    twin = copy.deepcopy(guide)
    with torch.no_grad():
        twin.loc.zero_()
    assert float(guide.loc.detach().abs().sum()) > 0
    assert twin._store_name != guide._store_name


def test_state_dict_is_the_whole_state(model):
    guide, other = MeanFieldNormal(model), MeanFieldNormal(model, init_scale=0.5)
    other.load_state_dict(guide.state_dict())
    assert torch.equal(other.draw(2, 0)["noise_scale"], guide.draw(2, 0)["noise_scale"])


def test_wrong_use_is_refused(model, build):
    with pytest.raises(bl.errors.DataError, match="init_scale"):
        MeanFieldNormal(model, init_scale=0.0)
    with pytest.raises(bl.errors.ShapeError, match="noise"):
        MeanFieldNormal(model).transform(torch.zeros(2, 10, dtype=torch.float64))
    frozen = build(lambda: nn.Linear(2, 1)).requires_grad_(False)
    with pytest.raises(bl.errors.SiteError, match="frozen"):
        MeanFieldNormal(bl.BayesianModel(frozen, bl.likelihoods.Bernoulli()))
    other = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Bernoulli())
    with pytest.raises(bl.errors.SiteError, match="another model"):
        check_covers(MeanFieldNormal(model), other)
