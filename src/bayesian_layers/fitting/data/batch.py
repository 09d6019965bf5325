"""One batch, and what every source of batches offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ...errors import DataError, ShapeError
from ...network import Inputs, check_inputs, dtype_and_device, num_rows
from ..checks import check_targets


@dataclass(frozen=True)
class Batch:
    """What one step sees, on the network's device; floating tensors in its dtype.

    Attributes:
        x: Inputs, B rows in front.
        y: Targets, B rows in front.
        weight: Factor of each row's log likelihood, ``(B,)``, or ``None``.
        scale: Factor of the (weighted) sum of the rows' log likelihoods.
    """

    x: Inputs
    y: Tensor
    weight: Tensor | None
    scale: float


class Batches(Protocol):
    """The batches of a fit, endlessly.

    Attributes:
        num_data: Rows N of the whole data set.
        batch_rows: Rows of a full batch; the last of an epoch may have fewer.
        weighted: Whether rows have weights.
        exact_order: Whether :meth:`restore` promises the very batches that would have come.
    """

    num_data: int
    batch_rows: int
    weighted: bool
    exact_order: bool

    @property
    def num_batches(self) -> int:
        """Batches an epoch; an estimate where nobody knows before the first one has ended."""
        ...

    def next(self) -> Batch:
        """Give the next batch."""
        ...

    def once(self) -> Iterator[Batch]:
        """Give all rows once, in order; the position of :meth:`next` stays."""
        ...

    def state(self) -> dict[str, int]:
        """Tell the position."""
        ...

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position."""
        ...


def placed(
    x: Inputs, y: Tensor, weight: Tensor | None, network: nn.Module
) -> tuple[Inputs, Tensor, Tensor | None]:
    """Check rows, and move them to the network's device, floating ones to its dtype."""
    dtype, device = dtype_and_device(network)
    x = check_inputs(x, network)
    y = check_targets(y, num_rows(x))
    if y.is_floating_point():
        bad = int((~torch.isfinite(y)).sum())
        if bad:
            raise DataError(f"`y` has {bad} values that are NaN or infinite; remove or impute these rows")
        y = y.to(dtype)
    if weight is not None:
        weight = _checked_weight(weight, num_rows(x)).to(device=device, dtype=dtype)
    return x, y.to(device), weight


def _checked_weight(weight: Tensor, n: int) -> Tensor:
    if not isinstance(weight, Tensor):
        raise TypeError(
            f"`sample_weight` must be a torch tensor; received {type(weight).__name__}. Use torch.as_tensor."
        )
    if weight.shape != (n,):
        raise ShapeError("sample_weight", (n,), weight.shape, "It has one number a row.")
    bad = int((~(torch.isfinite(weight) & (weight >= 0))).sum())
    if bad:
        raise DataError(f"`sample_weight` must be finite and 0 or more; received {bad} that are not")
    return weight


def check_num_data(num_data: int, given: int, what: str) -> None:
    """Refuse a size of the whole data set below that of a part of it."""
    if num_data < given:
        raise DataError(
            f"`num_data` is the number of rows of the whole data set, at least the {given} rows of {what}; "
            f"received {num_data}"
        )


def check_position(state: Mapping[str, int], own: Mapping[str, int]) -> None:
    """Refuse a position that was taken in other batches."""
    for name in ("num_data", "batch_rows", "seed"):
        if state.get(name) != own.get(name):
            raise DataError(
                f"the position belongs to batches with {name} {state.get(name)}; these have {own.get(name)}. "
                "Go on with the same data, batch size and seed."
            )
    if state.keys() != own.keys() or not all(type(n) is int and n >= 0 for n in state.values()):
        raise DataError(f"a position must hold the numbers {list(own)}; received {dict(state)}")
