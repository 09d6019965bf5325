"""Every likelihood with every shape of targets that it takes; ``test_pyro_programs.py`` has each as a Pyro program."""

import json

import pytest
import torch
from pyro.infer import Predictive, TraceMeanField_ELBO
from torch import nn

import bayesian_layers as bl
from bayesian_layers import estimators
from bayesian_layers.fitting.stepping.objective import Objective
from bayesian_layers.likelihoods import DiscretizedMixtureOfLogistics, HeteroscedasticNormal
from bayesian_layers.model import log_likelihood
from bayesian_layers.network import parameter_sites
from bayesian_layers.noise import seeded
from contract_tables import LIKELIHOODS
from contract_tables.likelihoods import SHAPES
from substitute import Substitute

N = 6
SHAPED = [(name, shape) for name, row in LIKELIHOODS.items() for shape in row.shapes]
BY_TARGET = [(name, shape) for name, shape in SHAPED if not LIKELIHOODS[name].joint]


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(row, shape, build):
    """A model of one layer, inputs and targets."""
    network, inputs, targets = SHAPES[shape]
    layer = bl.bayesianize(build(lambda: network(row.outputs)).double())
    model = bl.BayesianModel(layer, row.likelihood)
    return model, randn(N, *inputs), row.targets(randn(N, *targets, seed=1))


@pytest.fixture
def problem(request, build):
    name, shape = request.param
    return made(LIKELIHOODS[name], shape, build)


@pytest.fixture(params=LIKELIHOODS)
def row(request):
    return LIKELIHOODS[request.param]


@pytest.fixture
def small(row, build):
    """The likelihood with the first shape that it takes."""
    return made(row, row.shapes[0], build)


def with_problems(pairs):
    return pytest.mark.parametrize("problem", pairs, ids="-".join, indirect=True)


def test_specs_come_back(row):
    if list(row.likelihood.program.parameters()):
        return  # its arrays are in the folder: see test_files_and_arviz_keep_it
    built = bl.likelihoods.Likelihood.from_spec(json.loads(json.dumps(row.likelihood.spec())))
    assert type(built) is type(row.likelihood)
    assert vars(built) == vars(row.likelihood)


@with_problems(BY_TARGET)
def test_the_log_likelihood_is_the_sum_over_single_targets(problem):
    """Each target by itself, its outputs picked by the layout that the package's docstring specifies."""
    model, x, y = problem
    draw = {name: value[0] for name, value in bl.guides.MeanFieldNormal(model).draw(1, seed=0).items()}
    latents = {name: draw[name] for name in model.likelihood.sites(x)}
    f = torch.func.functional_call(model.network, {n: draw[n] for n in parameter_sites(model.network)}, (x,))
    outputs = f.numel() // y.numel()
    single = f.reshape(-1, outputs, f.shape[-1] // outputs).movedim(1, -1).reshape(-1, outputs)
    each = model.likelihood.distribution(single, **latents).log_prob(y.reshape(-1))
    expected = each.reshape(N, -1).sum(1)
    given = {name: value.unsqueeze(0) for name, value in draw.items()}
    torch.testing.assert_close(log_likelihood(model, given, x, y).squeeze(0), expected)


@pytest.mark.slow
@with_problems(SHAPED)
@pytest.mark.parametrize("particles", [1, 3])
def test_the_objective_is_pyros_elbo_on_the_same_draws(problem, particles):
    """Values and gradients, to 1e-5 relative."""
    model, x, y = problem
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.2)
    noise = randn(particles, guide.noise_size, seed=3)
    objective = Objective(guide, estimators.Reparameterization(model), guide.flat_priors(model, 1.0))
    parameters = [each for each in guide.parameters() if each.numel()]
    ours = objective(noise, (), x, y, None, 1.0)
    ours_slope = torch.autograd.grad(ours, parameters)
    elbo = TraceMeanField_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    with Substitute(guide.transform(noise)):
        theirs = elbo(model, guide)(x, y)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    torch.testing.assert_close(ours_slope, torch.autograd.grad(theirs, parameters), rtol=1e-5, atol=1e-9)


