"""Statistics of data compared with those of simulated data."""

import doctest

import numpy as np
import pytest

from bayesian_layers import metrics
from bayesian_layers.errors import DataError, ShapeError
from bayesian_layers.metrics import predictive_checks


def made(scale, n=50, draws=1000):
    return scale * np.random.default_rng(1).normal(size=(draws, n))


def test_doctests_run():
    result = doctest.testmod(predictive_checks)
    assert result.attempted >= 2
    assert not result.failed


def test_by_hand():
    check = metrics.predictive_check([1.0, 3.0], [[0.0, 2.0], [1.0, 3.0], [5.0, 5.0], [2.0, 2.0]])
    assert check.names == ("mean", "sd", "min", "max")
    np.testing.assert_array_equal(check.observed, [2.0, 1.0, 1.0, 3.0])
    np.testing.assert_array_equal(check.replicated[:, 0], [1.0, 2.0, 5.0, 2.0])
    # means 1, 2, 5, 2 against 2: one larger, two equal; standard deviations 1, 1, 0, 0 against 1: two equal
    np.testing.assert_array_equal(check.tail_probability, [0.5, 0.25, 0.625, 0.375])


@pytest.mark.parametrize(("scale", "side"), [(1.0, None), (0.3, "low"), (4.0, "high")])
def test_right_narrow_and_wide_models(scale, side):
    y = np.random.default_rng(0).normal(size=50)
    check = metrics.predictive_check(y, made(scale))
    tail = dict(zip(check.names, check.tail_probability, strict=True))["sd"]
    assert ("sd" in check.surprising) == (side is not None)
    assert {"low": tail < 0.025, "high": tail > 0.975, None: 0.025 < tail < 0.975}[side]
    assert ("<- surprising" in str(check)) == bool(check.surprising)
    assert str(check).count("\n") == 3
    assert "P(simulated > observed)" in str(check)


def test_tail_probabilities_are_uniform_for_data_of_the_model():
    rng = np.random.default_rng(3)
    tails = [
        metrics.predictive_check(
            rng.normal(size=10), rng.normal(size=(99, 10)), {"mean": np.mean}
        ).tail_probability[0]
        for _ in range(400)
    ]
    assert abs(np.mean(tails) - 0.5) < 5 * np.sqrt(1 / 12 / 400)
    assert np.mean(np.array(tails) < 0.1) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 400))


@pytest.mark.parametrize(
    ("call", "problem", "words"),
    [
        (lambda: metrics.predictive_check([1.0], [1.0]), ShapeError, "y_rep"),
        (lambda: metrics.predictive_check([1.0], [[1.0, 2.0]]), ShapeError, "y_rep"),
        (lambda: metrics.predictive_check([1.0], [[np.inf]]), DataError, "finite"),
        (lambda: metrics.predictive_check([1.0], [[1.0]], {}), DataError, "statistics"),
        (lambda: metrics.predictive_check([1.0], [[1.0]], {"all": lambda v: v}), DataError, "'all'"),
        (lambda: metrics.predictive_check([1.0], [[1.0]], {"nan": lambda _: np.nan}), DataError, "'nan'"),
        (lambda: metrics.PredictiveCheck(("a",), np.zeros(2), np.zeros((3, 1))), ShapeError, "observed"),
        (lambda: metrics.PredictiveCheck(("a",), np.zeros(1), np.zeros((3, 2))), ShapeError, "replicated"),
    ],
)
def test_refused(call, problem, words):
    with pytest.raises(problem, match=words):
        call()
