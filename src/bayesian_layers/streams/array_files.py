"""Streams of the rows of ``.npy`` files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, ShapeError
from .base import Stream, check_finite, pack

ArrayFile = str | os.PathLike[str] | np.ndarray
_BLOCK = 2**18  # bytes of rows that are read at once
_DTYPES = {np.dtype(name) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")}


def arrays(
    x: ArrayFile | tuple[ArrayFile, ...],
    y: ArrayFile,
    *,
    batch_size: int,
    seed: int = 0,
    weight: ArrayFile | None = None,
) -> Stream:
    """Stream rows of ``.npy`` files, or of arrays that are memory-mapped already.

    Files are memory-mapped, never unpickled. Memory: about 32 MiB in addition to a batch, and 16 bytes for each 256 KiB
    of data. Rows are shuffled within 64 blocks of the data at a time.

    Args:
        x: Inputs, ``(N, ...)``: a path or an array of floats, integers or booleans, or a tuple of them.
        y: Targets, ``(N,)`` or ``(N, K)``.
        batch_size: Rows per batch.
        seed: Seed of the order of the rows.
        weight: Sample weights, ``(N,)``, which ``bl.fit`` then uses; or ``None``.

    Returns:
        A stream, to pass to ``bl.fit`` as ``x``.

    Raises:
        DataError: If a file is not a ``.npy`` file of numbers, or a setting is out of range; during reading, if a value
            is NaN or infinite.
        ShapeError: If the arrays have different numbers of rows.

    Example:
        >>> import numpy as np
        >>> stream = arrays(np.zeros((5, 2)), np.zeros(5), batch_size=2)
        >>> [tuple(y.shape) for x, y in stream.epoch(0)]
        [(2,), (2,), (1,)]
    """
    parts = {f"x[{i}]": part for i, part in enumerate(x)} if isinstance(x, tuple) else {"x": x}
    parts["y"] = y
    if weight is not None:
        parts["weight"] = weight
    return _Arrays(parts, batch_size=batch_size, seed=seed)


class _Arrays(Stream):
    """Rows of arrays of equal length; a block is a range of rows."""

    def __init__(self, files: dict[str, ArrayFile], *, batch_size: int, seed: int) -> None:
        self._files, self.weighted = files, "weight" in files
        found = {name: _open(name, file) for name, file in files.items()}
        self._specs = {name: (array.shape, array.dtype) for name, array in found.items()}
        n = len(found["y"])
        for name, array in found.items():
            if len(array) != n:
                raise ShapeError(name, (n, "..."), array.shape, f"`y` has {n} rows.")
        row_bytes = max(1, sum(array.nbytes for array in found.values()) // max(n, 1))
        self._rows = max(1, _BLOCK // row_bytes)
        sizes = [min(self._rows, n - first) for first in range(0, n, self._rows)]
        super().__init__(sizes, row_bytes=row_bytes, batch_size=batch_size, seed=seed)

    def read(self, blocks: Sequence[int]) -> tuple[Any, ...]:
        tensors = [self._read(name, blocks) for name in self._files]
        return pack(tensors, "x" not in self._files, self.weighted)

    def _read(self, name: str, blocks: Sequence[int]) -> Tensor:
        shape, dtype = self._specs[name]
        rows = int(self._block_rows[list(blocks)].sum())
        values = np.empty((rows, *shape[1:]), dtype=dtype.newbyteorder("="))
        at = 0
        for block in blocks:
            # Opened again for each block: an open mapping keeps all pages in memory that were read from it.
            array = _open(name, self._files[name])
            if (array.shape, array.dtype) != (shape, dtype):
                was, now = f"{shape} of {dtype}", f"{array.shape} of {array.dtype}"
                raise DataError(f"`{name}` must not change during a fit; it was {was} and is now {now}")
            first = block * self._rows
            piece = array[first : first + self._rows]
            check_finite(f"`{name}`, rows {first} to {first + len(piece) - 1},", piece)
            values[at : at + len(piece)] = piece
            at += len(piece)
        return torch.from_numpy(values)


def _open(name: str, file: ArrayFile) -> np.ndarray:
    array: Any = file
    if not isinstance(file, np.ndarray):
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise DataError(f"`{name}`: {file} must be a readable .npy file; received: {error}") from error
        except ValueError as error:
            raise DataError(
                f"`{name}`: {file} must be a .npy file of numbers; received another. "
                "Write it with numpy.save; pickled objects are never loaded."
            ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"`{name}`: {file} must be one array, a .npy file; received an archive of several")
    if array.dtype.newbyteorder("=") not in _DTYPES:
        hint = "Save it as float32 or int64."
        raise DataError(f"`{name}` must hold floats, integers or booleans; received {array.dtype}. {hint}")
    if array.ndim == 0:
        raise ShapeError(name, ("N", "..."), array.shape)
    return array
