import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers import saving
from bayesian_layers.errors import ShapeError
from bayesian_layers.saving.posterior_document import check_posterior

X, Y = bl.datasets.parabola(60)


@pytest.fixture
def model(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 4, bias_prior=None), nn.Tanh(), bl.Linear(4, 1)))
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


@pytest.fixture
def posterior(model):
    return bl.fit(model, X, Y, max_steps=100, progress=False).posterior


def same(one, other, x=X):
    a, b = one.predict(x, num_draws=50), other.predict(x, num_draws=50)
    return torch.equal(a.mean, b.mean) and torch.equal(a.epistemic_std, b.epistemic_std)


def test_two_fits_of_one_model_share_nothing(model):
    first = bl.fit(model, X, Y, max_steps=30, progress=False).posterior
    before = first.predict(X)
    bl.fit(model, X, 1 - Y, max_steps=30, progress=False)
    after = first.predict(X)
    assert torch.equal(before.mean, after.mean)
    assert torch.equal(before.std, after.std)


def test_a_posterior_says_what_it_is(posterior):
    assert repr(posterior) == (
        "Posterior(MeanFieldNormal over 0.weight, 0.bias, 2.weight, 2.bias; KL weight 1; NOT CONVERGED)"
    )


def test_a_posterior_holds_copies(model):
    guide = bl.guides.MeanFieldNormal(model)
    posterior = bl.Posterior.from_guide(model, guide)
    before = posterior.predict(X).mean
    with torch.no_grad():
        guide.loc.zero_()
        model.network[0].weight.zero_()
    assert torch.equal(posterior.predict(X).mean, before)


def test_one_draw_is_one_function(posterior):
    """The article's test: three calls differ, three equal rows of one call do not."""
    point = torch.tensor([[0.0, 0.1]])
    values = [float(torch.sigmoid(posterior.function(seed)(point))) for seed in range(3)]
    assert len(set(values)) == 3
    rows = torch.sigmoid(posterior.function(0)(point.expand(3, 2))).squeeze(-1)
    assert rows[0] == rows[1] == rows[2]
    prediction = posterior.predict(point.expand(3, 2))
    assert len(prediction.mean.unique()) == len(prediction.epistemic_std.unique()) == 1


def test_function_is_draw_zero_of_sample(posterior):
    draw = posterior.sample(5, seed=7)
    network = posterior.function(seed=7)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, draw[name][0])
        assert not parameter.requires_grad
    assert not network.training
    x = X.clone().requires_grad_()
    network(x).sum().backward()
    assert x.grad is not None


def test_mean_function_has_the_guides_means(posterior):
    network = posterior.mean_function()
    assert torch.equal(network[0].weight.reshape(-1), posterior.source.loc.detach()[:8])
    assert torch.equal(network[0].bias, posterior.source.point.detach())


def test_predict_equals_a_loop_over_functions(posterior):
    draws = posterior.sample(20, seed=3)
    p = []
    for i in range(20):
        network = copy.deepcopy(posterior.model.network)
        network.load_state_dict({name: value[i] for name, value in draws.items()})
        with torch.no_grad():
            p.append(torch.sigmoid(network(X)).squeeze(-1))
    p = torch.stack(p)
    prediction = posterior.predict(X, num_draws=20, seed=3)
    torch.testing.assert_close(prediction.mean, p.mean(0))
    torch.testing.assert_close(prediction.epistemic_std, p.std(0, correction=0))
    torch.testing.assert_close(prediction.aleatoric_std, (p * (1 - p)).mean(0).sqrt())


@pytest.mark.slow
@pytest.mark.parametrize(("num_draws", "seed"), [(0, 0), (2.0, 0), (3, -1), (True, 0)])
def test_wrong_numbers_are_refused(posterior, num_draws, seed):
    with pytest.raises(bl.errors.DataError):
        posterior.sample(num_draws, seed)
    with pytest.raises((bl.errors.DataError, bl.errors.ShapeError)):
        posterior.predict(X, num_draws, seed)


@pytest.mark.parametrize(
    ("x", "error"),
    [(X.numpy(), TypeError), (X.log(), bl.errors.DataError), (X[:0], bl.errors.ShapeError)],
)
def test_wrong_inputs_are_refused(posterior, x, error):
    with pytest.raises(error, match="`x`"):
        posterior.predict(x)
    with pytest.raises(error, match="`x`"):
        posterior.to_arviz(x, Y)


def test_one_draw_has_no_standard_deviation(posterior):
    with pytest.raises(bl.errors.ShapeError, match="more draws"):
        posterior.predict(X, num_draws=1)


