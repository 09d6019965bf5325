"""Likelihoods of real targets with several modes: mixtures whose weights, means and scales are outputs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
import torch
from torch import Tensor

from ..arguments import check_integer
from ..saving.schema import Integer
from .normal import LOG_SCALE_BOUND, NarrowNormal
from .several import OUTPUT_AXIS, SeveralOutputs
from .special import soft_clip
from .univariate import open_uniform

MIXTURE = {"components": Integer(1, 2**20), **OUTPUT_AXIS}  # schemas in a file


class Logistic(dist.Logistic):
    """Pyro's logistic distribution, with draws that are always finite."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw values with gradients."""
        return self.icdf(open_uniform(self._extended_shape(torch.Size(sample_shape)), self.loc))


@dataclass(frozen=True)
class Mixture(SeveralOutputs):
    """A mixture of C distributions of one family with different means and scales."""

    components: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("components", self.components, least=1)

    @property
    def outputs_per_target(self) -> int | Literal["classes"]:
        """A logit, a mean and a log scale per component."""
        return 3 * self.components

    def _label(self) -> str:
        return f"{type(self).__name__}({self.components})"

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`."""
        parts, event_dim = self.parts(f, output_axes)
        logits, shift, log_scale = parts.unflatten(-1, (3, self.components)).unbind(-2)
        weights = dist.Categorical(logits=logits, validate_args=False)
        mean = shift + self.anchors(f)
        family = self._component(mean, soft_clip(log_scale, LOG_SCALE_BOUND).exp())
        return dist.MixtureSameFamily(weights, family, validate_args=False).to_event(event_dim)

    def anchors(self, like: Tensor) -> Tensor:
        """Return the means of the components for outputs of 0.

        Args:
            like: A tensor with the dtype and device to use.

        Returns:
            Quantiles of the standard normal distribution, ``(C,)``.
        """
        # Components that start at the same mean get the same gradients, and some fits never separate them.
        return torch.special.ndtri(self._middles(like))

    def _middles(self, like: Tensor) -> Tensor:
        """Return the midpoints of C equal parts of [0, 1]."""
        return (torch.arange(self.components, dtype=like.dtype, device=like.device) + 0.5) / self.components

    @abstractmethod
    def _component(self, mean: Tensor, scale: Tensor) -> Any:
        """Build the distributions of the components, of any batch shape."""


@dataclass(frozen=True)
class MixtureOfNormals(Mixture):
    r"""Real targets with several modes: :math:`p(y \mid x, w) = \sum_c \pi_c(x)\, N(y; m_c(x), \sigma_c(x)^2)`.

    This is a mixture density network. It needs 3 C outputs per target: C logits of the weights :math:`\pi`, C means m
    minus their :meth:`~Mixture.anchors`, and C logarithms of standard deviations, softly clipped at :math:`\pm 10`; the
    latter two are in the units of ``y``. Components may be exchanged in another fit, so interpret the mixture, not
    single components.

    Attributes:
        components: Number of components C.
        output_axis: The axis of outputs in a row, ``"last"`` or ``"first"``.

    References:
        Bishop (1994), "Mixture density networks", Aston University NCRG/94/004.

    Example:
        >>> likelihood = MixtureOfNormals(2)
        >>> likelihood.anchors(torch.empty(()))
        tensor([-0.6745,  0.6745])
        >>> f = torch.tensor([[[0.0, 0.0, -1.0, 1.0, 0.0, 0.0]]])  # equal weights, means -1.67 and 1.67, stds 1
        >>> likelihood.moments(f)
        (tensor([[0.]]), tensor([[3.8039]]))
    """

    ARGUMENTS: ClassVar = MIXTURE

    def _component(self, mean: Tensor, scale: Tensor) -> Any:
        return NarrowNormal(mean, scale, validate_args=False)


@dataclass(frozen=True)
class MixtureOfLogistics(Mixture):
    r"""Real targets with several modes: :math:`P(y \le t \mid x, w) = \sum_c \pi_c(x)\, \sigma((t - m_c(x)) / s_c(x))`.

    It is like :class:`MixtureOfNormals` with heavier tails: the last C outputs are logarithms of the scales s of
    logistics, whose standard deviations are :math:`1.8138\, s`.

    Attributes:
        components: Number of components C.
        output_axis: The axis of outputs in a row, ``"last"`` or ``"first"``.

    References:
        Salimans, Karpathy, Chen & Kingma (2017), "PixelCNN++", arXiv 1701.05517, without the discretization.

    Example:
        >>> MixtureOfLogistics(1).moments(torch.zeros(1, 1, 3))[1] * 3 / torch.pi**2
        tensor([[1.]])
    """

    ARGUMENTS: ClassVar = MIXTURE

    def _component(self, mean: Tensor, scale: Tensor) -> Any:
        return Logistic(mean, scale, validate_args=False)
