"""Metrics of predicted probabilities of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import check_integer
from ._checks import classification


def accuracy(y: Any, probabilities: Any) -> float:
    r"""Return the fraction of rows with the right predicted class, :math:`\frac1N\sum_n [\arg\max_k p_{nk} = y_n]`.

    Example:
        >>> accuracy([0, 1, 1, 1], [0.2, 0.9, 0.4, 0.6])
        0.75
    """
    labels, table = classification(y, probabilities)
    return float(np.mean(table.argmax(axis=1) == labels))


def nll(y: Any, probabilities: Any) -> float:
    r"""Return the mean negative log probability of labels, :math:`-\frac1N\sum_n \log p_{n y_n}`, in nats per row.

    Probabilities are not clipped: if a label has probability 0, the result is ``inf``, without a warning. (In
    ``float32`` a sigmoid is exactly 1 for logits from 17 on.)

    References:
        Good (1952), "Rational decisions", J. R. Stat. Soc. B 14: the logarithmic score.

    Example:
        >>> round(nll([1, 0], [0.5, 0.5]), 4)
        0.6931
    """
    labels, table = classification(y, probabilities)
    with np.errstate(divide="ignore"):
        log_prob = np.log(table[np.arange(len(labels)), labels])
    return float(np.mean(-log_prob))


def brier(y: Any, probabilities: Any) -> float:
    r"""Return the mean squared distance between probabilities and outcomes, dimensionless; 0 is perfect.

    For two classes, ``probabilities`` of shape ``(N,)``: :math:`\frac1N\sum_n (p_n - y_n)^2`, from 0 to 1.
    For ``(N, K)``, Brier's own definition: :math:`\frac1N\sum_n\sum_k (p_{nk} - [y_n = k])^2`, from 0 to 2;
    for the same two-class prediction written with K = 2 it is twice the first.

    References:
        Brier (1950), "Verification of forecasts expressed in terms of probability", Mon. Weather Rev. 78.

    Example:
        >>> brier([1, 0], [0.5, 0.5]), brier([1, 0], [[0.5, 0.5], [0.5, 0.5]])
        (0.25, 0.5)
    """
    labels, table = classification(y, probabilities)
    distance = np.mean(np.sum((table - np.eye(table.shape[1])[labels]) ** 2, axis=1))
    return float(distance / 2 if np.ndim(probabilities) == 1 else distance)


def ece(y: Any, probabilities: Any, bins: int = 15) -> float:
    r"""Return the expected calibration error, the mean distance between confidence and accuracy, from 0 to 1.

    Rows are sorted by confidence (the probability of the predicted class) into ``bins`` bins :math:`B_b` of equal width
    over :math:`(0, 1]`, each closed on the right (with two classes the lower half stays empty):
    :math:`\sum_b \frac{|B_b|}{N}\,|\text{accuracy}(B_b) - \text{mean confidence}(B_b)|`.

    References:
        Guo, Pleiss, Sun & Weinberger (2017), arXiv 1706.04599, equation 3.

    Example:
        >>> round(ece([1, 1, 1, 0], [0.9, 0.9, 0.9, 0.9]), 4)
        0.15
    """
    check_integer("bins", bins, least=1, hint="15 is usual.")
    labels, table = classification(y, probabilities)
    confidence = table.max(axis=1)
    correct = table.argmax(axis=1) == labels
    index = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence, side="left")
    # The weight of a bin times its gap is the sum of the gaps of its rows over N; empty bins add nothing.
    return float(np.abs(np.bincount(index, weights=correct - confidence)).sum() / len(labels))
