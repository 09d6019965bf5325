import copy
import inspect

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.priors import recall


def test_linear_is_torchs_linear(build):
    ours, theirs = build(lambda: bl.Linear(3, 2)), build(lambda: nn.Linear(3, 2))
    x = torch.linspace(0, 1, 12).reshape(4, 3)
    assert torch.equal(ours(x), theirs(x))
    assert isinstance(ours, nn.Linear)
    assert [name for name, _ in ours.named_parameters()] == ["weight", "bias"]
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_linear_has_torchs_signature_and_two_more():
    ours = list(inspect.signature(bl.Linear).parameters)
    assert ours == [*inspect.signature(nn.Linear).parameters, "prior", "bias_prior"]


def test_priors_of_weight_and_bias(build):
    narrow, wide = bl.priors.Normal(scale=0.1), bl.priors.Normal(scale=9.0)
    default = bl.priors.default()
    for arguments, weight, bias in (
        ({}, default, default),
        ({"prior": wide}, wide, wide),
        ({"prior": wide, "bias_prior": narrow}, wide, narrow),
        ({"bias_prior": None}, default, None),
    ):
        layer = build(lambda arguments=arguments: bl.Linear(2, 1, **arguments))
        assert recall(layer) == recall(copy.deepcopy(layer)) == {"weight": weight, "bias": bias}
    assert recall(build(lambda: bl.Linear(2, 1, bias=False))) == {"weight": default}


@pytest.mark.parametrize("wrong", [1.0, "Normal", nn.Identity()])
def test_a_prior_that_is_none_is_refused(wrong, build):
    with pytest.raises(TypeError, match=r"bl\.priors"):
        build(lambda: bl.Linear(2, 1, prior=wrong))
    with pytest.raises(TypeError, match=r"bl\.priors"):
        build(lambda: bl.Linear(2, 1, bias_prior=wrong))


def test_device_and_dtype():
    layer = bl.Linear(2, 1, device="meta", dtype=torch.float64)
    assert layer.weight.device.type == "meta"
    assert layer.weight.dtype == torch.float64


def test_repr_shows_every_kind_of_scale(build):
    above = bl.priors.HierarchicalNormal(0.5, bl.priors.LogNormal(0.0, 2.0))
    layer = build(lambda: bl.Linear(2, 1, prior=above, bias_prior=bl.priors.Normal(scale="learned")))
    assert str(layer) == (
        "Linear(in_features=2, out_features=1, bias=True, "
        "weight ~ HierarchicalNormal(loc=0.5, scale=LogNormal(loc=0.0, scale=2.0)), "
        "bias ~ Normal(loc=0.0, scale='learned'))"
    )
