import math
import warnings

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

import bayesian_layers as bl
from bayesian_layers.posterior import axes

X, Y = bl.datasets.parabola(40)
POSITIVE = bl.priors.LogNormal(-1.0, 0.5)
HIERARCHICAL = bl.priors.HierarchicalNormal(0.3, scale=POSITIVE)
LEARNED = bl.priors.Normal(scale="learned")


@pytest.fixture
def model(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 4, bias_prior=None), nn.Tanh(), bl.Linear(4, 1)))
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


@pytest.fixture
def rich(build):
    """Every kind of site, in float64: a learned prior scale, one with a prior, a point, a random noise scale."""
    network = build(
        lambda: nn.Sequential(
            bl.Linear(2, 3, prior=HIERARCHICAL, bias_prior=None), nn.Tanh(), bl.Linear(3, 1, prior=LEARNED)
        ).double()
    )
    return bl.BayesianModel(network, bl.likelihoods.Normal(POSITIVE))


def guided(model, kind=bl.guides.MeanFieldNormal, **facts):
    guide = kind(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return bl.Posterior.from_guide(model, guide, **facts)


def test_all_groups(model):
    posterior = guided(model, elbo=-30.0, converged=True)
    data = posterior.to_arviz(X, Y, num_draws=100, seed=2)
    draws = posterior.sample(100, seed=2)
    for name, value in draws.items():
        np.testing.assert_array_equal(data["posterior"][name].values[0], value.numpy())
    assert set(data["prior"].data_vars) == {"0.weight", "2.weight", "2.bias"}  # the first bias has none
    np.testing.assert_array_equal(data["constant_data"]["x"].values, X.numpy())
    np.testing.assert_array_equal(data["observed_data"]["y"].values, Y.numpy())
    assert data["log_likelihood"]["y"].shape == data["prior_predictive"]["y"].shape == (1, 100, 40)
    assert set(data["sample_stats"].data_vars) == {"lp", "log_q", "log_weight"}
    assert data["posterior"]["0.weight"].dims == ("chain", "draw", "0_output", "0_input")
    assert data["posterior"]["0.bias"].dims == ("chain", "draw", "0_output")
    assert data["constant_data"]["x"].dims == ("row", "input")


def test_attributes_are_strings_and_numbers(model):
    posterior = guided(model, elbo=-30.0, converged=True)
    attrs = posterior.to_arviz(X, Y, num_draws=50, seed=2).attrs
    assert all(isinstance(value, str | int | float) for value in attrs.values())
    assert (attrs["elbo"], attrs["seed"], attrs["num_draws"]) == (-30.0, 2, 50)
    assert (attrs["source"], attrs["likelihood"]) == ("MeanFieldNormal", "Bernoulli")
    assert attrs["fit"] == "KL weight 1; converged"
    assert "Linear(in_features=2, out_features=4" in attrs["network"]
    assert f"torch {torch.__version__}" in attrs["versions"]


@pytest.mark.parametrize("kind", [bl.guides.MeanFieldNormal, bl.guides.FullRankNormal])
def test_log_weights_are_those_of_the_pyro_programs(rich, kind):
    """Densities of the programs are over the values; a positive one's logarithm has its own as a Jacobian more."""
    x, y = X.double(), X[:, 0].double()
    posterior = guided(rich, kind)
    data = posterior.to_arviz(x, y, num_draws=30, seed=1)
    draws = posterior.sample(30, seed=1)
    sites = posterior.model.sites()
    assert {name for name, site in sites.items() if site.positive} == {
        "0.weight.prior_scale",
        "2.weight.prior_scale",
        "2.bias.prior_scale",
        "noise_scale",
    }
    jacobian = sum(
        value.log() for name, value in draws.items() if sites[name].positive and sites[name].prior is not None
    )
    log_p = []
    for i in range(30):
        program = poutine.condition(posterior.model, {name: value[i] for name, value in draws.items()})
        log_p.append(poutine.trace(program).get_trace(x, y).log_prob_sum())
    lp = torch.stack(log_p).detach() + jacobian
    np.testing.assert_allclose(data["sample_stats"]["lp"].values[0], lp.numpy(), rtol=1e-10)
    if kind is bl.guides.MeanFieldNormal:
        log_q = []
        for i in range(30):
            given = {name: value[i] for name, value in draws.items() if sites[name].prior is not None}
            trace = poutine.trace(poutine.condition(posterior.source, given)).get_trace()
            log_q.append(sum(trace.nodes[name]["fn"].log_prob(given[name]) for name in given))
        log_q = torch.stack(log_q).detach() + jacobian
        np.testing.assert_allclose(data["sample_stats"]["log_q"].values[0], log_q.numpy(), rtol=1e-10)
    stats = data["sample_stats"]
    np.testing.assert_allclose(stats["log_weight"].values, stats["lp"].values - stats["log_q"].values)


def test_k_hat_is_that_of_the_weights(model):
    from bayesian_layers.inference_data import pareto_k_hat

    data = guided(model).to_arviz(X, Y, num_draws=200)
    expected = pareto_k_hat(data["sample_stats"]["log_weight"].values[0])
    assert data.attrs["k_hat"] == data["sample_stats"].attrs["k_hat"] == expected


def test_stored_draws_have_a_density_but_no_weights(model):
    posterior = guided(model)
    stored = bl.Posterior.from_samples(model, posterior.sample(50))
    data = stored.to_arviz(X, Y, num_draws=50)
    assert set(data["sample_stats"].data_vars) == {"lp"}
    assert "k_hat" not in data.attrs


def test_the_prior_is_drawn_with_its_scales(rich):
    posterior = guided(rich)
    data = posterior.to_arviz(X.double(), X[:, 0].double(), num_draws=4000)
    prior, size = data["prior"], 4000
    tau = prior["0.weight.prior_scale"].values[0]
    z = (np.log(tau) + 1.0) / 0.5
    weights = (prior["0.weight"].values[0] - 0.3) / tau[:, None, None]
    scale = float(posterior.source.mean()["2.weight.prior_scale"])  # learned: a point, where the fit found it
    last = prior["2.weight"].values[0] / scale
    assert scale != 1.0
    for standard in (z, weights[:, 0, 0], weights[:, 2, 1], last[:, 0, 0]):
        assert abs(standard.mean()) < 4 / math.sqrt(size)
        assert abs(standard.var() - 1) < 4 * math.sqrt(2 / size)
    drawn = (data["posterior"]["2.weight"].values[0, :, 0, 0], last[:, 0, 0])
    assert abs(np.corrcoef(*drawn)[0, 1]) < 4 / math.sqrt(size)  # not made of the posterior's own noise
    assert "2.weight.prior_scale" not in prior.data_vars


def test_predictions_are_drawn_from_the_likelihood(rich):
    """Standardized by each draw's own mean and noise, both predictives are standard normal."""
    x, y = X.double(), X[:, 0].double()
    posterior = guided(rich)
    data = posterior.to_arviz(x, y, num_draws=500)
    for group, predictive in (("posterior", "posterior_predictive"), ("prior", "prior_predictive")):
        values = {name: torch.tensor(data["posterior"][name].values[0]) for name in rich.sites()}
        values |= {n: torch.tensor(data[group][n].values[0]) for n in data[group].data_vars}
        f = torch.tanh(x @ values["0.weight"].mT + values["0.bias"][:, None]) @ values["2.weight"].mT
        f = (f + values["2.bias"][:, None]).squeeze(-1)
        standard = (data[predictive]["y"].values[0] - f.numpy()) / values["noise_scale"].numpy()[:, None]
        size = standard.size
        assert abs(standard.mean()) < 4 / math.sqrt(size)
        assert abs(standard.var() - 1) < 4 * math.sqrt(2 / size)


def test_the_same_seed_gives_the_same_and_fewer_draws_are_the_start(model):
    posterior = guided(model)
    few, again, many = (posterior.to_arviz(X, Y, num_draws=n, seed=3) for n in (64, 64, 128))
    other = posterior.to_arviz(X, Y, num_draws=64, seed=4)
    for group in ("posterior", "prior", "posterior_predictive", "prior_predictive", "log_likelihood"):
        for name in few[group].data_vars:
            first = few[group][name].values
            np.testing.assert_array_equal(first, again[group][name].values)
            np.testing.assert_allclose(first, many[group][name].values[:, :64], rtol=1e-5, atol=1e-6)
            if name != "0.bias":  # a point
                assert not np.array_equal(first, other[group][name].values)


def test_names_of_inputs_and_target(model):
    data = guided(model).to_arviz(X, Y, num_draws=20, input_names=("age", "income"), target_name="bought")
    weight = data["posterior"]["0.weight"]
    assert list(weight["0_input"].values) == list(data["prior"]["0.weight"]["0_input"].values)
    assert list(weight["0_input"].values) == list(data["constant_data"]["x"]["input"].values)
    assert list(weight["0_input"].values) == ["age", "income"]
    assert list(data["posterior"]["2.weight"]["2_input"].values) == [0, 1, 2, 3]
    for group in ("observed_data", "log_likelihood", "posterior_predictive", "prior_predictive"):
        assert list(data[group].data_vars) == ["bought"]


def test_names_reach_only_layers_that_see_the_inputs(build):
    """After a normalisation the columns are no longer the inputs themselves; x keeps its names."""
    network = build(lambda: nn.Sequential(nn.LayerNorm(2), bl.Linear(2, 1)))
    model = bl.BayesianModel(bl.bayesianize(network), bl.likelihoods.Bernoulli())
    data = guided(model).to_arviz(X, Y, num_draws=20, input_names=["a", "b"])
    assert list(data["posterior"]["1.weight"]["1_input"].values) == [0, 1]
    assert list(data["constant_data"]["x"]["input"].values) == ["a", "b"]
    assert data["posterior"]["0.weight"].dims == ("chain", "draw", "0_feature")


def test_a_convolution(build):
    network = build(
        lambda: nn.Sequential(nn.Conv2d(3, 2, (3, 2)), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 2 * 3, 4))
    )
    model = bl.BayesianModel(bl.bayesianize(network), bl.likelihoods.Categorical())
    x, y = torch.linspace(-1, 1, 5 * 48).reshape(5, 3, 4, 4), torch.tensor([0, 1, 2, 3, 0])
    data = guided(model).to_arviz(x, y, num_draws=20, input_names=["red", "green", "blue"])
    weight = data["posterior"]["0.weight"]
    assert weight.dims == ("chain", "draw", "0_output", "0_input", "0_kernel_0", "0_kernel_1")
    assert list(weight["0_input"].values) == ["red", "green", "blue"]
    assert data["constant_data"]["x"].dims == ("row", "input", "x_dim_1", "x_dim_2")
    assert data["observed_data"]["y"].dtype == np.int64
    assert data["posterior_predictive"]["y"].shape == (1, 20, 5)


