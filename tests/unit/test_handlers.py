import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded
from substitute import Substitute


def program():
    z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    return pyro.sample("y", dist.Normal(z.sum(-1), 1.0), obs=torch.tensor(1.0))


def test_substitute_sets_the_value_and_leaves_the_site_latent():
    with Substitute({"z": torch.ones(3), "other": torch.ones(1)}):
        trace = poutine.trace(program).get_trace()
    assert torch.equal(trace.nodes["z"]["value"], torch.ones(3))
    assert not trace.nodes["z"]["is_observed"]


def test_substitute_fills_plates_and_leaves_conditioned_sites_alone():
    values = torch.arange(6.0).reshape(2, 3)
    with Substitute({"z": values}):
        trace = poutine.trace(pyro.plate("particles", 2, dim=-2)(program)).get_trace()
        conditioned = poutine.trace(poutine.condition(program, {"z": torch.zeros(3)})).get_trace()
    assert torch.equal(trace.nodes["z"]["value"], values[:, None])
    assert torch.equal(conditioned.nodes["z"]["value"], torch.zeros(3))


def test_temper_scales_latent_sites_only():
    with seeded(0):
        trace = poutine.trace(bl.temper(program, 0.25)).get_trace()
    assert trace.nodes["z"]["scale"] == 0.25
    assert trace.nodes["y"]["scale"] == 1.0


def test_temper_twice_multiplies_and_names_take_their_own_weight():
    with seeded(0):
        trace = poutine.trace(bl.temper(bl.temper(program, {"z": 0.5}), 0.5)).get_trace()
    assert trace.nodes["z"]["scale"] == 0.25


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, {"z": -1.0}])
def test_wrong_weights_are_refused(weight):
    with pytest.raises(bl.errors.DataError, match="`kl_weight` must be finite"):
        bl.temper(program, weight)


def test_unknown_names_are_refused():
    with seeded(0), pytest.raises(bl.errors.SiteError, match="not latent sites"):
        bl.temper(program, {"zz": 0.5})()


def test_temper_keeps_the_parameters_of_a_guide(build):
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Bernoulli())
    guide = bl.guides.MeanFieldNormal(model)
    tempered = bl.temper(guide, 0.1)
    assert isinstance(tempered, nn.Module)
    assert {id(parameter) for parameter in tempered.parameters()} == {id(p) for p in guide.parameters()}
