"""Refinement against closed forms and quadrature, its diagnostics against plain ones, and what it must refuse."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.errors import DataError, FitWarning, ShapeError, SiteError, StorageError
from bayesian_layers.noise import seeded
from bayesian_layers.refinement import Refinement, effective_sample_size, nested_rhat
from bayesian_layers.refinement.hmc import State, StepSize, transition
from bayesian_layers.refinement.record import WITHIN_MODES

# Few chains and iterations, to be quick: what the record says of them is looked at elsewhere.
few = pytest.mark.filterwarnings("ignore::bayesian_layers.errors.FitWarning")
CHAINS = 1000
Z = 4.5  # standard errors: by chance in one of 100,000 comparisons


def data(inputs, n=40, noise=0.5, seed=0):
    """A linear rule with noise, double precision."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, generator=generator, dtype=torch.float64)
    x[:, -1] += x[:, 0]  # correlated inputs: what a mean-field guide cannot follow
    weights = torch.linspace(-1, 1.5, inputs, dtype=torch.float64)
    return x, x @ weights + noise * torch.randn(n, generator=generator, dtype=torch.float64)


def linear(build, inputs, noise, prior, **options):
    layer = build(lambda: bl.Linear(inputs, 1, prior=prior, dtype=torch.float64, **options))
    return bl.BayesianModel(layer, bl.likelihoods.Normal(noise))


def near(model, scale=0.1):
    """A posterior to refine: a guide that is not fitted at all, about the network's first values."""
    return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=scale))


def refine(posterior, x, y, iterations=24, num_chains=CHAINS, **options):
    options = {"leapfrog_steps": 5, "progress": False} | options
    return posterior.refine(x, y, iterations=iterations, num_chains=num_chains, **options)


def check_moments(draws, mean, covariance):
    """Means and covariances of independent Normal draws, (S, P), by z-tests."""
    size = len(draws)
    deviation = covariance.diag().sqrt()
    assert ((draws.mean(0) - mean).abs() < Z * deviation / size**0.5).all()
    error = ((deviation.outer(deviation)).square() + covariance.square()).div(size).sqrt()
    assert ((draws.T.cov() - covariance).abs() < Z * error).all()


def check_by_quadrature(draws, log_density, grid):
    """Mean and variance of draws of one number, (S,), whose log density is known on an even grid."""
    weight = (log_density - log_density.max()).exp()
    weight = weight / weight.sum()
    mean = (weight * grid).sum()
    second, fourth = ((weight * (grid - mean) ** power).sum() for power in (2, 4))
    size = len(draws)
    assert abs(draws.mean() - mean) < Z * (second / size).sqrt()
    assert abs(draws.var() - second) < Z * ((fourth - second**2) / size).sqrt()


def conjugate(x, y, noise, scale):
    precision = x.T @ x / noise**2 + torch.eye(x.shape[1], dtype=x.dtype) / scale**2
    return torch.linalg.solve(precision, x.T @ y / noise**2), torch.linalg.inv(precision)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mean field", "full rank", "stored draws"])
def test_a_linear_regression_gets_its_exact_posterior(build, family):
    x, y = data(3)
    model = linear(build, 3, 0.5, bl.priors.Normal(scale=2.0))
    posterior = near(model)
    if family == "full rank":
        posterior = bl.Posterior.from_guide(model, bl.guides.FullRankNormal(model, init_scale=0.1))
    if family == "stored draws":
        posterior = bl.Posterior.from_samples(model, posterior.sample(500))
    refined = refine(posterior, x, y)
    draws = refined.sample(CHAINS)
    flat = torch.cat([draws["weight"].flatten(1), draws["bias"]], 1)
    with_one = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    check_moments(flat, *conjugate(with_one, y, 0.5, 2.0))
    assert refined.refinement.warnings == (WITHIN_MODES,)


def test_a_noise_scale_gets_its_marginal(build):
    """Given the scale the weight is conjugate, so the scale's own posterior is one quadrature."""
    x, y = data(1, n=12)
    model = linear(build, 1, bl.priors.LogNormal(-0.5, 0.8), bl.priors.Normal(), bias=False)
    draws = refine(near(model), x, y).sample(CHAINS)
    grid = torch.linspace(-2.5, 1.5, 4001, dtype=torch.float64)
    covariance = torch.eye(12) * (2 * grid).exp()[:, None, None] + x @ x.T
    evidence = torch.distributions.MultivariateNormal(y.new_zeros(12), covariance).log_prob(y)
    prior = torch.distributions.Normal(-0.5, 0.8).log_prob(grid)  # of the logarithm: the Jacobian is in it
    check_by_quadrature(draws["noise_scale"].log(), evidence + prior, grid)
    assert (draws["noise_scale"] > 0).all()


