"""A report that compares a Bayesian network with Keras on a user's table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..folder import check_report_folder, write_report
from .comparison_fits import run_comparison
from .comparison_report import build_comparison_report
from .comparison_results import ComparisonRun

if TYPE_CHECKING:
    import pandas

__all__ = ["ComparisonRun", "build_comparison_report", "run_comparison", "write_comparison"]


def write_comparison(
    frame: pandas.DataFrame, target: str, folder: str | os.PathLike[str], **options: Any
) -> Path:
    """Compare both methods on a table, write the report, and return the path of its page."""
    check_report_folder(folder)  # before the fits, which take minutes
    return write_report(folder, *build_comparison_report(run_comparison(frame, target, **options)))
