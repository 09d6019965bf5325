import copy

import pytest
import torch
from torch import nn

import bayesian_layers as bl

WIDE = bl.priors.Normal(scale=3.0)


@pytest.fixture
def network(build):
    return build(
        lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Sequential(nn.Linear(3, 1)))
    )


def with_priors(network):
    return [row.name for row in bl.bayesianize_report(network).rows if row.status == "prior"]


def test_a_deep_copy_has_the_priors_and_the_original_has_none(network):
    state = copy.deepcopy(network.state_dict())
    result = bl.bayesianize(network, WIDE)
    assert with_priors(network) == []
    assert with_priors(result) == ["0.weight", "0.bias", "3.0.weight", "3.0.bias"]
    assert type(result[0]) is nn.Linear
    assert list(result.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in result.state_dict().items())
    assert result[0].weight is not network[0].weight
    priors = {row.name: row.prior for row in bl.bayesianize_report(result).rows}
    assert priors["0.weight"] == WIDE
    assert priors["1.weight"] is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"only": "0.*"}, ["0.weight", "0.bias"]),
        ({"only": "*.weight"}, ["0.weight", "1.weight", "3.0.weight"]),
        ({"only": "3"}, ["3.0.weight", "3.0.bias"]),
        ({"only": nn.Linear, "skip": ["*.bias"]}, ["0.weight", "3.0.weight"]),
        ({"only": ["1", "3.0.bias"]}, ["1.weight", "1.bias", "3.0.bias"]),
        ({"skip": nn.Linear}, []),
        ({"skip": "3.0"}, ["0.weight", "0.bias"]),
    ],
)
def test_selectors(network, options, expected):
    assert with_priors(bl.bayesianize(network, **options)) == expected


def test_a_module_selects_itself(network):
    assert with_priors(bl.bayesianize(network, only=network[3])) == ["3.0.weight", "3.0.bias"]


@pytest.mark.parametrize("selector", ["4.*", nn.Conv2d, nn.Linear(1, 1, device="meta")])
def test_a_selector_that_matches_nothing_is_refused(network, selector):
    for argument in ("only", "skip"):
        with pytest.raises(bl.errors.SiteError, match=f"`{argument}`"):
            bl.bayesianize(network, **{argument: selector})


def test_frozen_parameters_stay_frozen_and_own_priors_stay(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 2, prior=WIDE, bias_prior=None), nn.Linear(2, 1)))
    network[1].bias.requires_grad_(False)
    result = bl.bayesianize(network)
    assert not result[1].bias.requires_grad
    rows = {row.name: row for row in bl.bayesianize_report(result).rows}
    assert rows["0.weight"].prior == WIDE
    assert rows["0.bias"].status == "point estimate"
    assert rows["1.bias"].status == "frozen"
    assert rows["1.weight"].prior == bl.priors.default()


def test_tied_parameters_stay_tied(build):
    network = build(lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    network[1].weight = network[0].weight
    result = bl.bayesianize(network)
    assert result[1].weight is result[0].weight
    assert list(bl.BayesianModel(result).sites()) == ["0.weight", "0.bias", "1.bias"]
    assert with_priors(bl.bayesianize(network, only="1.weight")) == ["0.weight"]


def test_the_report_says_why(network):
    text = str(bl.bayesianize_report(bl.bayesianize(network, skip="3.*")))
    assert "1.weight    3    point estimate              normalisation layer" in text
    assert "in `skip`" in text
    assert "Normal(loc=0.0, scale=1.0)" in text
    assert "default prior" in text
    assert "no prior was given" in str(bl.bayesianize_report(network))
    assert "not in `only`" in str(bl.bayesianize_report(bl.bayesianize(network, only="0")))


@pytest.mark.parametrize(
    "prior",
    [bl.priors.Normal(scale="learned"), bl.priors.Normal(scale="fan_in"), bl.priors.HierarchicalNormal()],
)
def test_every_kind_of_scale_is_set_and_shown(network, prior):
    result = bl.bayesianize(network, prior, skip="*.bias")
    assert with_priors(result) == ["0.weight", "3.0.weight"]
    assert f"0.weight    3x2  {prior}  given prior" in str(bl.bayesianize_report(result))
    scales = [name for name in bl.BayesianModel(result).sites() if name.endswith(".prior_scale")]
    assert scales == ([] if prior.scale == "fan_in" else ["0.weight.prior_scale", "3.0.weight.prior_scale"])


@pytest.mark.parametrize("wrong", ["learned", 1.0, bl.priors.Normal])
def test_what_is_not_a_prior_is_refused(network, wrong):
    with pytest.raises(TypeError, match=r"must be one of bl\.priors; received"):
        bl.bayesianize(network, wrong)


def test_a_lazy_network_is_refused():
    with pytest.raises(bl.errors.SiteError, match="call the network once"):
        bl.bayesianize(nn.Sequential(nn.LazyLinear(3)))


def test_a_network_never_heard_of(build):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))
            self.cell = nn.GRUCell(2, 3)

        def forward(self, x):
            return self.scale * self.cell(x)

    model = bl.BayesianModel(bl.bayesianize(build(Odd)), bl.likelihoods.Normal(1.0))
    assert list(model.sites()) == [
        "scale",
        *(f"cell.{n}_{s}" for n in ("weight", "bias") for s in ("ih", "hh")),
    ]
    assert model.prior_predict(torch.zeros(4, 2), num_draws=5).mean.shape == (4, 3)