def test_the_scale_of_a_prior_gets_its_marginal(build):
    x, y = data(4, n=10, noise=0.3)
    prior = bl.priors.HierarchicalNormal(0.2, scale=bl.priors.LogNormal(0.1, 0.7))
    model = linear(build, 4, 0.3, prior, bias=False)
    draws = refine(near(model), x, y, iterations=36).sample(CHAINS)
    grid = torch.linspace(-3, 4, 4001, dtype=torch.float64)
    covariance = torch.eye(10) * 0.09 + (2 * grid).exp()[:, None, None] * (x @ x.T)
    evidence = torch.distributions.MultivariateNormal(x.sum(1) * 0.2, covariance).log_prob(y)
    log_density = evidence + torch.distributions.Normal(0.1, 0.7).log_prob(grid)
    check_by_quadrature(draws["weight.prior_scale"].log(), log_density, grid)


def test_point_estimates_stay_where_the_fit_left_them(build):
    """A learned scale of a prior is one: the weights get the posterior that it gives them."""
    x, y = data(2)
    model = linear(build, 2, 0.5, bl.priors.Normal(scale="learned"), bias_prior=None)
    posterior = near(model)
    with torch.no_grad():
        posterior.source.point.copy_(torch.tensor([0.3, -0.4]).log().nan_to_num(nan=-0.4))
    before = posterior.mean_function()(x[:0]), posterior.source.mean()
    draws = refine(posterior, x, y).sample(CHAINS)
    scale, bias = before[1]["weight.prior_scale"], before[1]["bias"]
    assert (draws["weight.prior_scale"] == scale).all()
    assert (draws["bias"] == bias).all()
    check_moments(draws["weight"].flatten(1), *conjugate(x, y - bias, 0.5, float(scale)))


@few
def test_iterations_are_reproducible_and_nobodys_random_state_matters(build):
    x, y = data(2)
    posterior = near(linear(build, 2, 0.5, bl.priors.Normal()))
    first = refine(posterior, x, y, iterations=3, num_chains=20, seed=5)
    with seeded(77):
        again = refine(posterior, x, y, iterations=3, num_chains=20, seed=5)
    other = refine(posterior, x, y, iterations=3, num_chains=20, seed=6)
    one, two, three = (each.source.samples["weight"] for each in (first, again, other))
    assert torch.equal(one, two)
    assert not torch.isclose(one, three).any()


def test_chains_begin_at_the_draws_of_the_posterior(build):
    """A step so long that nothing is accepted leaves every chain at its start."""
    x, y = data(2, n=4000)
    posterior = near(linear(build, 2, 1e-3, bl.priors.Normal()), scale=1.0)
    with pytest.warns(FitWarning) as said:
        refined = refine(posterior, x, y, iterations=1, num_chains=20, seed=3)
    assert torch.equal(refined.source.samples["weight"], posterior.sample(20, seed=3)["weight"])
    assert refined.refinement.divergent == 1.0
    assert [str(each.message) for each in said] == list(refined.refinement.warnings[1:])
    assert any("acceptance is 0.00" in text for text in refined.refinement.warnings)


def standard_normal(position):
    return -0.5 * position.square().sum(1), -position


def normal_with_holes(position):
    """What a standard Normal is, but not a number (or infinite) where the first entry is beyond 1."""
    value, gradient = standard_normal(position)
    hole = position[:, 0] > 1
    value = torch.where(hole, torch.where(position[:, 1] > 0, math.nan, math.inf), value)
    return value, torch.where(hole.unsqueeze(1), math.nan, gradient)


def test_a_chain_that_meets_nan_is_rejected_and_harms_no_other():
    start = 0.1 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    moved = {}
    for name, density in (("whole", standard_normal), ("holes", normal_with_holes)):
        generator = torch.Generator().manual_seed(1)
        state = State.at(density, start)
        moved[name] = transition(density, state, 0.4, torch.ones(3), leapfrog_steps=4, generator=generator)
    positions = {name: each.state.position for name, each in moved.items()}
    lost = (moved["holes"].acceptance == 0) & (moved["whole"].acceptance > 0)
    assert 20 < lost.sum() < 480
    assert lost.sum() == moved["holes"].divergent
    assert torch.equal(positions["holes"][lost], start[lost])
    assert torch.equal(positions["holes"][~lost], positions["whole"][~lost])
    assert all(part.isfinite().all() for part in vars(moved["holes"].state).values())


