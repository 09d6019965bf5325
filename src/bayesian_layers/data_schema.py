"""Names, shapes and dtypes of the data of a fit, never values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .errors import DataError, NetworkError, ShapeError, StorageError
from .saving.arrays import DTYPES
from .saving.schema import MAX_CHARACTERS, Integer, ListOf, Record, String, optional

MAX_NAMES = 10_000  # that can be saved


@dataclass(frozen=True)
class ArraySchema:
    """Shape and dtype of the rows of an array.

    Attributes:
        shape: Shape of one row; ``()`` for one number per row.
        dtype: Name of torch's dtype, such as ``float32``.
        names: Names of the entries of the last axis, if they are known.

    Raises:
        DataError: If the number of names is not that of the entries, or a name cannot be saved.

    Example:
        >>> ArraySchema((2,), "float32", ("age", "income"))
        ArraySchema(shape=(2,), dtype='float32', names=('age', 'income'))
    """

    shape: tuple[int, ...]
    dtype: str
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        size = self.shape[-1] if self.shape else 1
        if self.names is not None and len(self.names) != size:
            raise DataError(
                f"`names` must name the {size} entries of the last axis; received {len(self.names)}"
            )
        if self.names is not None and not all(
            isinstance(name, str) and len(name) <= MAX_CHARACTERS for name in self.names
        ):
            raise DataError(f"`names` must be texts of at most {MAX_CHARACTERS} characters; received others")

    @classmethod
    def of(cls, array: Tensor, names: tuple[str, ...] | None = None) -> ArraySchema:
        """Describe the rows of a tensor ``(N, ...)``."""
        return cls(tuple(array.shape[1:]), str(array.dtype).removeprefix("torch."), names)

    def spec(self) -> dict[str, Any]:
        """Return a description in JSON's types."""
        names = None if self.names is None else list(self.names)
        return {"shape": list(self.shape), "dtype": self.dtype, "names": names}

    @classmethod
    def from_spec(cls, spec: Any) -> ArraySchema:
        """Build the object that a checked :meth:`spec` describes."""
        names = None if spec["names"] is None else tuple(spec["names"])
        return cls(tuple(spec["shape"]), spec["dtype"], names)


@dataclass(frozen=True)
class DataSchema:
    """Names, shapes and dtypes of the inputs and targets of a fit.

    Attributes:
        inputs: One schema per input of the network.
        target: The schema of the targets, if there were any.
        rows: Number of rows of the whole data set, if it is known.

    Raises:
        DataError: If there is no input.

    Example:
        >>> import torch
        >>> schema = DataSchema.of(torch.zeros(200, 2), torch.zeros(200))
        >>> schema.rows, schema.inputs[0].shape, schema.target.shape
        (200, (2,), ())
    """

    inputs: tuple[ArraySchema, ...]
    target: ArraySchema | None = None
    rows: int | None = None

    def __post_init__(self) -> None:
        if not self.inputs:
            raise DataError("a data schema must describe one input or more; received none")

    @classmethod
    def of(
        cls, x: Tensor | tuple[Tensor, ...], y: Tensor | None = None, rows: int | None = None
    ) -> DataSchema:
        """Describe data, or one batch of them; ``rows`` is the number of rows of all, by default those of ``x``."""
        inputs = (x,) if isinstance(x, Tensor) else x
        target = None if y is None else ArraySchema.of(y)
        return cls(tuple(map(ArraySchema.of, inputs)), target, len(inputs[0]) if rows is None else rows)

    def named(self, input_names: tuple[str, ...]) -> DataSchema:
        """Return the same schema with names for the columns of the first input."""
        first = dataclasses.replace(self.inputs[0], names=tuple(input_names))
        return dataclasses.replace(self, inputs=(first, *self.inputs[1:]))

    @contextmanager
    def explain_errors(self, x: Any) -> Iterator[None]:
        """Raise ShapeError if the network fails on inputs whose rows have another shape than in the fit."""
        # Sequences may be longer and images larger than in the fit, so only the network can tell what it accepts.
        try:
            yield
        except NetworkError as error:
            for i, (part, known) in enumerate(zip(_tensors(x), self.inputs, strict=False)):
                if tuple(part.shape[1:]) != known.shape:
                    name = f"x[{i}]" if isinstance(x, tuple) else "x"
                    hint = (
                        f"The first axis is that of the rows: for one row pass {name}[None]."
                        if tuple(part.shape) == known.shape
                        else f"This is the shape used in the fit; on the other the network raised: {error.reason}."
                    )
                    raise ShapeError(name, ("N", *known.shape), part.shape, hint) from error
            raise

    def spec(self) -> dict[str, Any]:
        """Return a description in JSON's types."""
        target = None if self.target is None else self.target.spec()
        return {"inputs": [each.spec() for each in self.inputs], "target": target, "rows": self.rows}

    @classmethod
    def from_spec(cls, spec: Any) -> DataSchema:
        """Build the object that :meth:`spec` described, from untrusted data."""
        _SCHEMA.check(spec, "data")
        try:
            target = None if spec["target"] is None else ArraySchema.from_spec(spec["target"])
            return cls(tuple(map(ArraySchema.from_spec, spec["inputs"])), target, spec["rows"])
        except DataError as error:
            raise StorageError(f"the stored data schema is not valid: {error}") from error


_DTYPES = tuple(str(dtype).removeprefix("torch.") for dtype in DTYPES.values())
_ARRAY = Record(
    {
        "shape": ListOf(Integer(0)),
        "dtype": String(_DTYPES),
        "names": optional(ListOf(String(), most=MAX_NAMES)),
    }
)
_SCHEMA = Record({"inputs": ListOf(_ARRAY), "target": optional(_ARRAY), "rows": optional(Integer(0))})


def _tensors(x: Any) -> tuple[Tensor, ...]:
    parts = x if isinstance(x, tuple) else (x,)
    return parts if all(isinstance(part, Tensor) and part.dim() for part in parts) else ()