def test_several_targets_and_a_single_layer(build):
    layer = build(lambda: bl.Linear(2, 3))
    model = bl.BayesianModel(layer, bl.likelihoods.Normal("learned"))
    y = torch.stack([X[:, 0], X[:, 1], X.sum(1)], 1)
    data = guided(model).to_arviz(X, y, num_draws=20, input_names=["a", "b"])
    assert data["posterior"]["weight"].dims == ("chain", "draw", "output", "input")
    assert data["observed_data"]["y"].dims == ("row", "target")
    assert data["posterior_predictive"]["y"].dims == ("chain", "draw", "row", "target")
    assert data["log_likelihood"]["y"].dims == ("chain", "draw", "row")
    assert set(data["prior"].data_vars) == {"weight", "bias"}


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = bl.Linear(2, 1), bl.Linear(1, 1)

    def forward(self, x, z):
        return self.one(x) + self.other(z)


def test_several_inputs(build):
    model = bl.BayesianModel(build(Two), bl.likelihoods.Bernoulli())
    x = (X, X[:, :1])
    data = guided(model).to_arviz(x, Y, num_draws=20)
    assert data["constant_data"]["x_0"].dims == ("row", "x_0_dim_0")
    np.testing.assert_array_equal(data["constant_data"]["x_1"].values, X[:, :1].numpy())
    with pytest.raises(bl.errors.DataError, match="one tensor of inputs"):
        guided(model).to_arviz(x, Y, num_draws=20, input_names=["a", "b"])


