import copy
import math

import pyro
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers import estimators, priors
from bayesian_layers.errors import DataError, ShapeError
from bayesian_layers.fitting import evaluation
from bayesian_layers.guides import BlockNormal
from bayesian_layers.layers.kernels import KERNELS
from bayesian_layers.network import call
from bayesian_layers.noise import standard_normal

X = standard_normal(0, 12, 2, dtype=torch.float64)
Y = X[:, 0].sin() - X[:, 1]


def layer_of(**options):
    return bl.GaussianProcess(2, 3, num_inducing=5, **{"dtype": torch.float64} | options)


def with_values(layer, seed=1):
    """A layer in which every parameter has an effect, the noise too."""
    with torch.no_grad():
        for parameter in layer.parameters():
            size = parameter.numel()
            parameter += standard_normal(seed, 1, size, dtype=torch.float64).view_as(parameter).to(parameter)
    return layer


def test_which_parameters_are_what():
    sites = bl.BayesianModel(layer_of(mean="linear")).sites()
    assert {name: site.prior for name, site in sites.items()} == {
        "log_lengthscale": None,
        "inducing_moves": None,
        "log_variance": None,
        "mean_weight": None,
        "inducing_values": priors.Whitened(),
        "noise_weights": priors.Noise(),
        "noise_frequencies": priors.Noise(),
    }
    assert sites["inducing_values"].initial.shape == (3, 5)
    assert sites["log_lengthscale"].initial.shape == (2,)


