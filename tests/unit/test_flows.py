import copy
import itertools

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.errors import DataError, ShapeError, SiteError, StorageError
from bayesian_layers.noise import seeded
from bayesian_layers.priors import recall

KINDS = (bl.RealNVP, bl.MADE, bl.MAF, bl.NeuralSpline)


def all_priors(flow):
    return {
        f"{path}.{name}": prior
        for path, module in flow.named_modules()
        for name, prior in recall(module).items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_networks_remember_priors(build, kind):
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
def test_point_flows_can_be_lifted(build, kind):
    flow = build(lambda: kind(2, (3,), prior="point"))
    assert all_priors(flow) == {}
    lifted = bl.bayesianize(flow, bl.priors.Normal(scale=2.0))
    assert all(row.status == "prior" for row in bl.lifting_report(lifted).rows)
    x = torch.ones(3, 2)
    assert torch.equal(lifted(x)[0], flow(x)[0])


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
    twin = copy.deepcopy(flow)
    assert torch.equal(twin(x)[0], flow(x)[0])
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
    assert learned["flow.steps.0.network.0.weight"].scale_site == "flow.steps.0.network.0.weight.prior_scale"
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
