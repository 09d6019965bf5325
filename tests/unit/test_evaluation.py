import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.fitting import budget, evaluation
from bayesian_layers.fitting.budget import EvaluationPlan
from bayesian_layers.fitting.data.batches import make_batches
from bayesian_layers.fitting.evaluation import Evaluator

N, D, NOISE = 300, 3, 0.5
PARTS = EvaluationPlan(sets=8, draws=2, rows=20)
PLANS = {"all rows": EvaluationPlan(16, 4), "parts": PARTS, "two draws": EvaluationPlan(8, 2)}


def data(n=N):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, D, generator=generator)
    return x, x @ torch.tensor([1.0, 0.25, -0.5]) + NOISE * torch.randn(n, generator=generator)


@pytest.fixture
def model(build):
    return bl.BayesianModel(build(lambda: bl.Linear(D, 1)), bl.likelihoods.Normal(NOISE))


def expected(guide, x, y, weight=None):
    """The expected log likelihood of linear regression under independent Normals."""
    a, y = torch.cat([x, torch.ones(len(x), 1)], 1).double(), y.double()
    loc, variance = guide.loc.detach().double(), guide.log_scale.detach().double().exp().square()
    squares = (y - a @ loc).square() + a.square() @ variance
    terms = -0.5 * squares / NOISE**2 - math.log(NOISE) - 0.5 * math.log(2 * math.pi)
    return float(terms.sum() if weight is None else terms @ weight.double())


def evaluate(model, guide, plan, seed=0, weight=None, **options):
    x, y = data()
    batches = make_batches(x, y, network=model.network, sample_weight=weight)
    return Evaluator(model, batches, 1.0, plan, seed=seed, **options)(guide)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "weighted"), [("all rows", False), ("parts", False), ("parts", True), ("two draws", False)]
)
def test_the_mean_is_unbiased_and_the_error_covers(model, plan, weighted):
    """Over 60 seeds, within 4.5 standard errors; Student's t of 7 degrees has a standard deviation of 1.18."""
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
    weight = torch.linspace(0.0, 3.0, N) if weighted else None
    exact = expected(guide, *data(), weight) - guide.weighted_kl(model).item()
    found = [evaluate(model, guide, PLANS[plan], seed, weight) for seed in range(60)]
    errors = np.array([each.elbo - exact for each in found])
    z = errors / [each.elbo_stderr for each in found]
    assert abs(errors.mean()) < 4.5 * errors.std() / 60**0.5
    assert 0.75 < z.std() < 1.6
    assert np.mean([each.elbo_stderr**2 for each in found]) == pytest.approx(errors.var(), rel=0.6)
    if weighted:
        assert float(found[0].total_weight) == pytest.approx(float(weight.sum()))


@pytest.mark.slow
def test_gains_are_compared_on_the_same_draws_and_rows(model):
    guide, other = (bl.guides.MeanFieldNormal(model, init_scale=scale) for scale in (0.3, 0.3))
    with torch.no_grad():
        other.loc += 0.02
    exact = expected(other, *data()) - expected(guide, *data())
    exact -= (other.weighted_kl(model) - guide.weighted_kl(model)).item()
    z = []
    for seed in range(40):
        x, y = data()
        evaluator = Evaluator(model, make_batches(x, y, network=model.network), 1.0, PARTS, seed=seed)
        first, second = evaluator(guide), evaluator(other)
        gain, stderr = second.gain_over(first)
        assert stderr < 0.3 * second.elbo_stderr
        z.append((gain - exact) / stderr)
    assert abs(np.mean(z)) < 4.5 * np.std(z) / 40**0.5
    assert 0.7 < np.std(z) < 1.8
    assert evaluator(guide).elbo == first.elbo


@pytest.mark.parametrize("plan", PLANS)
def test_blocks_of_draws_and_chunks_of_rows_change_nothing(model, plan, monkeypatch):
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
    whole = evaluate(model, guide, PLANS[plan])
    monkeypatch.setattr(evaluation, "BLOCK", 8)  # two draws at a time
    monkeypatch.setattr(evaluation, "NUMBERS", 0)  # noise is not kept
    monkeypatch.setattr("bayesian_layers.predicting.plan._CHUNK", 101)
    torch.testing.assert_close(
        evaluate(model, guide, PLANS[plan]).log_likelihoods, whole.log_likelihoods, rtol=1e-5, atol=1e-3
    )


