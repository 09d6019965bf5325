"""A likelihood in JSON's types and back."""

from __future__ import annotations

from typing import Any

from .. import priors
from ..errors import StorageError
from ..priors import LogNormal
from .base import Likelihood
from .classes import Bernoulli, Categorical
from .normal import Normal


def to_document(likelihood: Likelihood | None) -> dict[str, Any] | None:
    """Describe a likelihood in JSON's types.

    Args:
        likelihood: One of this module's, or ``None``.

    Returns:
        Its name and arguments, or ``None``.

    Raises:
        StorageError: If it is a class that the library does not know.
    """
    if likelihood is None:
        return None
    name = type(likelihood).__name__
    if type(likelihood) not in (Bernoulli, Categorical, Normal):
        raise StorageError(
            f"a likelihood of the class {name} cannot be saved: it is not one of bl.likelihoods"
        )
    if isinstance(likelihood, Categorical) and likelihood.class_axis != "last":
        return {"name": name, "class_axis": likelihood.class_axis}  # documents without it are older than it
    if not isinstance(likelihood, Normal):
        return {"name": name}
    scale = likelihood.noise_scale
    return {"name": name, "noise_scale": priors.to_document(scale) if isinstance(scale, LogNormal) else scale}


def from_document(document: Any) -> Likelihood | None:
    """Build the likelihood that :func:`to_document` described.

    Args:
        document: What was read from a file; nothing in it is trusted.

    Returns:
        The likelihood, or ``None``.

    Raises:
        StorageError: If the description is not one of a known likelihood.
    """
    if document is None:
        return None
    kinds = {kind.__name__: kind for kind in (Bernoulli, Categorical, Normal)}
    try:
        arguments = dict(document)
        kind = kinds[arguments.pop("name")]
        if isinstance(arguments.get("noise_scale"), dict):
            arguments["noise_scale"] = priors.from_document(arguments["noise_scale"])
        return kind(**arguments)
    except (TypeError, ValueError, KeyError) as error:
        message = f"a likelihood must be one of {sorted(kinds)} with its arguments; received {document}"
        raise StorageError(message) from error
