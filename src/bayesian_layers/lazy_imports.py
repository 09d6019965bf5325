"""Modules of scipy that load on first use, so that importing the package is fast."""

from __future__ import annotations

import functools
import importlib
import warnings
from typing import Any


@functools.cache
def _load(name: str) -> Any:
    # scipy.special adds a warnings filter when it is imported; the caller's filters are restored.
    with warnings.catch_warnings():
        return importlib.import_module(name)


def scipy_special() -> Any:
    """Return ``scipy.special``."""
    return _load("scipy.special")


def scipy_stats() -> Any:
    """Return ``scipy.stats``."""
    return _load("scipy.stats")