@pytest.mark.parametrize("rows", [None, 40])
def test_members_of_an_ensemble_see_the_same_rows(model, rows, monkeypatch):
    guide = bl.guides.Ensemble(model, members=3)
    plan, multiple = EvaluationPlan(8, 6, rows), guide.particle_multiple
    whole = evaluate(model, guide, plan, multiple=multiple)
    monkeypatch.setattr(evaluation, "BLOCK", 1)
    blocks = evaluate(model, guide, plan, multiple=multiple)
    torch.testing.assert_close(blocks.log_likelihoods, whole.log_likelihoods, rtol=1e-5, atol=1e-3)
    assert whole.marginals.shape == (2, 3 * (D + 1))


def test_means_and_deviations_are_kept_where_they_are_known(model, monkeypatch):
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
    found = evaluate(model, guide, PARTS).marginals
    torch.testing.assert_close(found, torch.stack([guide.loc, guide.log_scale.exp()]).detach())
    full = evaluate(model, bl.guides.FullRankNormal(model, init_scale=0.3), PARTS).marginals
    torch.testing.assert_close(full[1], torch.full((D + 1,), 0.3))
    assert evaluate(model, bl.guides.Flow(model), PARTS).marginals.shape == (2, 0)
    monkeypatch.setattr(evaluation, "_ENTRIES", 2)
    assert torch.equal(evaluate(model, guide, PARTS).marginals, found[:, ::2])


def test_log_weights_are_for_draws_that_saw_all_rows(model):
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
    x, y = data()
    batches = make_batches(x, y, network=model.network)
    for plan, number in ((PARTS, 0), (PLANS["two draws"], 16)):
        evaluator = Evaluator(model, batches, 1.0, plan, seed=0)
        assert len(evaluator.log_weights(guide, evaluator(guide))) == number


# --- the cost within a fit ---


class Counted:
    """Counts rows times draws of forward passes."""

    def __init__(self, monkeypatch):
        self.total = 0
        original = evaluation._by_rows

        def counting(model, draws, x, y):
            self.total += len(y) * len(next(iter(draws.values())))
            return original(model, draws, x, y)

        monkeypatch.setattr(evaluation, "_by_rows", counting)


FITS = {
    "parts": (20_000, 64, {"batch_size": 32, "max_steps": 60}),
    "all rows": (300, 64, {"max_steps": 60}),
    "short": (2_000, 64, {"batch_size": 16, "max_steps": 12}),
    "ensemble": (2_000, 32, {"batch_size": 60, "max_steps": 60, "members": 3}),
}


@pytest.mark.parametrize("fit", FITS)
def test_evaluations_take_a_fifth_of_the_forward_passes(fit, build, monkeypatch):
    """Where a step takes three forward passes, and nothing but them costs anything."""
    for name in ("_FIT", "_STEP", "_EVALUATION", "_CALL", "_STEP_PARAMETER", "_DRAW_NUMBER"):
        monkeypatch.setattr(budget, name, 0)
    rows, width, options = copy.deepcopy(FITS[fit])
    x, y = data(rows)
    network = build(lambda: nn.Sequential(bl.Linear(D, width), nn.Tanh(), bl.Linear(width, 1)))
    model = bl.BayesianModel(network, bl.likelihoods.Normal("learned"))
    members = options.pop("members", None)
    guide = None if members is None else bl.guides.Ensemble(model, members=members)
    counted = Counted(monkeypatch)
    result = bl.fit(model, x, y, guide=guide, particles=members or 1, progress=False, **options)
    steps = 3 * result.steps * (members or 1) * options.get("batch_size", rows)
    least = 4 * 2 * 16  # one evaluation of this size is always made
    assert 0 < counted.total <= max(0.2 * steps, least if fit == "short" else 0)
    assert np.isfinite(result.elbo_stderr)
    if fit == "parts":
        assert 0 < result.rows_seen < rows
        assert f"\nELBO estimated from {result.rows_seen} of {rows} rows" in str(result)
        assert np.isnan(result.k_hat)
    if fit == "short":
        assert "NOT TESTED" in str(result)


@pytest.mark.slow
def test_the_error_of_an_elbo_from_a_part_of_the_rows_covers_it(build, monkeypatch):
    """Fits that are too short for all rows, against the same posterior on all of them."""
    for name in ("_FIT", "_STEP"):
        monkeypatch.setattr(budget, name, 0)
    x, y = data(4_000)
    model = bl.BayesianModel(build(lambda: bl.Linear(D, 1)), bl.likelihoods.Normal(NOISE))
    z = []
    for seed in range(10):
        guide = bl.guides.MeanFieldNormal(model)
        result = bl.fit(
            model, x, y, guide=guide, seed=seed, batch_size=100, max_steps=40, particles=1, progress=False
        )
        assert result.rows_seen < 4_000
        exact = expected(guide, x, y) - guide.weighted_kl(model).item()
        z.append((result.elbo - exact) / result.elbo_stderr)
    assert np.abs(z).max() < 5
    assert 0.3 < np.std(z) < 2.2