LAYERS = [
    (nn.Linear(2, 3), {"weight": ["output", "input"], "bias": ["output"]}),
    (nn.Linear(2, 3, bias=False), {"weight": ["output", "input"]}),
    (nn.Conv1d(4, 2, 3), {"weight": ["output", "input", "kernel_0"], "bias": ["output"]}),
    (nn.Conv1d(4, 2, 3, groups=2), {"weight": ["output", "input_of_group", "kernel_0"], "bias": ["output"]}),
    (nn.ConvTranspose1d(4, 2, 3), {"weight": ["input", "output", "kernel_0"], "bias": ["output"]}),
    (
        nn.ConvTranspose1d(4, 2, 3, groups=2),
        {"weight": ["input", "output_of_group", "kernel_0"], "bias": ["output"]},
    ),
    (nn.Embedding(5, 2), {"weight": ["entry", "output"]}),
    (nn.BatchNorm1d(3), {"weight": ["feature"], "bias": ["feature"]}),
    (nn.RMSNorm(3), {"weight": ["feature"]}),
    (nn.LayerNorm((2, 3)), {}),  # two axes: ArviZ's own names will do
    (nn.LSTM(2, 3), {}),
]


@pytest.mark.parametrize(("layer", "expected"), LAYERS, ids=lambda value: type(value).__name__)
def test_axes_of_layers(layer, expected):
    names = [name for name, _ in layer.named_parameters()]
    assert axes.site_dims(layer, names) == expected
    inside = nn.Sequential(layer)
    prefixed = {f"0.{name}": [f"0_{axis}" for axis in dims] for name, dims in expected.items()}
    assert axes.site_dims(inside, [f"0.{name}" for name in names]) == prefixed
    assert axes.site_dims(inside, []) == {}


