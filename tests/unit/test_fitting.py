import copy
import logging
import math
import time

import numpy as np
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from torch import nn

import bayesian_layers as bl
from bayesian_layers.fitting.evaluation import estimate_elbo
from bayesian_layers.fitting.schedule import choose, choose_particles, choose_rate, draws_are_cheap
from bayesian_layers.fitting.stepping.optimizer import clipped
from bayesian_layers.fitting.stepping.work import row_work
from bayesian_layers.noise import PairedNoise
from substitute import Substitute
from unusual_tensors import nested

X, Y = bl.datasets.parabola(60)


@pytest.fixture
def model(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 4, bias_prior=None), nn.Tanh(), bl.Linear(4, 1)))
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


def quick(model, **options):
    return bl.fit(model, X, Y, progress=False, **{"max_steps": 20, **options})


def test_the_result_describes_the_fit(model):
    result = quick(model)
    assert result.history.shape == (20,)
    assert result.steps == 20
    assert result.seconds > 0
    assert result.objective == pytest.approx(-result.elbo)
    assert "ELBO" in str(result)
    assert not result.converged
    assert "NOT CONVERGED" in str(result)
    assert "to continue" in result.warnings[-1]
    assert result.step_mode == "captured"
    assert result.log_weights.shape == (4096,)
    assert "TEMPERED" not in str(result)


def test_the_elbo_of_the_result_is_that_of_its_posterior(model):
    result = quick(model)
    again = estimate_elbo(result.posterior.model, result.posterior.source, X, Y, num_draws=4096, seed=99)
    assert abs(again[0] - result.elbo) < 4 * math.hypot(again[1], result.elbo_stderr)


@pytest.mark.slow
def test_default_fit_of_the_article_reaches_its_optimum(build):
    """The best mean-field ELBO known for N(0, 1) on all 41 is -64.73."""
    network = build(lambda: nn.Sequential(bl.Linear(2, 10), nn.Tanh(), bl.Linear(10, 1)))
    x, y = bl.datasets.parabola()
    result = bl.fit(bl.BayesianModel(network, bl.likelihoods.Bernoulli()), x, y, progress=False)
    assert result.converged
    assert result.gap + 2 * result.gap_stderr < result.tolerance < 0.12
    assert "\nconverged" in str(result)
    assert 0.5 < result.k_hat < 3
    elbo, error = estimate_elbo(
        result.posterior.model, result.posterior.source, x, y, num_draws=20_000, seed=5
    )
    assert elbo > -64.93 - 2 * error


def test_same_seed_same_fit_and_other_seed_another(model):
    first, second, other = quick(model), quick(model), quick(model, seed=1)
    np.testing.assert_array_equal(first.history, second.history)
    assert torch.equal(first.posterior.source.loc, second.posterior.source.loc)
    assert not torch.equal(first.posterior.source.loc, other.posterior.source.loc)


def test_network_and_model_are_never_written_to(build):
    network = build(
        lambda: nn.Sequential(bl.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.1), bl.Linear(4, 1))
    )
    build(lambda: network(X))  # statistics that are not those of a new layer
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    before = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    quick(model)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_new_batch_norm_earns_a_warning(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 4), nn.BatchNorm1d(4), bl.Linear(4, 1)))
    with pytest.warns(bl.errors.FitWarning, match="running statistics of .'1'."):
        result = quick(bl.BayesianModel(network, bl.likelihoods.Bernoulli()))
    assert "running statistics" in str(result)


def test_the_given_guide_is_trained_in_place_from_its_present_state(model):
    guide = bl.guides.MeanFieldNormal(model)
    start = guide.loc.detach().clone()
    first = quick(model, guide=guide)
    middle = guide.loc.detach().clone()
    assert not torch.equal(middle, start)
    assert guide.loc.grad is None
    quick(model, guide=guide)
    assert not torch.equal(guide.loc, middle)
    assert torch.equal(first.posterior.source.loc, middle)


def test_dropout_follows_the_mode_of_the_network(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 8), nn.Dropout(0.9), bl.Linear(8, 1)))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    training = quick(model).history
    network.eval()
    assert not np.array_equal(quick(model).history, training)


