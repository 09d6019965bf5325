import copy
import math

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers import priors


@pytest.mark.parametrize("kind", [bl.priors.Normal, bl.priors.LogNormal])
@pytest.mark.parametrize(
    "arguments", [{"scale": 0.0}, {"scale": -1.0}, {"scale": math.nan}, {"loc": math.inf}]
)
def test_an_invalid_prior_cannot_be_built(kind, arguments):
    with pytest.raises(bl.errors.DataError, match="prior"):
        kind(**arguments)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_distribution_has_the_parameters_shape_and_density(shape):
    value = torch.full(shape, 0.7, dtype=torch.float64)
    normal = bl.priors.Normal(0.2, 2.0).distribution(value)
    assert normal.event_shape == shape
    assert normal.batch_shape == ()
    one = -0.5 * (0.5 / 2) ** 2 - math.log(2) - 0.5 * math.log(2 * math.pi)
    assert float(normal.log_prob(value)) == pytest.approx(value.numel() * one)
    log_normal = bl.priors.LogNormal(0.2, 2.0).distribution(value)
    log = -0.5 * ((math.log(0.7) - 0.2) / 2) ** 2 - math.log(2) - 0.5 * math.log(2 * math.pi) - math.log(0.7)
    assert float(log_normal.log_prob(value)) == pytest.approx(value.numel() * log)


@pytest.mark.parametrize("positive", [False, True])
def test_point_estimate_has_log_density_zero_everywhere(positive):
    q = priors.Site(torch.tensor([1.0, 2.0]), None, positive).distribution()
    assert torch.equal(q.sample(), torch.tensor([1.0, 2.0]))
    assert float(q.log_prob(torch.tensor([7.0, 0.1]))) == 0.0
    assert q.expand([5]).log_prob(torch.rand(5, 2, generator=torch.Generator())).shape == (5,)


def test_priors_survive_a_deep_copy():
    layer = nn.Identity()
    priors.remember(layer, {"weight": bl.priors.Normal(scale=3.0)})
    priors.remember(layer, {"bias": None})
    assert priors.recall(copy.deepcopy(layer)) == {"weight": bl.priors.Normal(scale=3.0), "bias": None}


@pytest.mark.parametrize("prior", [None, bl.priors.Normal(1.0, 2.0), bl.priors.LogNormal(0.5, 0.1)])
def test_document_round_trip(prior):
    assert priors.from_document(priors.to_document(prior)) == prior


@pytest.mark.parametrize(
    "document",
    [3, "Normal", {}, {"name": "Cauchy"}, {"name": "Normal", "scale": -1}, {"name": "Normal", "x": 1}],
)
def test_a_bad_document_is_refused(document):
    with pytest.raises(bl.errors.StorageError):
        priors.from_document(document)
