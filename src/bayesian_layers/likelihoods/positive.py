"""Positive numbers of a likelihood, such as the scale of its noise: given, learned, or with a prior."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor

from ..errors import DataError
from ..priors import LogNormal, Prior, Site
from ..saving.schema import SCALE, AnyOf, String
from ..saving.storable import MemberOf

Positive = float | Literal["learned"] | LogNormal
POSITIVE = AnyOf((SCALE, String(("learned",)), MemberOf(Prior, ("LogNormal",))))  # the same in a file


def check_positive(name: str, value: object, meaning: str) -> None:
    """Refuse what is neither a positive number, ``"learned"`` nor a log-normal prior."""
    if isinstance(value, LogNormal) or (isinstance(value, str) and value == "learned"):
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DataError(
            f"`{name}` is {meaning}: a number above 0, 'learned' or a bl.priors.LogNormal; received {value!r}"
        )


def positive_site(name: str, value: Positive, like: Tensor, first: float = 1.0) -> dict[str, Site]:
    """Give the latent site of such a number."""
    if isinstance(value, LogNormal):
        return {name: Site(like.new_tensor(value.loc).exp(), value, positive=True)}
    if value == "learned":
        return {name: Site(like.new_tensor(first), None, positive=True)}
    return {}


def for_targets(value: Any, event_dim: int) -> Any:
    """Give the value of such a site axes for the targets of a row: one a draw, for all of them."""
    return value[(..., *[None] * event_dim)] if event_dim and isinstance(value, Tensor) else value
