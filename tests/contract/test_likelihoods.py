"""Every likelihood with every shape of targets, under one guide; the table of conftest has some, under all guides."""

import pyro
import pytest
import torch
from pyro.infer import SVI, Predictive, TraceMeanField_ELBO
from pyro.optim import Adam
from torch import nn

import bayesian_layers as bl
from bayesian_layers import estimators
from bayesian_layers.fitting.stepping.objective import Objective
from bayesian_layers.likelihoods import (
    Beta,
    DiscretizedMixtureOfLogistics,
    HeteroscedasticNormal,
    MixtureOfLogistics,
    MixtureOfNormals,
    NegativeBinomial,
    Poisson,
    StudentT,
)
from bayesian_layers.model import log_likelihood
from bayesian_layers.noise import seeded
from substitute import Substitute

N = 6


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def counts(real):
    return (2 * real).abs().round()


PRIOR = bl.priors.LogNormal(0.5, 0.3)
# A likelihood, its outputs a target, and targets that it can have produced, made of real numbers.
LIKELIHOODS = {
    "heteroscedastic": (HeteroscedasticNormal(), 2, torch.clone),
    "student t": (StudentT(df=4.0), 1, torch.clone),
    "student t, learned": (StudentT("learned", PRIOR), 1, torch.clone),
    "poisson": (Poisson(), 1, counts),
    "negative binomial": (NegativeBinomial(), 1, counts),
    "negative binomial, prior": (NegativeBinomial(PRIOR), 1, lambda real: counts(real).long()),
    "beta": (Beta(), 1, torch.sigmoid),
    "normals": (MixtureOfNormals(2), 6, torch.clone),
    "logistics": (MixtureOfLogistics(3), 9, torch.clone),
    "discretized": (
        DiscretizedMixtureOfLogistics(2, levels=6),
        6,
        lambda real: (real + 2).round().clamp(0, 5),
    ),
}
# A network with m outputs a target, the shape of a row's inputs, and that of its targets.
SHAPES = {
    "(N,)": (lambda m: nn.Linear(3, m), (3,), ()),
    "(N, K)": (lambda m: nn.Linear(3, 2 * m), (3,), (2,)),
    "(N, T, K)": (lambda m: nn.Linear(3, 2 * m), (4, 3), (4, 2)),
}


@pytest.fixture(params=SHAPES)
def shape(request):
    return SHAPES[request.param]


@pytest.fixture(params=LIKELIHOODS)
def likelihood(request):
    return LIKELIHOODS[request.param]


@pytest.fixture
def problem(likelihood, shape, build):
    (kind, outputs, make_targets), (network, inputs, targets) = likelihood, shape
    model = bl.BayesianModel(bl.bayesianize(build(lambda: network(outputs)).double()), kind)
    return model, randn(N, *inputs), make_targets(randn(N, *targets, seed=1))


def test_the_log_likelihood_is_the_sum_over_single_targets(problem, likelihood):
    """Each target by itself, its outputs picked by the layout that the package's docstring says."""
    model, x, y = problem
    draw = {name: value[0] for name, value in bl.guides.MeanFieldNormal(model).draw(1, seed=0).items()}
    latents = {name: draw[name] for name in model.likelihood.sites(x)}
    outputs = likelihood[1]
    f = torch.func.functional_call(model.network, {n: v for n, v in draw.items() if n not in latents}, (x,))
    single = f.reshape(-1, outputs, f.shape[-1] // outputs).movedim(1, -1).reshape(-1, outputs)
    each = model.likelihood.distribution(single, **latents).log_prob(y.reshape(-1))
    expected = each.reshape(N, -1).sum(1)
    given = {name: value.unsqueeze(0) for name, value in draw.items()}
    torch.testing.assert_close(log_likelihood(model, given, x, y).squeeze(0), expected)


@pytest.mark.parametrize("particles", [1, 3])
def test_the_objective_is_pyros_elbo_on_the_same_draws(problem, particles):
    """Law 2: values and gradients to 1e-5 relative."""
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


def test_predictive_draws_targets_that_the_likelihood_takes(problem):
    model, x, y = problem
    guide = bl.guides.MeanFieldNormal(model)
    for parallel, size in ((True, 30), (False, 2)):
        with seeded(2):
            drawn = Predictive(model, guide=guide, num_samples=size, parallel=parallel)(x)["y"]
        assert drawn.shape == (size, *y.shape)
        model.likelihood.check_values(drawn, (1,))
    with seeded(1):
        assert Predictive(model, num_samples=5, parallel=True)(x)["y"].shape == (5, *y.shape)


@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.FitWarning")
def test_predictions_have_the_shape_of_the_targets(problem):
    model, x, y = problem
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    prediction = posterior.predict(x, num_draws=20)
    draws = posterior.draws(x, num_draws=20)
    assert prediction.mean.shape == prediction.std.shape == y.shape
    assert prediction.std.isfinite().all()
    low, high = bl.predictive.interval(draws, 0.9)
    assert low.shape == y.shape
    assert (low <= high).all()
    assert bl.predictive.log_prob(draws, y).shape == (N,)
    assert bl.predictive.crps(draws, y).shape == y.shape
    assert posterior.pit(x, y).shape == y.shape


def test_svi_trains(likelihood, build):
    kind, outputs, make_targets = likelihood
    model = bl.BayesianModel(build(lambda: bl.Linear(3, outputs).double()), kind)
    guide = bl.guides.MeanFieldNormal(model)
    before = [each.detach().clone() for each in guide.parameters()]
    with seeded(0):
        svi = SVI(model, guide, Adam({"lr": 0.04}), TraceMeanField_ELBO())
        svi.step(randn(N, 3), make_targets(randn(N, seed=1)))
    pyro.clear_param_store()
    assert all(
        not each.numel() or not torch.equal(each, old)
        for each, old in zip(guide.parameters(), before, strict=True)
    )


def test_files_and_arviz_keep_it(likelihood, build, tmp_path):
    kind, outputs, make_targets = likelihood
    x, y = randn(N, 3), make_targets(randn(N, 2, seed=1))
    model = bl.BayesianModel(build(lambda: bl.Linear(3, 2 * outputs).double()), kind)
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    posterior.save(tmp_path / "posterior")
    loaded = bl.load(tmp_path / "posterior")
    assert loaded.model.likelihood == kind
    assert type(kind).__name__ in (tmp_path / "posterior" / "MODEL_CARD.md").read_text()
    assert torch.equal(loaded.draws(x, 5).f, posterior.draws(x, 5).f)
    data = posterior.to_arviz(x, y, num_draws=4)
    assert data["posterior_predictive"]["y"].shape == (1, 4, N, 2)
    assert data["log_likelihood"]["y"].shape == (1, 4, N)


@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.ConvergenceWarning")
def test_steps_of_a_fit_are_recorded(likelihood, build):
    """In float32, of which not all is exact: the recorded step is compared with the eager one by the fit itself."""
    kind, outputs, make_targets = likelihood
    model = bl.BayesianModel(build(lambda: bl.Linear(3, outputs)), kind)
    result = bl.fit(
        model, randn(N, 3).float(), make_targets(randn(N, seed=1)).float(), max_steps=12, progress=False
    )
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