def test_the_acceptance_is_that_of_the_leapfrog_integrator_by_hand():
    start = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    scale, step, steps = torch.tensor([0.5, 2.0], dtype=torch.float64), 0.7, 3
    moved = transition(
        standard_normal, State.at(standard_normal, start), step, scale,
        leapfrog_steps=steps, generator=torch.Generator().manual_seed(4),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(4)
    momentum = torch.randn(1, 2, generator=generator, dtype=torch.float64).numpy()
    jitter = 1 + 0.3 * (2 * float(torch.rand(1, 2, generator=generator, dtype=torch.float64)[0, 0]) - 1)
    u, s, e = start.numpy(), scale.numpy(), step * jitter
    p = momentum  # of the coordinates u / s, whose masses are 1
    for _ in range(steps):
        p = p - e / 2 * s * u
        u = u + e * s * p
        p = p - e / 2 * s * u
    energy = 0.5 * float((u**2).sum() + (p**2).sum())
    before = 0.5 * float((start.numpy() ** 2).sum() + (momentum**2).sum())
    assert float(moved.acceptance) == pytest.approx(min(1.0, math.exp(before - energy)), rel=1e-12)


@pytest.mark.parametrize("first", [1e-3, 1.0, 30.0])
def test_the_step_size_finds_the_acceptance(first):
    state = State.at(standard_normal, torch.randn(1000, 20, generator=torch.Generator().manual_seed(0)))
    step, generator = StepSize(first), torch.Generator().manual_seed(1)
    accepted = []
    for i in range(80):
        moved = transition(
            standard_normal, state, step.value, torch.ones(20), leapfrog_steps=2, generator=generator
        )
        state = moved.state
        if i < 60:
            step.update(float(moved.acceptance.mean()))
        else:
            step.finalize()
            accepted.append(float(moved.acceptance.mean()))
    assert 0.7 < np.mean(accepted[1:]) < 0.9


def plain_nested_rhat(start, end, superchains):
    size = len(start) // superchains
    order = np.argsort(start, kind="stable")
    groups = [end[order[k * size : (k + 1) * size]] for k in range(superchains)]
    means = [group.mean() for group in groups]
    between = sum((m - np.mean(means)) ** 2 for m in means) / (superchains - 1)
    within = np.mean([((group - group.mean()) ** 2).sum() / (size - 1) for group in groups])
    return math.sqrt(1 + between / within)


def test_nested_rhat_is_that_of_its_definition():
    generator = np.random.default_rng(0)
    start = generator.normal(size=(100, 3))
    end = np.array([0.0, 0.5, 1.0]) * start + generator.normal(size=(100, 3))
    found = nested_rhat(torch.from_numpy(start), torch.from_numpy(end))
    assert found.tolist() == pytest.approx([plain_nested_rhat(start[:, j], end[:, j], 10) for j in range(3)])


def test_nested_rhat_tells_chains_that_forgot_from_chains_that_did_not():
    generator = torch.Generator().manual_seed(0)
    start, fresh = (torch.randn(1000, 50, generator=generator) for _ in range(2))
    forgot, halfway, stuck = (nested_rhat(start, a * start + (1 - a**2) ** 0.5 * fresh) for a in (0, 0.5, 1))
    assert forgot.max() < 1.04
    assert 1.1 < halfway.min() < halfway.max() < 1.3
    assert stuck.min() > 3
    assert nested_rhat(start, torch.ones(1000, 50)).tolist() == [1.0] * 50
    assert nested_rhat(start[:15], fresh[:15]).isnan().all()


@pytest.mark.parametrize("phi", [0.0, 0.6, 0.9])
def test_effective_sample_size_is_that_of_an_autoregression(phi):
    """Whose autocorrelations are the powers of phi; 2000 chains know the sum to a few per cent."""
    length, chains, columns = 12, 2000, 3
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(chains, columns, generator=generator)]
    for _ in range(length - 1):
        fresh = torch.randn(chains, columns, generator=generator)
        states.append(phi * states[-1] + (1 - phi**2) ** 0.5 * fresh)
    lag = np.arange(1, length)
    exact = length * chains / (1 + 2 * ((1 - lag / length) * phi**lag).sum())
    assert effective_sample_size(torch.stack(states)).numpy() == pytest.approx(exact, rel=0.15)


