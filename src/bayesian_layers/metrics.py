"""How good predictions are: arrays in, one number out.

Arguments may be NumPy arrays or anything that ``np.asarray`` reads, CPU tensors included; sums run in
``float64``. Axis letters: S draws, N rows, K classes. For classification ``y`` holds the labels 0..K-1 and
``probabilities`` has shape ``(N, K)``, or ``(N,)`` for two classes, where it is P(y = 1). Of equally
probable classes the one with the lowest label is the prediction, so P(y = 1) = 0.5 predicts 0.
"""

# The functions document what their shared checks raise, which ruff cannot see from their bodies.

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .errors import DataError, ShapeError

__all__ = [
    "accuracy",
    "brier",
    "coverage",
    "crps",
    "crps_normal",
    "ece",
    "mixture_nll",
    "nll",
    "normal_nll",
    "rmse",
]

# Probabilities computed in float32 miss 0, 1 and their sum by some 1e-7 a class.
_ROUNDING = 1e-6
_erf = np.vectorize(math.erf, otypes=[float])  # NumPy has no erf of its own


def accuracy(y: Any, probabilities: Any) -> float:
    r"""Share of rows whose most probable class is the label, :math:`\frac1N\sum_n [\arg\max_k p_{nk} = y_n]`.

    Args:
        y: Labels, shape ``(N,)``.
        probabilities: P(y = 1), shape ``(N,)``, or all classes, ``(N, K)``.

    Returns:
        A share between 0 and 1.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is not a label or not a probability.

    Example:
        >>> accuracy([0, 1, 1, 1], [0.2, 0.9, 0.4, 0.6])
        0.75
    """
    labels, table = _classification(y, probabilities)
    return float(np.mean(table.argmax(axis=1) == labels))


def nll(y: Any, probabilities: Any) -> float:
    r"""Mean negative log probability of the labels, :math:`-\frac1N\sum_n \log p_{n y_n}`, in nats a row.

    A label that was given probability 0 costs infinitely much, and then so does the mean: ``inf`` is
    returned, without a warning. Nothing is clipped. (A sigmoid in ``float32`` is exactly 1 from 17 on.)

    Args:
        y: Labels, shape ``(N,)``.
        probabilities: P(y = 1), shape ``(N,)``, or all classes, ``(N, K)``.

    Returns:
        Nats a row, 0 or more, possibly ``inf``.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is not a label or not a probability.

    References:
        Good (1952), "Rational decisions", J. R. Stat. Soc. B 14: the logarithmic score.

    Example:
        >>> round(nll([1, 0], [0.5, 0.5]), 4)
        0.6931
    """
    labels, table = _classification(y, probabilities)
    with np.errstate(divide="ignore"):
        log_prob = np.log(table[np.arange(len(labels)), labels])
    return float(np.mean(-log_prob))


def brier(y: Any, probabilities: Any) -> float:
    r"""Mean squared distance between probabilities and outcomes, without unit.

    For two classes, ``probabilities`` of shape ``(N,)``: :math:`\frac1N\sum_n (p_n - y_n)^2`, from 0 to 1.
    For ``(N, K)``, Brier's own definition: :math:`\frac1N\sum_n\sum_k (p_{nk} - [y_n = k])^2`, from 0 to 2;
    for the same two-class prediction written with K = 2 it is twice the first.

    Args:
        y: Labels, shape ``(N,)``.
        probabilities: P(y = 1), shape ``(N,)``, or all classes, ``(N, K)``.

    Returns:
        The score; 0 is perfect.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is not a label or not a probability.

    References:
        Brier (1950), "Verification of forecasts expressed in terms of probability", Mon. Weather Rev. 78.

    Example:
        >>> brier([1, 0], [0.5, 0.5]), brier([1, 0], [[0.5, 0.5], [0.5, 0.5]])
        (0.25, 0.5)
    """
    labels, table = _classification(y, probabilities)
    distance = np.mean(np.sum((table - np.eye(table.shape[1])[labels]) ** 2, axis=1))
    return float(distance / 2 if np.ndim(probabilities) == 1 else distance)


