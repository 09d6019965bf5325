"""Rows to predict, from wherever they come: as blocks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError, ShapeError
from ..network import Inputs, named_parts, num_rows, take_rows
from . import table_files

Rows = Inputs | Iterable[Inputs] | str | os.PathLike[str]
"""A tensor, a tuple of tensors (several inputs), an iterable of blocks of one of these, or a Parquet or CSV file."""

_LOOK = 2**16  # rows that are looked through together


def blocks_of(x: Rows) -> Iterator[Inputs]:
    """Give the rows in blocks, checked."""
    first = 0
    for block in _come(x):
        _check_finite(block, first)
        yield block
        first += num_rows(block)
    if first == 0:
        raise ShapeError("x", ("N", "..."), (0,), "There must be at least one row.")


def count(x: Rows) -> int | None:
    """Count the rows, where they are there to be counted."""
    known: Any = x
    return num_rows(known) if isinstance(x, Tensor | tuple) else None


def gathered(blocks: Iterable[Inputs], size: int) -> Iterator[Inputs]:
    """Cut large blocks, and join small ones: what follows has a cost a block."""
    held: list[Inputs] = []
    missing = size
    for block in blocks:
        start, n = 0, num_rows(block)
        while start < n:
            part = take_rows(block, slice(start, start + missing))
            held.append(part)
            start += num_rows(part)
            missing -= num_rows(part)
            if not missing:
                yield _joined(held)
                held, missing = [], size
    if held:
        yield _joined(held)


def _come(x: Any) -> Iterator[Any]:
    if isinstance(x, Tensor | tuple):
        yield x
    elif isinstance(x, str | os.PathLike):
        yield from table_files.read(x)
    elif isinstance(x, Iterable) and not hasattr(x, "__array__"):
        yield from x
    else:
        raise TypeError(
            "`x` must be a torch tensor, a tuple of tensors, an iterable of such blocks, or the path of a Parquet "
            f"or CSV file; received {type(x).__name__}. Use torch.as_tensor."
        )


def _check_finite(block: Inputs, first: int) -> None:
    for name, part in named_parts(block):
        if not isinstance(part, Tensor):
            raise TypeError(
                f"`{name}` must be a torch tensor; received {type(part).__name__}. Use torch.as_tensor."
            )
    for start in range(0, num_rows(block), _LOOK):
        for name, part in named_parts(take_rows(block, slice(start, start + _LOOK))):
            if part.is_floating_point() and not (finite := torch.isfinite(part)).all():
                bad = (~finite).flatten(1).any(1) if part.dim() > 1 else ~finite
                row = first + start + int(bad.nonzero()[0])
                raise DataError(
                    f"`{name}` has values that are NaN or infinite in row {row}, the first counted as 0; "
                    "remove or impute such rows"
                )


def _joined(parts: list[Inputs]) -> Inputs:
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, tuple):
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))
    return torch.cat([part for part in parts if isinstance(part, Tensor)])