def test_summary_is_arvizs_table_and_names_tempering(model, posterior):
    table = posterior.summary(num_draws=500)
    draws = posterior.sample(500)
    assert len(table) == sum(value[0].numel() for value in draws.values())
    assert table.loc["2.weight[0, 3]", "mean"] == pytest.approx(
        float(draws["2.weight"][:, 0, 3].mean()), rel=1e-5
    )
    assert table.columns.name == "KL weight 1; NOT CONVERGED"
    cold = bl.fit(model, X, Y, max_steps=5, kl_weight=0.1, progress=False).posterior
    assert "TEMPERED: KL weight 0.1" in cold.summary(num_draws=10).to_string()
    assert "TEMPERED" in str(cold.to_arviz(X, Y, num_draws=3).attrs)
    for wrong in ({"interval_prob": 1.0}, {"num_draws": 1}):
        with pytest.raises(bl.errors.DataError):
            posterior.summary(**wrong)


def test_to_arviz_holds_draws_predictions_and_log_likelihoods(posterior):
    data = posterior.to_arviz(X, Y, num_draws=40, seed=2)
    draws = posterior.sample(40, seed=2)
    assert data["posterior"]["0.weight"].shape == (1, 40, 4, 2)
    np.testing.assert_array_equal(data["posterior"]["0.weight"].values[0], draws["0.weight"].numpy())
    f = torch.tanh(X @ draws["0.weight"].mT + draws["0.bias"][:, None]) @ draws["2.weight"].mT
    f = (f + draws["2.bias"][:, None]).squeeze(-1)
    log_p = torch.distributions.Bernoulli(logits=f).log_prob(Y)
    np.testing.assert_allclose(data["log_likelihood"]["y"].values[0], log_p.numpy(), rtol=1e-4, atol=1e-5)
    assert set(np.unique(data["posterior_predictive"]["y"].values)) <= {0.0, 1.0}
    np.testing.assert_array_equal(data["observed_data"]["y"].values, Y.numpy())


def test_from_samples_predicts_with_each_draw_once(model, posterior):
    draws = posterior.sample(30)
    stored = bl.Posterior.from_samples(model, draws)
    torch.testing.assert_close(stored.predict(X, num_draws=30).mean, posterior.predict(X, num_draws=30).mean)
    few, many = stored.sample(7, seed=1), stored.sample(70, seed=1)
    assert torch.equal(few["2.bias"], many["2.bias"][:7])
    assert torch.equal(many["2.bias"][:30], many["2.bias"][30:60])
    draws["2.bias"].zero_()
    assert float(stored.sample(30)["2.bias"].abs().sum()) > 0
    torch.testing.assert_close(stored.mean_function()[0].weight, posterior.sample(30)["0.weight"].mean(0))


def test_from_samples_checks_what_it_is_given(model, posterior):
    draws = posterior.sample(5)
    with pytest.raises(bl.errors.SiteError, match="must hold the sites"):
        bl.Posterior.from_samples(model, {name: draws[name] for name in list(draws)[1:]})
    with pytest.raises(bl.errors.ShapeError, match="M >= 2"):
        bl.Posterior.from_samples(model, {**draws, "2.bias": draws["2.bias"][:4]})
    with pytest.raises(bl.errors.DataError, match="NaN"):
        bl.Posterior.from_samples(model, {**draws, "2.bias": draws["2.bias"] * math.nan})


LIKELIHOODS = [
    bl.likelihoods.Normal(0.3),
    bl.likelihoods.Normal("learned"),
    bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.4)),
]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_save_and_load_bit_for_bit(build, tmp_path, likelihood, dtype):
    layer = nn.Sequential(nn.LayerNorm(3), nn.GELU("tanh"), nn.Dropout(0.1))
    network = build(
        lambda: nn.Sequential(
            bl.Linear(2, 3, prior=bl.priors.Normal(0.5, 2.0)), layer, bl.Linear(3, 1, bias=False)
        )
    ).to(dtype)
    network[1][0].weight.requires_grad_(False)
    model = bl.BayesianModel(network, likelihood)
    posterior = bl.fit(model, X, X[:, 0], max_steps=5, kl_weight={"0.weight": 0.5}, progress=False).posterior
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p")
    assert same(loaded, posterior)
    assert (loaded.elbo, loaded.kl_weight) == (posterior.elbo, {"0.weight": 0.5})
    assert loaded.model.sites().keys() == posterior.model.sites().keys()
    assert [s.prior for s in loaded.model.sites().values()] == [
        s.prior for s in posterior.model.sites().values()
    ]
    assert not loaded.model.network[1][0].weight.requires_grad
    assert loaded.source.loc.dtype == dtype
    assert {path.name for path in (tmp_path / "p").iterdir()} == {
        "MODEL_CARD.md",
        "arrays.safetensors",
        "manifest.json",
        "posterior.json",
    }


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return 2 * self.layer(x)


