"""Outputs with more axes than (N, K): sequences (N, T, K) and images (N, C, H, W), through the whole chain."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, Predictive, TraceMeanField_ELBO
from torch import nn
from torch.nn import functional

import bayesian_layers as bl
from bayesian_layers import estimators
from bayesian_layers.fitting import budget
from bayesian_layers.fitting.stepping.objective import Objective
from bayesian_layers.likelihoods import Bernoulli, Categorical, Normal
from bayesian_layers.model import log_likelihood
from bayesian_layers.network import outputs
from bayesian_layers.noise import seeded
from substitute import Substitute

pytestmark = pytest.mark.filterwarnings("ignore::bayesian_layers.errors.ConvergenceWarning")

N, T = 6, 5


class Recurrent(nn.Module):
    """A network for which vmap has no rule; its parameters have fan-in priors."""

    def __init__(self, outputs):
        super().__init__()
        self.recurrent = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, outputs)

    def forward(self, x):
        return self.head(self.recurrent(x)[0])


class ChannelsLast(nn.Module):
    def forward(self, f):
        return f.movedim(1, -1)


def dense(outputs):
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, outputs))


def images(channels):
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(3, channels, 3, padding=1, padding_mode="circular"),
    )


# A network, its likelihood, the shape of a row's inputs, the shape of its targets.
CASES = {
    "sequence, two targets per step": (lambda: dense(2), Normal("learned"), (T, 3), (T, 2)),
    "sequence, one target per step": (lambda: dense(1), Normal(0.4), (T, 3), (T,)),
    "sequence, noise with a prior": (lambda: dense(2), Normal(bl.priors.LogNormal(-1, 0.3)), (T, 3), (T, 2)),
    "recurrent": (lambda: Recurrent(2), Normal("learned"), (T, 3), (T, 2)),
    "classes of steps": (lambda: dense(3), Categorical(), (T, 3), (T,)),
    "labels of steps": (lambda: dense(2), Bernoulli(), (T, 3), (T, 2)),
    "image to image": (lambda: images(2), Normal("learned"), (2, 4, 5), (2, 4, 5)),
    "classes of pixels": (lambda: images(3), Categorical(class_axis="first"), (2, 4, 5), (4, 5)),
}


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def targets(likelihood, shape, seed=1):
    y = randn(N, *shape, seed=seed)
    if isinstance(likelihood, Categorical):
        return (y.abs() * 2).long().clamp(max=2)
    return (y > 0).double() if isinstance(likelihood, Bernoulli) else y


@pytest.fixture(params=CASES)
def problem(request, build):
    make, likelihood, inputs, shape = CASES[request.param]
    model = bl.BayesianModel(bl.bayesianize(build(make).double()), likelihood)
    return model, randn(N, *inputs), targets(likelihood, shape)


def by_hand(model, draw, x, y):
    """Log likelihood of each row under one draw, ``(N,)``; a network with fixed weights and textbook formulas."""
    network, likelihood = copy.deepcopy(model.network), model.likelihood
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(draw[name])
        f = network(x)
    if isinstance(likelihood, Categorical):
        axis = 1 if likelihood.class_axis == "first" else -1
        each = f.log_softmax(axis).gather(axis, y.unsqueeze(axis)).squeeze(axis)
    elif isinstance(likelihood, Bernoulli):
        each = -functional.binary_cross_entropy_with_logits(f.reshape(y.shape), y, reduction="none")
    else:
        scale = float(draw.get("noise_scale", likelihood.noise_scale))
        each = -0.5 * ((y - f.reshape(y.shape)) / scale) ** 2 - math.log(scale * math.sqrt(2 * math.pi))
    return each.flatten(1).sum(1)


def in_turn(draws):
    return [{name: value[i] for name, value in draws.items()} for i in range(len(next(iter(draws.values()))))]


def test_the_log_likelihood_of_a_row_is_the_sum_over_its_targets(problem):
    model, x, y = problem
    draws = bl.guides.MeanFieldNormal(model).draw(4, seed=0)
    expected = torch.stack([by_hand(model, draw, x, y) for draw in in_turn(draws)])
    torch.testing.assert_close(log_likelihood(model, draws, x, y), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("particles", [1, 4])
def test_the_objective_is_pyros_elbo_on_the_same_draws(problem, particles):
    """Values and gradients, to 1e-5 relative; a batch of a larger data set, tempered."""
    model, x, y = problem
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.2)
    noise = randn(particles, guide.noise_size, seed=3)
    objective = Objective(guide, estimators.Reparameterization(model), guide.flat_priors(model, 0.3))
    ours = objective(noise, (), x, y, None, 2.5)
    elbo = TraceMeanField_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    with Substitute(guide.transform(noise)):
        theirs = elbo(bl.temper(model, 0.3), bl.temper(guide, 0.3))(x, y, num_data=round(2.5 * N))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    parameters = [each for each in guide.parameters() if each.numel()]
    for one, other in zip(*(torch.autograd.grad(each, parameters) for each in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_a_rows_weight_counts_the_row_so_many_times(problem):
    model, x, y = problem
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.2)
    estimator = estimators.Reparameterization(model)
    noise, times = randn(2, guide.noise_size), torch.tensor([1, 0, 2, 1, 3, 1])
    weighted = estimator(guide, noise, (), x, y, scale=1.0, weight=times.double())
    repeated = estimator(
        guide, noise, (), x.repeat_interleave(times, 0), y.repeat_interleave(times, 0), scale=1.0
    )
    torch.testing.assert_close(weighted, repeated, rtol=1e-10, atol=0)


def test_predictive_in_parallel_is_the_loop(problem):
    model, x, y = problem
    draws = bl.guides.MeanFieldNormal(model, init_scale=0.3).draw(3, seed=1)
    given = {name: value.unsqueeze(1) for name, value in draws.items()}
    with seeded(0):
        drawn = Predictive(model, given, parallel=True, return_sites=("f", "y"))(x)
        loop = [poutine.trace(poutine.condition(model, draw)).get_trace(x) for draw in in_turn(draws)]
    assert drawn["y"].shape == (3, *y.shape)
    torch.testing.assert_close(drawn["f"], torch.stack([trace.nodes["f"]["value"] for trace in loop]))
    site = loop[0].nodes["y"]
    assert (site["value"].shape, site["fn"].batch_shape) == (y.shape, (N,))
    assert site["fn"].event_shape == y.shape[1:]


@pytest.mark.parametrize("parallel", [True, False])
def test_predictive_with_a_guide(problem, parallel):
    model, x, y = problem
    guide = bl.guides.MeanFieldNormal(model)
    with seeded(0):
        drawn = Predictive(model, guide=guide, num_samples=3, parallel=parallel)(x)
        prior = Predictive(model, num_samples=2, parallel=parallel)(x)
    assert (drawn["y"].shape, prior["y"].shape) == ((3, *y.shape), (2, *y.shape))
    assert drawn["f"].shape[:3] == (3, N, model.network(x).shape[1])


def test_moments_are_those_of_one_draw_after_the_other(problem):
    model, x, y = problem
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.3))
    ours = posterior.predict(x, num_draws=6, seed=2)
    means, variances = [], []
    for i, draw in enumerate(in_turn(posterior.sample(6, seed=2))):
        f = posterior.functions(6, seed=2)(x)[i].detach()
        latents = {name: draw[name] for name in model.likelihood.sites(x)}
        mean, variance = model.likelihood.moments(f, output_axes=f.dim() - 1, **latents)
        means.append(mean)
        variances.append(variance)
    classes = (3,) if isinstance(model.likelihood, Categorical) else ()
    assert ours.mean.shape == ours.std.shape == (*y.shape, *classes)
    torch.testing.assert_close(ours.mean, torch.stack(means).mean(0), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        ours.epistemic_std, torch.stack(means).std(0, correction=0), rtol=1e-6, atol=1e-9
    )
    torch.testing.assert_close(
        ours.aleatoric_std, torch.stack(variances).mean(0).sqrt(), rtol=1e-6, atol=1e-9
    )


def test_functions_of_draws_take_all_axes(problem):
    model, x, y = problem
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.3))
    drawn = posterior.draws(x, num_draws=5, seed=2)
    each = torch.stack([by_hand(model, draw, x, y) for draw in in_turn(posterior.sample(5, seed=2))])
    torch.testing.assert_close(bl.predictive.log_prob(drawn, y), each.logsumexp(0) - math.log(5))
    assert bl.predictive.quantiles(drawn, [0.1, 0.9]).shape == (*y.shape, 2)
    assert bl.predictive.crps(drawn, y).shape == y.shape


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"batch_size": 4, "sample_weight": torch.arange(6.0)}])
def test_a_recorded_fit_is_the_eager_one(problem, options, monkeypatch):
    model, x, y = problem
    monkeypatch.setattr(budget, "_MAX_DRAWS", 4)  # draws; a loop over thousands takes its time
    eager, captured = (
        bl.fit(model, x, y, max_steps=12, particles=2, compile=mode, progress=False, **options)
        for mode in ("eager", "captured")
    )
    np.testing.assert_allclose(captured.history, eager.history, rtol=1e-9)
    assert captured.step_mode == "captured"
    assert np.isfinite(eager.elbo)


def test_a_fit_learns_a_sequence(build, monkeypatch):
    """y_t is a sum over the past, which a recurrent network must carry along: the noise shrinks, the ELBO rises."""
    monkeypatch.setattr(budget, "_MAX_DRAWS", 4)
    x = randn(40, T, 3)
    y = torch.stack([x[..., 0].cumsum(1) / 3, -x[..., 1]], -1)
    model = bl.BayesianModel(bl.bayesianize(build(lambda: Recurrent(2)).double()), Normal("learned"))
    result = bl.fit(model, x, y, particles=1, max_steps=150, learning_rate=0.05, progress=False)
    assert np.mean(result.history[-20:]) < np.mean(result.history[:20]) - 100
    assert (result.posterior.predict(x, 50).mean - y).square().mean() < 0.3 * y.square().mean()


@pytest.mark.parametrize("name", ["local", "flipout"])
def test_estimators_with_noise_for_each_row(problem, name):
    """Of a guide that is nearly sure all estimate the same."""
    model, x, y = problem
    guide = bl.guides.MeanFieldNormal(model, init_scale=1e-4)
    estimator = estimators.make(name, model, guide, x[:4], y[:4])
    if name == "local":  # noise of its own for each step or pixel would be another model
        assert estimator.supported == ()
        assert estimator.note
    else:
        stack = isinstance(model.network, nn.Sequential)
        assert estimator.supported == (("0.weight", "2.weight") if stack else ("head.weight",))
    noise = randn(3, guide.noise_size)
    row_noise = estimator.row_noise(3, N, torch.Generator().manual_seed(0))
    value = estimator(guide, noise, row_noise, x, y, scale=1.0)
    draw = {each: part.detach() for each, part in guide.mean().items()}
    if "noise_scale" in guide.layout.random:  # is as wide as its prior at first
        return
    assert float(value.detach()) == pytest.approx(float(by_hand(model, draw, x, y).sum()), rel=1e-2)


def test_files_keep_it(problem, tmp_path):
    model, x, _ = problem
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    posterior.save(tmp_path / "posterior")
    network = None if isinstance(model.network, nn.Sequential) else model.network
    loaded = bl.load(tmp_path / "posterior", network=network)
    assert torch.equal(loaded.predict(x, 4).std, posterior.predict(x, 4).std)
    assert vars(loaded.model.likelihood) == vars(model.likelihood)


def test_arviz_takes_all_axes(problem):
    model, x, y = problem
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    found = posterior.to_arviz(x, y, num_draws=4)
    assert found.posterior_predictive["y"].shape == (1, 4, *y.shape)
    assert found.log_likelihood["y"].shape == (1, 4, N)


REFUSED = [
    (Normal(1.0), (6, 5, 1), (6, 5, 1), "(6, 5); received (6, 5, 1). Use y.squeeze(-1)."),
    (Normal(1.0), (6, 5, 2), (6,), "(6, 5, 2); received (6,)."),
    (Normal(1.0), (6, 5, 2), (6, 2), "(6, 5, 2); received (6, 2)."),
    (Normal(1.0), (6, 5, 2), (6, 2, 5), "(6, 5, 2); received (6, 2, 5)."),
    (Bernoulli(), (6, 1, 4, 5), (6, 4, 5), "(6, 1, 4, 5); received (6, 4, 5)."),
    (Categorical(), (6, 5, 3), (6, 5, 3), "(6, 5); received (6, 5, 3)."),
    (
        Categorical(),
        (6, 3, 4, 5),
        (6, 4, 5),
        "(6, 3, 4); received (6, 4, 5). The classes are expected on the last axis of a row's outputs (3, 4, 5). "
        'If they are on the first one, use Categorical(class_axis="first").',
    ),
    (
        Categorical("first"),
        (6, 5, 3),
        (6, 5),
        "(6, 3); received (6, 5). The classes are expected on the first axis of a row's outputs (5, 3). "
        'If they are on the last one, use Categorical(class_axis="last").',
    ),
]


@pytest.mark.parametrize(("likelihood", "f", "y", "expected"), REFUSED)
@pytest.mark.parametrize("batch", [(), (7,)])
def test_wrong_shapes_are_refused(likelihood, f, y, expected, batch):
    with pytest.raises(bl.errors.ShapeError) as caught:
        likelihood.check_shapes(torch.zeros(*batch, *f), torch.zeros(y), output_axes=len(f) - 1)
    assert str(caught.value) == f"`y` must have shape {expected}"


WRONG = [(), (N,), (N, 2), (N, T), (N, 2, T), (N, T, 2, 1), (N - 1, T, 2), (2 * N, T, 2)]


@pytest.mark.parametrize("rows_a_chunk", [N, 2])
@pytest.mark.parametrize("shape", WRONG)
def test_a_log_likelihood_refuses_targets_of_other_shapes(build, shape, rows_a_chunk, monkeypatch):
    """In chunks of rows too, where surplus targets would be left over; both shapes are those of the whole data."""
    model = bl.BayesianModel(build(lambda: bl.Linear(3, 2)), Normal(0.1))
    draws = bl.guides.MeanFieldNormal(model).draw(4, seed=0)
    monkeypatch.setattr(
        "bayesian_layers.predicting.plan._CHUNK", rows_a_chunk * 4 * 2
    )  # 4 draws of 2 outputs
    with pytest.raises(bl.errors.ShapeError) as caught:
        log_likelihood(model, draws, torch.zeros(N, T, 3), torch.zeros(shape))
    assert (caught.value.expected, caught.value.received) == ((N, T, 2), shape)
    assert str(caught.value).startswith(f"`y` must have shape (6, 5, 2); received {shape}.")


def test_a_log_likelihood_needs_a_likelihood(build):
    model = bl.BayesianModel(build(lambda: bl.Linear(3, 2)))
    draws = bl.guides.MeanFieldNormal(model).draw(4, seed=0)
    with pytest.raises(bl.errors.DataError, match="no likelihood"):
        log_likelihood(model, draws, torch.zeros(N, 3), torch.zeros(N, 2))


def test_pyros_trace_and_pickle_keep_the_error(build):
    """Both create it again: the first from a message that it adds to, the second from the object's state."""
    model = bl.BayesianModel(build(lambda: bl.Linear(3, 2)), Normal(0.1))
    with (
        seeded(0),
        pytest.raises(bl.errors.ShapeError, match=r"(?s)shape \(6, 5, 2\); received \(6,\).*Trace"),
    ):
        poutine.trace(model).get_trace(torch.zeros(N, T, 3), torch.zeros(N))
    error = bl.errors.ShapeError("y", (6, "K"), (5,), "Look again.")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.parametrize("shape", WRONG)
