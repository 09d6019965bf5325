import copy
import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers import priors
from bayesian_layers.priors import ElementwiseNormal


@pytest.mark.parametrize("kind", [bl.priors.Normal, bl.priors.LogNormal])
@pytest.mark.parametrize(
    "arguments", [{"scale": 0.0}, {"scale": -1.0}, {"scale": math.nan}, {"loc": math.inf}]
)
def test_an_invalid_prior_cannot_be_built(kind, arguments):
    with pytest.raises(bl.errors.DataError, match=f"`{next(iter(arguments))}` must be a finite number"):
        kind(**arguments)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: bl.priors.Normal(scale="learnt"),
            "`scale` must be a finite number above 0; received 'learnt'. A scale is a standard deviation, or",
        ),
        (lambda: bl.priors.Normal(scale=None), "received None"),
        (lambda: bl.priors.Normal(scale=True), "received True"),
        (lambda: bl.priors.Normal(loc="0"), "`loc` must be a finite number; received '0'"),
        (lambda: bl.priors.LogNormal(scale="learned"), "finite number above 0; received 'learned'"),
        (
            lambda: bl.priors.HierarchicalNormal(scale=1.0),
            "is a bl.priors.LogNormal or HalfCauchy; received 1.0. For a scale without",
        ),
        (
            lambda: bl.priors.HierarchicalNormal(scale=bl.priors.Normal()),
            "is a bl.priors.LogNormal or HalfCauchy",
        ),
        (lambda: bl.priors.HierarchicalNormal(loc=math.nan), "`loc`"),
        (lambda: ElementwiseNormal(torch.zeros(2), torch.tensor([1.0, 0.0])), "not above 0"),
        (lambda: ElementwiseNormal(torch.tensor([math.nan]), torch.ones(1)), "must be finite"),
        (
            lambda: ElementwiseNormal(torch.zeros(2, 1), torch.ones(2)),
            r"must have shape (2, 1); received (2,)",
        ),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(make, sentence):
    with pytest.raises((bl.errors.DataError, bl.errors.ShapeError), match=re.escape(sentence)):
        make()


@pytest.mark.parametrize("wrong", [[0.0], torch.zeros(2, dtype=torch.int64)])
def test_elementwise_takes_floating_tensors(wrong):
    with pytest.raises(TypeError, match="floating tensor"):
        ElementwiseNormal(wrong, torch.ones(2))


@pytest.mark.parametrize(
    ("shape", "scale"), [((), 1), ((7,), 1), ((5, 4), 0.5), ((5, 4, 3, 3), 1 / 6), ((0, 4), 0.5), ((5, 0), 1)]
)
def test_fan_in_is_the_product_of_all_axes_but_the_first(shape, scale):
    loc, deviation = bl.priors.Normal(0.3, "fan_in").unconstrained(torch.empty(shape, dtype=torch.float64))
    assert torch.equal(loc, torch.full(shape, 0.3, dtype=torch.float64))
    torch.testing.assert_close(deviation, torch.full(shape, scale, dtype=torch.float64))


def test_fan_in_keeps_the_size_of_wide_layers(build):
    """Sum of n inputs of size 1, each times N(0, 1/n): variance 1 whatever n; 5 standard errors."""
    for width in (10, 1000):
        layer = build(
            lambda width=width: bl.Linear(width, 40, bias=False, prior=bl.priors.Normal(scale="fan_in"))
        )
        drawn = bl.BayesianModel(layer).prior_draws(50, seed=0)["weight"].sum(-1)
        assert abs(float(drawn.var()) - 1) < 5 * (2 / 2000) ** 0.5


@pytest.mark.parametrize("prior", [bl.priors.Normal(0.2, "learned"), bl.priors.HierarchicalNormal(0.2)])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("batch", [(), (4,), (4, 1)])
def test_a_scale_that_is_a_site_stands_for_all_entries_on_its_right(prior, shape, batch):
    like = torch.zeros(shape, dtype=torch.float64)
    scale = torch.arange(1, 1 + math.prod(batch), dtype=torch.float64).reshape(batch)
    p = prior.distribution(like, scale)
    assert (p.batch_shape, p.event_shape) == (batch, shape)
    log_prob = p.log_prob(like + 0.7)
    for i, tau in enumerate(scale.flatten().tolist()):
        one = -0.5 * (0.5 / tau) ** 2 - math.log(tau) - 0.5 * math.log(2 * math.pi)
        assert float(log_prob.flatten()[i]) == pytest.approx(like.numel() * one)


