"""Moments over draws that come a few at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from ..likelihoods import Prediction


class OnlineMoments:
    """Mean and spread over draws of each row's predictions, updated by pieces of the draws."""

    # Holds means m and sums M of squared distances from them, in float64, and merges a piece of s draws into the t
    # before it: Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance: analysis and
    # recommendations". With delta = m_s - m_t,
    #     m = m_t + s / (t + s) delta,    M = M_t + M_s + t s / (t + s) delta^2,
    # which, unlike sums of squares, loses no digits if the spread is small compared with the mean.

    def __init__(self, like: Tensor, rows: int) -> None:
        # `like` has the shape of the means that `add` takes, for some draws and rows; `rows` is the number of all rows.
        self._dtype = like.dtype
        wide = torch.float32 if like.device.type == "mps" else torch.float64  # Metal has no float64
        zeros = torch.zeros(3, rows, *like.shape[2:], dtype=wide, device=like.device)
        self._mean, self._spread, self._variance = zeros

    def add(self, rows: slice, before: int, mean: Tensor, variance: Tensor) -> None:
        """Merge means and variances of some rows under some draws, after ``before`` earlier draws."""
        size = len(mean)
        center = mean.sum(0, dtype=self._mean.dtype) / size
        near = center.to(mean.dtype)
        spread = (mean - near).square_().sum(0, dtype=center.dtype) - size * (center - near).square_()
        shift = center - self._mean[rows]
        self._mean[rows] += shift * (size / (before + size))
        self._spread[rows] += spread.clamp_(min=0) + shift.square_() * (before * size / (before + size))
        self._variance[rows] += variance.sum(0, dtype=center.dtype)

    def prediction(self, num_draws: int) -> Prediction:
        """Return the moments over all draws."""
        epistemic, aleatoric = ((total / num_draws).sqrt_() for total in (self._spread, self._variance))
        return Prediction(*(each.to(self._dtype) for each in (self._mean, epistemic, aleatoric)))
