import pytest
import torch
from torch import nn
from torch.func import functional_call

import bayesian_layers as bl
from bayesian_layers.network import (
    call,
    check_inputs,
    evaluating,
    hyperparameter_sites,
    num_rows,
    parameter_sites,
)


def draws_of(network, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(size, *parameter.shape, generator=generator, dtype=parameter.dtype)
        for name, parameter in network.named_parameters()
    }


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Branching(nn.Module):
    """Control flow that depends on data, which vmap refuses."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        f = self.head(x)
        return f if f.sum() > 0 else -f


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0].mean(1)


NETWORKS = {
    "dense": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (5, 3)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 1)),
        (5, 2, 6),
    ),
    "lstm": (Recurrent, (5, 6, 3)),
    "branching": (Branching, (5, 3)),
    "attention": (Attention, (5, 6, 4)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1)), (5, 3)),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # attention: right, if not fast
@pytest.mark.parametrize("name", NETWORKS)
def test_many_draws_at_once_equal_a_loop_over_draws(name, build):
    make, shape = NETWORKS[name]
    network = build(lambda: make().double().eval())
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    draws = draws_of(network, 6)
    one_by_one = torch.stack(
        [functional_call(network, {key: value[i] for key, value in draws.items()}, (x,)) for i in range(6)]
    )
    for batch in ((6,), (6, 1), (3, 2, 1)):
        f = call(network, {key: v.reshape(*batch, *v.shape[1:]) for key, v in draws.items()}, x)
        leading = batch[:-1] if batch[-1] == 1 else batch
        assert f.shape == (*leading, *one_by_one.shape[1:])
        torch.testing.assert_close(f.reshape(one_by_one.shape), one_by_one, rtol=1e-12, atol=1e-12)


def test_draws_of_some_parameters_only(build):
    network = build(lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    x = torch.ones(5, 3)
    draws = draws_of(network, 6)
    mixed = {"0.weight": draws["0.weight"][:, None], "1.bias": draws["1.bias"][0]}
    f = call(network, mixed, x)
    for i in range(6):
        one = functional_call(network, {"0.weight": draws["0.weight"][i], "1.bias": draws["1.bias"][0]}, (x,))
        torch.testing.assert_close(f[i], one)


def test_a_value_of_another_shape_is_refused(build):
    network = build(lambda: nn.Linear(3, 2))
    with pytest.raises(bl.errors.ShapeError, match="weight"):
        call(network, {"weight": torch.zeros(3, 2)}, torch.zeros(1, 3))


def test_sites_are_trainable_parameters_under_their_names(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 3, bias_prior=None), nn.Linear(3, 1)))
    network[1].bias.requires_grad_(False)
    sites = parameter_sites(network)
    assert list(sites) == ["0.weight", "0.bias", "1.weight"]
    assert [site.prior for site in sites.values()] == [bl.priors.default(), None, None]
    assert sites["0.weight"].initial.data_ptr() == network[0].weight.data_ptr()


def test_scales_that_are_learned_or_have_a_prior_are_sites(build):
    learned, above = bl.priors.Normal(scale="learned"), bl.priors.LogNormal(0.5, 0.1)
    network = build(
        lambda: nn.Sequential(
            bl.Linear(2, 3, prior=learned, bias_prior=None),
            bl.Linear(3, 1, prior=bl.priors.HierarchicalNormal(scale=above), bias_prior=bl.priors.Normal()),
            bl.Linear(1, 1, prior=learned),
        )
    )
    network[2].weight.requires_grad_(False)
    sites = parameter_sites(network)
    hyper = hyperparameter_sites(sites)
    assert list(hyper) == ["0.weight.prior_scale", "1.weight.prior_scale", "2.bias.prior_scale"]
    assert [site.prior for site in hyper.values()] == [None, above, None]
    assert all(site.positive and site.initial.shape == () for site in hyper.values())
    assert [next(iter(site.scale_sites), None) for site in sites.values()] == [
        "0.weight.prior_scale",
        None,
        "1.weight.prior_scale",
        None,
        "2.bias.prior_scale",
    ]


def test_a_parameter_with_the_name_of_a_scale_is_refused(build):
    layer = build(lambda: bl.Linear(2, 1, prior=bl.priors.Normal(scale="learned")))
    layer._parameters["weight.prior_scale"] = nn.Parameter(torch.ones(()))  # register_parameter takes no dots
    with pytest.raises(bl.errors.SiteError, match=r"`weight\.prior_scale` is a parameter of the network"):
        bl.BayesianModel(layer)


def test_tied_parameters_are_one_site_and_the_prior_of_any_owner_counts(build):
    network = build(lambda: nn.Sequential(nn.Linear(2, 2), bl.Linear(2, 2, bias=False)))
    network[1].weight = network[0].weight
    sites = parameter_sites(network)
    assert list(sites) == ["0.weight", "0.bias"]
    assert sites["0.weight"].prior == bl.priors.default()
    value = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [2.0, 0.0]]])
    f = call(network, {"0.weight": value, "0.bias": torch.zeros(2, 2)}, torch.eye(2))
    torch.testing.assert_close(f, value.mT @ value.mT)


def test_tied_parameters_with_two_priors_are_refused(build):
    network = build(
        lambda: nn.Sequential(bl.Linear(2, 2, prior=bl.priors.Normal(scale=2.0)), bl.Linear(2, 2, bias=False))
    )
    network[1].weight = network[0].weight
    with pytest.raises(bl.errors.SiteError, match="tied"):
        parameter_sites(network)


def test_a_lazy_parameter_is_refused():
    with pytest.raises(bl.errors.SiteError, match="call the network once"):
        parameter_sites(nn.Sequential(nn.LazyLinear(2)))


def test_evaluating_gives_each_module_its_own_mode_back():
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    network[0].eval()

    def fail():
        with evaluating(network):
            assert not any(module.training for module in network.modules())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [module.training for module in network.modules()] == [True, False, True, True]


def test_inputs_take_the_networks_dtype_and_integers_stay():
    network = nn.Linear(1, 1, device="meta", dtype=torch.float64)
    moved = check_inputs((torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64)), network)
    assert [part.dtype for part in moved] == [torch.float64, torch.int64]
    with pytest.raises(bl.errors.ShapeError, match="same number of rows"):
        num_rows((torch.zeros(2, 1), torch.zeros(3, 1)))
    with pytest.raises(bl.errors.ShapeError, match="at least one row"):
        num_rows(torch.zeros(0, 1))


def test_a_module_at_two_places_keeps_its_parameters(build):
    def tied():
        layer = nn.Linear(2, 2)
        return nn.Sequential(layer, nn.Tanh(), layer, bl.Linear(2, 1))

    network = bl.bayesianize(build(tied))
    before = dict(network.named_parameters())
    draws = {
        name: torch.randn(3, 1, *p.shape, generator=torch.Generator().manual_seed(0))
        for name, p in before.items()
    }
    x = torch.ones(4, 2)
    f = call(network, draws, x)
    assert dict(network.named_parameters()).keys() == before.keys()
    assert all(value is before[name] for name, value in network.named_parameters())
    for s in range(3):
        w, b, v, c = (draws[name][s, 0] for name in before)
        expected = torch.tanh(x @ w.T + b) @ w.T + b
        torch.testing.assert_close(f[s], expected @ v.T + c)