@pytest.mark.slow
def test_the_elbo_does_not_depend_on_the_batch_size(model):
    full = quick(model, max_steps=None)
    batched = quick(model, max_steps=None, batch_size=25)
    assert full.converged
    assert batched.converged
    assert abs(full.elbo - batched.elbo) < 1.0 + 4 * math.hypot(full.elbo_stderr, batched.elbo_stderr)


def test_num_data_larger_than_the_data(model):
    guide = bl.guides.MeanFieldNormal(model)
    one = quick(model, guide=copy.deepcopy(guide), max_steps=1, learning_rate=1e-9)
    ten = quick(model, guide=copy.deepcopy(guide), max_steps=1, learning_rate=1e-9, num_data=600)
    kl = float(sum(guide.kl_divergence(model).values()).detach())
    assert ten.elbo + kl == pytest.approx(10 * (one.elbo + kl), rel=1e-4)


def test_a_parameter_that_the_network_does_not_use(build):
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = bl.Linear(2, 1, bias=False), nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.used(x)

    posterior = quick(bl.BayesianModel(build(Spare), bl.likelihoods.Bernoulli())).posterior
    assert torch.equal(posterior.source.point, torch.ones(2))


@pytest.mark.filterwarnings("ignore:Encountered NaN")  # Pyro's own, in addition to our error
def test_divergence_is_an_error_with_step_and_objective(model):
    guide = bl.guides.MeanFieldNormal(model)
    with pytest.raises(bl.errors.DivergenceError, match="learning_rate") as caught:
        quick(model, guide=guide, learning_rate=1e30)
    assert guide.loc.isfinite().all()
    assert 0 < caught.value.step < 20
    assert not math.isfinite(caught.value.neg_elbo)


def test_a_divergence_at_the_default_rate_restarts_with_a_smaller_one(build):
    """The likelihood overflows as soon as the weights leave a small region: it is an exponential of an exponential."""

    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = bl.Linear(2, 1, bias=False)

        def forward(self, x):
            return self.layer(x).mul(4000).exp()

    x = X[:, :2] / X.abs().max()
    model = bl.BayesianModel(build(Steep), bl.likelihoods.Normal(1.0))
    with torch.no_grad():
        model.network.layer.weight.fill_(-0.1)
    guide = bl.guides.MeanFieldNormal(model, init_scale=1e-3)
    with pytest.warns(bl.errors.FitWarning, match="restarted"):
        result = bl.fit(model, x.abs(), torch.ones(60), guide=guide, max_steps=30, progress=False)
    assert math.isfinite(result.elbo)


@pytest.mark.parametrize(
    ("x", "y", "error", "text"),
    [
        (
            X,
            Y[:, None],
            bl.errors.ShapeError,
            r"must have shape \(60,\); received \(60, 1\)\. Use y\.squeeze",
        ),
        (X, Y[:-1], bl.errors.ShapeError, "`x` has 60 rows"),
        (X, Y + 1, bl.errors.DataError, "0 or 1"),
        (X.log(), Y, bl.errors.DataError, "NaN or infinite"),
        (X.numpy(), Y, TypeError, "`x` must be a torch tensor; received ndarray. Use torch.as_tensor"),
        (X.tolist(), Y, TypeError, "`x` must be a torch tensor; received list. Use torch.as_tensor"),
        (list(X), Y, TypeError, "Use torch.stack for rows, or a tuple for several inputs"),
        (X, Y.numpy(), TypeError, "`y` must be a torch tensor; received ndarray. Use torch.as_tensor"),
        (X, Y.tolist(), TypeError, "`y` must be a torch tensor; received list. Use torch.as_tensor"),
        (X, None, bl.errors.DataError, "`y` is missing"),
        (X[:0], Y[:0], bl.errors.ShapeError, "at least one row"),
    ],
)
def test_wrong_data_is_refused_before_the_first_step(model, x, y, error, text):
    with pytest.raises(error, match=text):
        bl.fit(model, x, y, progress=False)