def test_looking_at_a_network_leaves_it_as_it_was(model):
    model.network.train()
    assert axes.first_layers(model.network, X) == {"0_input": 1}
    assert model.network.training
    assert not any(module._forward_pre_hooks for module in model.network.modules())


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "b", "c"], "ab", [1, 2]])
def test_wrong_names_are_refused(model, names):
    with pytest.raises(bl.errors.DataError, match="2 different names"):
        guided(model).to_arviz(X, Y, num_draws=20, input_names=names)


@pytest.mark.parametrize("name", ["draw", "a/b"])
def test_a_target_that_cannot_be_named_so_is_refused(model, name):
    with pytest.raises(bl.errors.DataError, match="another name"):
        guided(model).to_arviz(X, Y, num_draws=20, target_name=name)


def test_wrong_data_are_refused(model):
    posterior = guided(model)
    for call in (posterior.to_arviz, posterior.loo):
        with pytest.raises(bl.errors.ShapeError, match="pass one target per row"):
            call(X, torch.cat([Y, Y]))
        with pytest.raises(bl.errors.ShapeError, match="squeeze"):
            call(X, Y.unsqueeze(-1))
        with pytest.raises(bl.errors.DataError, match="0 or 1"):
            call(X, Y + 2)
        with pytest.raises(TypeError, match="`y`"):
            call(X, Y.numpy())
        for wrong in ({"num_draws": 1}, {"seed": -1}, {"num_draws": True}):
            with pytest.raises(bl.errors.DataError, match="must be an integer"):
                call(X, Y, **wrong)
    bare = bl.BayesianModel(model.network)
    with pytest.raises(bl.errors.SiteError, match="no likelihood"):
        guided(bare).loo(X, Y)


class TestLoo:
    def test_it_is_psis_loo_of_the_arrays(self, rich):
        from bayesian_layers.inference_data import psis_loo

        x, y = X.double(), X[:, 0].double()
        posterior = guided(rich)
        data = posterior.to_arviz(x, y, num_draws=300, seed=5)
        by_row, stats = data["log_likelihood"]["y"].values[0], data["sample_stats"]
        expected = psis_loo(by_row, stats["log_weight"].values[0])
        loo = posterior.loo(x, y, num_draws=300, seed=5)
        np.testing.assert_allclose(loo.pointwise, expected.pointwise, rtol=1e-9)
        np.testing.assert_allclose(loo.k_hat, expected.k_hat, rtol=1e-6)
        assert isinstance(loo, bl.Loo)

    def test_draws_in_pieces_change_nothing(self, rich, monkeypatch):
        from bayesian_layers.posterior import importance

        x, y = X.double(), X[:, 0].double()
        posterior = guided(rich, bl.guides.FullRankNormal)
        whole = posterior.loo(x, y, num_draws=200)
        monkeypatch.setattr(importance, "_NUMBERS", 500)
        np.testing.assert_allclose(posterior.loo(x, y, num_draws=200).pointwise, whole.pointwise, rtol=1e-9)

    def test_arviz_finds_the_same_for_stored_draws(self, model):
        import arviz

        posterior = bl.Posterior.from_samples(model, guided(model).sample(200))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large k: these draws are nobody's posterior
            theirs = arviz.loo(posterior.to_arviz(X, Y, num_draws=200), pointwise=True)
        # ArviZ 0.23 stays in float32
        np.testing.assert_allclose(posterior.loo(X, Y).pointwise, theirs.loo_i.values, rtol=1e-5)

    def test_densities_that_are_not_finite_are_told(self, build):
        model = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Normal(1e-30))
        with pytest.raises(bl.errors.DataError, match="must be finite"):
            guided(model).loo(X, X[:, 0])


def test_all_of_it_survives_a_netcdf_file(rich, tmp_path):
    import arviz

    data = guided(rich, elbo=-3.0).to_arviz(
        X.double(), X[:, 0].double(), num_draws=40, input_names=["a", "b"]
    )
    data.to_netcdf(str(tmp_path / "fit.nc"), engine="h5netcdf")
    with warnings.catch_warnings():  # xarray leaves a filter of its own behind
        back = arviz.from_netcdf(str(tmp_path / "fit.nc"), engine="h5netcdf")
    assert back.groups() == data.groups()
    assert {name: back.attrs[name] for name in data.attrs} == data.attrs
    for group in data.groups():
        assert data[group].identical(back[group].load().assign_attrs(data[group].attrs))


def test_nothing_is_left_in_pyros_store(model):
    guided(model).to_arviz(X, Y, num_draws=20)
    assert not list(pyro.get_param_store())