def test_the_sites_of_scales():
    like = torch.zeros(3, 2, dtype=torch.float64)
    assert bl.priors.Normal().hypers(like) == bl.priors.Normal(scale="fan_in").hypers(like) == {}
    learned = bl.priors.Normal(scale="learned").hypers(like)["prior_scale"]
    assert (learned.prior, learned.positive, learned.initial.shape) == (None, True, ())
    assert (learned.initial.dtype, float(learned.initial)) == (torch.float64, 1.0)
    above = bl.priors.LogNormal(0.5, 0.2)
    hierarchical = bl.priors.HierarchicalNormal(scale=above).hypers(like)["prior_scale"]
    assert (hierarchical.prior, hierarchical.positive, hierarchical.initial.shape) == (above, True, ())
    assert float(hierarchical.initial) == pytest.approx(math.exp(0.5))


def test_a_scale_is_passed_where_it_is_a_site_and_nowhere_else():
    like = torch.zeros(2)
    for prior in (bl.priors.Normal(scale="learned"), bl.priors.HierarchicalNormal()):
        with pytest.raises(TypeError, match="must be the value of the scale"):
            prior.distribution(like)
    for prior in (bl.priors.Normal(), bl.priors.LogNormal(), ElementwiseNormal(like, like + 1)):
        with pytest.raises(TypeError, match="must be None"):
            prior.unconstrained(like, torch.tensor(1.0))


