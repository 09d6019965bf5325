"""Base class of likelihoods that need one network output per target, perhaps with positive parameters."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from ..arguments import is_number
from ..errors import DataError
from ..priors import LogNormal, Prior, Site
from ..saving.schema import SCALE, AnyOf, String
from ..saving.storable import MemberOf
from .base import Likelihood, squeeze_last

Positive = float | Literal["learned"] | LogNormal
POSITIVE = AnyOf((SCALE, String(("learned",)), MemberOf(Prior, ("LogNormal",))))  # its schema in a file


class OneOutput(Likelihood):
    """A likelihood with one output per target, and positive parameters: fixed, learned, or with a prior."""

    # Name of each parameter to its meaning in errors and its initial value if it is learned.
    PARAMETERS: ClassVar[Mapping[str, tuple[str, float]]] = {}

    def __post_init__(self) -> None:
        for name, (meaning, _) in self.PARAMETERS.items():
            value = getattr(self, name)
            if isinstance(value, LogNormal) or (isinstance(value, str) and value == "learned"):
                continue
            if not is_number(value) or not 0 < value < math.inf:
                raise DataError(
                    f"`{name}` is {meaning} and must be a finite number above 0, 'learned' or a "
                    f"bl.priors.LogNormal; received {value!r}"
                )

    def sites(self, like: Tensor) -> dict[str, Site]:
        """Return a site per parameter whose value is not fixed."""
        found = {}
        for name, (_, initial) in self.PARAMETERS.items():
            value = getattr(self, name)
            if isinstance(value, LogNormal):
                found[name] = Site(like.new_tensor(value.loc).exp(), value, positive=True)
            elif value == "learned":
                found[name] = Site(like.new_tensor(initial), None, positive=True)
        return found

    def distribution(self, f: Tensor, *, output_axes: int = 1, **latents: Tensor) -> Any:
        """Build the distribution of the targets; see :meth:`Likelihood.distribution`."""
        output, event_dim = squeeze_last(f, output_axes)
        parameters = {name: latents.get(name, getattr(self, name)) for name in self.PARAMETERS}
        # Sites have one entry per draw; axes are appended to match the targets of a row.
        for name, value in parameters.items():
            if isinstance(value, Tensor):
                parameters[name] = value[(..., *[None] * event_dim)]
        return self._per_target(output, **parameters).to_event(event_dim)

    @abstractmethod
    def _per_target(self, f: Tensor, **parameters: Any) -> Any:
        """Build independent distributions of the targets, whose batch shape is that of ``f``."""