NESTED = nested(X, X[:2])
FLOATING = r"`x` must be floating point, as the network needs; received torch.%s, .*Pass x\.float\(\)\."


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (X.long(), FLOATING % "int64"),
        (X > 0, FLOATING % "bool"),
        (X.to(torch.uint8), FLOATING % "uint8"),
        (X.to(torch.complex64), "must be a tensor of real numbers"),
        (X.to_sparse(), "must be a dense tensor"),
        (X.to("meta"), "must be a tensor with values"),
        (X.to(torch.float8_e4m3fn), "must be a tensor of 16 bits or more"),
        (NESTED, "must be a dense tensor; received a nested tensor"),
        (
            torch.ones(60, 3),
            r"the network must accept the inputs; with `x` of shape \(N, 3\), torch.float32, it",
        ),
        ((X, X), r"with `x\[0\]` of shape .*, `x\[1\]` of shape .*, it raised: .*positional arguments"),
    ],
    ids=["int", "bool", "uint8", "complex", "sparse", "meta", "float8", "nested", "width", "tuple"],
)
def test_inputs_that_the_network_does_not_take_are_refused_in_one_sentence(model, x, text):
    for data in ((x, Y), ([(x, Y)], None)):
        with pytest.raises(bl.errors.DataError, match=text) as caught:
            bl.fit(model, *data, progress=False)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "y", [Y.cfloat(), Y.to_sparse(), Y.to("meta"), Y.to(torch.float8_e5m2), NESTED], ids=str
)
def test_targets_are_dense_and_real(model, y):
    for data in ((X, y), ([(X, y)], None)):
        with pytest.raises(bl.errors.DataError, match="`y` must be"):
            bl.fit(model, *data, progress=False)


def test_the_context_of_the_caller_changes_no_number(model):
    expected = quick(model)
    for context in (torch.no_grad(), torch.autocast("cpu", torch.bfloat16)):
        with context:
            np.testing.assert_array_equal(quick(model).history, expected.history)
    with torch.inference_mode():
        x, y, guide = X.clone(), Y.clone(), bl.guides.MeanFieldNormal(model)
        with pytest.raises(bl.errors.DataError, match=r"outside of torch\.inference_mode"):
            quick(model)
    ours = bl.fit(model, x, y, max_steps=20, progress=False)
    np.testing.assert_array_equal(ours.history, expected.history)
    with pytest.raises(bl.errors.DataError, match="`guide` cannot be trained: make it outside of"):
        quick(model, guide=guide)


def test_integers_of_numpy_are_integers(model):
    options = {"seed": 3, "particles": 4, "max_steps": 20, "batch_size": 25}
    one, two = quick(model, **options), quick(model, **{k: np.int64(v) for k, v in options.items()})
    np.testing.assert_array_equal(one.history, two.history)


@pytest.mark.parametrize("guide", ["mean", bl.guides.MeanFieldNormal, 3])
def test_a_guide_is_one_of_the_librarys(model, guide):
    with pytest.raises(TypeError, match=r"`guide` must be one of bl\.guides, such as .* received"):
        quick(model, guide=guide)


@pytest.mark.parametrize(
    "options",
    [
        {"particles": 0},
        {"max_steps": 2.5},
        {"learning_rate": -1.0},
        {"batch_size": 0},
        {"learning_rate": "0.1"},
        {"kl_weight": -0.1},
        {"kl_weight": "0.1"},
        {"kl_weight": None},
        {"kl_weight": {"0.weight": None}},
        {"num_data": 3},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": 2**63 - 1},
        {"seed": 2**64},
        {"compile": "fast"},
        {"estimator": "fast"},
    ],
)
def test_wrong_settings_are_refused(model, options):
    with pytest.raises(bl.errors.DataError):
        quick(model, **options)


def test_wrong_sites_are_refused(model, build):
    with pytest.raises(bl.errors.SiteError, match="not latent sites"):
        quick(model, kl_weight={"0.weights": 0.1})
    other = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Bernoulli())
    with pytest.raises(bl.errors.SiteError, match="another model"):
        quick(model, guide=bl.guides.MeanFieldNormal(other))
    with pytest.raises(bl.errors.SiteError, match="no likelihood"):
        quick(bl.BayesianModel(build(lambda: bl.Linear(2, 1))))


@pytest.mark.parametrize(
    ("x", "y", "text"),
    [
        (X * 1000, X[:, 0], "values up to"),
        (X * 1e-4, X[:, 0], "of 0"),
        (X + torch.tensor([20.0, 0.0]), X[:, 0], "ten times"),
        (X, X[:, 0] * 1e5, "`y` is far"),
    ],
)
def test_data_far_from_unit_scale_earn_a_warning(build, x, y, text):
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1)), bl.likelihoods.Normal())
    with pytest.warns(bl.errors.FitWarning, match=text):
        result = bl.fit(model, x, y, max_steps=2, progress=False)
    assert len([text for text in result.warnings if "unit scale" in text]) == 1
    assert "warning:" in str(result)


