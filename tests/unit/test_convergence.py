import math
from types import SimpleNamespace

import pytest
import torch

import bayesian_layers as bl
from bayesian_layers.fitting.convergence import Convergence, Movement, check_convergence, tolerance

NOISE = 0.5


def stage(gain, stderr=0.001, loc=(0.0, 0.0), std=(1.0, 2.0)):
    """An evaluation that only knows its gain over any other."""
    return SimpleNamespace(gain_over=lambda _: (gain, stderr), marginals=torch.tensor([loc, std]))


def test_the_movement_is_in_standard_deviations_and_relative():
    found = Movement.between(stage(0.0), stage(0.0, loc=(0.3, -0.8), std=(1.5, 2.0)))
    assert found.mean == pytest.approx(math.sqrt((0.2**2 + 0.4**2) / 2))
    assert found.max_mean == pytest.approx(0.4)
    assert found.std == pytest.approx(0.5 / math.sqrt(2))
    assert found.max_std == pytest.approx(0.5)
    empty = SimpleNamespace(marginals=torch.empty(2, 0))
    assert Movement.between(empty, empty) is None


@pytest.mark.parametrize(
    ("last", "converged"),
    [
        (stage(0.01), True), (stage(0.2), False), (stage(0.01, 0.2), False), (stage(-0.5), False),
        (stage(0.01, loc=(0.2, 0.4)), True), (stage(0.01, loc=(0.5, 0.9)), False),
        (stage(0.01, std=(1.05, 2.1)), True), (stage(0.01, std=(1.2, 1.7)), False),
    ],
)  # fmt: skip
def test_both_nats_and_movement_must_be_small(last, converged):
    assert check_convergence([stage(0.0), last], 0.1).converged == converged


def test_what_was_not_compared_is_not_tested():
    for evaluations in (
        [stage(0.0)],
        [],
        [stage(0.0), stage(math.nan)],
        [stage(0.0), stage(math.inf, math.nan)],
    ):
        found = check_convergence(evaluations, 0.1)
        assert not found.converged
        assert not found.tested
        assert str(found).startswith("NOT TESTED: ")
        (warning,) = found.warnings()
        assert "not tested" in warning
        assert "max_steps" in warning
        assert "nan" not in str(found) + warning


def test_the_reason_is_printed():
    moved = str(check_convergence([stage(0.0), stage(0.01, loc=(0.5, 0.9))], 0.1))
    assert moved.startswith("NOT CONVERGED: 0.01 +- 0.001 nats left to gain, tolerance 0.1")
    assert "means moved by 0.48 standard deviations (rms; largest 0.5)" in moved
    assert "more than 0.3 or 10 %" in moved
    assert "more than" not in str(check_convergence([stage(0.0), stage(0.01)], 0.1))
    assert str(Convergence(0.0, 0.0, 0.1, "closed form", True)).endswith("(closed form)")


def test_the_tolerance_in_nats_has_a_bound():
    assert tolerance(100) == pytest.approx(0.08)
    assert tolerance(10**7) == tolerance(10**9) == 10.0


# --- fits ---


def exact(x, y):
    """Means and standard deviations of the best mean-field Normal of linear regression under N(0, 1) weights."""
    a = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    precision = torch.eye(a.shape[1], dtype=torch.float64) + a.T @ a / NOISE**2
    return torch.linalg.solve(precision, a.T @ y.double() / NOISE**2), precision.diagonal().rsqrt()


def regression(build, n, max_steps, batch_size, **options):
    """Fit minibatches; return the result, errors of means in deviations, and ratios of deviations."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 5, generator=generator)
    y = x @ torch.linspace(1, -0.5, 5) + 0.2 + NOISE * torch.randn(n, generator=generator)
    model = bl.BayesianModel(build(lambda: bl.Linear(5, 1)), bl.likelihoods.Normal(NOISE))
    guide = bl.guides.MeanFieldNormal(model)
    result = bl.fit(
        model, x, y, guide=guide, batch_size=batch_size, max_steps=max_steps, progress=False, **options
    )
    mean, std = exact(x, y)
    loc, scale = guide.loc.detach().double(), guide.log_scale.detach().double().exp()
    return result, (loc - mean) / std, scale / std


@pytest.mark.slow
def test_many_rows_in_few_steps_are_not_converged(build):
    """The loss of nats is below the tolerance of the rows, 30 nats; but means and deviations are far off."""
    result, off, ratio = regression(build, 100_000, 500, 500)
    assert off.abs().max() > 2
    assert ratio.max() > 1.3
    assert not result.converged
    assert "NOT CONVERGED" in str(result)
    assert not result.convergence.movement.is_small
    assert any("did not converge" in text for text in result.warnings)


@pytest.mark.slow
def test_many_rows_in_enough_steps_are_converged_and_right(build):
    result, off, ratio = regression(build, 20_000, 4000, 1000)
    assert result.converged
    assert off.abs().max() < 0.3
    assert (ratio - 1).abs().max() < 0.05


def test_a_fit_of_one_stage_is_not_tested(build):
    result = regression(build, 300, 1, 100)[0]
    assert not result.converged
    assert math.isnan(result.gap)
    assert "\nNOT TESTED: " in str(result)
    assert "nan" not in str(result)
    assert math.isfinite(result.elbo_stderr)
