"""Every layer through one table of checks: drawn once and many times, trained, saved, bayesianized, at scale 0."""

import pyro
import pytest
import torch
from pyro.infer import SVI, Predictive, TraceMeanField_ELBO
from pyro.optim import Adam
from torch.func import functional_call

import bayesian_layers as bl
from bayesian_layers import estimators
from bayesian_layers.network import call
from bayesian_layers.noise import seeded
from contract_tables import LAYERS
from contract_tables.layers import N, randn

S = 4


@pytest.fixture(params=LAYERS)
def row(request):
    return LAYERS[request.param]


def unpacked(x):
    return x if isinstance(x, tuple) else (x,)


def wide_guide(model, scale=0.3):
    guide = bl.guides.MeanFieldNormal(model, init_scale=scale)
    with torch.no_grad():
        guide.log_scale += 0.2 * randn(len(guide.log_scale), seed=8).to(guide.log_scale)
    return guide


def of_network(model, values):
    names = dict(model.network.named_parameters())
    return {name: value for name, value in values.items() if name in names}


def plain(model, values, x):
    """The slow and obvious way: torch calls the network with these parameters; padding rows are zero."""
    values = dict(of_network(model, values))
    for name, module in model.network.named_modules():
        row, weight = getattr(module, "padding_idx", None), f"{name}.weight".lstrip(".")
        if row is not None and weight in values:
            values[weight] = values[weight].clone()
            values[weight][row] = 0.0
    with torch.no_grad():
        return functional_call(model.network, values, unpacked(x))


def test_one_draw_is_the_network_with_that_draw(row):
    model, x = row.model(), row.inputs()
    with seeded(0), torch.no_grad():
        trace = pyro.poutine.trace(model).get_trace(x, row.targets())
    values = {name: trace.nodes[name]["value"] for name in model.sites()}
    torch.testing.assert_close(trace.nodes["f"]["value"], plain(model, values, x))
    assert trace.log_prob_sum().isfinite()


def test_draws_at_once_equal_a_loop_over_draws(row):
    model, x = row.model(), row.inputs()
    draws = wide_guide(model).draw(S, seed=0)
    with torch.no_grad():
        f = call(model.network, {name: value[:, None] for name, value in of_network(model, draws).items()}, x)
    expected = [plain(model, {name: value[s] for name, value in draws.items()}, x) for s in range(S)]
    torch.testing.assert_close(f, torch.stack(expected))
    assert not torch.allclose(f[0], f[1])


@pytest.mark.slow
def test_an_svi_step_changes_the_guides_parameters(row):
    model, x, y = row.model(), row.inputs(), row.targets()
    guide = wide_guide(model)
    before = {name: value.detach().clone() for name, value in guide.named_parameters()}
    with seeded(0):
        SVI(model, guide, Adam({"lr": 0.01}), TraceMeanField_ELBO()).step(x, y)
    pyro.clear_param_store()
    for name, value in guide.named_parameters():
        assert value.numel() == 0 or not torch.equal(value, before[name])


@pytest.mark.slow
def test_the_vectorized_elbo_is_the_mean_over_single_ones(row, particles):
    model, x, y = row.model(), row.inputs(), row.targets()
    torch.testing.assert_close(*particles(TraceMeanField_ELBO, model, wide_guide(model), x, y))


def test_predictive_in_parallel_or_not(row):
    model, x = row.model(), row.inputs()
    draws = wide_guide(model).draw(S, seed=2)
    many = {name: value[:, None] for name, value in draws.items()}
    with seeded(0), torch.no_grad():
        together = Predictive(model, many, parallel=True)(x)
        one_by_one = Predictive(model, draws, parallel=False)(x)
    torch.testing.assert_close(together["f"], one_by_one["f"])
    assert together["y"].shape == one_by_one["y"].shape == (S, *row.targets().shape)


@pytest.mark.slow
def test_a_few_steps_of_fit_recorded_or_not(row):
    x, y = row.inputs(), row.targets()
    found = []
    for mode in ("eager", "captured"):
        model = row.model()
        guide = wide_guide(model)
        before = guide.loc.detach().clone()
        result = bl.fit(model, x, y, guide=guide, particles=2, max_steps=3, compile=mode, progress=False)
        assert not torch.equal(guide.loc, before)
        assert torch.tensor(result.elbo).isfinite()
        assert_dtype(result.posterior.predict(x, num_draws=4), torch.float64)
        found.append(torch.cat([part.detach() for part in guide.parameters()]))
    torch.testing.assert_close(*found)


def parts(estimator, guide, x, y, noise, row_noise):
    value = estimator(guide, noise, row_noise, x, y, scale=1.0)
    gradient = torch.autograd.grad(value, list(guide.parameters()), allow_unused=True, materialize_grads=True)
    return value.detach(), torch.cat(gradient[:1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "flipout"])
