from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, root_mean_squared_error

from bayesian_layers import metrics
from bayesian_layers.errors import DataError, ShapeError
from bayesian_layers.metrics import classes, regression

# Sums of some thousand float64 terms of order 1, in two orders.
TIGHT = 1e-12
CLASSIFICATION = [metrics.accuracy, metrics.nll, metrics.brier, metrics.ece]


def binary_case(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.01, 0.99, n)
    return (rng.uniform(size=n) < p).astype(int), p


def multiclass_case(n=1000, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    return np.array([rng.choice(classes, p=row) for row in p]), p


def regression_case(n=500, seed=0):
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    return mean + std * rng.normal(size=n), mean, std


def test_doctests_run():
    results = [doctest.testmod(room) for room in (classes, regression)]
    assert sum(result.attempted for result in results) >= 10
    assert not any(result.failed for result in results)


# --- worked out by hand -------------------------------------------------------------------------------


def test_binary_by_hand():
    y, p = [1, 0, 1, 0], [0.8, 0.4, 0.25, 0.5]
    # predictions 1, 0, 0, 0 (a tie goes to the lower label): three of four are right
    assert metrics.accuracy(y, p) == 0.75
    # probabilities of the labels: 0.8, 0.6, 0.25, 0.5; their product is 0.06
    assert metrics.nll(y, p) == pytest.approx(-math.log(0.06) / 4, rel=TIGHT)
    # (0.2^2 + 0.4^2 + 0.75^2 + 0.5^2) / 4 = (0.04 + 0.16 + 0.5625 + 0.25) / 4
    assert metrics.brier(y, p) == pytest.approx(1.0125 / 4, rel=TIGHT)


def test_multiclass_by_hand():
    y, p = [2, 0], [[0.1, 0.2, 0.7], [0.25, 0.5, 0.25]]
    assert metrics.accuracy(y, p) == 0.5
    assert metrics.nll(y, p) == pytest.approx(-(math.log(0.7) + math.log(0.25)) / 2, rel=TIGHT)
    # row 1: 0.01 + 0.04 + 0.09 = 0.14; row 2: 0.5625 + 0.25 + 0.0625 = 0.875
    assert metrics.brier(y, p) == pytest.approx((0.14 + 0.875) / 2, rel=TIGHT)


def test_ece_by_hand():
    # 4 bins. Confidences 0.9, 0.8 (bin 4: both right, gap 1 - 0.85), 0.6, 0.7 (bin 3: one of two right,
    # gap |0.5 - 0.65|): 0.5 * 0.15 + 0.5 * 0.15
    assert metrics.ece([1, 0, 1, 1], [0.9, 0.2, 0.6, 0.3], bins=4) == pytest.approx(0.15, rel=TIGHT)


def test_ece_bins_are_closed_on_the_right():
    # With 4 bins 0.75 lies in (0.5, 0.75] with 0.7, not with 0.9: gaps |1 - 0.725| * 2/3 + 0.9 * 1/3.
    expected = 0.275 * 2 / 3 + 0.9 / 3
    assert metrics.ece([1, 1, 0], [0.75, 0.7, 0.9], bins=4) == pytest.approx(expected, rel=TIGHT)
    assert metrics.ece([1, 0], [1.0, 0.0]) == 0.0  # the ends belong to a bin


def test_ece_in_one_bin_is_accuracy_against_mean_confidence():
    y, p = multiclass_case()
    gap = abs(metrics.accuracy(y, p) - p.max(axis=1).mean())
    assert metrics.ece(y, p, bins=1) == pytest.approx(gap, rel=1e-10)


def test_regression_by_hand():
    # errors 3 and 4: sqrt((9 + 16) / 2)
    assert metrics.rmse([3.0, 0.0], [0.0, 4.0]) == pytest.approx(math.sqrt(12.5), rel=TIGHT)
    # closed at both ends, so the first two are in
    assert metrics.coverage([0, 1, 1.001, -0.001], [0] * 4, [1] * 4) == 0.5
    assert metrics.coverage([0.0, 5.0], [-np.inf, -np.inf], [1.0, np.inf]) == 1.0
    # z = 0: log(2) + log(2 pi) / 2; z = 1 with std 2 adds 1/2
    expected = math.log(2) + 0.5 * math.log(2 * math.pi) + 0.25
    assert metrics.normal_nll([1.0, 3.0], [1.0, 1.0], [2.0, 2.0]) == pytest.approx(expected, rel=TIGHT)


def test_crps_by_hand():
    # One draw: |3 - 1|. Draws 0 and 2, y = 1: mean error 1, half the mean distance (0+2+2+0)/4/2 = 0.5.
    assert metrics.crps([1.0], [[3.0]]) == 2.0
    assert metrics.crps([1.0, 1.0], [[0.0, 4.0], [2.0, 4.0]]) == pytest.approx((0.5 + 3.0) / 2, rel=TIGHT)
    # Gneiting & Raftery at z = 0: 2 / sqrt(2 pi) - 1 / sqrt(pi), times the scale
    expected = 3 * (2 / math.sqrt(2 * math.pi) - 1 / math.sqrt(math.pi))
    assert metrics.crps_normal([7.0], [7.0], [3.0]) == pytest.approx(expected, rel=TIGHT)


def test_mixture_nll_by_hand():
    # probabilities 0.2 and 0.6 of row 1, 0.5 and 0.5 of row 2: averages 0.4 and 0.5
    log_prob = np.log([[0.2, 0.5], [0.6, 0.5]])
    assert metrics.mixture_nll(log_prob) == pytest.approx(-(math.log(0.4) + math.log(0.5)) / 2, rel=TIGHT)


# --- second implementations ---------------------------------------------------------------------------


def test_classification_equals_scikit_learn():
    y, p = binary_case()
    assert metrics.accuracy(y, p) == accuracy_score(y, p > 0.5)
    assert metrics.nll(y, p) == pytest.approx(log_loss(y, p), rel=TIGHT)
    assert metrics.brier(y, p) == pytest.approx(brier_score_loss(y, p), rel=TIGHT)
    y, p = multiclass_case()
    assert metrics.accuracy(y, p) == accuracy_score(y, p.argmax(axis=1))
    assert metrics.nll(y, p) == pytest.approx(log_loss(y, p, labels=range(4)), rel=TIGHT)
    one_hot = np.eye(4)[y]
    assert metrics.brier(y, p) == pytest.approx(np.mean(((p - one_hot) ** 2).sum(1)), rel=TIGHT)


@pytest.mark.parametrize("case", [binary_case, multiclass_case])
def test_ece_equals_a_loop_over_bins(case):
    y, p = case()
    table = np.stack([1 - p, p], 1) if p.ndim == 1 else p
    confidence, right = table.max(1), table.argmax(1) == y
    total = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert metrics.ece(y, p) == pytest.approx(total, rel=1e-10)


def test_binary_equals_the_same_prediction_as_two_columns():
    y, p = binary_case()
    table = np.stack([1 - p, p], axis=1)
    for metric in (metrics.accuracy, metrics.nll, metrics.ece):
        assert metric(y, p) == pytest.approx(metric(y, table), rel=TIGHT)
    assert 2 * metrics.brier(y, p) == pytest.approx(metrics.brier(y, table), rel=TIGHT)


def test_regression_equals_scipy_and_scikit_learn():
    y, mean, std = regression_case()
    assert metrics.rmse(y, mean) == pytest.approx(root_mean_squared_error(y, mean), rel=TIGHT)
    expected = -stats.norm(mean, std).logpdf(y).mean()
    assert metrics.normal_nll(y, mean, std) == pytest.approx(expected, rel=TIGHT)
    one_scale = -stats.norm(mean, 0.7).logpdf(y).mean()
    assert metrics.normal_nll(y, mean, 0.7) == pytest.approx(one_scale, rel=TIGHT)
    log_prob = np.random.default_rng(0).normal(size=(30, 20)) * 50
    expected = -(special.logsumexp(log_prob, axis=0) - math.log(30)).mean()
    assert metrics.mixture_nll(log_prob) == pytest.approx(expected, rel=TIGHT)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.3), (-4.0, 2.0)])
