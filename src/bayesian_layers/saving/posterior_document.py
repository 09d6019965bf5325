"""The fields of ``posterior.json``. A new one is added here, and in ``posterior/save_and_load.py``."""

from __future__ import annotations

from typing import Any

from ..errors import StorageError
from .schema import AnyOf, Bool, Integer, MapOf, Number, Record, String, optional, show

VERSION = 3

# `model`, `source`, `data` and `refinement` are checked by the `from_spec` of what they describe.
_SCHEMA = Record(
    {
        "version": Integer(VERSION, VERSION),
        "model": MapOf(),
        "source": MapOf(),
        "data": optional(MapOf()),
        "refinement": optional(MapOf()),
        "elbo": optional(Number()),
        "kl_weight": AnyOf((Number(0), MapOf(Number(0)))),
        "converged": optional(Bool()),
        "versions": MapOf(String()),
    }
)


def check_posterior(document: Any) -> dict[str, Any]:
    """Return a posterior's document if its fields fit; nothing in it is trusted."""
    if not isinstance(document, dict):
        raise StorageError("the folder must hold a posterior; it holds something else. Check the path.")
    version = document.get("version")
    if version != VERSION:
        raise StorageError(
            f"the posterior must have the version {VERSION}; received {show(version)}. Read it with the version of "
            "bayesian-layers that wrote it, or save it again."
        )
    return _SCHEMA.check(document, "posterior")