def ece(y: Any, probabilities: Any, bins: int = 15) -> float:
    r"""Expected calibration error: how far the confidence is from the share of right answers.

    Rows fall into ``bins`` equal bins :math:`B_b` of :math:`(0, 1]`, each closed on the right, by confidence
    (the probability of the predicted class):
    :math:`\sum_b \frac{|B_b|}{N}\,|\text{accuracy}(B_b) - \text{mean confidence}(B_b)|`.

    Args:
        y: Labels, shape ``(N,)``.
        probabilities: P(y = 1), shape ``(N,)``, or all classes, ``(N, K)``.
        bins: Number of bins. With two classes the confidence is above 0.5, so the lower half stays empty.

    Returns:
        A share between 0 and 1.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is not a label or not a probability, or ``bins`` is no positive integer.

    References:
        Guo, Pleiss, Sun & Weinberger (2017), arXiv 1706.04599, equation 3.

    Example:
        >>> round(ece([1, 1, 1, 0], [0.9, 0.9, 0.9, 0.9]), 4)
        0.15
    """
    if not isinstance(bins, (int, np.integer)) or bins < 1:
        raise DataError(f"`bins` must be an integer of at least 1; received {bins!r}. 15 is usual.")
    labels, table = _classification(y, probabilities)
    confidence = table.max(axis=1)
    right = table.argmax(axis=1) == labels
    index = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence, side="left")
    # A bin's weight times its gap is the sum of its rows' gaps over N; empty bins add nothing.
    return float(np.abs(np.bincount(index, weights=right - confidence)).sum() / len(labels))


def rmse(y: Any, mean: Any) -> float:
    r"""Root mean squared error, :math:`\sqrt{\frac1N\sum_n (y_n - m_n)^2}`, in the units of ``y``.

    Args:
        y: Targets, shape ``(N,)``.
        mean: Predictive means, shape ``(N,)``.

    Returns:
        The error, 0 or more.

    Raises:
        ShapeError: If the shapes differ.
        DataError: If a value is NaN or infinite.

    Example:
        >>> rmse([0.0, 0.0], [1.0, 7.0])
        5.0
    """
    target, center = _vectors(y=y, mean=mean)
    return float(np.sqrt(np.mean((target - center) ** 2)))


def coverage(y: Any, lower: Any, upper: Any) -> float:
    r"""Share of targets inside closed intervals, :math:`\frac1N\sum_n [l_n \le y_n \le u_n]`.

    Right intervals at a level cover that share of new targets: more is too wide, less is too narrow.

    Args:
        y: Targets, shape ``(N,)``.
        lower: Lower ends, shape ``(N,)``; ``-inf`` leaves that side open.
        upper: Upper ends, shape ``(N,)``; ``inf`` leaves that side open.

    Returns:
        A share between 0 and 1.

    Raises:
        ShapeError: If the shapes differ.
        DataError: If a value is NaN, a target infinite, or a lower end above its upper end.

    Example:
        >>> coverage([1.0, 2.0, 3.0, 9.0], [0.0, 2.0, 0.0, 0.0], [1.0, 4.0, 2.0, 8.0])
        0.5
    """
    target, low, high = _vectors(finite=("y",), y=y, lower=lower, upper=upper)
    crossed = int(np.sum(low > high))
    if crossed:
        raise DataError(
            f"`lower` must not be above `upper`; it is in {crossed} of {len(low)} rows. Were they swapped?"
        )
    return float(np.mean((low <= target) & (target <= high)))


def crps(y: Any, draws: Any) -> float:
    r"""Mean continuous ranked probability score of the empirical distribution of draws, units of ``y``.

    Exactly :math:`\int (F_S(t) - [y \le t])^2\,dt = \frac1S\sum_s |x_s - y| -
    \frac1{2S^2}\sum_{s,t} |x_s - x_t|` for the step function :math:`F_S` of the S draws, averaged over
    rows. The double sum is :math:`2\sum_s (2s - S - 1)\,x_{(s)}` over sorted draws, s = 1..S, so the cost
    is O(S log S) a row. With few draws the score is larger, by the spread over 2S, than with many.

    Args:
        y: Targets, shape ``(N,)``.
        draws: Draws from the predictive distribution (noise included), shape ``(S, N)``.

    Returns:
        The score, 0 or more; for one draw, the mean absolute error.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If a value is NaN or infinite.

    References:
        Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102, equations 20 and 21.

    Example:
        >>> crps([0.0], [[-1.0], [1.0]])
        0.5
    """
    target, table = _draws_and_rows("draws", draws, y)
    num_draws = len(table)
    error = np.sort(table - target, axis=0)  # around the target: shifting changes no spread, saves digits
    weight = (2.0 * np.arange(1, num_draws + 1) - num_draws - 1) / num_draws**2
    return float(np.mean(np.abs(error).mean(axis=0) - weight @ error))


