"""Positive numbers of a likelihood, such as the scale of its noise: given, learned, or with a prior."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor

from ..errors import DataError
from ..priors import LogNormal, Site

Positive = float | Literal["learned"] | LogNormal


def check_positive(name: str, value: object, meaning: str) -> None:
    """Refuse what is neither a positive number, ``"learned"`` nor a log-normal prior.

    Args:
        name: Of the argument.
        value: What the caller passed.
        meaning: What the number is, in a few words.

    Raises:
        DataError: If it is something else.
    """
    if isinstance(value, LogNormal) or (isinstance(value, str) and value == "learned"):
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DataError(
            f"`{name}` is {meaning}: a number above 0, 'learned' or a bl.priors.LogNormal; received {value!r}"
        )


def positive_site(name: str, value: Positive, like: Tensor, first: float = 1.0) -> dict[str, Site]:
    """Give the latent site of such a number.

    Args:
        name: Of the argument, and of the site.
        value: What the caller passed.
        like: A tensor with the dtype and device to use.
        first: Where a learned number begins; one with a prior begins at its median.

    Returns:
        The site, a point estimate for ``"learned"``; nothing for a number.
    """
    if isinstance(value, LogNormal):
        return {name: Site(like.new_tensor(value.loc).exp(), value, positive=True)}
    if value == "learned":
        return {name: Site(like.new_tensor(first), None, positive=True)}
    return {}


def for_targets(value: Any, event_dim: int) -> Any:
    """Give the value of such a site axes for the targets of a row: one a draw, for all of them.

    Args:
        value: A number, or a tensor ``(*batch, 1)`` or ``()``.
        event_dim: Axes of a row's targets.

    Returns:
        The number, or the tensor with ``event_dim`` axes of size 1 behind.
    """
    return value[(..., *[None] * event_dim)] if event_dim and isinstance(value, Tensor) else value
