"""Streams of the rows of Parquet files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from ..table_files import FLOATS, INTEGERS, column_numbers, open_parquet
from .base import Stream, check_finite, pack

_TYPES = (FLOATS | INTEGERS) - {"uint64"}  # targets are converted to int64


def parquet(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[str] | tuple[Sequence[str], ...],
    target: str | Sequence[str],
    batch_size: int,
    seed: int = 0,
    weight: str | None = None,
) -> Stream:
    """Stream rows of a Parquet file; needs the extra ``parquet``.

    Rows are shuffled within a row group, or within as many groups as fit into 16 MiB. Memory: a few times the largest
    row group of the file; groups of about 10,000 rows that are not sorted by the target work well.

    Args:
        path: The file.
        inputs: Columns of ``x``, ``(N, D)``, which become floats; a tuple of lists of columns for several inputs.
        target: Column of ``y``, ``(N,)``; a list for ``(N, K)``. Integers and booleans become ``int64``, labels.
        batch_size: Rows per batch.
        seed: Seed of the order of the rows.
        weight: Column of the sample weights, which ``bl.fit`` then uses; or ``None``.

    Returns:
        A stream, to pass to ``bl.fit`` as ``x``.

    Raises:
        DataError: If the file or a column does not exist, a column is not numeric, or a setting is out of range; during
            reading, if a value is null, NaN or infinite.
        MissingExtraError: If pyarrow is not installed.
    """
    several = isinstance(inputs, tuple) and not any(isinstance(name, str) for name in inputs)
    if isinstance(inputs, str) or (isinstance(inputs, tuple) and not several):
        raise DataError(f"`inputs` must be a list of columns, or a tuple of such lists; received {inputs!r}")
    parts = [_Columns(list(names), floating=True) for names in (inputs if several else (inputs,))]
    parts.append(_Columns([target], single=True) if isinstance(target, str) else _Columns(list(target)))
    if weight is not None:
        parts.append(_Columns([weight], single=True, floating=True))
    return _Parquet(os.fspath(path), parts, several, weight is not None, batch_size=batch_size, seed=seed)


class _Columns(NamedTuple):
    """The columns of one tensor; a single one has no axis of columns."""

    names: list[Any]
    single: bool = False
    floating: bool = False


class _Parquet(Stream):
    """Rows of a Parquet file; a block is a row group."""

    def __init__(self, path: str, parts: list[_Columns], several: bool, weighted: bool, **order: int) -> None:
        self._path, self._parts, self._several, self.weighted = path, parts, several, weighted
        names = list(dict.fromkeys(name for part in parts for name in part.names))
        with open_parquet(self._path) as file:
            self._types = {name: _column_type(file.schema_arrow, name, self._path) for name in names}
            rows = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        if not all(part.names for part in parts):
            raise DataError(
                "`inputs` and `target` must name at least one column each; received an empty list"
            )
        self._row_groups = [i for i, n in enumerate(rows) if n]
        super().__init__([n for n in rows if n], row_bytes=8 * len(names), **order)

    def read(self, blocks: Sequence[int]) -> tuple[Any, ...]:
        with open_parquet(self._path) as file:
            pieces = [self._read(file, self._row_groups[block]) for block in blocks]
        tensors = [torch.cat(parts) for parts in zip(*pieces, strict=True)]
        return pack(tensors, self._several, self.weighted)

    def _read(self, file: Any, row_group: int) -> list[Tensor]:
        # One thread: Arrow's pool would compete with torch's.
        table = file.read_row_group(row_group, columns=list(self._types), use_threads=False)
        columns = {name: self._column(table.column(name), name, row_group) for name in self._types}
        return [self._tensor(part, columns) for part in self._parts]

    def _column(self, column: Any, name: str, row_group: int) -> np.ndarray:
        where = f"column {name!r} of {self._path}, row group {row_group},"
        return check_finite(where, column_numbers(column, where))

    def _tensor(self, part: _Columns, columns: dict[str, np.ndarray]) -> Tensor:
        types = {self._types[name] for name in part.names}
        if not part.floating and not types & FLOATS:
            dtype = np.int64
        else:
            dtype = np.float32 if types <= {"halffloat", "float"} else np.float64
        values = np.stack([columns[name] for name in part.names], axis=1, dtype=dtype)
        return torch.from_numpy(values[:, 0] if part.single else values)


def _column_type(schema: Any, name: str, path: str) -> str:
    if schema.names.count(name) != 1:
        raise DataError(f"{path} must have one column {name!r}; its columns are {schema.names}")
    kind = str(schema.field(name).type)
    if kind not in _TYPES:
        raise DataError(
            f"column {name!r} of {path} must hold numbers or booleans; received {kind}. Encode it as numbers."
        )
    return kind
