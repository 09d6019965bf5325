"""Small data sets that the package generates itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Dataset(NamedTuple):
    """Inputs and targets, row by row.

    Attributes:
        x: Inputs, shape ``(N, D)``.
        y: Targets, shape ``(N,)``.
    """

    x: Tensor
    y: Tensor


def parabola(n: int = 200, seed: int = 999) -> Dataset:
    r"""Draw points of a square, labelled by the side of a parabola that a noisy copy of them is on.

    ``x`` is uniform on :math:`[-1, 1]^2`; the label is 1 where
    :math:`(x_0 + \epsilon_0)^2 < x_1 + \epsilon_1` with :math:`\epsilon \sim N(0, 0.1^2)`. The
    generator is NumPy's legacy one, so ``parabola()`` gives the arrays of the article that tried
    tensor2tensor's Bayesian layers (2018), cast to ``float32``.

    Args:
        n: Number of rows.
        seed: Seed of the generator; the caller's random state is not touched.

    Returns:
        ``x`` of shape ``(n, 2)`` and ``y`` of shape ``(n,)`` with values 0 and 1, both ``float32``.

    Example:
        >>> x, y = parabola()
        >>> x.shape, y.shape, int(y.sum())
        (torch.Size([200, 2]), torch.Size([200]), 62)
    """
    generator = np.random.RandomState(seed)
    x = generator.random_sample((n, 2)) * 2 - 1
    noisy = x + generator.normal(scale=0.1, size=(n, 2))
    y = noisy[:, 0] ** 2 < noisy[:, 1]
    return Dataset(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))