def test_chains_that_do_not_move_count_for_one_draw_each():
    still = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).expand(9, -1, -1)
    assert effective_sample_size(still).numpy() == pytest.approx(200, rel=1e-6)
    assert effective_sample_size(torch.ones(9, 200, 1)).tolist() == [1800.0]


def classifier(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 4), nn.Tanh(), bl.Linear(4, 1)))
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


@few
def test_seconds_end_it_and_the_record_says_how_far_it_came(build):
    posterior = near(classifier(build))
    x, y = bl.datasets.parabola(50)
    refined = posterior.refine(x, y, seconds=1.5, num_chains=50, progress=False)
    record = refined.refinement
    assert record.iterations > 3
    assert record.num_chains == 50
    assert record.leapfrog_steps == 8
    assert record.seconds < 5  # of the wall, and another process may be on the processor
    assert f"refined by {record.iterations} iterations of 50 chains" in repr(refined)
    assert refined.describe_fit() == record.describe()


@few
def test_a_file_keeps_the_record(build, tmp_path):
    refined = refine(near(classifier(build)), *bl.datasets.parabola(30), iterations=12, num_chains=40)
    refined.save(tmp_path / "folder")
    loaded = bl.load(tmp_path / "folder")
    assert loaded.refinement == refined.refinement
    assert torch.equal(loaded.sample(40)["0.weight"], refined.sample(40)["0.weight"])
    assert "refined by 12 iterations" in repr(loaded)
    near(classifier(build)).save(tmp_path / "folder")
    assert bl.load(tmp_path / "folder").refinement is None


@few
def test_a_refined_posterior_goes_where_others_go(build):
    x, y = bl.datasets.parabola(30)
    refined = refine(near(classifier(build)), x, y, iterations=12, num_chains=40)
    assert refined.predict(x).mean.shape == (30,)
    again = refine(refined, x, y, iterations=12, num_chains=40)
    assert again.refinement.num_chains == 40
    assert not torch.equal(again.source.samples["0.weight"], refined.source.samples["0.weight"])


@few
def test_each_member_of_an_ensemble_is_refined_where_it_is(build):
    model = classifier(build)
    guide = bl.guides.Ensemble(model, members=3)
    refined = refine(
        bl.Posterior.from_guide(model, guide), *bl.datasets.parabola(30), iterations=12, num_chains=48
    )
    assert all(value.isfinite().all() for value in refined.source.samples.values())


@pytest.mark.slow
@few
def test_several_outputs_and_several_rows_of_chains(build, monkeypatch):
    """Chains are evaluated in groups that fit into memory, whatever their size with the same result."""
    x, _ = data(2)
    y = torch.arange(40) % 3
    network = build(lambda: bl.Linear(2, 3, dtype=torch.float64))
    posterior = near(bl.BayesianModel(network, bl.likelihoods.Categorical()))
    whole = refine(posterior, x, y, iterations=10, num_chains=30)
    monkeypatch.setattr("bayesian_layers.refinement.target._NUMBERS", 7 * 40 * 3)
    parts = refine(posterior, x, y, iterations=10, num_chains=30)
    torch.testing.assert_close(whole.source.samples, parts.source.samples, rtol=1e-9, atol=1e-9)


@few
def test_it_says_that_the_fit_was_tempered(build):
    model = classifier(build)
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model), kl_weight=0.1)
    refined = refine(posterior, *bl.datasets.parabola(30), iterations=12, num_chains=40)
    assert any("TEMPERED (KL weight 0.1)" in text for text in refined.refinement.warnings)
    assert refined.kl_weight == 1.0


