"""Checks of tables; each error names the column, how many cells are concerned, and where the first one is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import TableError
from ..saving.schema import MAX_CHARACTERS
from .cells import Cells, listed

_MANY = 20


def check_unique(names: Iterable[str]) -> None:
    """Raise TableError if two columns or inputs have the same name."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise TableError(f"columns must have different names; received twice: {listed(twice)}. Rename one.")


def check_not_missing(columns: Iterable[Cells]) -> None:
    """Raise TableError if cells are missing, with one message for all columns."""
    if counts := [(cells, cells.missing) for cells in columns if cells.missing.any()]:
        raise TableError(f"cells must not be missing; {_counted(counts)}. Fill them, or drop their rows.")


def check_finite_cells(columns: Iterable[Cells]) -> None:
    """Raise TableError if cells are infinite, with one message for all columns."""
    if counts := [(cells, bad) for cells in columns if (bad := np.isinf(cells.numbers())).any()]:
        raise TableError(f"numbers must be finite; infinite cells: {_counted(counts)}. Correct them.")


def _counted(counts: list[tuple[Cells, np.ndarray]]) -> str:
    return ", ".join(
        f"`{cells.name}` has {int(bad.sum())} (first in {cells.place(int(np.argmax(bad)))})"
        for cells, bad in counts
    )


def check_no_typos(cells: Cells) -> None:
    """Raise TableError if at least half of the cells of a text column, but not all, are numbers."""
    bad = np.isnan(cells.numbers())
    if cells.kind == "text" and bad.any() and 2 * bad.sum() <= len(cells):
        raise TableError(
            f"column `{cells.name}` must be numeric, as most of its cells are; {int(bad.sum())} of "
            f"{len(cells)} are text: {cells.example(bad)}. Correct them; "
            "if all are names, put a letter before each."
        )


def looks_like_identifiers(distinct: int, rows: int) -> bool:
    """Check whether a column has so many different texts that they are not categories."""
    return distinct > _MANY and 2 * distinct > rows


def finite_numbers(cells: Cells) -> np.ndarray:
    """Return a column as numbers; raise TableError if a cell is text or infinite."""
    values = cells.numbers()
    if (text := np.isnan(values)).any():
        raise TableError(
            f"column `{cells.name}` must be numeric; {int(text.sum())} of its {len(cells)} cells are text: "
            f"{cells.example(text)}. Correct them."
        )
    check_finite_cells([cells])
    return values


def positions(cells: Cells, names: tuple[str, ...]) -> np.ndarray:
    """Return the position of each cell in a list of names; raise TableError if it is not in the list."""
    position = {name: index for index, name in enumerate(names)}
    found = np.array([position.get(text, -1) for text in cells.texts()], dtype=np.int64)
    if (unseen := found < 0).any():
        raise TableError(
            f"column `{cells.name}` must contain only {listed(list(names))}; {int(unseen.sum())} of its cells are "
            f"different: {cells.example(unseen)}. Correct them, or fit again with rows that have this value."
        )
    return found


def check_text(what: str, value: Any) -> None:
    """Raise TableError if a value is not text, or empty."""
    if not isinstance(value, str) or not value:
        raise TableError(f"{what} must be text; received {value!r}")


def check_can_be_saved(names: Iterable[str], kind: str) -> None:
    """Raise TableError if a name is so long that a fitted model could not be saved."""
    for name in names:
        if len(name) > MAX_CHARACTERS:
            raise TableError(
                f"{kind} must have at most {MAX_CHARACTERS} characters, or the model could not be saved; "
                f"'{name[:40]}...' has {len(name)}. Shorten it."
            )
