r"""Functions of draws: properties of the predictive distribution beyond its moments.

Each takes :class:`bayesian_layers.PredictiveDraws` of N rows under S draws of the weights, and describes the mixture

.. math:: p(y \mid x) = \frac1S \sum_s p(y \mid f_s(x))

of the likelihood's distributions. Rows come first in every result, so ``posterior.over_draws`` applies each function to
any number of rows in bounded memory. Sums are computed in ``float64``; results have the dtype of the outputs. Classes
are ordered by their labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..arguments import check_fraction, is_number
from ..errors import DataError
from . import mixture
from .predictive_draws import PredictiveDraws

__all__ = [
    "crps",
    "entropy",
    "expected_entropy",
    "interval",
    "log_prob",
    "mutual_information",
    "probabilities",
    "quantiles",
]


def probabilities(draws: PredictiveDraws) -> Tensor:
    r"""Return the probability of each class, :math:`\frac1S \sum_s p(y = k \mid f_s(x))`.

    Args:
        draws: Draws with a likelihood of classes or labels.

    Returns:
        Probabilities: ``(N, K)`` for ``Categorical``; P(y = 1) in the shape of ``y`` for ``Bernoulli``.

    Raises:
        DataError: If the likelihood is not one of classes or labels.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.tensor([[[0.0]], [[100.0]]]), bl.likelihoods.Bernoulli(), {})
        >>> probabilities(draws)
        tensor([0.7500])
    """
    return _class_probabilities(draws).mean(0).to(draws.f.dtype)


def entropy(draws: PredictiveDraws) -> Tensor:
    r"""Return the entropy of the predictive distribution, :math:`H[p] = -\sum_k p_k \log p_k`, p averaged over draws.

    It is the sum of :func:`expected_entropy`, which would remain if the weights were known, and
    :func:`mutual_information`.

    Args:
        draws: Draws with a likelihood of classes or labels.

    Returns:
        Nats: ``(N,)`` for ``Categorical``; of each label, in the shape of ``y``, for ``Bernoulli``.

    Raises:
        DataError: If the likelihood is not one of classes or labels.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.zeros(5, 1, 2), bl.likelihoods.Categorical(), {})
        >>> entropy(draws)
        tensor([0.6931])
    """
    return _entropy(draws, _class_probabilities(draws).mean(0)).to(draws.f.dtype)


def expected_entropy(draws: PredictiveDraws) -> Tensor:
    r"""Return the mean entropy over draws, :math:`\frac1S \sum_s H[p(y \mid f_s(x))]`: the aleatoric part.

    Args:
        draws: Draws with any likelihood whose distribution implements its entropy; differential for real targets.

    Returns:
        Nats: ``(N,)`` for ``Categorical``, otherwise of each target, in the shape of ``y``.

    Raises:
        DataError: If the likelihood's distribution does not implement its entropy.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.tensor([[[-99.0]], [[99.0]]]), bl.likelihoods.Bernoulli(), {})
        >>> expected_entropy(draws) < 1e-6, entropy(draws)
        (tensor([True]), tensor([0.6931]))
    """
    components = mixture.components(draws)
    if mixture.is_class(components):
        return _entropy(draws, _class_probabilities(draws)).mean(0).to(draws.f.dtype)
    try:
        return components.entropy().double().mean(0).to(draws.f.dtype)
    except NotImplementedError as error:
        raise DataError(
            f"`draws` must have a distribution that implements its entropy; {type(components).__name__} does not"
        ) from error


def mutual_information(draws: PredictiveDraws) -> Tensor:
    r"""Return the mutual information of target and weights, the criterion of active learning by BALD.

    .. math:: I[y; w] = H\left[\frac1S\sum_s p_s\right] - \frac1S\sum_s H[p_s] =
        \frac1S\sum_s \mathrm{KL}(p_s \,\|\, \bar p), \qquad p_s = p(y \mid f_s(x))

    Args:
        draws: Draws with a likelihood of classes or labels.

    Returns:
        Nats, from 0 to log K: ``(N,)`` for ``Categorical``; of each label, in the shape of ``y``, for ``Bernoulli``.

    Raises:
        DataError: If the likelihood is not one of classes or labels.

    References:
        Houlsby, Huszar, Ghahramani & Lengyel (2011), arXiv 1112.5745.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.tensor([[[-99.0]], [[99.0]]]), bl.likelihoods.Bernoulli(), {})
        >>> mutual_information(draws)
        tensor([0.6931])
    """
    p = _class_probabilities(draws)
    information = _entropy(draws, p.mean(0)) - _entropy(draws, p).mean(0)
    return information.clamp(min=0).to(draws.f.dtype)


def log_prob(draws: PredictiveDraws, y: Tensor) -> Tensor:
    r"""Return the log density of targets under the mixture, :math:`\log \frac1S \sum_s \exp \ell_s`.

    :math:`\ell_s = \log p(y \mid f_s(x))` is the joint log density of all targets of a row.

    Args:
        draws: Draws with any likelihood.
        y: Targets, in their usual shape.

    Returns:
        Nats per row, ``(N,)``; densities of real targets depend on the units of ``y``.

    Raises:
        TypeError: If ``y`` is not a tensor.
        ShapeError: If ``y`` does not have the shape that the outputs need.
        DataError: If a target has probability 0 under every parameter of the likelihood.

    References:
        Gelman, Hwang & Vehtari (2014), arXiv 1307.5928, equation 5.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.tensor([[[0.0]], [[100.0]]]), bl.likelihoods.Bernoulli(), {})
        >>> log_prob(draws, torch.tensor([1.0])).exp()
        tensor([0.7500])
    """
    y = mixture.targets(draws, y)
    each = mixture.joint_log_prob(draws, y)
    return (each.logsumexp(0) - math.log(draws.num_draws)).to(draws.f.dtype)


def quantiles(draws: PredictiveDraws, levels: float | Sequence[float], seed: int = 0) -> Tensor:
    r"""Return quantiles of each target's mixture: :math:`\min\{t : F(t) \ge \text{level}\}`.

    :math:`F(t) = \frac1S \sum_s P(y \le t \mid f_s(x))` is its CDF, which is inverted numerically to rounding error;
    for integers, classes and labels the quantile is exact. If the distribution has no CDF, these are the quantiles of
    one draw of ``y`` per draw of the weights.

    Args:
        draws: Draws with any likelihood.
        levels: L probabilities strictly between 0 and 1, or one.
        seed: Seed of the draws of ``y``, if they are needed.

    Returns:
        The shape and units of ``y`` with a last axis of L, ``(N, ..., L)``.

    Raises:
        DataError: If a level is not between 0 and 1.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.zeros(2, 1, 1), bl.likelihoods.Normal(1.0), {})
        >>> quantiles(draws, [0.025, 0.5])
        tensor([[-1.9600,  0.0000]])
    """
    chosen = list(levels) if isinstance(levels, Sequence) else [levels]
    if not chosen or not all(is_number(level) and 0 < level < 1 for level in chosen):
        raise DataError(f"`levels` must be one or more numbers between 0 and 1; received {levels}")
    return mixture.quantiles(draws, chosen, seed).to(draws.f.dtype)


def interval(draws: PredictiveDraws, level: float = 0.95, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""Return the central interval: the quantiles at :math:`(1 \mp \text{level}) / 2`.

    Args:
        draws: Draws with any likelihood.
        level: Probability of the interval, between 0 and 1.
        seed: Seed of the draws of ``y``, if they are needed.

    Returns:
        Lower and upper end, each in the shape and units of ``y``.

    Raises:
        DataError: If ``level`` is not between 0 and 1.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.zeros(2, 1, 1), bl.likelihoods.Normal(1.0), {})
        >>> interval(draws, 0.95)
        (tensor([-1.9600]), tensor([1.9600]))
    """
    check_fraction("level", level)
    lower, upper = quantiles(draws, [(1 - level) / 2, (1 + level) / 2], seed).unbind(-1)
    return lower, upper


