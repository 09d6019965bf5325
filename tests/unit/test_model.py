import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, Predictive, TraceMeanField_ELBO
from torch import nn

import bayesian_layers as bl
from bayesian_layers import saving
from bayesian_layers.model import log_likelihood
from bayesian_layers.noise import seeded
from bayesian_layers.predicting import WeightDraws, predict

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


@pytest.mark.slow
def test_prior_predict_is_the_priors_predictive(build):
    """f = w x + b with N(0, 1) priors: variance 1 + |x|^2, exactly."""
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Normal(0.5))
    prediction = model.prior_predict(X, num_draws=2000)
    torch.testing.assert_close(prediction.epistemic_std, (1 + X.square().sum(1)).sqrt(), rtol=0.07, atol=0)
    assert (prediction.mean.abs() < 4 * prediction.epistemic_std / 2000**0.5).all()
    torch.testing.assert_close(prediction.aleatoric_std, torch.full((5,), 0.5))


def test_prior_draws_depend_on_seed_and_number_alone(model):
    few, many = model.prior_draws(3, seed=1), model.prior_draws(8, seed=1)
    assert all(torch.equal(value, many[name][:3]) for name, value in few.items())
    assert torch.equal(many["0.bias"][7], model.network[0].bias)


def test_chunks_of_rows_change_nothing(model, monkeypatch):
    draws = model.prior_draws(20, seed=0)
    x, y = torch.linspace(-1, 1, 80).reshape(40, 2), torch.zeros(40)
    whole_log = log_likelihood(model, draws, x, y)
    monkeypatch.setattr("bayesian_layers.predicting.plan._CHUNK", 7 * 20 * 3)
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
    assert float(predict(model.network, model.likelihood, WeightDraws.of(same), X).epistemic_std.max()) < 1e-6
    assert model.training


@pytest.mark.slow
def test_without_a_likelihood_there_is_nothing_to_predict(build):
    with pytest.raises(bl.errors.SiteError, match="no likelihood"):
        bl.BayesianModel(build(lambda: bl.Linear(2, 1))).prior_predict(X)


LEARNED = bl.priors.Normal(0.1, "learned")
HIERARCHICAL = bl.priors.HierarchicalNormal(0.1, bl.priors.LogNormal(-0.3, 0.4))


def regression(build, prior, **options):
    """Bayesian linear regression, known noise: conjugate once the scales of the priors are given."""
    layer = build(lambda: bl.Linear(2, 1, prior=prior, **options).double())
    return bl.BayesianModel(layer, bl.likelihoods.Normal(0.5))


def test_the_sites_of_prior_scales_come_first(build):
    model = regression(build, LEARNED, bias_prior=HIERARCHICAL)
    sites = model.sites()
    assert list(sites) == ["weight.prior_scale", "bias.prior_scale", "weight", "bias"]
    assert [next(iter(site.scale_sites), None) for site in sites.values()] == [
        None,
        None,
        "weight.prior_scale",
        "bias.prior_scale",
    ]
    with seeded(0):
        trace = poutine.trace(model).get_trace(X.double())
    assert [name for name in trace.nodes if name in sites] == list(sites)


@pytest.mark.parametrize("prior", [LEARNED, HIERARCHICAL])
def test_the_density_of_weights_is_that_under_the_scale(build, prior):
    model, y = regression(build, prior), torch.zeros(5, dtype=torch.float64)
    values = {
        "weight": torch.tensor([[0.3, -2.0]], dtype=torch.float64),
        "bias": torch.tensor([1.5], dtype=torch.float64),
        "weight.prior_scale": torch.tensor(1.7, dtype=torch.float64),
        "bias.prior_scale": torch.tensor(0.4, dtype=torch.float64),
    }
    trace = poutine.trace(poutine.condition(model, values)).get_trace(X.double(), y)
    expected = torch.distributions.Normal(X.double() @ values["weight"][0] + 1.5, 0.5).log_prob(y).sum()
    for name in ("weight", "bias"):
        tau = values[f"{name}.prior_scale"]
        expected = expected + torch.distributions.Normal(0.1, tau).log_prob(values[name]).sum()
        if prior is HIERARCHICAL:
            expected = expected + torch.distributions.LogNormal(-0.3, 0.4).log_prob(tau)
    torch.testing.assert_close(trace.log_prob_sum(), expected)