def test_estimators_cover_what_they_should_and_agree_at_zero_noise(row, kind):
    model, x, y = row.model(), row.inputs(), row.targets()
    guide = wide_guide(model)
    estimator = estimators.make(kind, model, guide, x, y)
    assert set(estimator.supported) == set(row.covers.get(kind, ()))
    assert bool(estimator.note) == (set(estimator.supported) != set(guide.moments()))
    noise = torch.zeros(2, guide.noise_size, dtype=torch.float64)
    row_noise = estimator.row_noise(2, N, torch.Generator().manual_seed(0))
    if kind == "local":
        row_noise = tuple(torch.zeros_like(part) for part in row_noise)
    ours = parts(estimator, guide, x, y, noise, row_noise)
    theirs = parts(estimators.make("reparameterization", model, guide, x, y), guide, x, y, noise, ())
    torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "flipout"])
def test_estimators_are_unbiased(row, kind):
    """Their mean over draws against the plain one's, value and slope along a direction: 4.5 standard errors."""
    model, x, y = row.model(), row.inputs(), row.targets()
    guide = wide_guide(model)
    estimator = estimators.make(kind, model, guide, x, y)
    if not estimator.supported:
        return
    reference = estimators.make("reparameterization", model, guide, x, y)
    generator = torch.Generator().manual_seed(3)
    samples = []
    for each in (estimator, reference):
        values = []
        for _ in range(12):
            noise = torch.randn(6, guide.noise_size, generator=generator, dtype=torch.float64)
            noise = noise if each is reference else noise[:1].expand(2, -1)
            size = len(noise)
            values.append(each(guide, noise, each.row_noise(size, N, generator), x, y, scale=1.0).detach())
        samples.append(torch.stack(values))
    error = sum(each.var() / len(each) for each in samples).sqrt()
    assert (samples[0].mean() - samples[1].mean()).abs() < 4.5 * error


@pytest.mark.slow
def test_what_was_saved_is_loaded(row, tmp_path):
    model, x = row.model(), row.inputs()
    posterior = bl.Posterior.from_guide(model, wide_guide(model))
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p", network=None if row.stored else row.network())
    assert str(loaded.model.network) == str(model.network)
    assert {name: site.prior for name, site in loaded.model.sites().items()} == {
        name: site.prior for name, site in model.sites().items()
    }
    assert torch.equal(loaded.predict(x, 8).mean, posterior.predict(x, 8).mean)


def test_draws_as_functions(row):
    model, x = row.model(), row.inputs()
    posterior = bl.Posterior.from_guide(model, wide_guide(model))
    draws = posterior.sample(S, seed=5)
    expected = torch.stack([plain(model, {name: v[s] for name, v in draws.items()}, x) for s in range(S)])
    with torch.no_grad():
        torch.testing.assert_close(posterior.functions(S, seed=5)(*unpacked(x)), expected)
        torch.testing.assert_close(posterior.function(seed=5)(*unpacked(x)), expected[0])


def test_bayesianize_gives_torchs_layer_the_sites_of_ours(row):
    if row.torchs is None:
        return
    bayesianized, network = bl.bayesianize(row.torchs_network()), row.network()
    theirs, ours = (bl.BayesianModel(each).sites() for each in (bayesianized, network))
    assert list(theirs) == list(ours)
    for name, site in ours.items():
        assert site.prior == theirs[name].prior
        assert torch.equal(site.initial, theirs[name].initial)
    x = unpacked(row.inputs())
    with torch.no_grad():
        assert torch.equal(network(*x), bayesianized(*x))


def test_at_scale_zero_every_draw_is_the_network(row):
    model, x = row.model(), row.inputs()
    guide = bl.guides.MeanFieldNormal(model)
    with torch.no_grad():
        guide.log_scale.fill_(-torch.inf)
        draws = guide.draw(S, 0)
        for name in guide.layout.drawn:  # sites that no guide learns; a plain call uses their mean
            draws[name] = torch.zeros_like(draws[name])
        f = call(model.network, {n: v[:, None] for n, v in of_network(model, draws).items()}, x)
        torch.testing.assert_close(f, model.network(*unpacked(x)).expand_as(f))


@pytest.mark.slow
def test_a_fit_in_single_precision(row):
    model, x, y = (make(torch.float32) for make in (row.model, row.inputs, row.targets))
    result = bl.fit(model, x, y, particles=2, max_steps=2, progress=False)
    assert_dtype(result.posterior.predict(x, num_draws=4), torch.float32)


def assert_dtype(prediction, dtype):
    assert prediction.mean.dtype == prediction.epistemic_std.dtype == dtype
    assert prediction.mean.isfinite().all()
