import pytest
import torch
from pyro import poutine
from torch import nn

import bayesian_layers as bl
from bayesian_layers.model import log_likelihood, predict
from bayesian_layers.noise import seeded

X = torch.linspace(-1, 1, 10).reshape(5, 2)


@pytest.fixture
def model(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 3, bias_prior=None), nn.Tanh(), bl.Linear(3, 1)))
    return bl.BayesianModel(network, bl.likelihoods.Normal(0.5))


def test_log_joint_is_prior_times_likelihood(model):
    y = torch.zeros(5)
    with seeded(0):
        trace = poutine.trace(model).get_trace(X, y)
    values = {name: trace.nodes[name]["value"] for name in model.sites()}
    f = torch.tanh(X @ values["0.weight"].T + values["0.bias"]) @ values["2.weight"].T + values["2.bias"]
    expected = torch.distributions.Normal(f.squeeze(-1), 0.5).log_prob(y).sum()
    for name in ("0.weight", "2.weight", "2.bias"):
        expected = expected + torch.distributions.Normal(0.0, 1.0).log_prob(values[name]).sum()
    torch.testing.assert_close(trace.log_prob_sum(), expected)
    assert torch.equal(values["0.bias"], model.network[0].bias)


def test_it_returns_f_and_draws_y_when_not_given(model):
    with seeded(0):
        trace = poutine.trace(model).get_trace(X)
    assert trace.nodes["_RETURN"]["value"].shape == (5, 1)
    assert torch.equal(trace.nodes["f"]["value"], trace.nodes["_RETURN"]["value"])
    assert trace.nodes["y"]["value"].shape == (5,)
    assert not trace.nodes["y"]["is_observed"]


def test_num_data_below_the_rows_is_refused(model):
    with seeded(0), pytest.raises(bl.errors.DataError, match="num_data"):
        model(X, torch.zeros(5), num_data=4)


def test_shapes_are_checked_in_the_program(model):
    with seeded(0), pytest.raises(bl.errors.ShapeError, match=r"y\.squeeze"):
        model(X, torch.zeros(5, 1))


def test_names_of_the_models_own_sites_are_reserved():
    class Clash(nn.Module):
        def __init__(self):
            super().__init__()
            self.y = nn.Parameter(torch.zeros(2, 1))

        def forward(self, x):
            return x @ self.y

    with pytest.raises(bl.errors.SiteError, match="rename"):
        bl.BayesianModel(Clash(), bl.likelihoods.Bernoulli())
    assert list(bl.BayesianModel(Clash()).sites()) == ["y"]


def test_several_inputs(build):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = bl.Linear(2, 1), bl.Linear(3, 1)

        def forward(self, x, z):
            return self.a(x) + self.b(z)

    model = bl.BayesianModel(build(Sum), bl.likelihoods.Bernoulli())
    x, y = (X, torch.ones(5, 3)), torch.tensor([0, 1, 1, 0, 1.0])
    result = bl.fit(model, x, y, max_steps=3, progress=False)
    assert result.posterior.predict(x, num_draws=4).mean.shape == (5,)


def test_prior_predict_is_the_priors_predictive(build):
    """f = w x + b with N(0, 1) priors: variance 1 + |x|^2, exactly."""
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Normal(0.5))
    prediction = model.prior_predict(X, num_draws=4000)
    torch.testing.assert_close(prediction.epistemic_std, (1 + X.square().sum(1)).sqrt(), rtol=0.05, atol=0)
    assert (prediction.mean.abs() < 4 * prediction.epistemic_std / 4000**0.5).all()
    torch.testing.assert_close(prediction.aleatoric_std, torch.full((5,), 0.5))


def test_prior_draws_depend_on_seed_and_number_alone(model):
    few, many = model.prior_draws(3, seed=1), model.prior_draws(8, seed=1)
    assert all(torch.equal(value, many[name][:3]) for name, value in few.items())
    assert torch.equal(many["0.bias"][7], model.network[0].bias)


def test_chunks_of_rows_change_nothing(model, monkeypatch):
    draws = model.prior_draws(20, seed=0)
    x, y = torch.linspace(-1, 1, 80).reshape(40, 2), torch.zeros(40)
    whole, whole_log = predict(model, draws, x), log_likelihood(model, draws, x, y)
    monkeypatch.setattr("bayesian_layers.model._CHUNK", 7 * 20 * 3)
    torch.testing.assert_close(predict(model, draws, x).std, whole.std)
    torch.testing.assert_close(log_likelihood(model, draws, x, y), whole_log)


def test_log_likelihood_equals_a_loop(model):
    draws, y = model.prior_draws(4, seed=0), torch.linspace(-1, 1, 5)
    ours = log_likelihood(model, draws, X, y)
    for i in range(4):
        w = {name: value[i] for name, value in draws.items()}
        f = torch.tanh(X @ w["0.weight"].T + w["0.bias"]) @ w["2.weight"].T + w["2.bias"]
        torch.testing.assert_close(ours[i], torch.distributions.Normal(f.squeeze(-1), 0.5).log_prob(y))


def test_dropout_is_off_in_predictions_and_the_mode_comes_back(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 8), nn.Dropout(0.5), bl.Linear(8, 1)))
    model = bl.BayesianModel(network, bl.likelihoods.Normal(1.0))
    draws = model.prior_draws(2, seed=0)
    same = {name: value[:1].expand(2, *value.shape[1:]) for name, value in draws.items()}
    assert float(predict(model, same, X).epistemic_std.max()) < 1e-6
    assert model.training


def test_without_a_likelihood_there_is_nothing_to_predict(build):
    with pytest.raises(bl.errors.SiteError, match="no likelihood"):
        bl.BayesianModel(build(lambda: bl.Linear(2, 1))).prior_predict(X)
