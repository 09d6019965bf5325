"""Imports of the libraries of the extra ``report``, when a report is made and not before."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from ..errors import MissingExtraError


def require(module: str, package: str) -> Any:
    """Import a module that only reports need."""
    try:
        with warnings.catch_warnings():  # scikit-learn and SciPy add filters of their own to the process
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, "report") from error