def rows(network):
    return {row.name: row for row in bl.bayesianize_report(network).rows}


def test_priors_by_name_where_the_first_match_wins(network):
    narrow = bl.priors.Normal(scale=0.1)
    result = rows(bl.bayesianize(network, {"0.*": WIDE, "*.bias": None, "3": narrow}))
    assert {name: row.prior for name, row in result.items()} == {
        "0.weight": WIDE,
        "0.bias": WIDE,
        "1.weight": None,
        "1.bias": None,
        "3.0.weight": narrow,
        "3.0.bias": None,
    }
    assert [result[name].reason for name in ("0.bias", "1.weight", "3.0.bias")] == [
        "matches '0.*'",
        "normalisation layer",
        "None for '*.bias'",
    ]


def test_the_pattern_for_all_leaves_normalisation_alone_and_others_do_not(network):
    assert rows(bl.bayesianize(network, {"*": WIDE}))["1.weight"].reason == "normalisation layer"
    assert rows(bl.bayesianize(network, {"1.weight": WIDE, "*": WIDE}))["1.weight"].prior == WIDE


def test_priors_by_name_go_with_selectors_and_frozen_parameters(network):
    network[0].weight.requires_grad_(False)
    result = rows(bl.bayesianize(network, {"*": WIDE}, only="3.*", skip="*.bias"))
    assert [row.status for row in result.values()] == [
        "frozen",
        *["point estimate"] * 3,
        "prior",
        "point estimate",
    ]
    assert result["1.weight"].reason == "not in `only`"


def test_a_pattern_of_priors_that_matches_nothing_or_is_not_a_prior_is_refused(network):
    alone = rows(bl.bayesianize(network, {"0.*": WIDE}))
    assert alone["3.0.weight"].reason == "no pattern of `prior` matches"
    with pytest.raises(bl.errors.SiteError, match="`prior` has '7"):
        bl.bayesianize(network, {"*": WIDE, "7.*": WIDE})
    with pytest.raises(TypeError, match=r"bl\.priors"):
        bl.bayesianize(network, {"*": 1.0})


def test_every_parameter_of_a_large_network_is_in_the_report(build):
    """Nested torch layers, each with parameters under other names than weight and bias."""
    network = build(
        lambda: nn.ModuleDict(
            {
                "words": nn.Embedding(7, 4, padding_idx=0),
                "encoder": nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 5, batch_first=True), 2),
                "decoder": nn.TransformerDecoderLayer(4, 2, 5, batch_first=True),
                "state": nn.LSTM(4, 3, 2, bidirectional=True, proj_size=2),
                "out": nn.Bilinear(4, 4, 7),
            }
        )
    )
    report = rows(bl.bayesianize(network, skip="out.bias"))
    assert list(report) == [name for name, _ in network.named_parameters()]
    points = [name for name, row in report.items() if row.prior is None]
    assert points == [*(name for name in report if ".norm" in name), "out.bias"]