def test_a_program_and_a_fit_refuse_them(build, shape):
    model = bl.BayesianModel(build(lambda: bl.Linear(3, 2)), Normal(0.1))
    x, y = torch.zeros(N, T, 3), torch.zeros(shape)
    with pytest.raises(bl.errors.ShapeError, match=r"`y` must have shape \(6, (5, 2|\.\.\.)\)"):
        bl.fit(model, x, y, progress=False)
    with seeded(0), pytest.raises(bl.errors.ShapeError, match=r"`y` must have shape \(6, 5, 2\)"):
        model(x, y)


def test_an_output_without_an_axis_behind_the_rows_is_refused(build):
    """Under draws too, where the axis of draws could pass for that of the rows; and through Pyro's own handlers."""
    network = build(lambda: nn.Sequential(bl.Linear(3, 1), nn.Flatten(0)))
    model = bl.BayesianModel(network, Normal(0.1))
    draws = bl.guides.MeanFieldNormal(model).draw(4, seed=0)
    with pytest.raises(bl.errors.ShapeError, match="Keep the axis of outputs, even for one"):
        log_likelihood(model, draws, torch.zeros(N, 3), torch.zeros(N))


def test_axes_of_draws_are_told_from_those_of_rows(build):
    network = build(lambda: nn.Linear(3, 2))
    one = dict(network.named_parameters())
    x = torch.zeros(N, T, 3)
    assert outputs(network, one, x).output_axes == 2
    many = {name: value.expand(4, 7, 1, *value.shape) for name, value in one.items()}
    called = outputs(network, many, x)
    assert (called.f.shape, called.batch_axes, called.output_axes) == ((4, 7, N, T, 2), 2, 2)