@pytest.mark.parametrize("prior", [LEARNED, HIERARCHICAL])
def test_each_particle_sees_the_scale_of_its_own(build, prior):
    model, size = regression(build, prior), 7
    draws = {
        name: value.double() for name, value in regression(build, HIERARCHICAL).prior_draws(size, 3).items()
    }
    given = {name: value.unsqueeze(1) for name, value in draws.items()}
    program = poutine.condition(pyro.plate("particles", size, dim=-2)(model), given)
    with seeded(0):
        trace = poutine.trace(program).get_trace(X.double())
    trace.compute_log_prob(lambda name, _: name in draws)
    for name in ("weight", "bias"):
        together = trace.nodes[name]["log_prob"]
        assert together.shape == (size, 1)
        for i in range(size):
            one = (
                torch.distributions.Normal(0.1, draws[f"{name}.prior_scale"][i])
                .log_prob(draws[name][i])
                .sum()
            )
            torch.testing.assert_close(together[i, 0], one)


@pytest.mark.slow
def test_prior_draws_are_hierarchical(build):
    """E[w^2] = E[tau^2] = exp(2 a + 2 b^2), and w / tau is standard normal; 5 standard errors."""
    model = regression(build, bl.priors.HierarchicalNormal(0.0, bl.priors.LogNormal(-0.3, 0.4)))
    draws = model.prior_draws(1500, seed=0)
    squares = draws["weight"].square().flatten(1).mean(1)
    expected = math.exp(2 * -0.3 + 2 * 0.4**2)
    assert abs(float(squares.mean()) - expected) < 5 * float(squares.std()) / 1500**0.5
    ratio = (draws["weight"] / draws["weight.prior_scale"][:, None, None]).flatten()
    assert abs(float(ratio.var()) - 1) < 5 * (2 / len(ratio)) ** 0.5
    log_scale = draws["weight.prior_scale"].log()
    assert abs(float(log_scale.mean()) + 0.3) < 5 * 0.4 / 1500**0.5
    assert abs(float(log_scale.std()) / 0.4 - 1) < 5 / 3000**0.5
    few = model.prior_draws(3, seed=0)
    assert all(torch.equal(value, draws[name][:3]) for name, value in few.items())


def test_a_learned_scale_stands_at_one_before_a_fit(build):
    model = bl.BayesianModel(build(lambda: bl.Linear(60, 1, prior=LEARNED)), bl.likelihoods.Normal(0.5))
    draws = model.prior_draws(100, seed=0)
    assert (draws["weight.prior_scale"] == 1).all()
    assert abs(float(draws["weight"].std()) - 1) < 5 / 12000**0.5
    assert model.prior_predict(torch.zeros(5, 60), num_draws=5).mean.shape == (5,)


@pytest.mark.parametrize("prior", [LEARNED, HIERARCHICAL])
def test_pyros_tools_take_prior_scales(build, prior):
    model, x = regression(build, prior, bias_prior=HIERARCHICAL), X.double()
    guide, y = bl.guides.MeanFieldNormal(model), X.double().sum(1)
    vectorized = {"num_particles": 64, "vectorize_particles": True, "max_plate_nesting": 1}
    with seeded(0):
        loss = TraceMeanField_ELBO(**vectorized)(model, guide)(x, y)
        loss.backward()
        drawn = Predictive(model, guide=guide, num_samples=50, parallel=True)(x)
        before = Predictive(model, num_samples=50, parallel=True)(x)
    assert loss.isfinite()
    assert all(value.numel() == 0 or (value.grad != 0).all() for value in guide.parameters())
    assert drawn["f"].shape == before["f"].shape == (50, 5, 1)
    assert before["weight.prior_scale"].flatten().shape == (50,)
    draws = model.prior_draws(9, seed=0)
    assert predict(model.network, model.likelihood, WeightDraws.of(draws), x).mean.shape == (5,)
    assert log_likelihood(model, draws, x, y).shape == (9, 5)


def test_pyros_kl_under_a_learned_scale_is_the_formula(build):
    """Without data the objective is the KL, exactly; its least value over tau^2 is the mean square."""
    layer = build(lambda: bl.Linear(2, 3, bias=False, prior=LEARNED).double())
    model = bl.BayesianModel(layer)
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
    mean_square = (0.3**2 + (layer.weight.detach() - 0.1).square()).mean()
    elbo = TraceMeanField_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)(model, guide)
    for log_tau in (-0.7, 0.0, 0.5, float(mean_square.log() / 2)):
        guide.zero_grad()
        with torch.no_grad():
            guide.point.fill_(log_tau)
        with seeded(0):
            kl = elbo(X.double())
        kl.backward()
        expected = 6 * (log_tau - math.log(0.3) + mean_square / (2 * math.exp(2 * log_tau)) - 0.5)
        torch.testing.assert_close(kl, expected)
        slope = 6 * (1 - mean_square / math.exp(2 * log_tau))
        torch.testing.assert_close(guide.point.grad, slope.reshape(1))