@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.FitWarning")  # read off the result
@pytest.mark.parametrize(("factor", "warned"), [(1.0, 0), (1e4, 1)])
def test_images_are_judged_as_a_whole(build, factor, warned):
    """A single pixel that hardly changes does not make the images off scale."""
    images = torch.randn(12, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    images[..., 0, 0] = 1 + 0.01 * images[..., 0, 0]
    model = bl.BayesianModel(
        build(lambda: nn.Sequential(nn.Flatten(), bl.Linear(4, 1))), bl.likelihoods.Normal()
    )
    result = bl.fit(model, factor * images, X[:12, 0], max_steps=2, progress=False)
    assert len([text for text in result.warnings if "unit scale" in text]) == warned


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.float64])
def test_labels_may_have_any_type(model, dtype):
    expected, ours = quick(model), bl.fit(model, X, Y.to(dtype), max_steps=20, progress=False)
    np.testing.assert_array_equal(ours.history, expected.history)
    assert ours.elbo == expected.elbo


def test_a_network_without_priors_earns_a_warning(build):
    with pytest.warns(bl.errors.FitWarning, match="maximum likelihood"):
        result = quick(bl.BayesianModel(build(lambda: nn.Linear(2, 1)), bl.likelihoods.Bernoulli()))
    assert float(result.posterior.predict(X).epistemic_std.max()) < 1e-6


def test_a_bare_network_is_refused(build):
    network = build(lambda: bl.Linear(2, 1))
    for wrong in (
        lambda: quick(network),
        lambda: bl.guides.MeanFieldNormal(network),
        lambda: bl.BayesianModel(network, "bernoulli"),
        lambda: bl.BayesianModel(lambda x: x),
    ):
        with pytest.raises(TypeError, match="received"):
            wrong()


def test_the_progress_bar_shows_the_elbo(model, capsys):
    bl.fit(model, X, Y, max_steps=20)
    assert "ELBO -" in capsys.readouterr().err
    quick(model)
    assert capsys.readouterr().err == ""


def test_stages_each_fall_to_zero_on_half_a_cosine():
    schedule = choose(1, particles=4, max_steps=None, learning_rate=0.3)
    first, later = schedule.first_steps, schedule.later_steps
    assert schedule.rate(0) == 0.3
    assert schedule.rate(first // 2) == pytest.approx(0.15)
    assert schedule.rate(first - 1) < 1e-4
    assert schedule.rate(first) == schedule.rate(first + later) == pytest.approx(0.1)
    assert schedule.stage(first + later + 3) == (first + later, first + 2 * later)


def test_the_schedule_of_few_steps_and_of_few_particles():
    short = choose(1, particles=4, max_steps=20, learning_rate=0.03)
    assert (short.first_steps, short.later_steps, short.max_steps) == (14, 6, 20)
    assert short.stage(19) == (14, 20)
    one, many = (choose(1, particles=s, max_steps=None, learning_rate=0.12) for s in (1, 16))
    assert one.first_steps == 2 * many.first_steps


def test_the_learning_rate_falls_with_the_width_and_is_bounded_in_deep_networks():
    assert choose_rate(10, 2) == pytest.approx(10 * choose_rate(100, 2))
    assert choose_rate(10, 3) == 0.03
    assert choose_rate(100, 3) == choose_rate(100, 2) < 0.03


def test_draws_are_as_many_as_cost_little_or_as_rows_with_their_own_noise_need():
    assert [choose_particles(200, size, by_rows=False) for size in (41, 2000, 30_000)] == [16, 4, 1]
    assert [choose_particles(rows, 500, by_rows=True) for rows in (10, 200, 512, 5000)] == [16, 4, 1, 1]
    assert choose_particles(200, 41, by_rows=False, multiple=6) == 18
    assert draws_are_cheap(200, 41)
    assert not draws_are_cheap(200, 2000)


def test_a_fit_takes_no_step_after_its_time(model, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    with pytest.warns(bl.errors.ConvergenceWarning):
        result = bl.fit(model, X, Y, max_seconds=30.0, progress=False)
    assert 0 < result.steps <= 30
    assert math.isfinite(result.elbo)


def test_only_gradients_far_longer_than_those_before_are_shortened():
    before, count = torch.tensor([9.0, 16.0]), torch.tensor(5000.0)  # mean squares: a usual length of 5
    usual, long = torch.tensor([6.0, -8.0]), torch.tensor([300.0, -400.0])
    assert torch.allclose(clipped(usual, before, count), usual)
    assert torch.allclose(clipped(long, before, count), torch.tensor([6.0, -8.0]))
    assert torch.equal(clipped(long, torch.zeros(2), torch.tensor(1.0)), long)
    early = before * (1 - 0.99**4)  # after 4 steps the averages are not full yet
    assert torch.allclose(clipped(long, early, torch.tensor(5.0)), torch.tensor([6.0, -8.0]))


def test_a_step_is_adam_on_the_elbo_of_pyro(model):
    """One eager step equals torch's own Adam on the gradient of Pyro's ELBO, on the same draws."""
    guide = bl.guides.MeanFieldNormal(model)
    twin = copy.deepcopy(guide)
    bl.fit(model, X, Y, guide=guide, max_steps=1, learning_rate=0.1, compile="eager", progress=False)
    noise = PairedNoise(len(twin.loc), 0, 16, dtype=torch.float32).at(0)[0]
    elbo = TraceMeanField_ELBO(num_particles=16, vectorize_particles=True, max_plate_nesting=1)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.1, betas=(0.9, 0.99))
    with Substitute(twin.transform(noise)):
        elbo(model, twin)(X, Y).backward()
    optimizer.step()
    for name, value in guide.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 25}, {"estimator": "local"}, {"estimator": "flipout"}]
)
def test_a_captured_step_is_the_eager_one(model, options):
    eager, captured = (quick(model, compile=mode, **options) for mode in ("eager", "captured"))
    assert (eager.step_mode, captured.step_mode) == ("eager", "captured")
    np.testing.assert_allclose(captured.history, eager.history, rtol=1e-4)


