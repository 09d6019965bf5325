"""Metrics of predicted numbers, and the log score of a mixture of draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import DataError, ShapeError
from ..lazy_imports import scipy_special
from ._checks import draws_and_rows, numeric_array, standardized, vectors


def rmse(y: Any, mean: Any) -> float:
    r"""Return the root mean squared error, :math:`\sqrt{\frac1N\sum_n (y_n - m_n)^2}`, in the units of ``y``.

    Example:
        >>> rmse([0.0, 0.0], [1.0, 7.0])
        5.0
    """
    target, center = vectors(y=y, mean=mean)
    return float(np.sqrt(np.mean((target - center) ** 2)))


def coverage(y: Any, lower: Any, upper: Any) -> float:
    r"""Return the fraction of targets inside closed intervals, :math:`\frac1N\sum_n [l_n \le y_n \le u_n]`.

    The ends have shape ``(N,)``; an infinite one leaves that side open. Calibrated intervals at a level cover that
    fraction of new targets. If they cover more, they are too wide; if they cover less, too narrow.

    Raises:
        DataError: If a lower end is above its upper end, or a value is invalid.

    Example:
        >>> coverage([1.0, 2.0, 3.0, 9.0], [0.0, 2.0, 0.0, 0.0], [1.0, 4.0, 2.0, 8.0])
        0.5
    """
    target, low, high = vectors(finite=("y",), y=y, lower=lower, upper=upper)
    crossed = int(np.sum(low > high))
    if crossed:
        raise DataError(
            f"`lower` must not be above `upper`; it is in {crossed} of {len(low)} rows. Were they swapped?"
        )
    return float(np.mean((low <= target) & (target <= high)))


def crps(y: Any, draws: Any) -> float:
    r"""Return the mean continuous ranked probability score of draws, as an empirical distribution, in units of ``y``.

    Exactly :math:`\int (F_S(t) - [y \le t])^2\,dt = \frac1S\sum_s |x_s - y| -
    \frac1{2S^2}\sum_{s,t} |x_s - x_t|` for the step function :math:`F_S` of the S draws, averaged over
    rows. The double sum is :math:`2\sum_s (2s - S - 1)\,x_{(s)}` over sorted draws, s = 1..S, so the cost is
    O(S log S) per row. For one draw it is the mean absolute error. With few draws the score is too large: its
    expectation exceeds that of infinitely many by the mean distance of two draws over 2S. The scores per row, without
    this bias, are ``bl.predictive.crps``.

    References:
        Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102, equations 20 and 21.

    Example:
        >>> crps([0.0], [[-1.0], [1.0]])
        0.5
    """
    target, table = draws_and_rows("draws", draws, y)
    num_draws = len(table)
    # Differences from the target have the same spread, and keep the digits of large targets.
    error = np.sort(table - target, axis=0)
    weight = (2.0 * np.arange(1, num_draws + 1) - num_draws - 1) / num_draws**2
    return float(np.mean(np.abs(error).mean(axis=0) - weight @ error))


def crps_normal(y: Any, mean: Any, std: Any) -> float:
    r"""Return the mean continuous ranked probability score of Normal predictions, in the units of ``y``.

    .. math:: \sigma\left(z\,(2\Phi(z) - 1) + 2\varphi(z) - 1/\sqrt{\pi}\right),\quad z = (y - m)/\sigma

    References:
        Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102, section 4.2.

    Example:
        >>> round(crps_normal([0.0], [0.0], [1.0]), 4)
        0.2337
    """
    z, scale = standardized(y, mean, std)
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    scores = z * scipy_special().erf(z / math.sqrt(2.0)) + 2.0 * density - 1.0 / math.sqrt(math.pi)
    return float(np.mean(scale * scores))


def normal_nll(y: Any, mean: Any, std: Any) -> float:
    r"""Return the mean negative log density of targets under Normal predictions, in nats per row.

    .. math:: \tfrac12\log 2\pi + \log\sigma + \tfrac12 z^2,\quad z = (y - m)/\sigma

    It is the logarithm of a density, so it may be negative and depends on the units of ``y``: in units c times as
    large it is lower by log c.

    References:
        Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102, section 4.1: the logarithmic score.

    Example:
        >>> round(normal_nll([1.0], [1.0], 1.0), 4)
        0.9189
    """
    z, scale = standardized(y, mean, std)
    return float(np.mean(0.5 * math.log(2.0 * math.pi) + np.log(scale) + 0.5 * z**2))


def mixture_nll(log_prob: Any) -> float:
    r"""Return the mean negative log of the probability averaged over draws, in nats per row.

    .. math:: -\frac1N\sum_n \log\frac1S\sum_s \exp \ell_{sn}

    The analogue of :func:`nll` for the mixture of S predictions that draws from a posterior define. It is finite where
    the exponentials underflow or overflow, and ``inf`` if some row has probability 0 under every draw.

    Args:
        log_prob: Log probability (or density) of each target under each draw, ``(S, N)``; ``-inf`` is probability 0.

    Raises:
        ShapeError: If there are not two axes, or one is empty.
        DataError: If a value is NaN or ``+inf``.

    References:
        Gelman, Hwang & Vehtari (2014), arXiv 1307.5928, equation 5: the computed log predictive density.

    Example:
        >>> round(mixture_nll([[-1000.0], [-1000.0]]), 4)
        1000.0
    """
    table = numeric_array("log_prob", log_prob)
    if table.ndim != 2 or table.size == 0:
        raise ShapeError("log_prob", ("S >= 1", "N >= 1"), table.shape, "Draws come first, rows second.")
    if np.any(table == np.inf):
        raise DataError("`log_prob` must be below +inf; a density is infinite. Is a noise scale 0?")
    top = table.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)  # -inf minus -inf would be NaN
    with np.errstate(divide="ignore"):
        log_mean = top + np.log(np.mean(np.exp(table - top), axis=0))
    return float(np.mean(-log_mean))
