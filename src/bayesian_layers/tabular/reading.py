"""Tables from files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError, TableError
from .cells import FIRST_LINE, MISSING, import_pandas
from .checks import refuse_duplicates

if TYPE_CHECKING:
    import pandas

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,300}\s*")


def read_table(path: str | os.PathLike[str]) -> pandas.DataFrame:
    """Read a table from a file."""
    # In text files a column of numbers becomes numbers, one of ``True`` and ``False`` booleans, any other text. Empty
    # cells and ``NA``, ``N/A``, ``NaN``, ``nan``, ``null`` are missing; ``None`` is text.
    path = Path(path)
    if not path.is_file():
        raise TableError(f"{path} must be a file; there is none. Check the path.")
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
        raise TableError(f"{path} must be a Parquet file; received another ({error}).") from error
    refuse_duplicates(map(str, frame.columns))
    return frame.reset_index(drop=True)


def _read_text(path: Path, separator: str) -> pandas.DataFrame:
    raw = _read_cells(path, separator)
    names = [str(name) for name in raw.iloc[0]]
    if "" in names:
        raise TableError(
            f"{path} must name all columns; column {names.index('') + 1} has no name. "
            "If it numbers the rows, write the file without it (pandas: index=False)."
        )
    refuse_duplicates(names)
    frame = raw.iloc[1:].reset_index(drop=True)
    frame.columns = names
    frame = import_pandas().DataFrame({name: _typed(frame[name]) for name in names})
    # A blank line, or one within quotes, and lines can no longer be counted from rows.
    if path.read_bytes().rstrip().count(b"\n") == len(frame):
        frame.attrs[FIRST_LINE] = 2
    return frame


def _read_cells(path: Path, separator: str) -> pandas.DataFrame:
    # All as text, the header among the rows: pandas would rename columns and guess types.
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
    # A column of text, as the type that all its cells have.
    missing = series.isin(MISSING)
    present, numbers = series[~missing], import_pandas().to_numeric(series.mask(missing), errors="coerce")
    if len(present) and present.isin(["True", "False"]).all():
        truths = series == "True"
        return truths.astype(object).mask(missing) if missing.any() else truths
    if not len(present) or numbers[~missing].isna().any():
        return series.mask(missing)
    # Beyond 64 bits pandas takes floats, which would merge the labels of classes.
    if numbers.dtype.kind == "f" and numbers.abs().max() >= 2**63 and present.str.fullmatch(_WHOLE).all():
        return series.mask(missing).astype(object).map(int, na_action="ignore").astype(object)
    return numbers