FACTS = {
    "iterations": 9, "seconds": 1.0, "num_chains": 1000, "leapfrog_steps": 8, "step_size": 0.2, "acceptance": 0.8,
    "rhat": 1.02, "weights_rhat": 1.03, "effective_sample_size": 2000.0, "divergent": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"rhat": 1.2}, "outputs still depend on where the chains started"),
        ({"rhat": None, "weights_rhat": None, "num_chains": 8}, "8 chains are too few"),
        ({"weights_rhat": 1.2}, "single weights still depend"),
        (
            {"weights_rhat": 1.2},
            "outputs at the rows compared, up to 16 of the data, do not; at other inputs they may",
        ),
        ({"acceptance": 0.3}, "acceptance is 0.30"),
        ({"acceptance": 0.99}, "acceptance is 0.99"),
        ({"effective_sample_size": 50.0, "num_chains": 20}, "effective sample size is 50"),
        ({"effective_sample_size": 1010.0}, "hardly moved"),
        ({"divergent": 0.05}, "5 % of the transitions diverged"),
    ],
)
def test_the_record_says_what_is_wrong(changed, said):
    record = Refinement.with_warnings(**FACTS | changed)
    assert record.warnings[0] == WITHIN_MODES
    assert [said in text for text in record.warnings[1:]] == ([] if said is None else [True])
    assert ("PROBLEM" in record.describe()) == (said is not None)


@pytest.mark.parametrize(
    "changed",
    [{"iterations": 0}, {"iterations": 1.5}, {"num_chains": True}, {"seconds": math.nan}, {"acceptance": 1.1},
     {"divergent": -0.1}, {"rhat": "1"}, {"step_size": math.inf}, {"acceptance": None}, {"warnings": ["a list"]}],
)  # fmt: skip
def test_a_record_with_impossible_numbers_cannot_be_made(changed):
    with pytest.raises(DataError):
        Refinement(**FACTS | changed)


@pytest.mark.parametrize(
    "changed", [{"iterations": -1}, {"acceptance": 7}, {"warnings": [3]}, {"more": 1}, {"num_chains": 1}]
)
def test_a_damaged_record_is_refused(build, tmp_path, changed):
    document = json.loads(json.dumps(Refinement.with_warnings(**FACTS).spec()))
    assert Refinement.from_spec(document) == Refinement.with_warnings(**FACTS)
    with pytest.raises(StorageError):
        Refinement.from_spec(document | changed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"seconds": 1.0, "iterations": 2}, {"iterations": 0}, {"iterations": 2.0}, {"seconds": 0}, {"seconds": math.inf},
     {"num_chains": 1}, {"seed": -1}, {"leapfrog_steps": 0}, {"num_chains": True}],
)  # fmt: skip
def test_wrong_numbers_are_refused(build, options):
    with pytest.raises(DataError):
        near(classifier(build)).refine(*bl.datasets.parabola(10), progress=False, **options)


def test_wrong_data_are_refused(build):
    posterior = near(classifier(build))
    x, y = bl.datasets.parabola(10)
    with pytest.raises(ShapeError, match=r"\(10"):
        refine(posterior, x, y[:9], iterations=1)
    with pytest.raises(ShapeError, match="squeeze"):
        refine(posterior, x, y.unsqueeze(1), iterations=1)
    with pytest.raises(TypeError, match="torch tensor"):
        refine(posterior, x, y.numpy(), iterations=1)
    with pytest.raises(DataError):
        refine(posterior, x, y + 0.5, iterations=1)
    with pytest.raises(DataError, match="NaN"):
        refine(posterior, x * math.nan, y, iterations=1)


def test_models_without_a_posterior_are_refused(build):
    x, y = bl.datasets.parabola(10)
    points = build(lambda: bl.Linear(2, 1, prior=None, bias_prior=None))
    bare = build(lambda: nn.Linear(2, 1))
    for network, likelihood, said in (
        (points, None, "no likelihood"),
        (bare, bl.likelihoods.Bernoulli(), "no par"),
    ):
        model = bl.BayesianModel(network, likelihood)
        with pytest.raises(SiteError, match=said):
            refine(near(model), x, y, iterations=1)


def test_inference_mode_is_refused_but_not_what_was_made_in_it(build):
    model = build(lambda: bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli()))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=1.0))
    x, y = bl.datasets.parabola(30)
    with torch.inference_mode():
        made = x.clone(), y.clone()
        with pytest.raises(
            DataError, match=r"`refine` needs gradients: call it outside of torch\.inference_mode"
        ):
            posterior.refine(x, y, progress=False)
    ours, theirs = (
        posterior.refine(*data, iterations=10, num_chains=100, progress=False) for data in (made, (x, y))
    )
    assert torch.equal(ours.sample(100)["weight"], theirs.sample(100)["weight"])