def test_classes_on_the_first_axis_are_those_of_a_network_that_moves_them(build):
    network = bl.bayesianize(build(lambda: images(3)).double())
    x, y = randn(N, 2, 4, 5), targets(Categorical(), (4, 5))
    first = bl.BayesianModel(network, Categorical("first"))
    last = bl.BayesianModel(nn.Sequential(*network, ChannelsLast()), Categorical())
    ours, theirs = (bl.fit(each, x, y, max_steps=5, progress=False) for each in (first, last))
    np.testing.assert_allclose(ours.history, theirs.history, rtol=1e-12)
    torch.testing.assert_close(ours.posterior.predict(x, 5).mean, theirs.posterior.predict(x, 5).mean)
    torch.testing.assert_close(ours.posterior.predict(x, 5).mean.sum(-1), torch.ones(N, 4, 5).double())
    with pytest.raises(bl.errors.DataError, match="2; 1 of its 120 values are not"):
        bl.fit(first, x, torch.where(torch.arange(120).reshape(N, 4, 5) == 7, 3, y), progress=False)


def test_a_class_axis_that_is_none_is_refused():
    with pytest.raises(bl.errors.DataError, match="`class_axis` must be one of 'last', 'first'; received 1"):
        Categorical(class_axis=1)


def steps_of(x, y, weight):
    """Weights of one layer with a bias, N(0, 1) priors, noise 0.3; each step of each row is a row, in closed form."""
    design = torch.cat([x, torch.ones_like(x[..., :1])], -1).flatten(0, 1)
    rows = weight.repeat_interleave(x.shape[1]).unsqueeze(1)
    precision = design.T @ (rows * design) / 0.09 + torch.eye(design.shape[1], dtype=x.dtype)
    mean = torch.linalg.solve(precision, design.T @ (rows * y.flatten(0, 1)) / 0.09)
    return mean.T, precision


