"""A user's table: a Bayesian network against Keras, as a report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..folder import check_report_folder, write_report
from ..page import Report
from .page import comparison_page
from .results import ComparisonRun
from .run import run_comparison

if TYPE_CHECKING:
    import pandas

__all__ = ["ComparisonRun", "compare_table", "comparison_page", "run_comparison", "write_comparison"]


def compare_table(frame: pandas.DataFrame, target: str, **options: Any) -> Report:
    """Compare both methods on a table."""
    return comparison_page(run_comparison(frame, target, **options))


def write_comparison(
    frame: pandas.DataFrame,
    target: str,
    folder: str | os.PathLike[str],
    **options: Any,
) -> Path:
    """Compare both methods on a table, and write the report."""
    # A folder that cannot be used is refused first.
    check_report_folder(folder)
    return write_report(folder, *compare_table(frame, target, **options))
