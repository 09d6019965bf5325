"""What a table must not have; each refusal names the column, how many cells, and where the first is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import TableError
from .cells import Cells, is_finite_number, some

_MANY = 20


def refuse_duplicates(names: Iterable[str]) -> None:
    """Refuse names that do not say which column is meant."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise TableError(
            f"columns must have different names; received twice: {some(twice)}. Rename one of each."
        )


def refuse_missing(columns: Iterable[Cells]) -> None:
    """Refuse missing cells, in one message for all columns."""
    counts = [(cells, cells.missing) for cells in columns if cells.missing.any()]
    if counts:
        raise TableError(f"cells must not be missing; {_counted(counts)}. Fill them, or drop their rows.")


def refuse_infinite(columns: Iterable[Cells]) -> None:
    """Refuse infinite cells, in one message for all columns."""
    counts = [(cells, bad) for cells in columns if (bad := np.isinf(cells.numbers())).any()]
    if counts:
        raise TableError(f"numbers must be finite; infinite cells: {_counted(counts)}. Correct them.")


def _counted(counts: list[tuple[Cells, np.ndarray]]) -> str:
    return ", ".join(
        f"`{cells.name}` has {int(bad.sum())} (first in {cells.place(int(np.argmax(bad)))})"
        for cells, bad in counts
    )


def refuse_typos(cells: Cells) -> None:
    """Refuse a text column of which at least half, but not all, are numbers."""
    bad = np.isnan(cells.numbers())
    if cells.kind == "text" and bad.any() and 2 * bad.sum() <= len(cells):
        raise TableError(
            f"column `{cells.name}` must hold numbers, as most of its cells do; {int(bad.sum())} of "
            f"{len(cells)} are text: {cells.example(bad)}. Correct them; "
            "if all are names, put a letter before each."
        )


def is_too_many(distinct: int, rows: int) -> bool:
    """Tell identifiers from categories."""
    return distinct > _MANY and 2 * distinct > rows


def finite_numbers(cells: Cells) -> np.ndarray:
    """Read a column that must hold finite numbers."""
    values = cells.numbers()
    if (text := np.isnan(values)).any():
        raise TableError(
            f"column `{cells.name}` must hold numbers; {int(text.sum())} of its {len(cells)} cells are text: "
            f"{cells.example(text)}. Correct them."
        )
    refuse_infinite([cells])
    return values


def find(cells: Cells, names: tuple[str, ...]) -> np.ndarray:
    """Look up each cell in a list of names."""
    position = {name: index for index, name in enumerate(names)}
    found = np.array([position.get(text, -1) for text in cells.texts()], dtype=np.int64)
    if (unseen := found < 0).any():
        raise TableError(
            f"column `{cells.name}` must hold one of {some(list(names))}; {int(unseen.sum())} cells hold "
            f"something else: {cells.example(unseen)}. Correct them, or fit again with rows that have it."
        )
    return found


def check_name(name: Any) -> None:
    """Refuse what cannot be the name of a column."""
    if not isinstance(name, str) or not name:
        raise TableError(f"the name of a column must be text; received {name!r}")


def check_mean_and_scale(name: str, mean: Any, scale: Any) -> None:
    """Refuse what cannot standardize a column."""
    if not (is_finite_number(mean) and is_finite_number(scale) and scale > 0):
        raise TableError(f"column `{name}` must have a finite mean and a finite scale above 0")
