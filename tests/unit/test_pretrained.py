"""MOPED: guides and priors that begin at a pretrained network."""

import pytest
import torch
from torch import nn

import bayesian_layers as bl


@pytest.fixture
def pretrained(build):
    def make():
        network = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
        nn.init.zeros_(network[2].bias)
        network[0].bias.requires_grad_(False)
        return network

    return build(make)


def test_the_guide_stands_at_the_weights_with_deviations_by_their_size(pretrained):
    model = bl.BayesianModel(bl.bayesianize(pretrained), bl.likelihoods.Normal(bl.priors.LogNormal(-1, 0.5)))
    guide = bl.guides.MeanFieldNormal.from_pretrained(model, 0.2, floor=0.01)
    moments = guide.moments()
    for name in ("0.weight", "2.weight", "2.bias"):
        weight = pretrained.get_parameter(name)
        torch.testing.assert_close(moments[name][0], weight)
        torch.testing.assert_close(moments[name][1], (0.2 * weight.abs()).clamp_min(0.01))
    usual = bl.guides.MeanFieldNormal(model)
    noise = guide.layout.split(guide.log_scale, guide.layout.random)["noise_scale"]
    torch.testing.assert_close(noise.exp(), torch.tensor(usual.init_scale))
    assert float(moments["2.bias"][1].detach()) == pytest.approx(0.01)


@pytest.mark.parametrize("wrong", [{"fraction": 0.0}, {"fraction": float("inf")}, {"floor": -1.0}])
def test_a_fraction_that_is_none(pretrained, wrong):
    model = bl.BayesianModel(bl.bayesianize(pretrained), bl.likelihoods.Normal(1.0))
    with pytest.raises(bl.errors.DataError, match=next(iter(wrong))):
        bl.guides.MeanFieldNormal.from_pretrained(model, **wrong)


def test_priors_around_the_weights(pretrained):
    bayesian = bl.bayesianize(pretrained)
    network = bl.priors.around(bayesian, scale=0.5)
    rows = {row.name: row for row in bl.bayesianize_report(network).rows}
    assert [rows[name].status for name in ("0.bias", "1.weight")] == ["frozen", "point estimate"]
    for name in ("0.weight", "2.weight", "2.bias"):
        mean, deviation = rows[name].prior.unconstrained(network.get_parameter(name))
        assert torch.equal(mean, pretrained.get_parameter(name))
        assert (deviation == 0.5).all()
    assert {row.prior for row in bl.bayesianize_report(bayesian).rows} == {None, bl.priors.default()}


def test_the_kl_of_both_together_is_that_of_the_deviations_alone(pretrained):
    r"""KL(N(w, s) || N(w, 1/2)) = log(1/2 / s) + s^2 / (2 / 4) - 1/2, entry by entry."""
    network = bl.priors.around(bl.bayesianize(pretrained), scale=0.5)
    model = bl.BayesianModel(network, bl.likelihoods.Normal(1.0))
    guide = bl.guides.MeanFieldNormal.from_pretrained(model)
    s = guide.log_scale.exp()
    expected = ((0.5 / s).log() + s.square() / 0.5 - 0.5).sum()
    torch.testing.assert_close(guide.weighted_kl(model), expected)


def test_tied_weights_have_one_prior_around_them(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 2), bl.Linear(2, 2, bias=False)))
    network[1].weight = network[0].weight
    centred = bl.priors.around(network)
    assert centred[0].parameter_priors["weight"] == centred[1].parameter_priors["weight"]
    assert centred[1].weight is centred[0].weight
    assert list(bl.BayesianModel(centred).sites()) == ["0.weight", "0.bias"]


def test_what_cannot_be_centred(pretrained):
    with pytest.raises(bl.errors.SiteError, match="bayesianize"):
        bl.priors.around(pretrained)
    with pytest.raises(bl.errors.DataError, match="standard deviation"):
        bl.priors.around(bl.bayesianize(pretrained), scale=0)


def test_a_pretrained_network_is_fitted_saved_and_loaded(pretrained, tmp_path):
    x = torch.linspace(-1, 1, 20).reshape(10, 2)
    model = bl.BayesianModel(bl.priors.around(bl.bayesianize(pretrained), 0.3), bl.likelihoods.Normal(0.1))
    guide = bl.guides.MeanFieldNormal.from_pretrained(model)
    posterior = bl.fit(model, x, x.sum(1), guide=guide, max_steps=5, progress=False).posterior
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p")
    assert torch.equal(loaded.predict(x, 8).mean, posterior.predict(x, 8).mean)
    assert loaded.model.sites()["0.weight"].prior == model.sites()["0.weight"].prior