def test_a_step_that_cannot_be_captured_runs_eagerly_and_logs_why(build, caplog):
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = bl.Linear(2, 1)

        def forward(self, x):
            return self.layer(x) if float(x.sum()) > -1e9 else -self.layer(x)

    caplog.set_level(logging.INFO, logger="bayesian_layers")
    result = quick(bl.BayesianModel(build(Looks), bl.likelihoods.Bernoulli()))
    assert result.step_mode == "eager"
    assert "reads the values" in caplog.text


def test_a_captured_step_that_is_wrong_on_other_inputs_is_not_used(build, caplog):
    """The network has state in Python that changes from call to call, which no capture sees."""

    class Baked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = bl.Linear(2, 1), 0

        def forward(self, x):
            self.calls += 1
            return self.layer(x) * self.calls

    caplog.set_level(logging.INFO, logger="bayesian_layers")
    model = bl.BayesianModel(build(Baked), bl.likelihoods.Normal(1.0))
    result = bl.fit(model, X, X[:, 0], max_steps=20, progress=False)
    assert result.step_mode == "eager"
    assert "other numbers" in caplog.text


def test_sample_weights_count_rows_as_often(model):
    weight = torch.ones(60)
    weight[:20], weight[50:] = 2.0, 0.0
    x, y = torch.cat([X[:20], X[:50]]), torch.cat([Y[:20], Y[:50]])
    weighted = quick(model, sample_weight=weight, max_steps=None)
    assert weighted.total_weight == 70.0
    assert "rows weighted: the sample weights sum to 70\n" in f"{weighted}\n"
    repeated = bl.fit(model, x, y, progress=False)
    assert repeated.total_weight is None
    assert "weighted" not in str(repeated)
    assert abs(weighted.elbo - repeated.elbo) < 0.1 + 4 * math.hypot(
        weighted.elbo_stderr, repeated.elbo_stderr
    )


def test_validation_data_are_followed(model, capsys):
    x, y = bl.datasets.parabola(300, seed=7)
    result = bl.fit(model, X, Y, validation=(x, y), max_steps=60)
    steps, values = result.validation.T
    assert len(steps) >= 10
    assert (np.diff(steps) > 0).all()
    draws = result.posterior.sample(2000, seed=1)
    log_p = bl.model.log_likelihood(result.posterior.model, draws, x, y).double()
    assert values[-1] == pytest.approx(float((log_p.logsumexp(0) - math.log(2000)).mean()), abs=0.03)
    assert len(set(values)) > 5
    assert "validation -" in capsys.readouterr().err