def test_priors_of_the_hyper_parameters_are_on_their_logarithms():
    layer = layer_of(lengthscale_prior=priors.LogNormal(0.5, 0.2), variance_prior=priors.LogNormal(0.0, 1.0))
    sites = bl.BayesianModel(layer).sites()
    assert sites["log_lengthscale"].prior == priors.Normal(0.5, 0.2)
    assert sites["log_variance"].prior == priors.Normal(0.0, 1.0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_input_twice_gives_the_same_value(kernel, dtype):
    layer = with_values(layer_of(kernel=kernel, dtype=dtype))
    f = layer(X.to(dtype))
    assert f.shape == (12, 3)
    assert f.dtype == dtype
    torch.testing.assert_close(layer(X[3:5].to(dtype)), f[3:5], rtol=0, atol=100 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("kernel", KERNELS)
def test_single_precision_gives_the_numbers_of_double(kernel):
    double = with_values(layer_of(kernel=kernel))
    single = copy.deepcopy(double).float()
    # Seven digits, of which interpolation between close inducing points may lose two.
    torch.testing.assert_close(single(X.float()).double(), double(X), rtol=0, atol=2e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_without_noise_it_is_the_mean_function(kernel):
    layer = with_values(layer_of(kernel=kernel, mean="linear"))
    with torch.no_grad():
        layer.noise_weights.zero_()
        layer.noise_frequencies.zero_()
    nothing = torch.zeros(3, 5, 5, dtype=torch.float64)
    mean, _ = layer.marginals(X, layer.inducing_values, nothing)
    torch.testing.assert_close(layer(X), mean)


def test_a_fresh_layer_is_zero_or_the_identity():
    assert torch.equal(layer_of()(X), torch.zeros(12, 3, dtype=torch.float64))
    f = layer_of(mean="linear")(X)
    torch.testing.assert_close(f, torch.cat([X, torch.zeros_like(X[:, :1])], 1))


def test_at_inducing_inputs_a_draw_has_the_inducing_values():
    layer = with_values(layer_of(kernel="matern12"))
    z = layer.inducing_inputs.detach()
    r = ((z[:, None] - z[None]) / layer.lengthscale.detach()).norm(dim=-1)
    root = torch.linalg.cholesky(layer.variance.detach() * (torch.exp(-r) + 1e-6 * torch.eye(5)))
    torch.testing.assert_close(
        layer(z), root @ layer.inducing_values.T, rtol=0, atol=1e-4
    )  # jitter, and g there


def test_any_axes_before_the_inputs():
    layer = with_values(layer_of())
    torch.testing.assert_close(layer(X.view(3, 4, 2)), layer(X).view(3, 4, 3))
    torch.testing.assert_close(layer(X[0]), layer(X[:1])[0])


@pytest.mark.parametrize("kernel", KERNELS)
def test_draws_at_once_are_a_loop_over_draws(kernel):
    layer = with_values(layer_of(kernel=kernel, lengthscale_prior=priors.LogNormal()))
    draws = BlockNormal(bl.BayesianModel(layer), init_scale=0.5).draw(4, 0)
    together = call(layer, draws, X)
    for i in range(4):
        alone = torch.func.functional_call(layer, {name: value[i] for name, value in draws.items()}, X)
        torch.testing.assert_close(together[i], alone)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_are_those_of_finite_differences(kernel):
    layer = with_values(
        bl.GaussianProcess(
            2, 1, num_inducing=3, num_frequencies=2, kernel=kernel, mean="linear", dtype=torch.float64
        )
    )
    names = [name for name, _ in layer.named_parameters()]
    x = X[:3].clone().requires_grad_()

    def f(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)

    # Pyro's distance has 1e-12 under its root, whose curvature finite differences feel where points coincide.
    assert torch.autograd.gradcheck(
        f, (x, *(p.detach().requires_grad_() for p in layer.parameters())), atol=1e-4
    )


def test_chi_squares_of_zero_are_no_nan():
    layer = layer_of(kernel="matern52")
    layer(X).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in layer.parameters())


def test_pyros_store_stays_empty():
    model = bl.BayesianModel(bl.GaussianProcess(2, 1, num_inducing=3), bl.likelihoods.Normal("learned"))
    guide = BlockNormal(model)
    loss = pyro.infer.TraceMeanField_ELBO()(model, guide)
    with bl.noise.seeded(0):
        loss(X.float(), Y.float()).backward()
    assert list(pyro.get_param_store().keys()) == []
    assert bool((guide.loc.grad != 0).any())


@pytest.mark.parametrize("shape", ["one draw", "vectorized"])
def test_predictive_of_pyro(shape):
    model = bl.BayesianModel(
        with_values(bl.GaussianProcess(2, 1, num_inducing=3)), bl.likelihoods.Normal(0.1)
    )
    predictive = pyro.infer.Predictive(
        model, guide=BlockNormal(model), num_samples=5, parallel=shape == "vectorized", return_sites=("f",)
    )
    with bl.noise.seeded(0):
        f = predictive(X.float())["f"]
    assert f.reshape(5, -1, 1).shape == (5, 12, 1)
    assert float(f.reshape(5, -1).std(0).min()) > 1e-3


NETWORKS = {
    "single": lambda: bl.GaussianProcess.from_data(X, 1, num_inducing=6, kernel="matern32"),
    "deep": lambda: nn.Sequential(
        bl.GaussianProcess.from_data(X, 2, num_inducing=4, mean="linear"),
        bl.GaussianProcess(2, 1, num_inducing=4, dtype=torch.float64, variance_prior=priors.LogNormal()),
    ),
    "deep kernel": lambda: nn.Sequential(
        bl.Linear(2, 2), nn.Tanh(), bl.GaussianProcess(2, 1, num_inducing=4)
    ).double(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_fitted_saved_and_loaded(name, build, tmp_path):
    model = bl.BayesianModel(build(NETWORKS[name]), bl.likelihoods.Normal("learned"))
    with pytest.warns(bl.errors.ConvergenceWarning):
        result = bl.fit(model, X, Y, max_steps=60, particles=4, progress=False)
    assert result.step_mode == "captured"
    assert result.history[-1] < result.history[0]
    posterior = result.posterior
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p")
    ours, theirs = (each.predict(X, num_draws=20) for each in (posterior, loaded))
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.epistemic_std, theirs.epistemic_std)


def test_one_function_of_a_deep_process_is_one_function(build):
    model = bl.BayesianModel(build(NETWORKS["deep"]), bl.likelihoods.Normal("learned"))
    posterior = bl.Posterior.from_guide(model, BlockNormal(model))
    f, functions = posterior.function(seed=3), posterior.functions(4, seed=3)
    torch.testing.assert_close(f(X)[5:7], f(X[5:7]))
    torch.testing.assert_close(functions(X)[0], f(X))
    assert float((functions(X)[0] - functions(X)[1]).abs().max()) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("before", [nn.Linear, bl.Linear, bl.GaussianProcess])
def test_processes_are_fitted_by_their_values_at_rows(build, before):
    network = build(lambda: nn.Sequential(before(2, 2), bl.GaussianProcess(2, 1, num_inducing=4)).double())
    model = bl.BayesianModel(network, bl.likelihoods.Normal("learned"))
    with pytest.warns(bl.errors.ConvergenceWarning):
        result = bl.fit(model, X, Y, max_steps=10, progress=False)
    assert result.estimator == "local"
    assert len(result.log_weights) > 1
    assert math.isfinite(result.k_hat)


@pytest.mark.slow
def test_a_fit_is_judged_in_pieces_alike(build, monkeypatch):
    """In bounded memory: so many rows times draws at once."""
    layer = build(lambda: bl.GaussianProcess(2, 1, num_inducing=4).double())
    model, elbos = bl.BayesianModel(layer, bl.likelihoods.Normal(0.5)), []
    for rows_at_once in (2**16, 10):
        monkeypatch.setattr(evaluation, "_ROWS_AT_ONCE", rows_at_once)
        with pytest.warns(bl.errors.ConvergenceWarning):
            elbos.append(bl.fit(model, X, Y, max_steps=10, progress=False))
    one, other = elbos
    assert one.elbo != other.elbo
    assert abs(one.elbo - other.elbo) < 4.5 * math.hypot(one.elbo_stderr, other.elbo_stderr)


def test_a_random_lengthscale_leaves_functions_to_be_drawn(build):
    layer = build(lambda: bl.GaussianProcess(2, 1, num_inducing=4, lengthscale_prior=bl.priors.LogNormal()))
    model = bl.BayesianModel(layer, bl.likelihoods.Normal("learned"))
    guide, x, y = BlockNormal(model), torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), Y[:5]
    local = estimators.make("local", model, guide, x, y)
    assert local.supported == ("inducing_values",)
    assert (local.uses_noise, local.use_for_evaluation) == (True, False)
    assert estimators.default(model, guide, x, y, prefer_local=True).name == "reparameterization"


def test_inducing_inputs_can_be_frozen(build):
    layer = bl.GaussianProcess.from_data(X, 1, num_inducing=6)
    layer.inducing_moves.requires_grad_(False)
    model = bl.BayesianModel(layer, bl.likelihoods.Normal("learned"))
    with pytest.warns(bl.errors.ConvergenceWarning):
        posterior = bl.fit(model, X, Y, max_steps=20, progress=False).posterior
    found = posterior.mean_function()
    assert torch.equal(found.inducing_inputs, layer.inducing_inputs)
    assert not torch.equal(found.lengthscale, layer.lengthscale)


def test_inducing_inputs_from_data_are_rows_far_apart():
    rows = torch.cat([X, X[:5], X[:1] + 1e-9])
    layer = bl.GaussianProcess.from_data(rows, 1, num_inducing=6)
    z = layer.inducing_inputs.detach()
    assert all(bool((row == X).all(1).any()) for row in z)
    torch.testing.assert_close(layer.lengthscale.detach(), rows.std(0, correction=0) * math.sqrt(2))
    scaled, among = (each / layer.lengthscale.detach() for each in (z, X))
    for i in range(1, 6):
        far = torch.cdist(among, scaled[:i]).min(1).values
        assert float(torch.cdist(scaled[i : i + 1], scaled[:i]).min()) == pytest.approx(float(far.max()))


def test_all_different_rows_where_there_are_few():
    layer = bl.GaussianProcess.from_data(torch.cat([X, X]), 1, num_inducing=50)
    z = layer.inducing_inputs.detach()
    assert layer.num_inducing == 12
    assert torch.equal(z[z[:, 0].argsort()], X[X[:, 0].argsort()])


def test_constant_inputs_have_a_lengthscale():
    x = torch.cat([X, torch.ones(12, 1)], 1)
    assert float(bl.GaussianProcess.from_data(x, 1).lengthscale[2].detach()) == pytest.approx(1.0)


def test_the_design_without_data_fills_its_box_evenly():
    z = bl.GaussianProcess(1, 1, num_inducing=8).inducing_inputs.detach()[:, 0]
    torch.testing.assert_close(z.sort().values, torch.linspace(-1.75, 1.75, 8))
    wide = bl.GaussianProcess(3, 1, num_inducing=64).inducing_inputs.detach()
    assert bool((wide.abs() < 2).all())
    assert bool((wide.mean(0).abs() < 0.05).all())


def test_moves_are_counted_in_tenths_of_the_first_lengthscales():
    layer = bl.GaussianProcess(2, 1, num_inducing=2, lengthscale=torch.tensor([1.0, 3.0]))
    before = layer.inducing_inputs.detach().clone()
    with torch.no_grad():
        layer.inducing_moves.fill_(1.0)
        layer.log_lengthscale.zero_()
    torch.testing.assert_close(layer.inducing_inputs.detach() - before, torch.tensor([[0.1, 0.3]] * 2))


def test_its_repr_says_what_it_is():
    shown = repr(bl.GaussianProcess(2, 1, num_inducing=4, kernel="matern12"))
    assert "in_features=2, out_features=1, num_inducing=4, kernel=matern12, mean=zero" in shown
    assert "inducing_values ~ Whitened(), noise_weights, noise_frequencies ~ Noise()" in shown


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"num_inducing": 0}, DataError, "`num_inducing` must be an integer, 1 or more; received 0"),
        ({"num_frequencies": 1.5}, DataError, "`num_frequencies` must be an integer"),
        ({"kernel": "cosine"}, DataError, "`kernel` must be one of"),
        ({"mean": "constant"}, DataError, "`mean` must be one of"),
        ({"inducing": torch.zeros(3, 4)}, ShapeError, "inducing"),
        ({"lengthscale": torch.ones(3)}, ShapeError, "lengthscale"),
        ({"lengthscale": 0.0}, DataError, "`lengthscale` must be finite and above 0"),
        ({"variance": float("nan")}, DataError, "`variance` must be finite and above 0"),
        ({"variance_prior": priors.Normal()}, TypeError, "LogNormal"),
    ],
)
def test_wrong_arguments_are_refused(options, error, sentence):
    with pytest.raises(error, match=sentence):
        bl.GaussianProcess(2, 1, **options)


def test_wrong_inputs_are_refused():
    layer = layer_of()
    with pytest.raises(ShapeError, match=r"`x` must have shape \(\.\.\., 2\)"):
        layer(X[:, :1])
    with pytest.raises(ShapeError, match="`x`"):
        bl.GaussianProcess.from_data(X[:, 0], 1)
    with pytest.raises(DataError, match="NaN or infinite"):
        bl.GaussianProcess.from_data(X / 0, 1)
    with pytest.raises(ShapeError, match="scale_tril"):
        layer.marginals(X, layer.inducing_values, torch.eye(5))


def test_it_is_built_without_memory_for_files():
    layer = bl.GaussianProcess(2**31 - 1, 10**3, num_inducing=10**6, device="meta")
    assert layer.inducing_inputs.is_meta
