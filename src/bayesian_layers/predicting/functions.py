r"""Functions of draws: what moments do not say of the predictive distribution.

Each takes :class:`bayesian_layers.PredictiveDraws` of N rows under S draws of the weights, and speaks of the mixture

.. math:: p(y \mid x) = \frac1S \sum_s p(y \mid f_s(x)),

whose components the likelihood gives. Rows come first in every result, so each goes over any number of rows in bounded
memory by ``posterior.over_draws``. Sums run in ``float64``; results have the dtype of the outputs. Where the
likelihood is of classes, those are taken in the order of their labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import DataError
from . import mixture
from .draws import PredictiveDraws

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
    r"""Give the probability of each class, :math:`\frac1S \sum_s p(y = k \mid f_s(x))`.

    Args:
        draws: Of a likelihood of classes or labels.

    Returns:
        Probabilities: ``(N, K)`` for ``Categorical``; P(y = 1) in the shape of ``y`` for ``Bernoulli``.

    Raises:
        DataError: If the likelihood is of something else.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.tensor([[[0.0]], [[100.0]]]), bl.likelihoods.Bernoulli(), {})
        >>> probabilities(draws)
        tensor([0.7500])
    """
    return _class_probabilities(draws).mean(0).to(draws.f.dtype)


def entropy(draws: PredictiveDraws) -> Tensor:
    r"""Give the entropy of the predictive distribution, :math:`H[p] = -\sum_k p_k \log p_k` with p averaged over draws.

    It is the sum of :func:`expected_entropy`, which would remain if the weights were known, and
    :func:`mutual_information`.

    Args:
        draws: Of a likelihood of classes or labels.

    Returns:
        Nats: ``(N,)`` for ``Categorical``; of each label, in the shape of ``y``, for ``Bernoulli``.

    Raises:
        DataError: If the likelihood is of something else.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.zeros(5, 1, 2), bl.likelihoods.Categorical(), {})
        >>> entropy(draws)
        tensor([0.6931])
    """
    return _entropy(draws, _class_probabilities(draws).mean(0)).to(draws.f.dtype)


def expected_entropy(draws: PredictiveDraws) -> Tensor:
    r"""Give the mean over draws of the entropy, :math:`\frac1S \sum_s H[p(y \mid f_s(x))]`: noise, not ignorance.

    Args:
        draws: Of any likelihood whose distribution knows its entropy; differential for real targets.

    Returns:
        Nats; ``(N,)`` for ``Categorical``, else of each target, in the shape of ``y``.

    Raises:
        DataError: If the likelihood's distribution does not know its entropy.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.tensor([[[-99.0]], [[99.0]]]), bl.likelihoods.Bernoulli(), {})
        >>> expected_entropy(draws) < 1e-6, entropy(draws)
        (tensor([True]), tensor([0.6931]))
    """
    components = mixture.components(draws)
    if mixture.finite(components):
        return _entropy(draws, _class_probabilities(draws)).mean(0).to(draws.f.dtype)
    try:
        return components.entropy().double().mean(0).to(draws.f.dtype)
    except NotImplementedError as error:
        raise DataError(f"the distribution {type(components).__name__} does not know its entropy") from error


def mutual_information(draws: PredictiveDraws) -> Tensor:
    r"""Give the information that the target would bring about the weights, which active learning asks for (BALD).

    .. math:: I[y; w] = H\left[\frac1S\sum_s p_s\right] - \frac1S\sum_s H[p_s] =
        \frac1S\sum_s \mathrm{KL}(p_s \,\|\, \bar p), \qquad p_s = p(y \mid f_s(x))

    Args:
        draws: Of a likelihood of classes or labels.

    Returns:
        Nats, from 0 to log K: ``(N,)`` for ``Categorical``; of each label, in the shape of ``y``, for ``Bernoulli``.

    Raises:
        DataError: If the likelihood is of something else.

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
    r"""Give the log density of targets under the mixture, :math:`\log \frac1S \sum_s \exp \ell_s`.

    :math:`\ell_s = \log p(y \mid f_s(x))` sums over all targets of a row: the density is their joint one.

    Args:
        draws: Of any likelihood.
        y: Targets, in their usual shape.

    Returns:
        Nats a row, ``(N,)``; for real targets of a density, which depends on the units of ``y``.

    Raises:
        ShapeError: If ``y`` does not belong to the outputs.
        DataError: If a target is one that the likelihood cannot have produced.

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
    r"""Give quantiles of each target's mixture: :math:`\min\{t : F(t) \ge \text{level}\}`.

    :math:`F(t) = \frac1S \sum_s P(y \le t \mid f_s(x))` is its CDF.

    Targets whose distribution has a CDF, which all of ``bl.likelihoods`` of single numbers have: its numerical inverse,
    to rounding; for whole numbers, classes and labels exactly. Any other: quantiles of one draw of ``y`` a draw of
    the weights.

    Args:
        draws: Of any likelihood.
        levels: Probabilities between 0 and 1, each exclusive: L of them, or one.
        seed: Of the draws of ``y``, where those are needed.

    Returns:
        In the units of ``y``: its shape with an axis of L behind, ``(N, ..., L)``.

    Raises:
        DataError: If a level is not between 0 and 1.

    Example:
        >>> import bayesian_layers as bl
        >>> draws = bl.PredictiveDraws(torch.zeros(2, 1, 1), bl.likelihoods.Normal(1.0), {})
        >>> quantiles(draws, [0.025, 0.5])
        tensor([[-1.9600,  0.0000]])
    """
    chosen = [levels] if isinstance(levels, int | float) else list(levels)
    if not chosen or not all(0 < level < 1 for level in chosen):
        raise DataError(f"`levels` must be probabilities between 0 and 1; received {levels}")
    return mixture.quantiles(draws, chosen, seed).to(draws.f.dtype)


def interval(draws: PredictiveDraws, level: float = 0.95, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""Give the central interval: the quantiles at :math:`(1 \mp \text{level}) / 2`.

    Args:
        draws: Of any likelihood.
        level: Probability inside, between 0 and 1.
        seed: Of the draws of ``y``, where those are needed.

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
    if not 0 < level < 1:
        raise DataError(f"`level` must be a probability between 0 and 1; received {level}")
    lower, upper = quantiles(draws, [(1 - level) / 2, (1 + level) / 2], seed).unbind(-1)
    return lower, upper


def crps(draws: PredictiveDraws, y: Tensor, seed: int = 0) -> Tensor:
    r"""Give the continuous ranked probability score of each target, :math:`\int (F(t) - [y \le t])^2\,dt`.

    With F the mixture's CDF; the smaller the better, 0 is perfect. Mixtures of Normals: to rounding, by

    .. math:: \frac1S \sum_s A(y - \mu_s, \sigma_s^2)
        - \frac1{2S^2} \sum_{s,t} A(\mu_s - \mu_t, \sigma_s^2 + \sigma_t^2), \quad
        A(m, v) = 2 \sqrt v\,\varphi(m / \sqrt v) + m\,(2 \Phi(m / \sqrt v) - 1),

    whose double sum is :math:`\int F (1 - F)`. Classes and labels: exactly, the ranked probability score (for one label
    :math:`(y - p)^2`). Any other: one draw of ``y`` a draw of the weights, by the estimator that is fair for few,
    :math:`\frac1S \sum_s |y_s - y| - \frac1{2 S (S - 1)} \sum_{s,t} |y_s - y_t|`.

    Args:
        draws: Of any likelihood; at least 2 where ``y`` is drawn.
        y: Targets, in their usual shape.
        seed: Of the draws of ``y``, where those are needed.

    Returns:
        In the shape and units of ``y``.

    Raises:
        ShapeError: If ``y`` does not belong to the outputs.
        DataError: If a target is one that the likelihood cannot have produced.

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
    """P(y = 1) of labels, or of each class on a last axis; under each draw, ``float64``."""
    components = mixture.components(draws)
    if not mixture.finite(components):
        raise DataError(
            "probabilities and entropies of classes need bl.likelihoods.Bernoulli or Categorical; received "
            f"{type(draws.likelihood).__name__}. For real targets there are moments, quantiles and log_prob."
        )
    return mixture.class_probabilities(components)


def _entropy(draws: PredictiveDraws, p: Tensor) -> Tensor:
    """Of classes on the last axis, or of labels."""
    if mixture.labels(mixture.components(draws)):
        return torch.special.entr(p) + torch.special.entr(1 - p)
    return torch.special.entr(p).sum(-1)