def test_a_network_of_ones_own_is_passed_to_load(build, tmp_path):
    model = bl.BayesianModel(bl.bayesianize(build(Own)), bl.likelihoods.Bernoulli())
    posterior = bl.fit(model, X, Y, max_steps=5, progress=False).posterior
    posterior.save(tmp_path / "p")
    with pytest.raises(bl.errors.StorageError, match="network="):
        bl.load(tmp_path / "p")
    plain = build(Own, seed=3)
    before = copy.deepcopy(plain.state_dict())
    assert same(bl.load(tmp_path / "p", network=plain), posterior)
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
    with pytest.raises(bl.errors.StorageError):
        bl.load(tmp_path / "p", network=build(lambda: nn.Linear(2, 1)))
    wrong = build(Own)
    wrong.layer = build(lambda: nn.Linear(3, 1))
    with pytest.raises(bl.errors.StorageError):
        bl.load(tmp_path / "p", network=wrong)


def test_stored_draws_are_saved_too(model, posterior, tmp_path):
    stored = bl.Posterior.from_samples(model, posterior.sample(20))
    stored.save(tmp_path / "p")
    assert same(bl.load(tmp_path / "p"), stored)


def test_tied_weights_stay_tied_through_a_file(build, tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.tanh(self.a(x)))

    model = bl.BayesianModel(bl.bayesianize(build(Tied)), bl.likelihoods.Normal(1.0))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p", network=build(Tied, seed=9))
    assert loaded.model.network.a.weight is loaded.model.network.b.weight
    assert same(loaded, posterior)


def corrupt(folder, change):
    path = folder / "posterior.json"
    document = json.loads(path.read_text())
    change(document)
    from bayesian_layers import saving

    stored = saving.read_folder(folder)
    arrays = stored.load_arrays(stored.header)
    saving.write_folder(folder, arrays, {"posterior": document})


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("source"),
        lambda d: d.update(kl_weight="cold"),
        lambda d: d.update(elbo="high"),
        lambda d: d.update(source={"name": "Flow"}),
        lambda d: d.update(source={"name": "StoredDraws", "draws": 2**50}),
        lambda d: d["model"].update(likelihood={"name": "os.system"}),
        lambda d: d["model"]["network"].update(
            modules={"class": "os.system", "arguments": {"command": "true"}}
        ),
        lambda d: d["model"]["network"]["modules"]["children"]["0"]["arguments"].update(out_features=10**9),
        lambda d: d["model"]["network"]["modules"]["children"]["0"]["arguments"].update(out_features="four"),
        lambda d: d["model"]["network"]["modules"]["children"]["0"]["arguments"].update(prior=1),
        lambda d: d["model"]["network"]["modules"]["children"].update(
            {"a.b": {"class": "torch.nn.Tanh", "arguments": {}}}
        ),
        lambda d: d["model"]["network"]["parameters"].pop("0.bias"),
        lambda d: d["model"]["network"]["parameters"]["0.bias"].update(
            prior={"name": "Normal", "scale": -1.0}
        ),
        lambda d: d["model"]["network"]["parameters"]["0.bias"].update(frozen="yes"),
    ],
)
def test_a_changed_description_is_refused(posterior, tmp_path, change):
    posterior.save(tmp_path / "p")
    corrupt(tmp_path / "p", change)
    with pytest.raises(bl.errors.StorageError):
        bl.load(tmp_path / "p")


def test_whether_the_fit_converged_is_kept(model, tmp_path):
    fitted = bl.fit(model, X, Y, progress=False).posterior
    guide = bl.guides.MeanFieldNormal(model)
    for posterior, converged in ((fitted, True), (bl.Posterior.from_guide(model, guide), None)):
        posterior.save(tmp_path / "p")
        assert bl.load(tmp_path / "p").converged is converged
        assert ("converged" in posterior.describe_fit()) is bool(converged)
    document = json.loads((tmp_path / "p" / "posterior.json").read_text())
    with pytest.raises(bl.errors.StorageError, match="true or false, or null"):
        check_posterior({**document, "converged": 1})


POINTS = torch.linspace(-1, 1, 10).reshape(5, 2)