def test_a_callback_can_end_the_fit(model):
    seen = []

    def enough(progress):
        seen.append(progress)
        return progress.step == 7

    result = quick(model, callbacks=[enough, lambda _: None])
    assert result.steps == len(seen) == 7
    assert seen[-1].objective == result.history[-1]
    assert math.isnan(seen[-1].validation)
    assert not result.converged


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LowRankNormal", "FullRankNormal"])
def test_joint_guides_reach_a_better_elbo(model, kind):
    mean_field = quick(model, max_steps=None)
    joint = quick(model, guide=getattr(bl.guides, kind)(model), max_steps=None)
    assert joint.elbo > mean_field.elbo


def test_a_fit_can_be_continued(model):
    guide = bl.guides.MeanFieldNormal(model)
    first = quick(model, guide=guide, max_steps=100)
    second = quick(model, guide=guide, max_steps=None)
    assert second.elbo > first.elbo
    assert second.converged


def test_yesterdays_posterior_is_todays_prior(build):
    """If the posterior is Normal, fits of two halves one after the other equal one fit of both."""
    x, y = X.double(), X[:, 0].double()
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1, bias=False).double()), bl.likelihoods.Normal(0.5))
    diagonal = torch.linalg.qr(x)[0] * 7  # columns at right angles, so that mean field is exact
    both = bl.fit(model, diagonal, y, progress=False)
    first = bl.fit(model, diagonal[:30], y[:30], progress=False)
    today = bl.BayesianModel(bl.priors.from_posterior(first.posterior), bl.likelihoods.Normal(0.5))
    second = bl.fit(today, diagonal[30:], y[30:], progress=False)
    precision = (diagonal[:30].T @ diagonal[:30] / 0.25 + torch.eye(2)).diagonal()
    precision = precision + (diagonal[30:].T @ diagonal[30:] / 0.25).diagonal()
    scale = second.posterior.source.log_scale.detach().exp()
    torch.testing.assert_close(scale, precision.rsqrt(), rtol=1e-6, atol=0)
    torch.testing.assert_close(both.posterior.source.log_scale.detach().exp(), scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("compile", ["eager", "captured"])
def test_a_custom_optimizer(model, compile):
    made = []

    def sgd(parameters):
        made.append(parameters)
        return torch.optim.SGD(parameters, lr=1e-2)

    guide = bl.guides.MeanFieldNormal(model)
    twin = copy.deepcopy(guide)
    bl.fit(model, X, Y, guide=guide, optimizer=sgd, max_steps=1, compile=compile, progress=False)
    noise = PairedNoise(len(twin.loc), 0, 16, dtype=torch.float32).at(0)[0]
    elbo = TraceMeanField_ELBO(num_particles=16, vectorize_particles=True, max_plate_nesting=1)
    with Substitute(twin.transform(noise)):
        elbo(model, twin)(X, Y).backward()
    for ours, theirs in zip(guide.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs - 1e-2 * theirs.grad, rtol=1e-4, atol=1e-5)
    assert len(made) == 1
    with pytest.raises(bl.errors.DataError, match="optimizer"):
        quick(model, optimizer=sgd, checkpoint="somewhere")


@pytest.mark.parametrize(
    ("make", "x", "expected"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.zeros(5, 2), 13),
        (lambda: nn.Linear(2, 3), torch.zeros(5, 7, 2), 7 * 9),
        (lambda: nn.Conv2d(1, 4, 3), torch.zeros(5, 1, 8, 8), 36 * (4 * 9 + 4)),
        (lambda: nn.Sequential(nn.LSTM(2, 3, batch_first=True), bl.Take(0)), torch.zeros(5, 7, 2), 7 * 84),
        (lambda: nn.Identity(), torch.zeros(5, 2), 0),
    ],
    ids=["dense", "steps", "convolution", "recurrent", "nothing"],
)
def test_work_per_row(build, make, x, expected):
    """Each parameter counts at each place where it is used, as in convolutions and long sequences."""
    assert row_work(build(make), x).multiplications == expected