@pytest.mark.parametrize("weighted", [False, True])
def test_a_linear_regression_of_sequences_has_its_closed_form(build, weighted):
    model = bl.BayesianModel(build(lambda: bl.Linear(3, 2)).double(), Normal(0.3))
    x, y = randn(N, T, 3), randn(N, T, 2, seed=1)
    weight = torch.arange(1.0, N + 1).double() if weighted else torch.ones(N).double()
    result = bl.fit(model, x, y, sample_weight=weight if weighted else None, progress=False)
    assert (result.steps, result.step_mode) == (0, "none")
    mean, precision = steps_of(x, y, weight)
    source = result.posterior.source
    torch.testing.assert_close(source.mean()["weight"], mean[:, :-1])
    torch.testing.assert_close(source.mean()["bias"], mean[:, -1])
    scale = precision.diagonal().rsqrt()
    torch.testing.assert_close(source.moments()["weight"][1], scale[:-1].expand(2, 3))


def test_what_is_not_quadratic_takes_steps(build, monkeypatch):
    monkeypatch.setattr(budget, "_MAX_DRAWS", 4)
    model = bl.BayesianModel(bl.bayesianize(build(lambda: Recurrent(1)).double()), Normal(0.3))
    result = bl.fit(model, randn(N, T, 3), randn(N, T, seed=1), max_steps=3, particles=1, progress=False)
    assert result.steps == 3