def test_crps_normal_equals_the_integral_of_its_definition(mean, std):
    normal = stats.norm(mean, std)
    below, _ = integrate.quad(lambda t: normal.cdf(t) ** 2, -40, 0.2)
    above, _ = integrate.quad(lambda t: normal.sf(t) ** 2, 0.2, 40)
    # 1e-7: what quad promises on such smooth integrands
    assert metrics.crps_normal([0.2], [mean], [std]) == pytest.approx(below + above, abs=1e-7)


def test_crps_equals_the_double_sum_and_the_integral_over_the_step_function():
    rng = np.random.default_rng(0)
    draws, y = rng.normal(size=(40, 5)).round(1), rng.normal(size=5)  # rounded: with ties
    double_sum = np.abs(draws - y).mean(0) - np.abs(draws[:, None] - draws[None]).mean((0, 1)) / 2
    assert metrics.crps(y, draws) == pytest.approx(double_sum.mean(), rel=TIGHT)
    for n in range(5):
        knots = np.sort(np.append(draws[:, n], y[n]))
        middle = (knots[1:] + knots[:-1]) / 2
        share = (draws[:, n][None] <= middle[:, None]).mean(1)
        integral = np.sum(np.diff(knots) * (share - (y[n] <= middle)) ** 2)
        assert metrics.crps(y[n : n + 1], draws[:, n : n + 1]) == pytest.approx(integral, rel=1e-10)


