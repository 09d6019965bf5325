"""Rows to predict, in blocks: from tensors, iterables and files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..arguments import check_tensor
from ..errors import DataError, ShapeError
from ..network import Inputs, named_parts, num_rows, take_rows
from ..table_files import read_numbers

Rows = Inputs | Iterable[Inputs] | str | os.PathLike[str]
"""A tensor, a tuple of tensors (several inputs), an iterable of blocks of one of these, or a Parquet or CSV file."""

_CHECKED = 2**16  # rows that are checked together


def blocks_of(x: Rows) -> Iterator[Inputs]:
    """Yield the rows in checked blocks."""
    first = 0
    for block in _blocks(x):
        _check(block, first)
        yield block
        first += num_rows(block)
    if first == 0:
        raise ShapeError("x", ("N", "..."), (0,), "There must be at least one row.")


def count(x: Rows) -> int | None:
    """Return the number of rows, or None if it is not known before they are read."""
    known: Any = x
    if not isinstance(x, Tensor | tuple):
        return None
    for name, part in named_parts(known):
        check_tensor(name, part)
    return num_rows(known)


def gathered(blocks: Iterable[Inputs], size: int) -> Iterator[Inputs]:
    """Split large blocks and join small ones: each block has a cost."""
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


def _blocks(x: Any) -> Iterator[Any]:
    if isinstance(x, Tensor | tuple):
        yield x
    elif isinstance(x, str | os.PathLike):
        yield from map(torch.from_numpy, read_numbers(x))
    elif isinstance(x, Iterable) and not hasattr(x, "__array__"):
        yield from x
    else:
        raise TypeError(
            "`x` must be a torch tensor, a tuple of tensors, an iterable of such blocks, or the path of a Parquet "
            f"or CSV file; received {type(x).__name__}. Use torch.as_tensor."
        )


def _check(block: Inputs, first: int) -> None:
    for name, part in named_parts(block):
        check_tensor(name, part)
    for start in range(0, num_rows(block), _CHECKED):
        for name, part in named_parts(take_rows(block, slice(start, start + _CHECKED))):
            if part.is_floating_point() and not (finite := torch.isfinite(part)).all():
                bad = (~finite).flatten(1).any(1) if part.dim() > 1 else ~finite
                row = first + start + int(bad.nonzero()[0])
                raise DataError(
                    f"`{name}` has values that are NaN or infinite, first in row {row}, counted from 0; "
                    "remove or impute such rows"
                )


def _joined(blocks: list[Inputs]) -> Inputs:
    if len(blocks) == 1:
        return blocks[0]
    joined = []
    for parts in zip(*map(named_parts, blocks), strict=True):
        name, first = parts[0]
        for _, part in parts:
            if part.shape[1:] != first.shape[1:]:
                hint = "All blocks must have rows of the same shape."
                raise ShapeError(name, ("N", *first.shape[1:]), part.shape, hint)
        joined.append(torch.cat([part for _, part in parts]))
    return tuple(joined) if isinstance(blocks[0], tuple) else joined[0]
