"""Moments of draws that come a few at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from ..likelihoods import Prediction


class RunningMoments:
    r"""Mean and spread over draws of each row's predictions, from pieces of the draws.

    Keeps means and sums of squared deviations in ``float64`` and merges a piece of :math:`s` draws into the
    :math:`t` before it by

    .. math::
        \delta = \bar m_s - \bar m_t,\quad \bar m_{t+s} = \bar m_t + \tfrac{s}{t+s}\,\delta,\quad
        M_{t+s} = M_t + M_s + \tfrac{ts}{t+s}\,\delta^2,

    which, unlike sums of squares, loses no digits where the spread is small beside the mean.

    Args:
        like: Means of some rows under some draws, as :meth:`add` takes them.
        rows: Rows N of all.

    References:
        Chan, Golub & LeVeque (1983), "Algorithms for computing the sample variance: analysis and
        recommendations".
    """

    def __init__(self, like: Tensor, rows: int) -> None:
        self._dtype = like.dtype
        # Metal has no float64
        wide = torch.float32 if like.device.type == "mps" else torch.float64
        zeros = torch.zeros(3, rows, *like.shape[2:], dtype=wide, device=like.device)
        self._mean, self._spread, self._variance = zeros

    def add(self, rows: slice, before: int, mean: Tensor, variance: Tensor) -> None:
        """Take in a piece."""
        size = len(mean)
        center = mean.sum(0, dtype=self._mean.dtype) / size
        near = center.to(mean.dtype)
        spread = (mean - near).square_().sum(0, dtype=center.dtype) - size * (center - near).square_()
        shift = center - self._mean[rows]
        self._mean[rows] += shift * (size / (before + size))
        self._spread[rows] += spread.clamp_(min=0) + shift.square_() * (before * size / (before + size))
        self._variance[rows] += variance.sum(0, dtype=center.dtype)

    def prediction(self, num_draws: int) -> Prediction:
        """Give the moments over all draws."""
        epistemic, aleatoric = ((total / num_draws).sqrt_() for total in (self._spread, self._variance))
        return Prediction(*(each.to(self._dtype) for each in (self._mean, epistemic, aleatoric)))
