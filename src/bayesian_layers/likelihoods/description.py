"""A likelihood in JSON's types and back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from .. import priors
from ..errors import StorageError
from ..priors import LogNormal
from .base import Likelihood
from .classes import Bernoulli, Categorical
from .counts import NegativeBinomial, Poisson
from .discretized import DiscretizedMixtureOfLogistics
from .mixtures import MixtureOfLogistics, MixtureOfNormals
from .normal import HeteroscedasticNormal, Normal
from .proportions import Beta
from .student_t import StudentT

# What can be saved; the arguments of each have their schema in `document_schema`.
KINDS: tuple[type[Likelihood], ...] = (
    Bernoulli,
    Categorical,
    Normal,
    HeteroscedasticNormal,
    StudentT,
    Poisson,
    NegativeBinomial,
    Beta,
    MixtureOfNormals,
    MixtureOfLogistics,
    DiscretizedMixtureOfLogistics,
)
# Said only where they are not the default: documents without them are older than they are.
_DEFAULTS = {"class_axis": "last", "output_axis": "last"}


def to_document(likelihood: Likelihood | None) -> dict[str, Any] | None:
    """Describe a likelihood in JSON's types."""
    if likelihood is None:
        return None
    name = type(likelihood).__name__
    if type(likelihood) not in KINDS:
        raise StorageError(
            f"a likelihood of the class {name} cannot be saved: it is not one of bl.likelihoods"
        )
    said = (
        {each.name: getattr(likelihood, each.name) for each in fields(likelihood)}
        if is_dataclass(likelihood)
        else {}
    )
    return {
        "name": name,
        **{
            argument: priors.to_document(value) if isinstance(value, LogNormal) else value
            for argument, value in said.items()
            if _DEFAULTS.get(argument) != value
        },
    }


def from_document(document: Any) -> Likelihood | None:
    """Build the likelihood that :func:`to_document` described."""
    if document is None:
        return None
    kinds = {kind.__name__: kind for kind in KINDS}
    try:
        arguments = dict(document)
        kind: Any = kinds[arguments.pop("name")]
        return kind(
            **{
                name: priors.from_document(value) if isinstance(value, dict) else value
                for name, value in arguments.items()
            }
        )
    except (TypeError, ValueError, KeyError) as error:
        message = f"a likelihood must be one of {sorted(kinds)} with its arguments; received {document}"
        raise StorageError(message) from error
