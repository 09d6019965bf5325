"""A user's table: a Bayesian network against Keras, as a report."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    """Compare both methods on a table.

    Args:
        frame: The table.
        target: Name of the target column.
        **options: Those of :func:`run_comparison`.

    Returns:
        Page, pictures and numbers, ready for ``write_report``.
    """
    return comparison_page(run_comparison(frame, target, **options))


def write_comparison(
    frame: pandas.DataFrame,
    target: str,
    folder: str | os.PathLike[str],
    *,
    task: str | None = None,
    splits: int = 5,
    hidden: Sequence[int] = (20,),
    prior_scale: float = 1.0,
    keras_epochs: int = 1000,
    max_steps: int | None = None,
    seed: int = 0,
    name: str = "",
    command: str = "",
    progress: bool = True,
) -> Path:
    """Compare both methods on a table, and write the report; a folder that cannot be used is refused first.

    Args:
        frame: The table.
        target: Name of the target column.
        folder: Where to write.
        task: As in :func:`run_comparison`, like all that follow.
        splits: Number of splits.
        hidden: Units of each hidden layer.
        prior_scale: Standard deviation of the prior.
        keras_epochs: The most epochs of Keras.
        max_steps: Steps of the fits; ``None`` takes the default.
        seed: Of the first split.
        name: Of the table.
        command: The command line, for the record.
        progress: Whether to say on stderr what is done.

    Returns:
        Path of the page.
    """
    check_report_folder(folder)
    report = compare_table(
        frame,
        target,
        task=task,
        splits=splits,
        hidden=hidden,
        prior_scale=prior_scale,
        keras_epochs=keras_epochs,
        max_steps=max_steps,
        seed=seed,
        name=name,
        command=command,
        progress=progress,
    )
    return write_report(folder, *report)
