"""Reads tables from files."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, TableError
from ..table_files import SEPARATORS, open_parquet, read_cells
from .cells import FIRST_LINE, MISSING, import_pandas
from .checks import check_unique

if TYPE_CHECKING:
    import pandas

_ROWS = 2**14  # that are converted together
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,300}\s*")


def read_table(path: str | os.PathLike[str]) -> pandas.DataFrame:
    """Read a .csv (UTF-8, commas, a header), .tsv (tabs) or .parquet file; rows are numbered from 0."""
    # In text files a column of numbers becomes numeric, a column of True and False boolean, any other column text.
    # Empty cells and NA, N/A, NaN, nan, null are missing; None is text.
    path = Path(path)
    if not path.is_file():
        raise TableError(f"{path} must be a file, but does not exist. Check the path.")
    if path.suffix.lower() == ".parquet":
        frame = _read_parquet(path)
    elif path.suffix.lower() in SEPARATORS:
        frame = _read_text(path, SEPARATORS[path.suffix.lower()])
    else:
        raise TableError(f"{path} must end in .csv, .tsv or .parquet. Save the table as one of these.")
    if not len(frame):
        raise TableError(f"{path} must have rows; it has only a header.")
    return frame


def _read_parquet(path: Path) -> pandas.DataFrame:
    import_pandas()  # or its extra is named
    try:
        with open_parquet(path) as file:
            frame = file.read(use_pandas_metadata=True).to_pandas()
    except (DataError, OSError, ValueError) as error:
        raise TableError(str(error)) from error
    check_unique(map(str, frame.columns))
    return frame.reset_index(drop=True)


def _read_text(path: Path, separator: str) -> pandas.DataFrame:
    pandas = import_pandas()
    try:
        cells = read_cells(path, separator)
        names = next(cells)
        blocks = iter(lambda: list(islice(cells, _ROWS)), [])
        raw = [pandas.DataFrame(block, dtype=str) for block in blocks]
    except DataError as error:
        raise TableError(str(error)) from error
    if "" in names:
        raise TableError(
            f"{path} must name all columns; column {names.index('') + 1} has no name. "
            "If that column contains row numbers, write the file without it (pandas: index=False)."
        )
    check_unique(names)
    text = (
        pandas.concat(raw, ignore_index=True)
        if raw
        else pandas.DataFrame(columns=range(len(names)), dtype=str)
    )
    frame = pandas.DataFrame({name: _typed(text[i]) for i, name in enumerate(names)})
    # With a blank line, or a line break within quotes, row numbers do not give line numbers.
    if path.read_bytes().rstrip().count(b"\n") == len(frame):
        frame.attrs[FIRST_LINE] = 2
    return frame


def _typed(series: Any) -> Any:
    # Converts a column of text to the type that all its cells have.
    missing = series.isin(MISSING)
    present, numbers = series[~missing], import_pandas().to_numeric(series.mask(missing), errors="coerce")
    if len(present) and present.isin(["True", "False"]).all():
        truths = series == "True"
        return truths.astype(object).mask(missing) if missing.any() else truths
    if not len(present) or numbers[~missing].isna().any():
        return series.mask(missing)
    # pandas converts integers beyond 64 bits to floats, which could merge class labels.
    if numbers.dtype.kind == "f" and numbers.abs().max() >= 2**63 and present.str.fullmatch(_INTEGER).all():
        return series.mask(missing).astype(object).map(int, na_action="ignore").astype(object)
    return numbers
