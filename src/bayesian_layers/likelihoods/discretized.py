"""Likelihood of integers in a range, such as the brightness of pixels: a discretized mixture of logistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from ..arguments import check_integer
from ..saving.schema import Integer
from .base import check_targets
from .mixtures import MIXTURE, Mixture
from .univariate import Univariate, open_uniform

_MOST_LEVELS = 2**16


class DiscretizedLogistic(Univariate):
    """A logistic distribution rounded to integers from 0 to ``levels - 1``, which include the tails."""

    # With the edges a = (y - 1/2 - loc) / scale and b = (y + 1/2 - loc) / scale,
    #   log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(-1 / scale)).
    # No close numbers are subtracted, so narrow, wide and distant components need no special cases. Integers and their
    # halves are exact in float32, so two neighbours share exactly the same edge, and the probabilities sum to 1.
    parameters = ("loc", "scale")
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor, scale: Tensor, levels: int) -> None:
        self.levels = levels
        super().__init__(loc, scale)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Return the same distribution with a larger batch shape."""
        return type(self)(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels)

    @property
    def support(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The integers from 0 to ``levels - 1``."""
        return constraints.integer_interval(0, self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Compute the log probability."""
        steep = self.scale.reciprocal()
        first, last = value <= 0, value >= self.levels - 1
        below = logsigmoid((value + 0.5 - self.loc) * steep).masked_fill(last, 0)
        above = logsigmoid((self.loc - (value - 0.5)) * steep).masked_fill(first, 0)
        return below + above + (-(-steep).expm1()).log().masked_fill(first | last, 0)

    def cdf(self, value: Tensor) -> Tensor:
        """Compute the distribution function."""
        below = ((value.floor() + 0.5 - self.loc) / self.scale).sigmoid()
        return below.masked_fill(value < 0, 0).masked_fill(value >= self.levels - 1, 1)

    @property
    def mean(self) -> Tensor:
        """The mean, as a sum over all levels."""
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        """The variance, as a sum over all levels."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Compute mean and variance from sums of tail probabilities about the rounded location."""
        # Moments about 0 would lose the digits of narrow components.
        c = self.loc.round().clamp(0, self.levels - 1)
        shift, square = torch.zeros_like(c), torch.zeros_like(c)
        for k in range(self.levels - 1):
            side = torch.where(c <= k, 1.0, -1.0).to(c.dtype)
            tail = ((self.loc - (k + 0.5)) / self.scale * side).sigmoid()  # P(y > k), or P(y <= k) below c
            shift = shift + side * tail
            square = square + side * (2 * (k - c) + 1) * tail
        return c + shift, (square - shift.square()).clamp(min=0)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw integers."""
        with torch.no_grad():
            u = open_uniform(self._extended_shape(torch.Size(sample_shape)), self.loc)
            return (self.loc + self.scale * u.logit()).round().clamp(0, self.levels - 1)


@dataclass(frozen=True)
class DiscretizedMixtureOfLogistics(Mixture):
    r"""Integers from 0 to L - 1, such as pixels: a mixture of rounded logistics, whose ends include the tails.

    .. math:: P(y \mid x, w) = \sum_c \pi_c \left[\sigma\!\left(\frac{y + \frac12 - M_c}{S_c}\right)
        - \sigma\!\left(\frac{y - \frac12 - M_c}{S_c}\right)\right], \quad
        M_c = \tfrac{L - 1}2 (1 + m_c),\; S_c = \tfrac{L - 1}2 s_c,

    where the lower edge of 0 is :math:`-\infty` and the upper edge of L - 1 is :math:`\infty`. It needs 3 C outputs per
    target, as :class:`~bayesian_layers.likelihoods.MixtureOfLogistics` does; means m and scales s are in units in which
    the range of y is -1 to 1.

    Images ``(N, channels, H, W)`` need outputs ``(N, 3 C channels, H, W)`` with ``output_axis="first"``. Each channel
    of a pixel has a separate mixture, without PixelCNN++'s coupling of channels: where it matters, give the earlier
    channels to the network as inputs. ``predict`` sums over all L levels, L times the work of ``log_prob``.

    Attributes:
        components: Number of components C.
        levels: Number of integers L, 256 for bytes.
        output_axis: The axis of outputs in a row, ``"last"`` or ``"first"``.

    References:
        Salimans, Karpathy, Chen & Kingma (2017), "PixelCNN++", arXiv 1701.05517.

    Example:
        >>> likelihood = DiscretizedMixtureOfLogistics(1, levels=3)
        >>> y = torch.tensor([0.0, 1.0, 2.0])
        >>> p = likelihood.distribution(torch.zeros(3, 3)).log_prob(y).exp()
        >>> p, p.sum()
        (tensor([0.3775, 0.2449, 0.3775]), tensor(1.))
    """

    ARGUMENTS: ClassVar = {**MIXTURE, "levels": Integer(2, _MOST_LEVELS)}
    unit_scale: ClassVar[bool] = False
    levels: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer(
            "levels", self.levels, least=2, most=_MOST_LEVELS, hint="For more use MixtureOfLogistics."
        )

    def anchors(self, like: Tensor) -> Tensor:
        """Return the means of the components for outputs of 0; see :meth:`Mixture.anchors`."""
        return 2 * self._middles(like) - 1

    def _component(self, mean: Tensor, scale: Tensor) -> Any:
        half = (self.levels - 1) / 2
        return DiscretizedLogistic(half * (1 + mean), half * scale, self.levels)

    def check_values(self, y: Tensor, outputs: Sequence[int]) -> None:
        """Validate that targets are integers in range."""
        last = self.levels - 1
        valid = (y >= 0) & (y <= last) & (y == y.floor() if y.is_floating_point() else True)
        hint = f"Multiply pixels from 0 to 1 by {last} and round them; for other ranges change `levels`"
        check_targets(y, valid, f"integers from 0 to {last}", hint)
