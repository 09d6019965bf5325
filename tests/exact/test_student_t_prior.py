"""The Student t prior against scipy: density, draws, moments, and its limit."""

import numpy as np
import pytest
import torch
from scipy import stats

import bayesian_layers as bl
from bayesian_layers.noise import standard_normal

PRIOR = bl.priors.StudentT(df=3.5, loc=0.4, scale=2.0)
THEIRS = stats.t(3.5, 0.4, 2.0 * np.sqrt(1.5 / 3.5))
LIKE = torch.zeros(5, dtype=torch.float64)


def test_the_density_is_scipys_and_the_scale_its_standard_deviation():
    u = torch.linspace(-30, 30, 61, dtype=torch.float64)
    np.testing.assert_allclose(PRIOR.log_density(u, u), THEIRS.logpdf(u), rtol=1e-12)
    loc, std = PRIOR.unconstrained(LIKE)
    assert (float(loc[0]), float(std[0])) == pytest.approx((THEIRS.mean(), THEIRS.std()))


def test_draws_have_the_law():
    draws = PRIOR.from_normal(standard_normal(0, 20_000, 5, dtype=torch.float64), LIKE).flatten().numpy()
    assert stats.kstest(draws, THEIRS.cdf).pvalue > 1e-3
    wrong = stats.t(3.5, 0.4, 2.0)  # the usual scale parameter, not the standard deviation
    assert stats.kstest(draws, wrong.cdf).pvalue < 1e-12


def test_draws_of_both_tails_are_quantiles():
    noise = torch.tensor([-6.0, -1.0, 0.0, 1.0, 6.0], dtype=torch.float64)
    lower = THEIRS.ppf(stats.norm.cdf(noise[:3]))
    np.testing.assert_allclose(PRIOR.from_normal(noise, LIKE)[:3], lower, rtol=1e-9)
    np.testing.assert_allclose(PRIOR.from_normal(noise, LIKE)[3:], 0.8 - lower[1::-1], rtol=1e-9)


def test_many_degrees_of_freedom_are_a_normal():
    u = torch.linspace(-3, 3, 7, dtype=torch.float64)
    nearly, normal = bl.priors.StudentT(1e6, 0.1, 1.3), bl.priors.Normal(0.1, 1.3)
    torch.testing.assert_close(nearly.log_density(u, u), normal.log_density(u, u), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"df": 2.0}, "`df` must be above 2"),
        ({"df": float("inf")}, "`df` must be a finite number"),
        ({"loc": "0"}, "`loc` must be a finite number"),
        ({"scale": 0}, "`scale` must be a finite number above 0"),
    ],
)
def test_wrong_numbers_are_refused(arguments, sentence):
    with pytest.raises(bl.errors.DataError, match=sentence):
        bl.priors.StudentT(**arguments)
