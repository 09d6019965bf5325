"""Pareto-smoothed importance sampling by ArviZ's functions, with the same results in both versions."""

from __future__ import annotations

import math

import numpy as np

from .versions import is_before_1, load_arviz

_EQUAL = 1e-6  # log weights within this range are equal
_FEWEST = 30  # with fewer draws the tail has fewer than 6, too few for a fit in both versions


def pareto_k_hat(log_weights: np.ndarray) -> float:
    """Estimate the shape of the tail of importance weights, by Pareto-smoothed importance sampling."""
    return float(smooth(np.asarray(log_weights)[np.newaxis])[1][0])


def smooth(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth the largest importance weights of each row, and estimate how heavy their tail is."""
    smoothed = np.array(log_weights, dtype=float)
    num_draws = smoothed.shape[1]
    if num_draws < _FEWEST:
        return smoothed - _log_sum_exp(smoothed), np.where(np.ptp(smoothed, axis=1) < _EQUAL, 0.0, math.inf)
    # Weights that are equal in the whole tail cannot be fitted; its length is that of Vehtari et al.
    first = num_draws - math.floor(min(num_draws / 5, 3 * math.sqrt(num_draws)))
    uneven = ~(smoothed.max(axis=1) - np.partition(smoothed, first, axis=1)[:, first] < _EQUAL)
    k_hat = np.zeros(len(smoothed))
    if uneven.any():
        smoothed[uneven], k_hat[uneven] = _by_arviz(smoothed[uneven])
    return smoothed - _log_sum_exp(smoothed), k_hat


def _by_arviz(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    arviz = load_arviz()
    # 0.23 overflows in intermediate results, but its answer is right.
    with np.errstate(all="ignore"):
        if is_before_1(arviz):
            smoothed, k_hat = arviz.psislw(log_weights)
        else:
            from arviz_stats.base import array_stats  # pyright: ignore[reportMissingImports]

            smoothed, k_hat = array_stats.psislw(-log_weights, axis=-1)  # it expects negative log weights
    # If there is no fit, 0.23 returns infinity and 1.x NaN.
    return smoothed, np.where(np.isnan(k_hat), math.inf, k_hat)


def _log_sum_exp(values: np.ndarray) -> np.ndarray:
    # Over the last axis, which is kept with size 1.
    largest = values.max(axis=-1, keepdims=True)
    return largest + np.log(np.exp(values - largest).sum(axis=-1, keepdims=True))
