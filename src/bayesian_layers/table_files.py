"""Tables in files: text with separators, by Python's csv module, and Parquet, by pyarrow (the extra ``parquet``)."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import DataError, MissingExtraError
from .saving import atomic

SEPARATORS = {".csv": ",", ".tsv": "\t"}
# Arrow's names of its types.
FLOATS = {"halffloat", "float", "double"}
INTEGERS = {"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
REMOVE = "remove or impute these rows"
_ROWS = 2**14  # per block
_END = "\0end of the file"

Path_ = str | os.PathLike[str]
Columns = Mapping[str, np.ndarray]


def read_cells(path: Path_, separator: str) -> Iterator[list[str]]:
    """Yield the cells of each line of a text table, the header first; blank lines are skipped, short ones padded."""
    width = 0
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            lines = _Lines(file)
            reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
            for cells in reader:
                if cells == [_END]:
                    break
                if len(cells) <= 1 and not lines.last.strip():  # unlike a line with a quoted empty cell
                    continue
                if lines.last == _END:
                    raise csv.Error("a quote is not closed")
                width = width or len(cells)
                if len(cells) > width:
                    raise csv.Error(f"Expected {width} fields in line {reader.line_num}, saw {len(cells)}")
                yield cells + [""] * (width - len(cells))
    except OSError as error:
        raise DataError(f"{path} must be readable; received: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be UTF-8 text; received {error.reason}. Save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path} must have as many cells in each line as in its header: {error}.") from error
    if not width:
        raise DataError(f"{path} must have a header and rows; it is empty.")


class _Lines:
    """The lines of a file and ``_END``, which a quote that is not closed makes a part of a cell."""

    def __init__(self, file: Iterable[str]) -> None:
        self._lines = chain(file, [_END])
        self.last = ""  # the line that was read last

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.last = next(self._lines)
        return self.last


def open_parquet(path: Path_) -> Any:
    """Open a Parquet file; the result is a context manager."""
    module = _pyarrow("pyarrow.parquet")
    try:
        return module.ParquetFile(os.fspath(path))
    except (OSError, ValueError) as error:  # Arrow's own errors are these
        raise DataError(f"{path} is not a valid Parquet file: {error}.") from error


def column_numbers(column: Any, where: str) -> np.ndarray:
    """Return a column of Arrow as an array; raise DataError if a value is null."""
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise DataError(f"{where} has {column.null_count} nulls, the first at position {row}; {REMOVE}")
    # DLPack has no Arrow booleans, and Arrow's `to_numpy` imports pandas.
    column = column.cast("uint8") if str(column.type) == "bool" else column
    return np.from_dlpack(column.combine_chunks() if hasattr(column, "combine_chunks") else column)


def read_numbers(path: Path_) -> Iterator[np.ndarray]:
    """Yield the rows of a CSV or Parquet file of numbers in blocks, each ``(rows, columns)`` in float64."""
    yield from (_parquet_numbers if _kind(path) == ".parquet" else _csv_numbers)(path)


@contextmanager
def new_table(path: Path_) -> Iterator[Callable[[Columns], None]]:
    """Write a CSV or Parquet file as its rows come; it appears, or is replaced, when all rows are written."""
    writer_of = _parquet_writer if _kind(path) == ".parquet" else _csv_writer
    with atomic.new_file(path) as file, ExitStack() as stack:
        yield stack.enter_context(writer_of(file))


def _kind(path: Path_) -> str:
    kind = Path(path).suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise DataError(f"{path} must end in .parquet or .csv")
    return kind


def _pyarrow(module: str) -> Any:
    try:
        importlib.import_module("pyarrow")
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error


def _check_names(path: Path_, names: list[str]) -> None:
    if len(set(names)) != len(names) or not names:
        raise DataError(f"{path} must have columns with different names; received {names}")


def _csv_numbers(path: Path_) -> Iterator[np.ndarray]:
    lines = read_cells(path, SEPARATORS[".csv"])
    names = next(lines)
    _check_names(path, names)
    first = 0
    while block := list(islice(lines, _ROWS)):
        try:
            yield np.array(block, dtype=np.float64)
        except ValueError as error:
            raise DataError(_not_a_number(path, names, block, first)) from error
        first += len(block)


def _not_a_number(path: Path_, names: list[str], block: list[list[str]], first: int) -> str:
    for row, cells in enumerate(block, first):
        for name, cell in zip(names, cells, strict=True):
            where = f"in row {row}, counted from 0"
            if not cell.strip():
                return f"column {name!r} of {path} has no value {where}; {REMOVE}"
            try:
                float(cell)
            except ValueError:
                return f"column {name!r} of {path} must hold numbers; received {cell[:40]!r} {where}"
    raise AssertionError("one of the cells is not a number")


def _parquet_numbers(path: Path_) -> Iterator[np.ndarray]:
    first = 0
    with open_parquet(path) as file:
        for field in file.schema_arrow:
            if str(field.type) not in FLOATS | INTEGERS:
                raise DataError(
                    f"column {field.name!r} of {path} must hold numbers or booleans; received {field.type}. "
                    "All columns are inputs: write only those, as numbers."
                )
        _check_names(path, file.schema_arrow.names)
        # One thread: Arrow's pool would compete with torch's.
        for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
            columns = [
                column_numbers(column, f"column {name!r} of {path}, rows from {first} on,")
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            ]
            if batch.num_rows:
                yield np.stack(columns, axis=1, dtype=np.float64)
            first += batch.num_rows


@contextmanager
def _csv_writer(file: BinaryIO) -> Iterator[Callable[[Columns], None]]:
    header: list[str] = []

    def write(columns: Columns) -> None:
        if not header:
            header.extend(columns)
            file.write((",".join(header) + "\n").encode())
        rows = zip(*(values.astype(str).tolist() for values in columns.values()), strict=True)
        file.write("".join(",".join(cells) + "\n" for cells in rows).encode())

    yield write


@contextmanager
def _parquet_writer(file: BinaryIO) -> Iterator[Callable[[Columns], None]]:
    arrow, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
    with ExitStack() as stack:  # closing the writer writes the table of contents
        writers: list[Any] = []

        def write(columns: Columns) -> None:
            # From buffers, as `pyarrow.array` imports pandas.
            arrays = [
                arrow.Array.from_buffers(
                    arrow.float64() if values.dtype == np.float64 else arrow.float32(),
                    len(values),
                    [None, arrow.py_buffer(np.ascontiguousarray(values))],
                )
                for values in columns.values()
            ]
            batch = arrow.RecordBatch.from_arrays(arrays, names=list(columns))
            if not writers:
                writers.append(stack.enter_context(parquet.ParquetWriter(file, batch.schema)))
            writers[0].write_batch(batch)

        yield write
