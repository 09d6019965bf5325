import copy
import itertools
import json

import pyro
import pytest
import torch
from scipy import stats
from torch import nn

import bayesian_layers as bl
from bayesian_layers.draw_sources import from_stored
from bayesian_layers.errors import DataError, ShapeError, SiteError, StorageError
from bayesian_layers.guides.prior_density import log_prior
from bayesian_layers.noise import seeded, standard_normal
from bayesian_layers.priors import get_priors
from bayesian_layers.saving import read_folder

KINDS = (bl.RealNVP, bl.MADE, bl.MAF, bl.NeuralSpline)


def all_priors(flow):
    return {
        f"{path}.{name}": prior
        for path, module in flow.named_modules()
        for name, prior in get_priors(module).items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_networks_have_priors(build, kind):
    narrow, wide = bl.priors.Normal(scale=0.1), bl.priors.Normal(scale=9.0)
    learned = bl.priors.Normal(scale="learned")
    for arguments, weight, bias in (
        ({}, learned, learned),
        ({"prior": wide, "bias_prior": narrow}, wide, narrow),
        ({"bias_prior": None}, learned, None),
    ):
        flow = build(lambda arguments=arguments: kind(2, (3,), **arguments))
        found = all_priors(flow)
        assert len(found) == len(list(flow.parameters()))
        assert {prior for name, prior in found.items() if name.endswith("weight")} == {weight}
        assert {prior for name, prior in found.items() if name.endswith("bias")} == {bias}


@pytest.mark.parametrize("kind", KINDS)
def test_point_flows_can_be_bayesianized(build, kind):
    flow = build(lambda: kind(2, (3,), prior="point"))
    assert all_priors(flow) == {}
    bayesian = bl.bayesianize(flow, bl.priors.Normal(scale=2.0))
    assert all(row.status == "prior" for row in bl.bayesianize_report(bayesian).rows)
    x = torch.ones(3, 2)
    assert torch.equal(bayesian(x)[0], flow(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_device_and_dtype(kind):
    flow = kind(3, context=1, device="meta", dtype=torch.float64)
    assert {value.device.type for value in flow.state_dict().values()} == {"meta"}
    assert {value.dtype for value in flow.parameters()} == {torch.float64}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_any_shape_and_one_context_for_all(build, kind):
    flow = build(lambda: kind(2, (3,), context=1))
    x, c = torch.ones(5, 4, 2), torch.zeros(1)
    z, log_det = flow(x, c)
    assert (z.shape, log_det.shape) == ((5, 4, 2), (5, 4))
    assert torch.equal(flow(x[0, 0], c)[0], z[0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_shapes_are_refused(build, kind):
    flow = build(lambda: kind(2, (3,), context=1))
    for call in (flow, flow.inverse):
        with pytest.raises(ShapeError, match="2"):
            call(torch.ones(4, 3), torch.ones(4, 1))
        with pytest.raises(ShapeError, match="context"):
            call(torch.ones(4, 2), torch.ones(4, 2))
        with pytest.raises(ShapeError, match="context"):
            call(torch.ones(4, 2))
    with pytest.raises(ShapeError, match="context"):
        build(lambda: kind(2, (3,)))(torch.ones(4, 2), torch.ones(4, 1))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"features": 0}, "features"),
        ({"features": 2, "hidden": ()}, "hidden"),
        ({"features": 2, "hidden": (3, 0)}, "hidden"),
        ({"features": 2, "hidden": 3}, "hidden"),
        ({"features": 2, "context": -1}, "context"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_sizes_are_refused(kind, arguments, name):
    with pytest.raises(DataError, match=name):
        kind(**arguments)


def test_other_wrong_arguments_are_refused(build):
    with pytest.raises(DataError, match="2 or more"):
        bl.RealNVP(1, context=3)
    for kind in (bl.RealNVP, bl.MAF, bl.NeuralSpline):
        with pytest.raises(DataError, match="layers"):
            kind(2, layers=0)
    for wrong in ({"bins": 1}, {"bins": 1000}, {"bound": 0.0}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            bl.NeuralSpline(2, **wrong)
    with pytest.raises(TypeError, match=r"bl\.priors"):
        build(lambda: bl.MAF(2, prior=1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_used_flow_can_be_copied_and_shows_its_sizes(build, kind):
    flow = build(lambda: kind(2, (3,)))
    x = torch.ones(4, 2, requires_grad=True)
    flow(x)[0].sum().backward()
    copied = copy.deepcopy(flow)
    assert torch.equal(copied(x)[0], flow(x)[0])
    assert str(flow).startswith(f"{kind.__name__}(\n  2, hidden=(3,)")
    assert isinstance(flow, nn.Module)


def flow_model(build, kind=bl.MAF, network=None, dtype=torch.float64, **options):
    flow = build(lambda: kind(2, (4,), **options).to(dtype))
    return bl.BayesianModel(network or bl.NoContext(dtype=dtype), bl.likelihoods.Flow(flow))


def test_the_flows_parameters_are_sites_of_the_likelihood(build):
    model = flow_model(build, bl.RealNVP, prior=bl.priors.Normal(), bias_prior=None, layers=1)
    sites = model.sites()
    assert list(sites) == [f"flow.steps.0.network.{i}.{name}" for i in (0, 2) for name in ("weight", "bias")]
    assert [site.prior is None for site in sites.values()] == [False, True, False, True]
    assert {site.initial.dtype for site in sites.values()} == {torch.float64}
    learned = flow_model(build, bl.RealNVP, layers=1).sites()
    assert learned["flow.steps.0.network.0.weight"].scale_sites == {
        "flow.steps.0.network.0.weight.prior_scale": 0
    }
    assert next(iter(learned)) == "flow.steps.0.network.0.weight.prior_scale"


def test_frozen_parameters_of_a_flow_are_constants(build):
    flow = build(lambda: bl.MAF(2, (4,), layers=1))
    flow.steps[0].network[0].requires_grad_(False)
    assert len(bl.BayesianModel(bl.NoContext(), bl.likelihoods.Flow(flow)).sites()) == 4  # with prior scales


def test_names_that_clash_are_refused(build):
    network = nn.Module()
    network.flow = build(lambda: bl.MAF(2, (4,), layers=1, context=0))
    with pytest.raises(SiteError, match="rename"):
        bl.BayesianModel(network, bl.likelihoods.Flow(network.flow))


def test_shapes_of_contexts_and_targets(build):
    likelihood = bl.likelihoods.Flow(build(lambda: bl.MAF(2, (4,), context=3)))
    assert likelihood.target_shape((3,)) == (2,)
    assert likelihood.target_shape((7, 3)) == (7, 2)
    one = bl.likelihoods.Flow(build(lambda: bl.MAF(1, (4,), context=3)))
    assert one.target_shape((3,)) == ()
    likelihood.check(torch.zeros(5, 2), 5, (3,))
    with pytest.raises(ShapeError, match="NoContext"):
        likelihood.check(torch.zeros(5, 2), 5, (2,))
    with pytest.raises(ShapeError, match="y"):
        likelihood.check(torch.zeros(5, 1), 5, (3,))
    with pytest.raises(DataError, match="NaN"):
        likelihood.check(torch.full((5, 2), torch.nan), 5, (3,))
    with pytest.raises(TypeError, match="reversible"):
        bl.likelihoods.Flow(nn.Tanh())


@pytest.mark.slow
@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("axes", [(), (4,)])
@pytest.mark.parametrize("draws", [(), (3,), (2, 3)])
def test_the_distribution_under_many_draws_is_a_loop_over_them(build, features, axes, draws):
    """Densities, draws, moments and quantiles, with contexts that have the axes of the draws and that have not."""
    flow = build(lambda: bl.NeuralSpline(features, (4,), layers=2, context=2, prior="point").double())
    likelihood = bl.likelihoods.Flow(flow)
    generator = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    latents = {
        name: site.initial + 0.3 * normal(*draws, *[1] * bool(draws), *site.initial.shape)
        for name, site in likelihood.sites(normal()).items()
    }
    target = (5, *axes, features)[: 2 + len(axes) - (features == 1)]
    y = normal(*target)
    for batch in {(), draws}:
        f = normal(*batch, 5, *axes, 2)
        many = likelihood.distribution(f, output_axes=1 + len(axes), **latents)
        assert many.batch_shape == (*draws, 5)
        assert many.event_shape == target[1:]
        moments = likelihood.moments(f, output_axes=1 + len(axes), **latents)
        with seeded(3):
            sample = many.sample((7,))
        assert sample.shape == (7, *draws, *target)
        for at in itertools.product(*map(range, draws)):
            single = likelihood.distribution(
                f[at] if batch else f,
                output_axes=1 + len(axes),
                **{name: value[at].squeeze(0) if draws else value for name, value in latents.items()},
            )
            torch.testing.assert_close(many.log_prob(y)[at], single.log_prob(y))
            inside = sample[(slice(None), *at)]
            torch.testing.assert_close(many.log_prob(sample)[(slice(None), *at)], single.log_prob(inside))
            torch.testing.assert_close(moments[0][at], single.mean)
            torch.testing.assert_close(moments[1][at], single.variance)


def test_more_draws_by_expansion(build):
    flow = build(lambda: bl.MAF(2, (4,), prior="point"))
    y = bl.likelihoods.Flow(flow).distribution(torch.empty(5, 0))
    wide = y.expand((3, 5))
    assert (wide.batch_shape, wide.event_shape) == ((3, 5), (2,))
    with seeded(0):
        assert wide.log_prob(torch.zeros(2)).shape == wide.log_prob(wide.sample()).shape == (3, 5)


def test_a_density_is_fitted_predicted_and_drawn_from(build):
    """All that a posterior offers, on targets that a Normal cannot be."""
    model = flow_model(build, bl.NeuralSpline, layers=1, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(60, 2, generator=generator)
    y = y + 2 * y.sign()
    result = bl.fit(model, y, y, seed=0, max_steps=60, particles=2, progress=False)
    posterior = result.posterior
    assert posterior.over_draws(bl.predictive.log_prob, y, y, num_draws=5).shape == (60,)
    prediction = posterior.predict(y, num_draws=5)
    assert prediction.mean.shape == (60, 2)
    assert torch.equal(prediction.mean[0], prediction.mean[1])  # x is of no account
    drawn = posterior.draws(y[:3], num_draws=5).distribution()
    with seeded(0):
        assert drawn.sample().shape == (5, 3, 2)
    low, high = posterior.over_draws(bl.predictive.interval, y[:2], num_draws=50)
    assert bool((low < high).all())
    assert low.shape == (2, 2)


@pytest.mark.parametrize("prior", [None, "point"])
@pytest.mark.parametrize("kind", KINDS)
def test_files_keep_flows(build, kind, prior, tmp_path):
    model = flow_model(build, kind, prior=prior, dtype=torch.float32)
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    posterior.save(tmp_path / "posterior")
    loaded = bl.load(tmp_path / "posterior")
    y = torch.ones(3, 2)
    log_prob = [p.over_draws(bl.predictive.log_prob, y, y, num_draws=3) for p in (posterior, loaded)]
    assert torch.equal(*log_prob)
    assert repr(loaded.model.likelihood) == repr(model.likelihood)
    start = [m.likelihood.flow.state_dict() for m in (model, loaded.model)]
    assert all(torch.equal(value, start[1][name]) for name, value in start[0].items())


def test_a_flow_of_ones_own_is_not_saved(build, tmp_path):
    class Mine(bl.MAF):
        pass

    model = flow_model(build, Mine)
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    with pytest.raises(StorageError, match="Mine"):
        posterior.save(tmp_path / "posterior")


@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.FitWarning")  # two iterations are few
def test_a_density_is_refined_and_judged_and_goes_by_every_estimator(build):
    model = flow_model(build, bl.RealNVP, layers=2, dtype=torch.float32)
    y = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    for estimator in ("local", "flipout"):
        result = bl.fit(model, y, y, estimator=estimator, max_steps=10, particles=2, progress=False)
        assert "captured" in str(result)
    assert result.posterior.loo(y, y, num_draws=20) is not None
    refined = result.posterior.refine(y, y, num_chains=20, iterations=2, progress=False)
    assert refined.predict(y[:2], num_draws=4).std.isfinite().all()
    group = result.posterior.to_arviz(y, y, num_draws=4)["posterior_predictive"]
    assert group["y"].shape == (1, 4, 40, 2)


@pytest.fixture
def regression_model(build):
    network = build(
        lambda: nn.Sequential(bl.Linear(2, 3, bias_prior=None), nn.Tanh(), bl.Linear(3, 1)).double()
    )
    return bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.5)))


def bent(guide, scale=0.2):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in guide.flow.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return guide


def test_the_guide_starts_as_mean_field(regression_model):
    flow, mean_field = bl.guides.Flow(regression_model), bl.guides.MeanFieldNormal(regression_model)
    for name, value in mean_field.draw(20, seed=1).items():
        torch.testing.assert_close(flow.draw(20, seed=1)[name], value)
    for name, value in mean_field.mean().items():
        torch.testing.assert_close(flow.mean()[name], value)
    # the closed form, within the error of 1024 draws
    kl = float(mean_field.weighted_kl(regression_model).detach())
    assert float(flow.weighted_kl(regression_model).detach()) == pytest.approx(kl, abs=0.5)
    assert float(flow.weighted_kl(regression_model, 0.0).detach()) == 0


def test_the_guide_exists_without_randomness(regression_model):
    """The autouse fixture sees to the caller's random state."""
    one, other = (bl.guides.Flow(regression_model).state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_guides_density_is_that_of_its_draws(regression_model):
    """By the inverse and autograd's Jacobian, against the density that the KL takes on the way."""
    guide = bent(bl.guides.Flow(regression_model, layers=3, hidden=(5,)))
    noise = standard_normal(0, 6, guide.noise_size, dtype=torch.float64)
    flat, log_det = guide.from_noise(noise), guide.log_det(noise)
    torch.testing.assert_close(guide.to_noise(flat), noise)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: guide.from_noise(one)))(noise)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian)[1])
    expected = torch.distributions.Normal(0, 1).log_prob(noise).sum(1) - log_det
    torch.testing.assert_close(guide.log_density(flat), expected)
    priors = guide.flat_priors(regression_model)
    point = guide.points(6)
    log_p = log_prior(regression_model.sites(), guide.layout, flat, point)
    torch.testing.assert_close(guide.kl_estimate(priors, noise), (expected - log_p).mean())
    torch.testing.assert_close(
        guide.kl_estimate(guide.flat_priors(regression_model, 0.3), noise), 0.3 * (expected - log_p).mean()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_draws_of_the_guide_are_the_start_of_more(build, dtype):
    network = build(lambda: nn.Sequential(bl.Linear(7, 9), bl.Linear(9, 1)).to(dtype))
    guide = bent(bl.guides.Flow(bl.BayesianModel(network, bl.likelihoods.Normal("learned"))))
    many = guide.draw(300, 5)
    for size, start in ((1, 0), (17, 0), (100, 3), (31, 250)):
        few = guide.draw(size, 5, start)
        assert all(torch.equal(value, many[name][start : start + size]) for name, value in few.items())


def test_the_program_has_the_guides_law(regression_model):
    guide = bent(bl.guides.Flow(regression_model, layers=2, hidden=(5,)))
    with seeded(1), pyro.plate("draws", 4000, dim=-2):
        theirs = guide()
    ours = guide.draw(4000, seed=0)
    for name in ("0.weight", "noise_scale"):
        one, other = (each[name].detach().reshape(4000, -1)[:, 0].numpy() for each in (ours, theirs))
        assert stats.ks_2samp(one, other).pvalue > 1e-3


def test_guides_that_cannot_be(build):
    one = bl.BayesianModel(build(lambda: bl.Linear(1, 1, bias=False)), bl.likelihoods.Normal(1.0))
    with pytest.raises(DataError, match="two entries"):
        bl.guides.Flow(one)
    two = bl.BayesianModel(build(lambda: bl.Linear(1, 1)), bl.likelihoods.Normal(1.0))
    with pytest.raises(DataError, match="layers"):
        bl.guides.Flow(two, layers=0)
    with pytest.raises(SiteError, match="one number"):
        bl.guides.Flow(two).flat_priors(two, {"weight": 0.5})
    guide = bl.guides.Flow(two)
    with pytest.raises(DataError, match="closed form"):
        guide.kl_to(guide.flat_priors(two))


def test_files_keep_the_guide(regression_model, tmp_path):
    guide = bent(bl.guides.Flow(regression_model, layers=2, hidden=(5, 4)))
    posterior = bl.Posterior.from_guide(regression_model, guide)
    posterior.save(tmp_path / "posterior")
    loaded = bl.load(tmp_path / "posterior")
    for name, value in posterior.sample(20, seed=1).items():
        assert torch.equal(loaded.sample(20, seed=1)[name], value)
    # of a guide with other couplings the numbers do not fit
    path = tmp_path / "posterior" / "posterior.json"
    document = json.loads(path.read_text())
    stored = read_folder(tmp_path / "posterior")
    with pytest.raises(StorageError, match="numbers"):
        from_stored({**document["source"], "hidden": [5, 5]}, regression_model, stored)
    with pytest.raises(StorageError, match="10000 modules at most"):
        from_stored({**document["source"], "layers": 1000, "hidden": [1] * 64}, regression_model, stored)


class First(nn.Module):
    def forward(self, pair):
        return pair[0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [bl.RealNVP, bl.MAF, bl.NeuralSpline])
def test_a_reversible_layer_inside_a_network(build, kind):
    """S draws at once are a loop over draws, and a step can be recorded."""
    network = build(lambda: nn.Sequential(kind(2, (4,), layers=2), First(), bl.Linear(2, 1)).double())
    model = bl.BayesianModel(network, bl.likelihoods.Normal(0.5))
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = bl.fit(model, x, x[:, 0], max_steps=12, particles=2, progress=False)
    assert "captured" in str(result)
    posterior = result.posterior
    f = posterior.functions(3, seed=1)(x)
    values = posterior.sample(3, seed=1)
    for i in range(3):
        parameters = {name: values[name][i] for name, _ in network.named_parameters()}
        torch.testing.assert_close(f[i], torch.func.functional_call(network, parameters, (x,)))