def crps_normal(y: Any, mean: Any, std: Any) -> float:
    r"""Mean continuous ranked probability score of Normal predictions, in the units of ``y``.

    .. math:: \sigma\left(z\,(2\Phi(z) - 1) + 2\varphi(z) - 1/\sqrt{\pi}\right),\quad z = (y - m)/\sigma

    Args:
        y: Targets, shape ``(N,)``.
        mean: Predictive means, shape ``(N,)``.
        std: Predictive standard deviations, shape ``(N,)``, or one number for all rows.

    Returns:
        The score, above 0.

    Raises:
        ShapeError: If the shapes differ.
        DataError: If a value is NaN or infinite, or a deviation not positive.

    References:
        Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102, section 4.2.

    Example:
        >>> round(crps_normal([0.0], [0.0], [1.0]), 4)
        0.2337
    """
    z, scale = _standardized(y, mean, std)
    density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
    return float(np.mean(scale * (z * _erf(z / math.sqrt(2.0)) + 2.0 * density - 1.0 / math.sqrt(math.pi))))


def normal_nll(y: Any, mean: Any, std: Any) -> float:
    r"""Mean negative log density of targets under Normal predictions, in nats a row.

    .. math:: \tfrac12\log 2\pi + \log\sigma + \tfrac12 z^2,\quad z = (y - m)/\sigma

    Being the log of a density it may be negative, and it depends on the units of ``y``: measuring in
    units c times as large lowers it by log c.

    Args:
        y: Targets, shape ``(N,)``.
        mean: Predictive means, shape ``(N,)``.
        std: Predictive standard deviations, shape ``(N,)``, or one number for all rows.

    Returns:
        Nats a row.

    Raises:
        ShapeError: If the shapes differ.
        DataError: If a value is NaN or infinite, or a deviation not positive.

    References:
        Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102, section 4.1: the logarithmic score.

    Example:
        >>> round(normal_nll([1.0], [1.0], 1.0), 4)
        0.9189
    """
    z, scale = _standardized(y, mean, std)
    return float(np.mean(0.5 * math.log(2.0 * math.pi) + np.log(scale) + 0.5 * z**2))


def mixture_nll(log_prob: Any) -> float:
    r"""Mean negative log of the probability averaged over draws, in nats a row.

    .. math:: -\frac1N\sum_n \log\frac1S\sum_s \exp \ell_{sn}

    It is what :func:`nll` is to one prediction, for the posterior's mixture of S of them, and stays
    finite where the exponentials under- or overflow.

    Args:
        log_prob: Log probability (or density) of each target under each draw, shape ``(S, N)``;
            ``-inf`` is probability 0.

    Returns:
        Nats a row; ``inf`` if some row has probability 0 under every draw.

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


def numeric_array(name: str, value: Any) -> np.ndarray:
    """Read numbers as ``float64``; text, objects and NaN are refused, never converted.

    Args:
        name: What was passed, as the caller knows it.
        value: Anything that ``np.asarray`` reads.

    Returns:
        An array of any shape, without NaN.

    Raises:
        DataError: If NumPy cannot read the value, or it is not made of real numbers.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as problem:  # ragged lists; tensors on a GPU or with a graph
        raise DataError(
            f"`{name}` must be an array of numbers; received {type(value).__name__}, of which NumPy says: "
            f"{problem} For a tensor, pass tensor.detach().cpu()."
        ) from problem
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"`{name}` must hold real numbers; received dtype {array.dtype}. Convert with .astype(float)."
        )
    array = array.astype(np.float64)
    missing = int(np.isnan(array).sum())
    if missing:
        raise DataError(f"`{name}` must hold no NaN; received {missing} of {array.size}. Drop those rows.")
    return array


