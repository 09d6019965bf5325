"""Positive parameters of a likelihood, such as the scale of its noise: fixed, learned, or with a prior."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor

from ..arguments import is_number
from ..errors import DataError
from ..priors import LogNormal, Prior, Site
from ..saving.schema import SCALE, AnyOf, String
from ..saving.storable import MemberOf

Positive = float | Literal["learned"] | LogNormal
POSITIVE = AnyOf((SCALE, String(("learned",)), MemberOf(Prior, ("LogNormal",))))  # its schema in a file


def check_positive(name: str, value: object, meaning: str) -> None:
    """Raise DataError unless ``value`` is a positive number, ``"learned"`` or a log-normal prior."""
    if isinstance(value, LogNormal) or (isinstance(value, str) and value == "learned"):
        return
    if not is_number(value) or not 0 < value < math.inf:
        raise DataError(
            f"`{name}` is {meaning} and must be a finite number above 0, 'learned' or a bl.priors.LogNormal; "
            f"received {value!r}"
        )


def positive_site(name: str, value: Positive, like: Tensor, initial: float = 1.0) -> dict[str, Site]:
    """Return the latent site of a positive parameter, or none if its value is fixed."""
    if isinstance(value, LogNormal):
        return {name: Site(like.new_tensor(value.loc).exp(), value, positive=True)}
    if value == "learned":
        return {name: Site(like.new_tensor(initial), None, positive=True)}
    return {}


def for_targets(value: Any, event_dim: int) -> Any:
    """Append axes to the value of such a site, which has one entry per draw, to match the targets of a row."""
    return value[(..., *[None] * event_dim)] if event_dim and isinstance(value, Tensor) else value
