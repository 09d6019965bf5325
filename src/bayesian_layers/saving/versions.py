"""Versions of Python and of the core packages."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("bayesian-layers", "torch", "pyro-ppl", "numpy", "arviz", "safetensors")


def versions() -> dict[str, str]:
    """Return package to version, Python included; packages that are not installed are absent."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