def test_crps_keeps_its_digits_far_from_zero():
    rng = np.random.default_rng(0)
    draws, y = rng.normal(size=(50, 4)), rng.normal(size=4)
    # float64 spaces numbers near 1e8 by 1.5e-8
    assert metrics.crps(y + 1e8, draws + 1e8) == pytest.approx(metrics.crps(y, draws), abs=1e-7)


def test_crps_of_many_draws_approaches_the_normal_one():
    y, mean, std = regression_case(n=20)
    draws = mean + std * stats.norm.ppf((np.arange(4000)[:, None] + 0.5) / 4000)
    # quantiles instead of random draws: off by less than the spread over S
    assert metrics.crps(y, draws) == pytest.approx(metrics.crps_normal(y, mean, std), abs=1e-3)


# --- right, over-confident and under-confident --------------------------------------------------------


def test_ece_tells_right_from_over_and_under_confident():
    y, p = binary_case(n=20_000)
    logit = special.logit(p)
    right, over, under = (metrics.ece(y, special.expit(logit * c)) for c in (1.0, 3.0, 0.3))
    # a calibrated share in 8 bins of 2,500 rows is off by some 0.4 * sqrt(1/2500) = 0.008
    assert right < 0.015
    assert over > 0.08
    assert under > 0.08
    nll = [metrics.nll(y, special.expit(logit * c)) for c in (1.0, 3.0, 0.3)]
    assert nll[0] < min(nll[1:])


def test_coverage_tells_right_from_too_narrow_and_too_wide():
    y, mean, std = regression_case(n=20_000)
    half = stats.norm.ppf(0.95) * std
    covered = [metrics.coverage(y, mean - c * half, mean + c * half) for c in (1.0, 0.5, 2.0)]
    # three standard errors of a share of 0.9 among 20,000: 3 * sqrt(0.09 / 20000) = 0.0064
    assert covered[0] == pytest.approx(0.9, abs=0.0064)
    assert covered[1] < 0.65
    assert covered[2] > 0.99


@pytest.mark.parametrize("metric", [metrics.crps_normal, metrics.normal_nll])
def test_proper_scores_prefer_the_right_standard_deviation(metric):
    y, mean, std = regression_case(n=20_000)
    right, narrow, wide = (metric(y, mean, c * std) for c in (1.0, 0.5, 2.0))
    assert right < narrow
    assert right < wide


def test_crps_of_draws_prefers_the_right_standard_deviation():
    y, mean, std = regression_case(n=2000)
    noise = np.random.default_rng(1).normal(size=(200, 2000))
    right, narrow, wide = (metrics.crps(y, mean + c * std * noise) for c in (1.0, 0.5, 2.0))
    assert right < narrow
    assert right < wide


# --- edges --------------------------------------------------------------------------------------------


