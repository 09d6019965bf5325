"""P-values behind `uniformity`, against closed forms and counts."""

import itertools
import math

import numpy as np
import pytest
from scipy import special, stats

from bayesian_layers import metrics
from bayesian_layers.metrics.uniform import _walk_tail


@pytest.mark.parametrize("p", [[0.05, 0.3], [0.6, 0.99], [0.02, 0.45]])
def test_kolmogorov_smirnov_of_two_numbers(p):
    """For 2 numbers and d >= 1/2 the distance is at least d with probability 2 (1 - d)^2."""
    steps = [(value, i / 2) for i, value in enumerate(p)] + [
        (value, (i + 1) / 2) for i, value in enumerate(p)
    ]
    distance = max(abs(value - share) for value, share in steps)
    assert distance >= 0.5
    assert metrics.uniformity(p).p_value == pytest.approx(2 * (1 - distance) ** 2, rel=1e-9)


@pytest.mark.parametrize("spread", [0.3, 1.0, 2.5])
def test_spread_of_three_numbers(spread):
    """With two degrees of freedom a chi-square variable exceeds t with probability exp(-t / 2)."""
    found = metrics.uniformity(special.ndtr(np.array([-spread, 0.0, spread])))
    assert found.spread == pytest.approx(spread, rel=1e-12)
    upper = math.exp(-(spread**2))
    assert found.spread_p_value == pytest.approx(2 * min(upper, 1 - upper), rel=1e-9)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_walk_by_counting_every_walk(steps):
    reached = [max(abs(np.cumsum(walk))) for walk in itertools.product((-1, 1), repeat=steps)]
    for reach in range(steps + 2):
        assert _walk_tail(reach, steps) == pytest.approx(np.mean(np.array(reached) >= reach), abs=1e-12)


def test_walk_of_many_steps_is_brownian():
    # P(max |B| >= c) by the reflection principle; the lattice adds one of 1000 / (c sqrt(n)) steps
    n, c = 1_000_000, 2.0
    sides = sum(2 * (-1) ** k * 2 * stats.norm.sf((2 * k + 1) * c) for k in range(4))
    assert _walk_tail(round(c * n**0.5), n) == pytest.approx(sides, rel=0.01)
