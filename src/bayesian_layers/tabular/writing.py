"""Writes tables as CSV."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..saving import atomic

if TYPE_CHECKING:
    import pandas

# The first characters by which spreadsheets recognize a formula; the last four are the full-width forms of =+-@.
_FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def csv_text(frame: pandas.DataFrame) -> str:
    """Return a table as CSV, in which no text is a spreadsheet formula: such cells get a leading apostrophe."""
    texts = frame.select_dtypes(exclude=["number", "bool"])
    return frame.assign(**{name: texts[name].map(_escaped) for name in texts}).to_csv(index=False)


def write_csv(frame: pandas.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as a CSV file (UTF-8), completely or not at all."""
    with atomic.new_file(path) as file:
        file.write(csv_text(frame).encode())


def _escaped(cell: Any) -> Any:
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