def test_probability_zero_of_the_label_is_infinitely_bad_without_a_warning():
    assert metrics.nll([1, 0], [0.0, 0.0]) == math.inf
    assert metrics.nll([0, 1], [[0.0, 1.0], [0.5, 0.5]]) == math.inf
    assert metrics.nll([0, 1], [0.0, 1.0]) == 0.0


def test_mixture_nll_is_stable():
    assert metrics.mixture_nll([[-1e5, 800.0], [-1e5, 800.0]]) == pytest.approx((1e5 - 800) / 2, rel=TIGHT)
    assert metrics.mixture_nll([[-np.inf], [math.log(0.5)]]) == pytest.approx(math.log(4), rel=TIGHT)
    assert metrics.mixture_nll([[-np.inf], [-np.inf]]) == math.inf


def test_rounding_of_float32_is_forgiven():
    assert metrics.nll([1], [1 + 1e-7]) == 0.0
    assert metrics.brier([0], [-1e-7]) == 0.0
    table = torch.softmax(torch.randn(500, 50, generator=torch.Generator().manual_seed(0)), dim=1)
    assert math.isfinite(metrics.nll(torch.zeros(500), table))


def test_tensors_lists_and_arrays_give_the_same_floats():
    y, p = binary_case(n=50)
    for metric in CLASSIFICATION:
        value = metric(y, p)
        assert type(value) is float
        assert value == metric(list(y), list(p)) == metric(torch.tensor(y), torch.tensor(p))
        assert value == metric(y.astype(bool), p) == metric(y.astype(np.float32), p)
    y, mean, std = (torch.tensor(a) for a in regression_case(n=10))
    draws = mean + std * torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    for value in (
        metrics.rmse(y, mean),
        metrics.coverage(y, mean - std, mean + std),
        metrics.crps(y, draws),
        metrics.crps_normal(y, mean, std),
        metrics.normal_nll(y, mean, std),
        metrics.mixture_nll(draws),
    ):
        assert type(value) is float


def test_the_arguments_are_not_written_to():
    y, draws = np.zeros(2), np.array([[2.0, 3.0], [1.0, -1.0]])
    before = draws.copy()
    metrics.crps(y, draws)
    p = np.array([-1e-7, 1.0])
    metrics.nll([0, 1], p)
    np.testing.assert_array_equal(draws, before)
    assert p[0] == -1e-7


# --- wrong shapes and values --------------------------------------------------------------------------


@pytest.mark.parametrize("metric", CLASSIFICATION)
@pytest.mark.parametrize(
    ("y", "p", "name", "expected", "received"),
    [
        (np.zeros(4), np.full((4, 1), 0.5), "probabilities", (4,), (4, 1)),
        (np.zeros((4, 1)), np.full(4, 0.5), "y", (4,), (4, 1)),
        (np.zeros(4), np.full(3, 0.5), "probabilities", (4,), (3,)),
        (np.zeros(4), np.full((2, 4), 0.25), "probabilities", (4, 4), (2, 4)),
        (np.zeros(4), np.full((4, 2, 2), 0.5), "probabilities", (4,), (4, 2, 2)),
        (np.zeros(0), np.zeros(0), "y", ("N >= 1",), (0,)),
        (1, 0.5, "y", ("N >= 1",), ()),
        ([1], 0.5, "probabilities", (1,), ()),
    ],
)
def test_classification_shapes(metric, y, p, name, expected, received):
    with pytest.raises(ShapeError) as caught:
        metric(y, p)
    assert (caught.value.name, caught.value.expected, caught.value.received) == (name, expected, received)


@pytest.mark.parametrize("metric", CLASSIFICATION)
@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1], [0.5, 1.2], r"\[0, 1\]; received 0.5 to 1.2"),
        ([0, 1], [-0.01, 0.5], "logits"),
        ([0, 1], [[0.5, 0.6], [0.5, 0.5]], "sum to 1; one is off by 0.1"),
        ([0, 2], [0.5, 0.5], "labels 0 to 1; received 2"),
        ([0, -1], [0.5, 0.5], "received -1"),
        ([0, 0.5], [0.5, 0.5], "received 0.5"),
        ([0, 3], [[0.2, 0.3, 0.5]] * 2, "labels 0 to 2; received 3"),
        ([0, np.nan], [0.5, 0.5], "`y` must hold no NaN; received 1 of 2"),
        ([0, 1], [np.nan, 0.5], "`probabilities` must hold no NaN"),
        ([0, np.inf], [0.5, 0.5], "received inf"),
        (["a", "b"], [0.5, 0.5], "`y` must hold real numbers; received dtype <U1"),
        ([0, 1], ["0.5", "0.5"], "`probabilities` must hold real numbers"),
        ([0, 1], [[0.5, 0.5], [1.0]], "`probabilities` must be an array of numbers"),
        ([0, 1], [0.5, 0.5j], "real numbers; received dtype complex"),
        ([0, 1], torch.full((2,), 0.5, requires_grad=True), "detach"),
    ],
)
def test_classification_values(metric, y, p, message):
    with pytest.raises(DataError, match=message):
        metric(y, p)


