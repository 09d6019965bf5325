"""Likelihood of proportions, that is numbers between 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro.distributions as dist
from torch import Tensor

from .base import check_targets
from .one_output import POSITIVE, OneOutput, Positive
from .special import incomplete_beta, soft_clip
from .univariate import off_the_border

_LOGIT_BOUND = 20.0  # means of 2e-9 and 1 - 2e-9


class BetaWithCDF(dist.Beta):
    """Torch's Beta with a CDF, and with draws strictly between 0 and 1."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw proportions with gradients."""
        return off_the_border(super().rsample(sample_shape))

    def cdf(self, value: Tensor) -> Tensor:
        """Compute the distribution function."""
        x = value.clamp(0, 1)
        return incomplete_beta(self.concentration1, self.concentration0, x, 1 - x)


@dataclass(frozen=True)
class Beta(OneOutput):
    r"""Proportions: :math:`y_k \mid x, w \sim \text{Beta}(\phi m, \phi (1 - m))` with :math:`m = \sigma(f_k(x))`.

    .. math:: E[y] = m, \qquad \operatorname{Var}[y] = \frac{m (1 - m)}{1 + \phi}

    It needs one output per target, the logit of the mean, softly clipped at :math:`\pm 20`. Targets are strictly
    between 0 and 1; shapes are those of :class:`Normal`.

    Attributes:
        precision: :math:`\phi`; initially 10 if ``"learned"``.

    References:
        Ferrari & Cribari-Neto (2004), "Beta regression for modelling rates and proportions", J. Appl. Stat. 31.

    Example:
        >>> import torch
        >>> Beta(precision=4.0).moments(torch.zeros(1, 5, 1))[1].unique()
        tensor([0.0500])
    """

    ARGUMENTS: ClassVar = {"precision": POSITIVE}
    PARAMETERS: ClassVar = {"precision": ("the precision", 10.0)}
    unit_scale: ClassVar[bool] = False
    precision: Positive = "learned"

    def _per_target(self, f: Tensor, precision: Any) -> Any:
        logit = soft_clip(f, _LOGIT_BOUND)
        mean, rest = logit.sigmoid(), (-logit).sigmoid()
        return BetaWithCDF(precision * mean, precision * rest, validate_args=False)

    def observed(self, f: Tensor, y: Tensor | None, *, output_axes: int = 1) -> Tensor | None:
        """Validate and convert targets; those that round to 0 or 1 move inside, as they would have no density."""
        targets = super().observed(f, y, output_axes=output_axes)
        return None if targets is None else off_the_border(targets)

    def check_values(self, y: Tensor, outputs: Sequence[int]) -> None:
        """Validate that targets are strictly between 0 and 1."""
        formula = "(y * (N - 1) + 0.5) / N (Smithson & Verkuilen 2006)"
        hint = f"If 0 and 1 come from rounding, replace all N targets by {formula}"
        check_targets(y, (y > 0) & (y < 1), "strictly between 0 and 1", hint)
