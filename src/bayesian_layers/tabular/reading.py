"""Reads tables from files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError, TableError
from .cells import FIRST_LINE, MISSING, import_pandas
from .checks import check_unique

if TYPE_CHECKING:
    import pandas

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
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
    elif path.suffix.lower() in _SEPARATORS:
        frame = _read_text(path, _SEPARATORS[path.suffix.lower()])
    else:
        raise TableError(f"{path} must end in .csv, .tsv or .parquet. Save the table as one of these.")
    if not len(frame):
        raise TableError(f"{path} must have rows; it has only a header.")
    return frame


def _read_parquet(path: Path) -> pandas.DataFrame:
    pandas = import_pandas()
    try:
        frame = pandas.read_parquet(path)
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error
    except (OSError, ValueError) as error:
        raise TableError(f"{path} is not a valid Parquet file: {error}.") from error
    check_unique(map(str, frame.columns))
    return frame.reset_index(drop=True)


def _read_text(path: Path, separator: str) -> pandas.DataFrame:
    raw = _read_cells(path, separator)
    names = [str(name) for name in raw.iloc[0]]
    if "" in names:
        raise TableError(
            f"{path} must name all columns; column {names.index('') + 1} has no name. "
            "If that column contains row numbers, write the file without it (pandas: index=False)."
        )
    check_unique(names)
    frame = raw.iloc[1:].reset_index(drop=True)
    frame.columns = names
    frame = import_pandas().DataFrame({name: _typed(frame[name]) for name in names})
    # With a blank line, or a line break within quotes, row numbers do not give line numbers.
    if path.read_bytes().rstrip().count(b"\n") == len(frame):
        frame.attrs[FIRST_LINE] = 2
    return frame


def _read_cells(path: Path, separator: str) -> pandas.DataFrame:
    # Everything is read as text, and the header as a row: pandas would rename columns and guess types.
    pandas = import_pandas()
    options: dict[str, Any] = {
        "header": None,
        "dtype": str,
        "na_filter": False,
        "skipinitialspace": True,
    }
    try:
        return pandas.read_csv(path, sep=separator, encoding="utf-8-sig", compression=None, **options)
    except OSError as error:
        raise TableError(f"{path} must be readable; received: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path} must be UTF-8 text; received {error.reason}. Save it as UTF-8.") from error
    except pandas.errors.EmptyDataError as error:
        raise TableError(f"{path} must have a header and rows; it is empty.") from error
    except pandas.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise TableError(
            f"{path} must have as many cells in each line as in its header: {reason}."
        ) from error


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
