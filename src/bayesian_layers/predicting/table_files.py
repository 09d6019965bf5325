"""Inputs from Parquet and CSV files, and predictions to them, by pyarrow."""

from __future__ import annotations

import importlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, MissingExtraError

_KINDS = (".parquet", ".csv")
_ROWS = 2**16  # of a block of a Parquet file
_NUMBERS = {"bool", "halffloat", "float", "double"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def read(path: str | os.PathLike[str]) -> Iterator[Tensor]:
    """Read the rows of a file, a block at a time; all its columns are inputs, in their order."""
    path = Path(path)
    batches = _parquet_batches(path) if _kind(path) == ".parquet" else _csv_batches(path)
    first = 0
    for batch in _readable(batches, path):
        if batch.num_rows:
            yield _tensor(batch, path, first)
        first += batch.num_rows


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Callable[[Mapping[str, np.ndarray]], None]]:
    """Write a table as its rows come; the file appears when all is written, or not at all."""
    path = Path(path)
    kind = _kind(path)
    if path.is_dir():
        raise DataError(f"{path} must name a file; it is a folder")
    arrow = _arrow("pyarrow")
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("xb") as file, ExitStack() as stack:
            writer: list[Any] = []

            def write(columns: Mapping[str, np.ndarray]) -> None:
                batch = _batch(arrow, columns)
                if not writer:
                    writer.append(stack.enter_context(_writer(kind, file, batch.schema)))
                writer[0].write_batch(batch)

            yield write
            stack.close()  # the end of a Parquet file is its table of contents
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _readable(batches: Iterator[Any], path: Path) -> Iterator[Any]:
    try:
        yield from batches
    except DataError:
        raise
    except (OSError, ValueError) as error:  # Arrow's own errors are these
        kind = _kind(path)
        raise DataError(
            f"{path} must be a {kind} file of numbers; received another, or none ({error})"
        ) from error


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise DataError(f"{path} must end in .parquet or .csv")
    return kind


def _arrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet") from error


def _parquet_batches(path: Path) -> Iterator[Any]:
    # One thread: Arrow's pool would compete with torch's.
    with _arrow("pyarrow.parquet").ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow)
        yield from file.iter_batches(batch_size=_ROWS, use_threads=False)


def _csv_batches(path: Path) -> Iterator[Any]:
    csv, arrow = _arrow("pyarrow.csv"), _arrow("pyarrow")
    reading = csv.ReadOptions(use_threads=False)
    with csv.open_csv(path, read_options=reading) as file:
        names = file.schema.names
    # Arrow would guess types from the first block, and a column may begin with whole numbers.
    numbers = csv.ConvertOptions(column_types=dict.fromkeys(names, arrow.float64()))
    with csv.open_csv(path, read_options=reading, convert_options=numbers) as file:
        _check_columns(path, file.schema)
        yield from file


def _check_columns(path: Path, schema: Any) -> None:
    for field in schema:
        if str(field.type) not in _NUMBERS:
            raise DataError(
                f"column {field.name!r} of {path} must hold numbers or booleans; received {field.type}. "
                "All columns are inputs: write those alone, as numbers."
            )
    if len(set(schema.names)) != len(schema.names) or not schema.names:
        raise DataError(f"{path} must have columns with names of their own; received {schema.names}")


def _tensor(batch: Any, path: Path, first: int) -> Tensor:
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count:
            row = first + column.is_null().index(True).as_py()
            raise DataError(
                f"column {name!r} of {path} has no value in row {row}, the first counted as 0; "
                "remove or impute such rows"
            )
        # DLPack knows no Arrow booleans, and Arrow's `to_numpy` imports pandas.
        column = column.cast("uint8") if str(column.type) == "bool" else column
        columns.append(np.from_dlpack(column))
    return torch.from_numpy(np.stack(columns, axis=1, dtype=np.float64))


def _batch(arrow: Any, columns: Mapping[str, np.ndarray]) -> Any:
    # From buffers: `pyarrow.array` imports pandas.
    arrays = [
        arrow.Array.from_buffers(
            arrow.float64() if values.dtype == np.float64 else arrow.float32(),
            len(values),
            [None, arrow.py_buffer(np.ascontiguousarray(values))],
        )
        for values in columns.values()
    ]
    return arrow.RecordBatch.from_arrays(arrays, names=list(columns))


def _writer(kind: str, file: Any, schema: Any) -> Any:
    if kind == ".parquet":
        return _arrow("pyarrow.parquet").ParquetWriter(file, schema)
    return _arrow("pyarrow.csv").CSVWriter(file, schema)
