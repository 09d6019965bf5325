"""Real targets with Normal noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor

from ..errors import DataError
from ..priors import LogNormal, Site
from .base import Likelihood, one_a_target


@dataclass(frozen=True)
class Normal(Likelihood):
    r"""Real targets with Normal noise: :math:`y_k \mid x, w \sim N(f_k(x), \text{noise\_scale}^2)`.

    One output a target, all with the same scale; ``y`` has the shape of the outputs without a last axis of size 1:
    ``(N,)`` for one output, ``(N, K)`` for K, ``(N, T)`` or ``(N, T, K)`` for sequences, ``(N, C, H, W)`` for images.

    Attributes:
        noise_scale: Standard deviation of the noise, in the units of ``y``: a number; ``"learned"`` for a
            point estimate (site ``noise_scale``, kept in the guide, first 1); or a ``bl.priors.LogNormal``,
            whose guide is log-normal.

    Raises:
        DataError: If a number is not finite and positive, or something else comes.

    Example:
        >>> Normal(0.1).moments(torch.zeros(1, 5, 1))[1].unique()
        tensor([0.0100])
    """

    noise_scale: float | Literal["learned"] | LogNormal = "learned"

    def __post_init__(self) -> None:
        scale = self.noise_scale
        if isinstance(scale, LogNormal) or scale == "learned":
            return
        if not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise DataError(
                "`noise_scale` is a standard deviation: a number above 0, 'learned' or a bl.priors.LogNormal; "
                f"received {scale!r}"
            )

    def sites(self, like: Tensor) -> dict[str, Site]:
        """List the site ``noise_scale``, unless its value is given.

        Args:
            like: A tensor with the dtype and device to use.

        Returns:
            The site, or nothing.
        """
        if isinstance(self.noise_scale, LogNormal):
            median = like.new_tensor(self.noise_scale.loc).exp()
            return {"noise_scale": Site(median, self.noise_scale, positive=True)}
        if self.noise_scale == "learned":
            return {"noise_scale": Site(like.new_tensor(1.0), None, positive=True)}
        return {}

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`.

        Args:
            f: Means, ``(*batch, N, *axes)``.
            output_axes: How many of its last axes belong to one row.
            **latents: ``noise_scale``, unless it is a number; shape ``(*batch, 1)`` or ``()``.

        Returns:
            A Normal with batch shape ``(*batch, N)``.
        """
        mean, event_dim = one_a_target(f, output_axes)
        scale: Any = latents.get("noise_scale", self.noise_scale)
        if event_dim and isinstance(scale, Tensor):  # one scale a draw, for all targets of a row
            scale = scale[(..., *[None] * event_dim)]
        return dist.Normal(mean, scale).to_event(event_dim)

    def check_values(self, y: Tensor, outputs: int) -> None:
        """Refuse targets that are not finite.

        Args:
            y: Targets.
            outputs: Of no account here.

        Raises:
            DataError: If a target is NaN or infinite.
        """
        bad = int((~torch.isfinite(y)).sum()) if y.is_floating_point() else 0
        if bad:
            raise DataError(f"`y` has {bad} values that are NaN or infinite; remove or impute these rows")
