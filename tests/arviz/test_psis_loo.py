"""PSIS and PSIS-LOO by arrays, against formulas written out here and against ArviZ's own, in both versions."""

import importlib.util
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).parents[2] / "src" / "bayesian_layers" / "inference_data" / "__init__.py"
SPEC = importlib.util.spec_from_file_location("psis_loo_under_test", SOURCE)
subject = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = subject  # where its own relative imports look
SPEC.loader.exec_module(subject)

DRAWS, ROWS = 1000, 12


@pytest.fixture
def normal():
    """Rows y ~ N(w, 1) under a flat prior: the posterior is N(mean, 1 / N), and everything is known."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=ROWS)

    def log_likelihood(w):
        return -0.5 * (y - w[:, None]) ** 2 - 0.5 * math.log(2 * math.pi)

    return rng, y, log_likelihood


def exact_loo(y):
    """Without row i: mean of the others, variance 1 / (N - 1); the next row has variance one more."""
    n = len(y)
    mean, variance = (y.sum() - y) / (n - 1), 1 + 1 / (n - 1)
    return -0.5 * (y - mean) ** 2 / variance - 0.5 * np.log(2 * math.pi * variance)


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ warns of large k, which is the point here
        return function(*args, **kwargs)


def arviz_and_version():
    import arviz

    return arviz, int(arviz.__version__.split(".")[0])


class TestSmooth:
    def test_weights_sum_to_one_and_only_the_largest_change(self):
        log_weights = 0.5 * np.random.default_rng(0).normal(size=(3, DRAWS))
        smoothed, k_hat = subject.smooth(log_weights)
        np.testing.assert_allclose(np.exp(smoothed).sum(1), 1.0, rtol=1e-12)
        assert k_hat.shape == (3,)
        tail = math.ceil(3 * math.sqrt(DRAWS))
        for before, after in zip(log_weights, smoothed, strict=True):
            body = np.argsort(before)[:-tail]
            shift = (after - before)[body]
            np.testing.assert_allclose(shift, shift[0], atol=1e-12)
            assert after.argmax() == before.argmax()

    def test_the_input_is_not_written_to(self):
        log_weights = np.random.default_rng(0).normal(size=(2, DRAWS))
        before = log_weights.copy()
        subject.smooth(log_weights)
        np.testing.assert_array_equal(log_weights, before)

    def test_rows_do_not_see_each_other(self):
        log_weights = np.random.default_rng(0).normal(size=(3, DRAWS))
        log_weights[1] = 5.0
        together, k_hat = subject.smooth(log_weights)
        for i, row in enumerate(log_weights):
            alone, k_alone = subject.smooth(row[None])
            np.testing.assert_array_equal(together[i], alone[0])
            assert k_hat[i] == k_alone[0]
        assert k_hat[1] == 0.0
        np.testing.assert_allclose(together[1], -math.log(DRAWS), rtol=1e-12)

    def test_a_tail_of_equal_weights_is_not_heavy(self):
        """Truncated weights are bounded; ArviZ 1.x itself fails on them."""
        log_weights = np.minimum(np.random.default_rng(0).normal(size=DRAWS), 0.0)
        assert subject.pareto_k_hat(log_weights) == 0.0

    @pytest.mark.parametrize("draws", [2, 29])
    def test_too_few_draws_say_nothing(self, draws):
        assert subject.pareto_k_hat(np.arange(float(draws))) == math.inf
        assert subject.pareto_k_hat(np.zeros(draws)) == 0.0

    def test_thirty_draws_are_enough_and_both_versions_agree(self):
        k_hat = subject.smooth(np.random.default_rng(0).normal(size=(200, 30)))[1]
        assert k_hat.mean() == pytest.approx(0.33001908177185174, rel=1e-9)


class TestExactDraws:
    def test_against_the_closed_form(self, normal):
        rng, y, log_likelihood = normal
        w = rng.normal(y.mean(), 1 / math.sqrt(ROWS), size=20_000)
        result = subject.psis_loo(log_likelihood(w))
        # Four standard errors of the worst row, measured over 20 seeds: 0.006.
        np.testing.assert_allclose(result.pointwise, exact_loo(y), atol=0.006)
        assert result.elpd == pytest.approx(exact_loo(y).sum(), abs=0.02)
        assert result.k_hat.max() < 0.5
        assert result.posterior_k_hat is None
        assert result.warning == ""

    def test_against_arviz(self, normal):
        rng, y, log_likelihood = normal
        w = rng.normal(y.mean(), 1 / math.sqrt(ROWS), size=DRAWS)
        arviz, version = arviz_and_version()
        container = subject.from_arrays({"w": w}, log_likelihood={"y": log_likelihood(w)})
        theirs = arviz.loo(container, pointwise=True)
        ours = subject.psis_loo(log_likelihood(w))
        names = ("elpd_loo", "se", "p_loo", "loo_i") if version < 1 else ("elpd", "se", "p", "elpd_i")
        elpd, stderr, p_loo, pointwise = (getattr(theirs, name) for name in names)
        np.testing.assert_allclose(ours.pointwise, np.asarray(pointwise), rtol=1e-10)
        np.testing.assert_allclose(ours.k_hat, np.asarray(theirs.pareto_k), rtol=1e-10)
        stderr *= math.sqrt(ROWS / (ROWS - 1)) if version < 1 else 1  # 0.23 divides by N
        assert (ours.elpd, ours.elpd_stderr) == pytest.approx((elpd, stderr), rel=1e-10)
        assert ours.p_loo == pytest.approx(p_loo, rel=1e-8)
        assert ours.threshold == pytest.approx(theirs.good_k)


class TestApproximateDraws:
    def approximate(self, normal, loc=0.1, scale=1.5, size=DRAWS):
        """Draws from another Normal than the posterior, and the weights that lead from one to the other."""
        rng, y, log_likelihood = normal
        exact, q = 1 / math.sqrt(ROWS), scale / math.sqrt(ROWS)
        w = rng.normal(y.mean() + loc, q, size=size)
        log_p = -0.5 * ((w - y.mean()) / exact) ** 2
        log_q = -0.5 * ((w - y.mean() - loc) / q) ** 2
        return log_likelihood(w), log_p, log_q

    def test_the_correction_reaches_the_closed_form(self, normal):
        by_row, log_p, log_q = self.approximate(normal, size=40_000)
        truth = exact_loo(normal[1])
        corrected = subject.psis_loo(by_row, log_p - log_q)
        np.testing.assert_allclose(corrected.pointwise, truth, atol=0.01)
        assert corrected.p_loo == pytest.approx(subject.psis_loo(*self.exact(normal)).p_loo, abs=0.03)
        assert corrected.posterior_k_hat < 0.5
        assert abs(subject.psis_loo(by_row).elpd - truth.sum()) > 0.3  # the uncorrected estimate is far off

    def exact(self, normal):
        by_row, log_p, log_q = self.approximate(normal, loc=0.0, scale=1.0, size=40_000)
        return by_row, log_p - log_q

    def test_a_constant_of_the_weights_does_not_matter(self, normal):
        by_row, log_p, log_q = self.approximate(normal)
        one, two = (subject.psis_loo(by_row, log_p - log_q + shift) for shift in (0.0, 1e4))
        np.testing.assert_allclose(one.pointwise, two.pointwise, rtol=1e-8)

    def test_equal_weights_are_exact_draws(self, normal):
        by_row, _, _ = self.approximate(normal)
        one, two = subject.psis_loo(by_row), subject.psis_loo(by_row, np.full(DRAWS, -7.0))
        np.testing.assert_allclose(one.pointwise, two.pointwise, rtol=1e-10)
        assert one.p_loo == pytest.approx(two.p_loo)
        assert (one.posterior_k_hat, two.posterior_k_hat) == (None, 0.0)

    def test_against_arviz_where_it_has_the_same(self, normal):
        by_row, log_p, log_q = self.approximate(normal)
        arviz, version = arviz_and_version()
        ours = subject.psis_loo(by_row, log_p - log_q)
        if version < 1:  # 0.23 has only the pieces: the formula, row by row
            for i, column in enumerate(by_row.T):
                weights, k_hat = arviz.psislw(log_p - log_q - column)
                expected = np.log(np.sum(np.exp(weights + column)))
                assert (ours.pointwise[i], ours.k_hat[i]) == pytest.approx((expected, float(k_hat)))
            return
        container = subject.from_arrays({"w": log_p}, log_likelihood={"y": by_row})
        theirs = quietly(arviz.loo_approximate_posterior, container, log_p, log_q, pointwise=True)
        np.testing.assert_allclose(ours.pointwise, np.asarray(theirs.elpd_i), rtol=1e-8)
        np.testing.assert_allclose(ours.k_hat, np.asarray(theirs.pareto_k), rtol=1e-8)

    def test_a_guide_that_is_too_narrow_is_reported(self, normal):
        by_row, log_p, log_q = self.approximate(normal, scale=0.3)
        result = subject.psis_loo(by_row, log_p - log_q)
        assert result.posterior_k_hat > 0.7
        assert f"k is above 0.67 for {len(result.unreliable)} of {ROWS} rows" in result.warning
        assert "The guide is too far from the posterior" in str(result)

    def test_an_influential_row_is_reported(self, normal):
        rng, y, _ = normal
        y = np.append(y, 30.0)
        w = rng.normal(y.mean(), 1 / math.sqrt(len(y)), size=DRAWS)
        result = subject.psis_loo(-0.5 * (y - w[:, None]) ** 2)
        assert list(result.unreliable) == [ROWS]
        assert "fit again without each of them" in result.warning


def test_blocks_of_rows_change_nothing(normal, monkeypatch):
    rng, _, log_likelihood = normal
    by_row = log_likelihood(rng.normal(size=200))
    whole = subject.psis_loo(by_row)
    monkeypatch.setattr(sys.modules[f"{SPEC.name}.leave_one_out"], "_BLOCK", 1)
    # but the last digits, which depend on how a sum is laid out in memory
    np.testing.assert_allclose(subject.psis_loo(by_row).pointwise, whole.pointwise, rtol=1e-13)


@pytest.mark.parametrize(
    ("by_row", "weights", "message"),
    [
        (np.zeros(5), None, r"\(S >= 2, N >= 1\)"),
        (np.zeros((1, 5)), None, r"\(S >= 2, N >= 1\)"),
        (np.zeros((5, 0)), None, r"\(S >= 2, N >= 1\)"),
        (np.zeros((5, 2)), np.zeros(2), r"`log_weights` must have shape \(5,\)"),
        (np.full((5, 2), -np.inf), None, "10 of its 10 values"),
        (np.zeros((5, 2)), np.array([0, 0, 0, 0, np.nan]), "1 of its 5 values"),
    ],
)
def test_refusals(by_row, weights, message):
    with pytest.raises(ValueError, match=message):
        subject.psis_loo(by_row, weights)


def test_a_result_has_one_number_per_row():
    with pytest.raises(ValueError, match="one number per row"):
        subject.Loo(np.zeros(3), np.zeros(2), p_loo=0.0, num_draws=10)


def test_one_row_has_no_standard_error():
    assert math.isnan(subject.Loo(np.zeros(1), np.zeros(1), p_loo=0.0, num_draws=10).elpd_stderr)
