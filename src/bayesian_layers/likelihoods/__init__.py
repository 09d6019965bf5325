"""Likelihoods: from the network's output to the distribution of the targets, with its moments.

``f`` has shape ``(*batch, N, *axes)``: what comes behind the rows belongs to one row. For a table that is one axis,
``(N, outputs)``; for sequences there are two, ``(N, T, outputs)``, for images three, ``(N, C, H, W)``. How many there
are cannot be read off ``f``, as draws have axes too, so functions take ``output_axes``, which is 1 unless said.

**Layout.** A likelihood says how many outputs it takes a target, ``outputs_per_target``: a number m, mostly 1, or one
for each class. For K targets the axis of outputs has m K entries, parameter by parameter, not target by target: the
first K are the first parameter of all targets, the next K the second, as ``torch.cat([mean, log_scale], -1)`` of two
heads makes them and ``f.chunk(m, -1)`` takes them apart. A mixture of C components has m = 3 C: the logits of all
components, then their means (less fixed ``anchors``, so that they begin apart), then the logarithms of their scales.
That axis is the last, or, with ``output_axis="first"``, the first of a row, where torch's convolutions put their
channels: ``(N, m C, H, W)``.

Targets have the shape of the outputs with m entries made one, without a last axis of size 1: ``(N,)`` for ``(N, m)``,
``(N, K)`` for ``(N, m K)``, ``(N, T)`` for ``(N, T, m)``. Classes take their axis away: ``(N, T)`` for ``(N, T, K)``.
All targets of a row are one event, whose log density is their sum.
"""

from .base import Likelihood
from .classes import Bernoulli, Categorical
from .counts import NegativeBinomial, Poisson
from .discretized import DiscretizedMixtureOfLogistics
from .flow import Flow
from .mixtures import MixtureOfLogistics, MixtureOfNormals
from .normal import HeteroscedasticNormal, Normal
from .prediction import Prediction
from .prediction import moments as moments  # for the rest of the package; not in __all__
from .proportions import Beta
from .student_t import StudentT

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "DiscretizedMixtureOfLogistics",
    "Flow",
    "HeteroscedasticNormal",
    "Likelihood",
    "MixtureOfLogistics",
    "MixtureOfNormals",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "Prediction",
    "StudentT",
]