def _check_finite(name: str, array: np.ndarray) -> None:
    infinite = int(np.isinf(array).sum())
    if infinite:
        raise DataError(f"`{name}` must be finite; received {infinite} infinite values of {array.size}.")


def _vectors(finite: tuple[str, ...] | None = None, **named: Any) -> list[np.ndarray]:
    # All must have one shape (N,); `finite` names those that may hold no infinities, None means all.
    arrays = {name: numeric_array(name, value) for name, value in named.items()}
    # The first that is a vector says how many rows there are, so that the error names the odd one out.
    rows = next((len(array) for array in arrays.values() if array.ndim == 1), 0)
    for name, array in arrays.items():
        if array.shape != (rows,) or rows == 0:
            hint = "Use .squeeze(-1)." if array.ndim == 2 and array.shape[1] == 1 else "One value a row."
            raise ShapeError(name, (rows or "N >= 1",), array.shape, hint)
        if finite is None or name in finite:
            _check_finite(name, array)
    return list(arrays.values())


def _draws_and_rows(name: str, draws: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    (target,) = _vectors(y=y)
    table = numeric_array(name, draws)
    if table.ndim != 2 or len(table) == 0 or table.shape[1] != len(target):
        raise ShapeError(name, ("S >= 1", len(target)), table.shape, "Draws come first, rows second.")
    _check_finite(name, table)
    return target, table


def _standardized(y: Any, mean: Any, std: Any) -> tuple[np.ndarray, np.ndarray]:
    # Returns (y - mean) / std, and std a row.
    scale = numeric_array("std", std)
    if scale.ndim == 0:  # one number is meant for all rows; (1,) and (N, 1) may be accidents
        target, center = _vectors(y=y, mean=mean)
        scale = np.full(len(target), scale)
        _check_finite("std", scale)
    else:
        target, center, scale = _vectors(y=y, mean=mean, std=scale)
    if scale.min() <= 0.0:
        raise DataError(
            f"`std` must be positive; its smallest value is {scale.min()}. A scale is a deviation."
        )
    return (target - center) / scale, scale


def _classification(y: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    # Returns integer labels (N,) and probabilities (N, K), two classes included.
    table, labels = numeric_array("probabilities", probabilities), numeric_array("y", y)
    if labels.ndim != 1 or len(labels) == 0:
        rows = len(table) if table.ndim else 0
        raise ShapeError("y", (rows or "N >= 1",), labels.shape, "One label a row; use .squeeze(-1).")
    if table.ndim not in (1, 2) or len(table) != len(labels) or table.shape[1:] in ((0,), (1,)):
        expected = (len(labels),) if table.ndim != 2 or table.shape[1] < 2 else (len(labels), table.shape[1])
        hint = "Pass P(y = 1) as (N,), or all K >= 2 classes as (N, K)."
        raise ShapeError("probabilities", expected, table.shape, hint)
    table = _checked_probabilities(table)
    bad = (labels != np.floor(labels)) | (labels < 0) | (labels >= table.shape[1])
    if bad.any():
        raise DataError(
            f"`y` must hold the labels 0 to {table.shape[1] - 1}; received {labels[bad][0]:g} among others. "
            "Number the classes from 0."
        )
    return labels.astype(np.int64), table


def _checked_probabilities(table: np.ndarray) -> np.ndarray:
    low, high = table.min(), table.max()
    if low < -_ROUNDING or high > 1.0 + _ROUNDING:
        raise DataError(
            f"`probabilities` must lie in [0, 1]; received {low:g} to {high:g}. Are they logits? "
            "Apply a sigmoid or softmax first."
        )
    if table.ndim == 2:
        off = float(np.abs(table.sum(axis=1) - 1.0).max())
        if off > _ROUNDING * table.shape[1]:
            raise DataError(
                f"each row of `probabilities` must sum to 1; one is off by {off:.3g}. Apply a softmax first."
            )
    table = table.clip(0.0, 1.0)
    return table if table.ndim == 2 else np.stack([1.0 - table, table], axis=1)