def test_elementwise_is_a_normal_an_entry_and_equal_by_value():
    loc, scale = torch.tensor([[0.0, 1.0], [2.0, -3.0]]), torch.tensor([[1.0, 0.5], [0.1, 2.0]])
    prior = ElementwiseNormal(loc, scale)
    value = torch.tensor([[0.3, 0.2], [1.9, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(
        prior.distribution(value).log_prob(value),
        torch.distributions.Normal(loc.double(), scale.double()).log_prob(value).sum(),
    )
    twin = copy.deepcopy(prior)
    assert twin == prior == ElementwiseNormal(loc, scale)
    assert len({twin, prior}) == 1
    assert prior not in (
        ElementwiseNormal(loc, scale * 2),
        ElementwiseNormal(loc[:1], scale[:1]),
        bl.priors.Normal(),
    )
    loc.zero_()
    assert prior == twin
    assert str(prior) == "ElementwiseNormal(shape=(2, 2), loc in [-3, 2], scale in [0.1, 2])"
    with pytest.raises(bl.errors.ShapeError, match=r"must have shape \(2, 2\); received \(2,\)"):
        prior.distribution(torch.zeros(2))


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
    priors.set_priors(layer, {"weight": bl.priors.Normal(scale=3.0)})
    priors.set_priors(layer, {"bias": None})
    assert priors.get_priors(copy.deepcopy(layer)) == {"weight": bl.priors.Normal(scale=3.0), "bias": None}


def test_numbers_of_any_kind_are_described():
    prior = bl.priors.Normal(1, np.float32(2))
    assert bl.priors.Prior.from_spec(json.loads(json.dumps(prior.spec()))) == prior


def test_a_prior_of_ones_own_cannot_be_described():
    class Own(bl.priors.Normal):
        pass

    with pytest.raises(bl.errors.StorageError, match="Own cannot be saved"):
        Own().spec()


def test_an_elementwise_prior_takes_its_arrays_from_elsewhere():
    like = torch.zeros(2)
    prior = ElementwiseNormal(like + 3, like + 1)
    built = bl.priors.Prior.from_spec(prior.spec(), like=like)
    assert {name: value.shape for name, value in built.arrays(like).items()} == {"loc": (2,), "scale": (2,)}
    assert built.with_arrays(prior.arrays(like)) == prior
    with pytest.raises(bl.errors.DataError, match="standard deviation"):
        built.with_arrays({"loc": like, "scale": like})


@pytest.mark.parametrize(
    "document",
    [
        3,
        "Normal",
        {},
        {"name": "Cauchy"},
        {"name": "Normal", "scale": -1},
        {"name": "Normal", "x": 1},
        {"name": "Normal", "scale": "wide"},
        {"name": "Normal", "loc": 0.0, "scale": 5e-324},
        {"name": "Normal", "scale": {"name": "LogNormal"}},
        {"name": "Normal", "loc": [0.0]},
        {"name": ["Normal"]},
        {"name": "HierarchicalNormal", "scale": 1.0},
        {"name": "HierarchicalNormal", "scale": {"name": "Normal"}},
        {"name": "HierarchicalNormal", "scale": {"loc": 0.0, "scale": 1.0}},
        {"name": "HierarchicalNormal", "scale": {"name": "LogNormal", "scale": 0.0}},
        {"name": "ElementwiseNormal"},
        {"name": "ElementwiseNormal", "loc": [0.0], "scale": [1.0]},
    ],
)
def test_a_bad_spec_is_refused(document):
    with pytest.raises(bl.errors.StorageError):
        bl.priors.Prior.from_spec(document)


@pytest.fixture
def yesterday(build):
    """A fitted posterior with every kind of parameter: fixed, learned and hierarchical scales, a point."""
    network = build(
        lambda: nn.Sequential(
            bl.Linear(2, 3, prior=bl.priors.Normal(scale="learned"), bias_prior=None),
            nn.Tanh(),
            bl.Linear(3, 1, prior=bl.priors.HierarchicalNormal(), bias_prior=bl.priors.Normal(0.5, 2.0)),
        ).double()
    )
    model = bl.BayesianModel(network, bl.likelihoods.Normal("learned"))
    guide = bl.guides.MeanFieldNormal(model)
    with torch.no_grad():
        guide.loc.add_(torch.linspace(-0.5, 0.5, len(guide.loc), dtype=torch.float64))
        guide.log_scale.copy_(torch.linspace(-2, 0, len(guide.loc), dtype=torch.float64))
        guide.point.add_(0.25)
    return bl.Posterior.from_guide(model, guide)


def test_yesterdays_posterior_is_todays_prior(yesterday):
    network = bl.priors.from_posterior(yesterday)
    sites = bl.BayesianModel(network).sites()
    assert list(sites) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert sites["0.bias"].prior is None
    q = yesterday.source.distributions()
    for name in ("0.weight", "2.weight", "2.bias"):
        # a mean-field guide's own moments, else those of 1000 draws: 5 standard errors
        error = 1e-12 if hasattr(yesterday.source, "moments") else 5 / 1000**0.5
        p = sites[name].distribution()
        assert ((p.mean - q[name].mean).abs() <= error * q[name].stddev).all()
        assert ((p.stddev / q[name].stddev - 1).abs() <= error).all()
    for name, value in yesterday.source.mean().items():
        if name in sites:
            assert torch.equal(sites[name].initial, value)
    assert network.training
    assert recall_all(network) == recall_all(copy.deepcopy(network))
    assert not any(isinstance(prior, ElementwiseNormal) for prior in recall_all(yesterday.model.network))


def recall_all(network):
    return [prior for module in network.modules() for prior in priors.get_priors(module).values()]


def test_from_posterior_takes_any_source(yesterday):
    draws = yesterday.sample(30, seed=5)
    network = bl.priors.from_posterior(bl.Posterior.from_samples(yesterday.model, draws))
    prior = priors.get_priors(network[0])["weight"]
    index = yesterday.from_samples(yesterday.model, draws).sample(1000)["0.weight"]
    torch.testing.assert_close(prior.loc, index.mean(0))
    torch.testing.assert_close(prior.scale, index.std(0))
    torch.testing.assert_close(network[0].bias.data, draws["0.bias"].mean(0))


def test_owners_of_a_tied_parameter_agree_on_todays_prior(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 2), bl.Linear(2, 2, bias=False)))
    network[1].weight = network[0].weight
    model = bl.BayesianModel(network, bl.likelihoods.Normal(1.0))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    again = bl.priors.from_posterior(posterior)
    assert again[1].weight is again[0].weight
    assert isinstance(bl.BayesianModel(again).sites()["0.weight"].prior, ElementwiseNormal)
