"""Real targets with several modes: mixtures whose weights, means and scales the network gives."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyro.distributions as dist
import torch
from torch import Tensor

from ..errors import DataError
from ..saving.schema import Integer
from .base import check_finite
from .normal import LOG_SCALE_BOUND, NarrowNormal
from .several import OUTPUT_AXIS, SeveralOutputs
from .special import restrained

MIXTURE = {"components": Integer(1, 2**20), **OUTPUT_AXIS}  # in a file


class Logistic(dist.Logistic):
    """Pyro's, whose draws are finite: a uniform number of 0 has an infinite quantile."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw values."""
        shape = self._extended_shape(torch.Size(sample_shape))
        info = torch.finfo(self.loc.dtype)
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).clamp(info.tiny, 1 - info.eps / 2)
        return self.icdf(u)


@dataclass(frozen=True)
class Mixture(SeveralOutputs):
    """A mixture of C distributions of one family, which are told apart by mean and scale.

    Attributes:
        components: Their number C.
        output_axis: See :class:`~bayesian_layers.likelihoods.several.SeveralOutputs`.

    Raises:
        DataError: If ``components`` is not a whole number from 1.
    """

    components: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("components", self.components, 1)

    @property
    def outputs_per_target(self) -> int | Literal["classes"]:
        """Logits of the weights, means and logarithms of scales, one of each a component."""
        return 3 * self.components

    def _shown(self) -> str:
        return f"{type(self).__name__}({self.components})"

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`."""
        parts, event_dim = self.parts(f, output_axes)
        logits, shift, log_scale = parts.unflatten(-1, (3, self.components)).unbind(-2)
        weights = dist.Categorical(logits=logits, validate_args=False)
        mean = shift + self.anchors(f)
        family = self._component(mean, restrained(log_scale, LOG_SCALE_BOUND).exp())
        return dist.MixtureSameFamily(weights, family, validate_args=False).to_event(event_dim)

    def anchors(self, like: Tensor) -> Tensor:
        """Give the means of the components where the network's output is 0."""
        # Components that begin as one are pulled the same way by all targets, and some fits never part
        # them.
        return torch.special.ndtri(self._middles(like))

    def _middles(self, like: Tensor) -> Tensor:
        """The middles of C equal parts of 0 to 1."""
        return (torch.arange(self.components, dtype=like.dtype, device=like.device) + 0.5) / self.components

    @abstractmethod
    def _component(self, mean: Tensor, scale: Tensor) -> Any:
        """The family's distributions, of any batch shape."""

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse targets that are not finite."""
        check_finite(y)


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number, or too small."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"`{name}` must be a whole number from {least}; received {value!r}")


@dataclass(frozen=True)
class MixtureOfNormals(Mixture):
    r"""Real targets with several modes: :math:`p(y \mid x, w) = \sum_c \pi_c(x)\, N(y; m_c(x), \sigma_c(x)^2)`.

    A mixture density network. 3 C outputs a target: C logits of the weights :math:`\pi`, C means m less their
    :meth:`~Mixture.anchors`, C logarithms of standard deviations, the latter two in the units of ``y``; logarithms are
    held as those of :class:`~bayesian_layers.likelihoods.HeteroscedasticNormal`. Components may swap their parts in
    another fit: look at the mixture, not at one of them.

    Attributes:
        components: Their number C.
        output_axis: See :class:`~bayesian_layers.likelihoods.several.SeveralOutputs`.

    References:
        Bishop (1994), "Mixture density networks", Aston University NCRG/94/004.

    Example:
        >>> likelihood = MixtureOfNormals(2)
        >>> likelihood.anchors(torch.empty(()))
        tensor([-0.6745,  0.6745])
        >>> f = torch.tensor([[[0.0, 0.0, -1.0, 1.0, 0.0, 0.0]]])  # equal weights, means -1.67 and 1.67, deviations 1
        >>> likelihood.moments(f)
        (tensor([[0.]]), tensor([[3.8039]]))
    """

    ARGUMENTS: ClassVar = MIXTURE

    def _component(self, mean: Tensor, scale: Tensor) -> Any:
        return NarrowNormal(mean, scale, validate_args=False)


@dataclass(frozen=True)
class MixtureOfLogistics(Mixture):
    r"""Real targets with several modes: :math:`P(y \le t \mid x, w) = \sum_c \pi_c(x)\, \sigma((t - m_c(x)) / s_c(x))`.

    As :class:`MixtureOfNormals`, with heavier tails. 3 C outputs a target: C logits of the weights :math:`\pi_c`, C
    means m less their :meth:`~Mixture.anchors`, C logarithms of the logistics' scales s, whose deviations are
    :math:`1.8138\, s`.

    Attributes:
        components: Their number C.
        output_axis: See :class:`~bayesian_layers.likelihoods.several.SeveralOutputs`.

    References:
        Salimans, Karpathy, Chen & Kingma (2017), "PixelCNN++", arXiv 1701.05517, before it is discretized.

    Example:
        >>> MixtureOfLogistics(1).moments(torch.zeros(1, 1, 3))[1] * 3 / torch.pi**2
        tensor([[1.]])
    """

    ARGUMENTS: ClassVar = MIXTURE

    def _component(self, mean: Tensor, scale: Tensor) -> Any:
        return Logistic(mean, scale, validate_args=False)