def test_nuts_runs_on_hierarchical_scales(build):
    model, y = regression(build, HIERARCHICAL), torch.zeros(5, dtype=torch.float64)
    with seeded(1):
        mcmc = MCMC(NUTS(model, max_tree_depth=3), num_samples=5, warmup_steps=5, disable_progbar=True)
        mcmc.run(X.double(), y)
    draws = mcmc.get_samples()
    assert (draws["weight.prior_scale"] > 0).all()
    assert bl.Posterior.from_samples(model, draws).predict(X, num_draws=5).mean.shape == (5,)


@pytest.mark.parametrize(
    "prior", [LEARNED, HIERARCHICAL, bl.priors.Normal(0.5, "fan_in"), bl.priors.Normal(scale=2.0)]
)
def test_a_model_with_each_prior_is_saved_and_loaded(build, tmp_path, prior):
    model = regression(build, prior, bias_prior=None)
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p")
    ours, theirs = posterior.model.sites(), loaded.model.sites()
    assert [(name, site.prior, site.scale_sites) for name, site in ours.items()] == [
        (name, site.prior, site.scale_sites) for name, site in theirs.items()
    ]
    draws = posterior.sample(4)
    assert all(torch.equal(value, draws[name]) for name, value in loaded.sample(4).items())
    assert torch.equal(loaded.predict(X, num_draws=4).mean, posterior.predict(X, num_draws=4).mean)


def test_a_model_with_elementwise_priors_is_described_and_built(build, tmp_path):
    model = regression(build, LEARNED, bias_prior=None)
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    today = bl.BayesianModel(bl.priors.from_posterior(posterior), model.likelihood)
    arrays = today.arrays()
    assert {"prior.network.weight.loc", "prior.network.weight.scale"} <= arrays.keys()
    saving.write_folder(tmp_path / "p", arrays, {"model": today.spec()})
    stored = saving.read_folder(tmp_path / "p")
    twin = bl.BayesianModel.from_spec(stored.documents["model"], stored)
    wanted = {name: saving.ArraySpec.of(value) for name, value in twin.arrays().items()}
    assert wanted == {name: saving.ArraySpec.of(value) for name, value in arrays.items()}
    loaded = stored.load_arrays(wanted)
    twin.fill(loaded, keep_tensors=False)
    assert [site.prior for site in twin.sites().values()] == [site.prior for site in today.sites().values()]
    name = "prior.network.weight.scale"
    with pytest.raises(bl.errors.StorageError, match="prior of 'weight' is not valid"):
        twin.fill({**loaded, name: -loaded[name]}, keep_tensors=False)


def test_two_fits_one_after_the_other_equal_one_on_all_rows(build):
    """Linear regression on orthogonal inputs: the mean-field posterior is exact, so updating is too."""
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    x = signs.repeat(2, 1)
    y = x @ torch.tensor([0.7, -0.4], dtype=torch.float64) + 0.2 * torch.linspace(
        -1, 1, 8, dtype=torch.float64
    )
    model = regression(build, bl.priors.Normal())
    guide = exact_guide(model, x[:4], y[:4])
    today = bl.BayesianModel(
        bl.priors.from_posterior(bl.Posterior.from_guide(model, guide)), model.likelihood
    )
    updated, whole = exact_guide(today, x[4:], y[4:]), exact_guide(model, x, y)
    torch.testing.assert_close(updated.loc, whole.loc)
    torch.testing.assert_close(updated.log_scale, whole.log_scale)


def exact_guide(model, x, y):
    """The posterior of a linear regression whose design has orthogonal columns, noise 0.5."""
    guide, design = bl.guides.MeanFieldNormal(model), torch.cat([x, torch.ones(len(x), 1).to(x)], 1)
    prior = [site.distribution() for site in model.sites().values()]
    loc, variance = (torch.cat([getattr(p, of).flatten() for p in prior]) for of in ("mean", "variance"))
    precision = 1 / variance + design.square().sum(0) / 0.25
    with torch.no_grad():
        guide.loc.copy_((loc / variance + design.T @ y / 0.25) / precision)
        guide.log_scale.copy_(-precision.log() / 2)
    return guide


def test_a_positive_prior_wants_positive_values(build):
    class Gain(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor([1.0, 2.0]))

        def forward(self, x):
            return (self.gain * x).sum(-1, keepdim=True)

    network = bl.bayesianize(Gain(), bl.priors.LogNormal(0.0, 0.5))
    model = bl.BayesianModel(network, bl.likelihoods.Normal(1.0))
    assert model.sites()["gain"].positive
    posterior = bl.fit(model, X, torch.zeros(5), max_steps=3, progress=False).posterior
    assert (posterior.sample(20)["gain"] > 0).all()
    with torch.no_grad():
        network.gain.neg_()
    with pytest.raises(bl.errors.DataError, match="`gain` has the prior LogNormal"):
        bl.BayesianModel(network)
