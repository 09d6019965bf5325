"""Modules that load on first use: those of extras, and scipy's, so that importing the package is fast."""

from __future__ import annotations

import functools
import importlib
import warnings
from typing import Any

from .errors import MissingExtraError


def _load(name: str) -> Any:
    # scipy and scikit-learn add warnings filters when they are imported; the caller's filters are restored.
    with warnings.catch_warnings():
        return importlib.import_module(name)


def require(module: str, package: str, extra: str) -> Any:
    """Import a module of an extra; raise MissingExtraError if its package is not installed."""
    try:
        return _load(module)
    except ImportError as error:
        raise MissingExtraError(package, extra) from error


@functools.cache
def scipy_special() -> Any:
    """Return ``scipy.special``."""
    return _load("scipy.special")


@functools.cache
def scipy_stats() -> Any:
    """Return ``scipy.stats``."""
    return _load("scipy.stats")
