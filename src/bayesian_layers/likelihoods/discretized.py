"""Whole numbers from 0 to a largest one, such as the brightness of pixels: a discretized mixture of logistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from ..errors import DataError
from ..saving.schema import Integer
from .elementwise import Elementwise
from .mixtures import MIXTURE, Mixture, check_whole


class DiscretizedLogistic(Elementwise):
    r"""A logistic, rounded to whole numbers from 0 to ``levels - 1``; the outer ones take the tails.

    With the edges :math:`a = (y - \tfrac12 - m) / s` and :math:`b = (y + \tfrac12 - m) / s`

    .. math:: \log(\sigma(b) - \sigma(a)) = \log \sigma(b) + \log \sigma(-a) + \log(1 - e^{-1 / s}),

    exactly: no difference of near numbers is taken, so narrow, wide and far components need no cases. Whole numbers
    and their halves are exact in float32; so the edge that two neighbours share is one number to both, and the
    masses sum to 1.

    Args:
        loc: Mean m of the logistic.
        scale: Its scale s.
        levels: How many whole numbers there are, at least 2.
    """

    parameters = ("loc", "scale")
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor, scale: Tensor, levels: int) -> None:
        self.levels = levels
        super().__init__(loc, scale)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Give the same distribution with a larger batch shape."""
        return type(self)(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels)

    @property
    def support(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The whole numbers from 0 to ``levels - 1``."""
        return constraints.integer_interval(0, self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Give the log probability of whole numbers."""
        steep = self.scale.reciprocal()
        first, last = value <= 0, value >= self.levels - 1
        below = logsigmoid((value + 0.5 - self.loc) * steep).masked_fill(last, 0)
        above = logsigmoid((self.loc - (value - 0.5)) * steep).masked_fill(first, 0)
        return below + above + (-(-steep).expm1()).log().masked_fill(first | last, 0)

    def cdf(self, value: Tensor) -> Tensor:
        """Give the probability of whole numbers up to one."""
        below = ((value.floor() + 0.5 - self.loc) / self.scale).sigmoid()
        return below.masked_fill(value < 0, 0).masked_fill(value >= self.levels - 1, 1)

    @property
    def mean(self) -> Tensor:
        """The mean, by the sum over all numbers."""
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        """The variance, by the sum over all numbers."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Sums of tail probabilities about the middle c: moments about 0 would lose the digits of narrow ones."""
        c = self.loc.round().clamp(0, self.levels - 1)
        shift, square = torch.zeros_like(c), torch.zeros_like(c)
        for k in range(self.levels - 1):
            side = torch.where(c <= k, 1.0, -1.0).to(c.dtype)
            tail = ((self.loc - (k + 0.5)) / self.scale * side).sigmoid()  # P(y > k), or P(y <= k) below c
            shift = shift + side * tail
            square = square + side * (2 * (k - c) + 1) * tail
        return c + shift, (square - shift.square()).clamp(min=0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw whole numbers."""
        with torch.no_grad():
            drawn = self.loc + self.scale * self._uniform(sample_shape).logit()
            return drawn.round().clamp(0, self.levels - 1)


@dataclass(frozen=True)
class DiscretizedMixtureOfLogistics(Mixture):
    r"""Whole numbers from 0 to L - 1, such as pixels: a mixture of logistics, rounded, whose ends take the tails.

    .. math:: P(y \mid x, w) = \sum_c \pi_c \left[\sigma\!\left(\frac{y + \frac12 - M_c}{S_c}\right)
        - \sigma\!\left(\frac{y - \frac12 - M_c}{S_c}\right)\right], \quad
        M_c = \tfrac{L - 1}2 (1 + m_c),\; S_c = \tfrac{L - 1}2 s_c,

    with :math:`-\infty` for the lower edge of 0 and :math:`\infty` for the upper edge of L - 1. 3 C outputs a target: C
    logits of the weights :math:`\pi`, C means m less their :meth:`anchors`, which reach from -1 to 1 over the range of
    y, and C logarithms of scales s in the same unit, held as those of
    :class:`~bayesian_layers.likelihoods.HeteroscedasticNormal`.

    Images ``(N, channels, H, W)`` come from outputs ``(N, 3 C channels, H, W)`` with ``output_axis="first"``. Each
    channel of a pixel has a mixture of its own, independent of the others given the network's output; the coupling
    of channels in PixelCNN++ is left out: where it matters, let the network see the earlier channels.
    Mean and deviation are sums over all L numbers, so ``predict`` takes L times the work of ``log_prob``.

    Attributes:
        components: Their number C.
        levels: How many whole numbers L there are, 256 for bytes.
        output_axis: See :class:`~bayesian_layers.likelihoods.several.SeveralOutputs`.

    Raises:
        DataError: If ``components`` is not a whole number from 1, or ``levels`` not one from 2 to 65,536.

    References:
        Salimans, Karpathy, Chen & Kingma (2017), "PixelCNN++", arXiv 1701.05517.

    Example:
        >>> likelihood = DiscretizedMixtureOfLogistics(1, levels=3)
        >>> y = torch.tensor([0.0, 1.0, 2.0])
        >>> p = likelihood.distribution(torch.zeros(3, 3)).log_prob(y).exp()
        >>> p, p.sum()
        (tensor([0.3775, 0.2449, 0.3775]), tensor(1.))
    """

    ARGUMENTS: ClassVar = {**MIXTURE, "levels": Integer(2, 2**16)}
    unit_scale: ClassVar[bool] = False
    levels: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("levels", self.levels, 2)
        if self.levels > 2**16:
            raise DataError(f"`levels` must be at most 65536; received {self.levels}. Use MixtureOfLogistics")

    def anchors(self, like: Tensor) -> Tensor:
        """Give the means of the components where the network's output is 0; see :meth:`Mixture.anchors`."""
        return 2 * self._middles(like) - 1

    def _component(self, mean: Tensor, scale: Tensor) -> Any:
        half = (self.levels - 1) / 2
        return DiscretizedLogistic(half * (1 + mean), half * scale, self.levels)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse other than whole numbers of the range."""
        last = self.levels - 1
        bad = int((~((y >= 0) & (y <= last)) | (y != y.floor() if y.is_floating_point() else False)).sum())
        if bad:
            raise DataError(
                f"`y` must hold whole numbers from 0 to {last}; {bad} of its {y.numel()} values are not. Pixels "
                f"from 0 to 1 are multiplied by {last} and rounded; other ranges need other `levels`"
            )