@pytest.mark.parametrize("bins", [0, -3, 2.5, None])
def test_ece_refuses_odd_numbers_of_bins(bins):
    with pytest.raises(DataError, match="`bins` must be an integer, 1 or more"):
        metrics.ece([0, 1], [0.2, 0.8], bins=bins)


@pytest.mark.parametrize(
    ("call", "name", "expected", "received"),
    [
        (lambda: metrics.rmse(np.zeros(3), np.zeros((3, 1))), "mean", (3,), (3, 1)),
        (lambda: metrics.rmse(np.zeros((3, 1)), np.zeros(3)), "y", (3,), (3, 1)),
        (lambda: metrics.rmse(np.zeros((3, 2)), np.zeros((3, 2))), "y", ("N >= 1",), (3, 2)),
        (lambda: metrics.rmse([], []), "y", ("N >= 1",), (0,)),
        (lambda: metrics.coverage(np.zeros(3), np.zeros(3), np.ones(1)), "upper", (3,), (1,)),
        (lambda: metrics.crps(np.zeros(3), np.zeros((3, 5))), "draws", ("S >= 1", 3), (3, 5)),
        (lambda: metrics.crps(np.zeros(3), np.zeros(3)), "draws", ("S >= 1", 3), (3,)),
        (lambda: metrics.crps(np.zeros(3), np.zeros((0, 3))), "draws", ("S >= 1", 3), (0, 3)),
        (lambda: metrics.crps_normal(np.zeros(3), np.zeros(3), np.ones(1)), "std", (3,), (1,)),
        (lambda: metrics.normal_nll(np.zeros(3), np.zeros(3), np.ones((3, 1))), "std", (3,), (3, 1)),
        (lambda: metrics.normal_nll(np.zeros(3), 0.0, 1.0), "mean", (3,), ()),
        (lambda: metrics.mixture_nll(np.zeros(3)), "log_prob", ("S >= 1", "N >= 1"), (3,)),
        (lambda: metrics.mixture_nll(np.zeros((0, 3))), "log_prob", ("S >= 1", "N >= 1"), (0, 3)),
    ],
)
def test_regression_shapes(call, name, expected, received):
    with pytest.raises(ShapeError) as caught:
        call()
    assert (caught.value.name, caught.value.expected, caught.value.received) == (name, expected, received)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.rmse([0.0], [np.nan]), "`mean` must hold no NaN"),
        (lambda: metrics.rmse([np.inf], [0.0]), "`y` must be finite"),
        (lambda: metrics.coverage([0.0], [1.0], [0.0]), "`lower` must not be above `upper`; it is in 1 of 1"),
        (lambda: metrics.coverage([np.inf], [0.0], [np.inf]), "`y` must be finite"),
        (lambda: metrics.crps([0.0], [[np.inf]]), "`draws` must be finite"),
        (lambda: metrics.crps_normal([0.0], [0.0], [0.0]), "`std` must be positive; its smallest value is 0"),
        (lambda: metrics.normal_nll([0.0], [0.0], -1.0), "`std` must be positive"),
        (lambda: metrics.normal_nll([0.0], [0.0], np.inf), "`std` must be finite"),
        (lambda: metrics.mixture_nll([[np.inf]]), "below"),
        (lambda: metrics.mixture_nll([[np.nan]]), "`log_prob` must hold no NaN"),
    ],
)
def test_regression_values(call, message):
    with pytest.raises(DataError, match=message):
        call()
