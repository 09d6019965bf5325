"""A prior in JSON's types and back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import DataError, StorageError
from .base import Prior
from .elementwise import ElementwiseNormal
from .families import HierarchicalNormal, LogNormal, Normal
from .half_cauchy import HalfCauchy
from .horseshoe import Horseshoe
from .laplace import Laplace
from .log_uniform import LogUniform
from .mixture import ScaleMixture
from .whitened import Noise, Whitened


class _Awaited(Prior):
    """The place of a prior whose arrays are still in their file."""

    def unconstrained(self, like: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise StorageError("the arrays of this prior were not loaded from their file: documents.fill_priors")


_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        HalfCauchy,
        HierarchicalNormal,
        Horseshoe,
        Laplace,
        LogNormal,
        LogUniform,
        Noise,
        Normal,
        ScaleMixture,
        Whitened,
    )
}


def to_document(prior: Prior | None) -> dict[str, Any] | None:
    """Describe a prior in JSON's types, but for arrays (see :func:`arrays`)."""
    if prior is None:
        return None
    if type(prior) is ElementwiseNormal:
        return {"name": "ElementwiseNormal"}
    if _KINDS.get(type(prior).__name__) is not type(prior):
        raise StorageError(
            f"a prior of the class {type(prior).__name__} cannot be saved: it is not one of bl.priors"
        )
    return {"name": type(prior).__name__, **{name: _plain(value) for name, value in vars(prior).items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Prior):
        return to_document(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str) else float(value)


def from_document(document: Any, like: Tensor | None = None) -> Prior | None:
    """Build the prior that :func:`to_document` described."""
    if document is None:
        return None
    if document == {"name": "ElementwiseNormal"} and like is not None:
        return _Awaited()
    try:
        arguments = dict(document)
        if isinstance(arguments.get("scale"), dict):
            arguments["scale"] = from_document(arguments["scale"])
        return _KINDS[arguments.pop("name")](**arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise StorageError(
            f"a prior must be one of {sorted(_KINDS)} with its numbers; received {str(document)[:200]}"
        ) from error


def arrays(prior: Prior | None, like: Tensor) -> dict[str, Tensor]:
    """Give the arrays of a prior, which no JSON document holds."""
    if isinstance(prior, _Awaited):  # what is read must be like these
        return {"loc": like.detach(), "scale": like.detach()}
    if not isinstance(prior, ElementwiseNormal):
        return {}
    loc, scale = prior.unconstrained(like)
    return {"loc": loc, "scale": scale}


def with_arrays(loaded: dict[str, Tensor]) -> Prior:
    """Build a prior from the arrays that :func:`arrays` gave."""
    try:
        return ElementwiseNormal(loaded["loc"], loaded["scale"])
    except DataError as error:
        raise StorageError(f"the file's priors are damaged: {error}") from error