@pytest.mark.slow
def test_nuts_on_a_sequence(build):
    """Against the closed form: the posterior of a linear regression whose rows are sequences."""
    model = bl.BayesianModel(build(lambda: bl.Linear(3, 1)).double(), Normal(0.3))
    x, y = randn(N, T, 3), randn(N, T, seed=1)
    with seeded(1):
        mcmc = MCMC(NUTS(model), num_samples=150, warmup_steps=100, disable_progbar=True)
        mcmc.run(x, y)
    mean, precision = steps_of(x, y.unsqueeze(-1), torch.ones(N).double())
    draws = mcmc.get_samples()
    error = precision.inverse().diagonal().sqrt() / 75**0.5  # half as many effective draws leave a margin
    found = torch.cat([draws["weight"].mean(0), draws["bias"].mean(0).unsqueeze(1)], 1)
    assert ((found - mean).abs() < 5 * error).all()
    assert bl.Posterior.from_samples(model, draws).predict(x, num_draws=20).mean.shape == (N, T)


@pytest.mark.slow
def test_a_refinement_on_a_sequence(build):
    """From the mean field, whose standard deviations are too small, to the closed form."""
    model = bl.BayesianModel(build(lambda: bl.Linear(3, 2)).double(), Normal(0.3))
    x, y = randn(N, T, 3), randn(N, T, 2, seed=1)
    posterior = bl.fit(model, x, y, progress=False).posterior
    draws = posterior.refine(x, y, iterations=60, num_chains=400, progress=False).sample(400)
    mean, precision = steps_of(x, y, torch.ones(N).double())
    std = precision.inverse().diagonal().sqrt()
    found = torch.cat([draws["weight"], draws["bias"].unsqueeze(-1)], -1)
    # chains are independent of each other: 5 standard errors of 400
    assert ((found.mean(0) - mean).abs() < 5 * std / 400**0.5).all()
    assert ((found.std(0) / std - 1).abs() < 5 / 800**0.5).all()
