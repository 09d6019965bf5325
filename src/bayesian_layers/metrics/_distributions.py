"""The few distributions that tests of calibration need; NumPy has none of them."""

from __future__ import annotations

import math

import numpy as np
import torch

_SERIES = 100  # terms; they fall like exp(-2 k^2 t^2)


def normal_quantile(probabilities: np.ndarray) -> np.ndarray:
    """Invert the standard normal distribution function."""
    return torch.special.ndtri(torch.from_numpy(np.array(probabilities, dtype=float))).numpy()


def normal_cdf(z: np.ndarray) -> np.ndarray:
    """Compute the standard normal distribution function."""
    # Not torch's ndtr, which loses its digits in the lower tail.
    return torch.special.erfc(torch.from_numpy(-np.array(z, dtype=float) / math.sqrt(2.0))).numpy() / 2


def chi_square_tails(statistic: float, degrees: int) -> tuple[float, float]:
    """Give the probabilities that a chi-square variable is at most, and at least, so large."""
    a, x = (torch.tensor(each / 2, dtype=torch.float64) for each in (float(degrees), statistic))
    return float(torch.special.gammainc(a, x)), float(torch.special.gammaincc(a, x))


def kolmogorov_tail(distance: float, count: int) -> float:
    r"""Give the probability that the empirical distribution of uniform numbers is so far from theirs."""
    # Or farther.
    # By Kolmogorov's limit :math:`2\sum_{k\ge1} (-1)^{k-1} e^{-2k^2t^2}` at Stephens' argument :math:`t =
    # (\sqrt n + 0.12 + 0.11/\sqrt n)\,d`: within 4 % of the exact value, for 10 numbers or more and a value
    # above 0.01.
    root = math.sqrt(count)
    t = (root + 0.12 + 0.11 / root) * distance
    if t < 0.2:  # the series needs many terms there, and the answer is 1 to 10 digits
        return 1.0
    k = np.arange(1, _SERIES)
    return float(np.clip(2 * np.sum((-1.0) ** (k - 1) * np.exp(-2 * (k * t) ** 2)), 0.0, 1.0))


def kolmogorov_distance(tail: float, count: int) -> float:
    """Invert :func:`kolmogorov_tail`."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if kolmogorov_tail(middle, count) > tail else (low, middle)
    return high


def walk_tail(reach: int, steps: int) -> float:
    r"""Give the probability that a fair walk of steps of 1 up or down comes as far as ``reach``, exactly.

    A walk that is ended at :math:`\pm a` lives on after n steps with the probability

    .. math:: \frac1a \sum_{k\ \text{odd},\ k < 2a} \sin\frac{k\pi}{2} \cot\frac{k\pi}{4a} \cos^n\frac{k\pi}{2a},

    the expansion of its start in the eigenvectors of one step.

    Args:
        reach: The distance a from the start, 0 or more.
        steps: Steps n.

    Returns:
        A probability.
    """
    if reach <= 1:
        return 1.0 if reach <= 0 or steps else 0.0
    angle = np.arange(1, 2 * reach, 2) * math.pi / (2 * reach)
    sign = (-1.0) ** np.arange(reach)
    alive = np.sum(sign / np.tan(angle / 2) * np.cos(angle) ** steps) / reach
    return float(np.clip(1.0 - alive, 0.0, 1.0))


def binomial_range(trials: int, probability: float, tail: float) -> tuple[int, int]:
    """Give the counts outside of which a binomial variable falls with at most ``tail`` on each side."""
    k = np.arange(trials + 1)
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    log_pmf = factorial[-1] - factorial - factorial[::-1]
    pmf = np.exp(log_pmf + k * math.log(probability) + (trials - k) * math.log1p(-probability))
    below, above = np.cumsum(pmf), np.cumsum(pmf[::-1])
    return int(np.searchsorted(below, tail, "right")), int(trials - np.searchsorted(above, tail, "right"))


def wilson_interval(successes: np.ndarray, trials: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    r"""Give Wilson's interval for shares, which stays inside [0, 1] and has a width at 0 and 1 too."""
    z = float(normal_quantile(np.array((1 + level) / 2)))
    share, weight = successes / trials, z**2 / trials
    center = (share + weight / 2) / (1 + weight)
    half = np.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return np.clip(center - half, 0.0, 1.0), np.clip(center + half, 0.0, 1.0)


def uniform_stream(seed: int, count: int) -> np.ndarray:
    """Give uniform numbers of which number ``i`` depends on ``(seed, i)`` alone."""
    return np.random.Generator(np.random.Philox(key=seed)).random(count)