@pytest.mark.slow
@with_problems(SHAPED)
def test_predictive_draws_targets_that_the_likelihood_takes(problem):
    model, x, y = problem
    guide = bl.guides.MeanFieldNormal(model)
    for parallel, size in ((True, 30), (False, 2)):
        with seeded(2):
            drawn = Predictive(model, guide=guide, num_samples=size, parallel=parallel)(x)["y"]
        assert drawn.shape == (size, *y.shape)
        model.likelihood.check_values(drawn, model.network(x).shape[1:])
    with seeded(1):
        assert Predictive(model, num_samples=5, parallel=True)(x)["y"].shape == (5, *y.shape)


@pytest.mark.slow
@with_problems(SHAPED)
@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.FitWarning")
def test_predictions_have_the_shape_of_the_targets(problem):
    model, x, y = problem
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    prediction = posterior.predict(x, num_draws=20)
    draws = posterior.draws(x, num_draws=20)
    classes = model.network(x).shape[-1:] if model.likelihood.outputs_per_target == "classes" else ()
    assert prediction.mean.shape == prediction.std.shape == (*y.shape, *classes)
    assert prediction.std.isfinite().all()
    low, high = bl.predictive.interval(draws, 0.9)
    assert low.shape == y.shape
    assert (low <= high).all()
    assert bl.predictive.log_prob(draws, y).shape == (N,)
    assert bl.predictive.crps(draws, y).shape == y.shape
    assert posterior.pit(x, y).shape == y.shape


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.FitWarning")
def test_files_and_arviz_keep_it(small, tmp_path):
    model, x, y = small
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    posterior.save(tmp_path / "posterior")
    loaded = bl.load(tmp_path / "posterior")
    assert type(loaded.model.likelihood) is type(model.likelihood)
    assert loaded.model.sites().keys() == model.sites().keys()
    assert loaded.model.likelihood.spec() == model.likelihood.spec()
    assert type(model.likelihood).__name__ in (tmp_path / "posterior" / "MODEL_CARD.md").read_text()
    assert torch.equal(loaded.draws(x, 5).f, posterior.draws(x, 5).f)
    assert torch.equal(loaded.predict(x, 5).std, posterior.predict(x, 5).std)
    data = posterior.to_arviz(x, y, num_draws=4)
    assert data["posterior_predictive"]["y"].shape == (1, 4, *y.shape)
    assert data["log_likelihood"]["y"].shape == (1, 4, N)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.ConvergenceWarning")
def test_steps_of_a_fit_are_recorded(small):
    """In float32, of which not all is exact: the recorded step is compared with the eager one by the fit itself."""
    model, x, y = small
    model = bl.BayesianModel(model.network.float(), model.likelihood)
    y = y.float() if y.is_floating_point() else y
    guide = bl.guides.FullRankNormal(model)  # no likelihood has a closed form for it
    result = bl.fit(model, x.float(), y, guide=guide, max_steps=12, progress=False)
    assert "captured" in str(result)


def test_images_with_the_outputs_on_the_first_axis(build):
    x = randn(N, 2, 4, 5)
    for kind, outputs in ((HeteroscedasticNormal, 2), (lambda **o: DiscretizedMixtureOfLogistics(2, **o), 6)):
        network = build(lambda m=outputs: bl.bayesianize(nn.Conv2d(2, 3 * m, 3, padding=1)).double())
        model = bl.BayesianModel(network, kind(output_axis="first"))
        y = randn(N, 3, 4, 5, seed=1).abs().round()
        draws = bl.guides.MeanFieldNormal(model).draw(2, seed=0)
        last = bl.BayesianModel(nn.Sequential(network, _ChannelsLast()), kind())
        renamed = {f"0.{name}": value for name, value in draws.items()}
        torch.testing.assert_close(
            log_likelihood(model, draws, x, y), log_likelihood(last, renamed, x, y.movedim(1, -1))
        )
        assert bl.Posterior.from_samples(model, draws).predict(x, num_draws=2).mean.shape == y.shape


class _ChannelsLast(nn.Module):
    def forward(self, f):
        return f.movedim(1, -1)