def crps(draws: PredictiveDraws, y: Tensor, seed: int = 0) -> Tensor:
    r"""Return the continuous ranked probability score of each target, :math:`\int (F(t) - [y \le t])^2\,dt`.

    F is the mixture's CDF; smaller is better and 0 is perfect. For mixtures of Normals it is computed, to rounding, by

    .. math:: \frac1S \sum_s A(y - \mu_s, \sigma_s^2)
        - \frac1{2S^2} \sum_{s,t} A(\mu_s - \mu_t, \sigma_s^2 + \sigma_t^2), \quad
        A(m, v) = 2 \sqrt v\,\varphi(m / \sqrt v) + m\,(2 \Phi(m / \sqrt v) - 1),

    whose double sum is :math:`\int F (1 - F)`. For classes and labels it is the ranked probability score, exactly (for
    one label :math:`(y - p)^2`). Otherwise it is estimated from one draw of ``y`` per draw of the weights by the
    unbiased :math:`\frac1S \sum_s |y_s - y| - \frac1{2 S (S - 1)} \sum_{s,t} |y_s - y_t|`.

    Args:
        draws: Draws with any likelihood; at least 2 if ``y`` is drawn.
        y: Targets, in their usual shape.
        seed: Seed of the draws of ``y``, if they are needed.

    Returns:
        Scores in the shape and units of ``y``.

    Raises:
        TypeError: If ``y`` is not a tensor.
        ShapeError: If ``y`` does not have the shape that the outputs need.
        DataError: If a target has probability 0 under every parameter of the likelihood.

    References:
        Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102; Grimit, Gneiting, Berrocal & Johnson (2006), "The
        continuous ranked probability score for circular variables", Q. J. R. Meteorol. Soc. 132, for the mixture; Ferro
        (2014), "Fair scores for ensemble forecasts", Q. J. R. Meteorol. Soc. 140.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.zeros(2, 1, 1), bl.likelihoods.Normal(1.0), {})
        >>> crps(draws, torch.tensor([0.0]))
        tensor([0.2337])
    """
    return mixture.crps(draws, mixture.targets(draws, y), seed).to(draws.f.dtype)


def _class_probabilities(draws: PredictiveDraws) -> Tensor:
    """Return P(y = 1) of labels, or of each class on a last axis, under each draw, in float64."""
    components = mixture.components(draws)
    if not mixture.is_class(components):
        raise DataError(
            "probabilities and entropies of classes need bl.likelihoods.Bernoulli or Categorical; received "
            f"{type(draws.likelihood).__name__}. For real targets use moments, quantiles or log_prob."
        )
    return components.probs


def _entropy(draws: PredictiveDraws, p: Tensor) -> Tensor:
    """Return the entropy of classes on the last axis, or of labels."""
    if mixture.is_label(mixture.components(draws)):
        return torch.special.entr(p) + torch.special.entr(1 - p)
    return torch.special.entr(p).sum(-1)
