"""Import of ArviZ, whichever major version is installed."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def load_arviz() -> Any:
    """Import ArviZ on first use; the caller's warnings filters are restored."""
    if "arviz" not in sys.modules:
        with warnings.catch_warnings():
            # 0.23 warns of its refactoring once a day (it keeps a stamp file), so with `-W error` the first import of
            # each day would fail.
            warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing a major refactor", FutureWarning)
            import arviz
    import arviz

    return arviz


def is_before_1(arviz: Any) -> bool:
    """Check whether ArviZ is older than 1.0."""
    # The version decides, because 1.x keeps the name `InferenceData` for its DataTree.
    return int(arviz.__version__.split(".")[0]) < 1
