"""ArviZ, whichever version is installed."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def load_arviz() -> Any:
    """Import ArviZ on first use; the caller's filters are as they were afterwards."""
    if "arviz" not in sys.modules:
        with warnings.catch_warnings():
            # 0.23 announces its refactoring once a day, by a stamp file: with `-W error` the import
            # would fail on the first run of each day.
            warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing a major refactor", FutureWarning)
            import arviz
    import arviz

    return arviz


def is_before_1(arviz: Any) -> bool:
    """Tell the two worlds apart."""
    # By its version: 1.x keeps the name `InferenceData` for its DataTree.
    return int(arviz.__version__.split(".")[0]) < 1