def today(build, make, dtype=torch.float32):
    network = bl.bayesianize(build(make).to(dtype), bl.priors.Normal(scale="learned"))
    model = bl.BayesianModel(network, bl.likelihoods.Normal("learned"))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.3))
    model = bl.BayesianModel(bl.priors.from_posterior(posterior), model.likelihood)
    return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))


def dense():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_elementwise_priors_are_saved_and_loaded(build, tmp_path, dtype):
    posterior = today(build, dense, dtype)
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p")
    ours, theirs = posterior.model.sites(), loaded.model.sites()
    assert ours.keys() == theirs.keys()
    assert [site.prior for site in ours.values()] == [site.prior for site in theirs.values()]
    assert isinstance(theirs["0.weight"].prior, bl.priors.ElementwiseNormal)
    assert theirs["0.weight"].prior.loc.dtype == dtype
    assert torch.equal(loaded.predict(POINTS, num_draws=9).std, posterior.predict(POINTS, num_draws=9).std)
    draws = posterior.model.prior_draws(3, seed=1)
    assert all(torch.equal(value, draws[name]) for name, value in loaded.model.prior_draws(3, seed=1).items())


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = bl.Linear(2, 2), bl.Linear(2, 2)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


def test_elementwise_priors_of_a_tied_network_of_ones_own(build, tmp_path):
    posterior = today(build, Foreign)
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p", network=build(Foreign, seed=5))
    assert loaded.model.network.a.weight is loaded.model.network.b.weight
    assert [s.prior for s in loaded.model.sites().values()] == [
        s.prior for s in posterior.model.sites().values()
    ]


@pytest.mark.parametrize("change", ["drop", "shape", "negative"])
def test_damaged_arrays_of_priors_are_refused(build, tmp_path, change):
    today(build, dense).save(tmp_path / "p")
    stored = saving.read_folder(tmp_path / "p")
    arrays = stored.load_arrays(stored.header)
    name = "prior.network.0.weight.scale"
    if change == "drop":
        del arrays[name]
    elif change == "shape":
        arrays[name] = arrays[name].T.contiguous()
    else:
        arrays[name] = -arrays[name]
    saving.write_folder(
        tmp_path / "p", arrays, {"posterior": json.loads((tmp_path / "p/posterior.json").read_text())}
    )
    with pytest.raises(bl.errors.StorageError):
        bl.load(tmp_path / "p")


def test_a_fit_tells_its_posterior_what_the_data_were(build):
    x, y = bl.datasets.parabola(30)
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Bernoulli())
    posterior = bl.fit(model, x, y, num_data=60, progress=False).posterior
    known = posterior.data_schema
    assert (known.rows, known.inputs[0].shape, known.target.shape) == (60, (2,), ())
    named = posterior.with_input_names(["across", "up"])
    assert named.data_schema == known.named(("across", "up"))
    assert posterior.data_schema == known
    assert named.source is posterior.source
    for names in (["across"], ["across", 2], ["across", "u" * 1001]):
        with pytest.raises(bl.errors.DataError, match="`names` must"):
            posterior.with_input_names(names)
    with pytest.raises(bl.errors.DataError, match="posterior of a fit"):
        bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model)).with_input_names(["a", "b"])


def test_inputs_of_another_shape_are_refused_by_the_shape_of_the_fit(build, tmp_path):
    x, y = bl.datasets.parabola(30)
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Bernoulli())
    posterior = bl.fit(model, x, y, progress=False).posterior
    posterior.save(tmp_path / "model")
    wrong = torch.zeros(4, 5)
    for each in (posterior, bl.load(tmp_path / "model")):
        for call in (each.predict, each.draws, lambda x, each=each: each.over_draws(lambda d: d.f[0], x)):
            with pytest.raises(
                ShapeError, match=r"`x` must have shape \(N, 2\); received \(4, 5\)"
            ) as caught:
                call(wrong)
            assert "mat1 and mat2" in str(caught.value)  # torch's own message


def test_an_error_of_the_network_itself_stays_what_it_is(build):
    class Failing(nn.Linear):
        def forward(self, x):
            if float(x.detach().sum()) > 100:
                raise RuntimeError("too much")
            return super().forward(x)

    x, y = bl.datasets.parabola(30)
    network = bl.bayesianize(build(lambda: Failing(2, 1)))
    with pytest.warns(bl.errors.ConvergenceWarning):
        result = bl.fit(
            bl.BayesianModel(network, bl.likelihoods.Bernoulli()),
            x,
            y,
            max_steps=3,
            compile="eager",
            progress=False,
        )
    with pytest.raises(RuntimeError, match="too much"):
        result.posterior.predict(torch.full((4, 2), 100.0))
