"""Likelihoods: from the network's output to the distribution of the targets, with its moments.

``f`` has shape ``(*batch, N, *axes)``: the axes after N belong to one row. Tables have one such axis, ``(N, outputs)``,
sequences have two, ``(N, T, outputs)``, images three, ``(N, C, H, W)``. Their number cannot be inferred from ``f``,
since draws have axes too, so functions take ``output_axes``, which is 1 by default.

**Layout.** ``outputs_per_target`` is how many outputs a likelihood needs per target: a number m, mostly 1, or one per
class. For K targets the axis of outputs has m K entries, ordered by parameter, not by target: the first K entries are
the first parameter of all targets, the next K the second. ``torch.cat([mean, log_scale], -1)`` of two heads has this
layout, and ``f.chunk(m, -1)`` splits it. A mixture of C components has m = 3 C: the logits of all components, then
their means (minus fixed ``anchors``, so that the components start apart), then the logarithms of their scales. The
axis of outputs is the last one, or, with ``output_axis="first"``, the first of a row, as in torch's convolutions:
``(N, m C, H, W)``.

Targets have the shape of the outputs with every m entries reduced to one, without a last axis of size 1: ``(N,)`` for
``(N, m)``, ``(N, K)`` for ``(N, m K)``, ``(N, T)`` for ``(N, T, m)``. For classes the axis of classes is removed:
``(N, T)`` for ``(N, T, K)``. All targets of a row are one event, whose log density is their sum.

**Parameters.** A positive parameter, such as ``noise_scale``, is a number; ``"learned"`` for a point estimate, a site
of the same name that is kept in the guide; or a ``bl.priors.LogNormal``, with a log-normal guide. Arguments that are
invalid raise DataError.

**Soft clipping.** Beyond a bound, outputs that are logarithms or logits grow logarithmically
(:func:`~bayesian_layers.likelihoods.special.soft_clip`), so what they stand for, or its reciprocal, grows linearly
instead of exponentially: nothing overflows, and the gradient is never 0.
"""

from .base import Likelihood
from .classes import Bernoulli, Categorical
from .counts import NegativeBinomial, Poisson
from .discretized import DiscretizedMixtureOfLogistics
from .flow import Flow
from .gamma import Gamma
from .log_normal import LogNormal
from .mixtures import MixtureOfLogistics, MixtureOfNormals
from .normal import HeteroscedasticNormal, Normal
from .prediction import Prediction
from .proportions import Beta
from .student_t import StudentT

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "DiscretizedMixtureOfLogistics",
    "Flow",
    "Gamma",
    "HeteroscedasticNormal",
    "Likelihood",
    "LogNormal",
    "MixtureOfLogistics",
    "MixtureOfNormals",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "Prediction",
    "StudentT",
]
