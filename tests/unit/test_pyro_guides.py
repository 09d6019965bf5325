"""Guides of Pyro: `bl.fit` tells how a posterior is made of them, and that works."""

import pyro
import pytest
import torch
from pyro.infer import SVI, Predictive, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded

X, Y = bl.datasets.parabola(100)


@pytest.fixture
def model(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 3, bias_prior=None), nn.Tanh(), bl.Linear(3, 1)))
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


RECIPE = (
    "`guide` must be one of bl.guides, such as bl.guides.MeanFieldNormal(model); received AutoNormal. Train a guide of "
    "Pyro by pyro.infer.SVI(model, guide, ...), and pass its draws on: draws = pyro.infer.Predictive(guide, "
    "num_samples=1000)(x, y); bl.Posterior.from_samples(model, {name: draws[name] for name in model.sites()})"
)


def takes_a_guide(model):
    return (
        lambda guide: bl.fit(model, X, Y, guide=guide, progress=False),
        lambda guide: bl.Posterior.from_guide(model, guide),
    )


def test_a_guide_of_pyro_is_answered_by_a_recipe(model):
    for call in takes_a_guide(model):
        for guide in (AutoNormal(model), AutoNormal):
            with pytest.raises(TypeError) as caught:
                call(guide)
            assert str(caught.value) == RECIPE


@pytest.mark.parametrize("guide", ["mean", 3, object()])
def test_something_else_is_not_a_guide(model, guide):
    for call in takes_a_guide(model):
        with pytest.raises(
            TypeError, match=r"`guide` must be one of bl\.guides, .*; received .*[^)\]]?$"
        ) as caught:
            call(guide)
        assert "SVI" not in str(caught.value)


def test_a_class_of_guides_is_told_to_be_called(model):
    for call in takes_a_guide(model):
        with pytest.raises(
            TypeError, match=r"received LowRankNormal\. Make one for the model: LowRankNormal\(model\)$"
        ):
            call(bl.guides.LowRankNormal)


@pytest.mark.slow
@pytest.mark.parametrize("family", [AutoNormal, AutoMultivariateNormal])
def test_the_recipe_works(model, family):
    with pyro.get_param_store().scope(), seeded(0):
        guide = family(model)
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), TraceMeanField_ELBO())
        losses = [svi.step(X, Y) for _ in range(150)]
        draws = Predictive(guide, num_samples=200)(X, Y)
    posterior = bl.Posterior.from_samples(model, {name: draws[name] for name in model.sites()})
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])
    # The majority of the labels is at most 70 %, so only draws of a trained guide get 80 % right.
    assert ((posterior.predict(X, 200).mean > 0.5) == Y.bool()).float().mean() > 0.8
    assert torch.equal(posterior.sample(200)["0.weight"].sort(0)[0], draws["0.weight"].sort(0)[0])
