"""One batch of rows, and the interface of all batches of a fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from ...arguments import check_range, check_tensor
from ...errors import DataError, ShapeError
from ...network import Inputs, check_inputs, check_targets, dtype_and_device, for_gradients, num_rows

SampleWeight = (
    Tensor | Literal["third"] | None
)  # of rows given as tensors; or each batch's third item; or none


@dataclass(frozen=True)
class Batch:
    """The data of one step, on the network's device; floating tensors have its dtype."""

    x: Inputs  # B rows in front
    y: Tensor
    weight: Tensor | None  # factor of each row's log likelihood, (B,)
    scale: float  # factor of the (weighted) sum of the rows' log likelihoods

    def take(self, index: Tensor, scale: float) -> Batch:
        """Return a batch of some of the rows."""

        def pick(part: Tensor) -> Tensor:
            return part.index_select(0, index)  # twice as fast as `part[index]`

        x = tuple(map(pick, self.x)) if isinstance(self.x, tuple) else pick(self.x)
        return Batch(x, pick(self.y), None if self.weight is None else pick(self.weight), scale)

    @property
    def weight_sum(self) -> float:
        """The sum of the rows' weights; NaN if they have none."""
        return math.nan if self.weight is None else float(self.weight.double().sum())


class Batches(Protocol):
    """The batches of a fit, without end."""

    num_data: int  # rows of the whole data set
    batch_rows: int  # rows of a full batch; the last one of an epoch may have fewer
    weighted: bool  # whether rows have weights
    with_replacement: bool  # whether a row may come twice in an epoch, in the place of another
    exact_order: bool  # whether `restore` promises exactly the batches that would have come

    @property
    def num_batches(self) -> int:
        """Number of batches per epoch; an estimate if it is not known before the first epoch has ended."""
        ...

    def next(self) -> Batch:
        """Return the next batch."""
        ...

    def once(self) -> Iterator[Batch]:
        """Iterate over all rows once, in order; the position of :meth:`next` does not change."""
        ...

    @property
    def rows_given(self) -> int:
        """Number of rows of one pass."""
        ...

    def pick(self, index: Tensor) -> tuple[Batch, float]:
        """Return the rows with these numbers in the order of :meth:`once`, ascending, and the sum of all weights."""
        ...

    def state(self) -> dict[str, int]:
        """Return the position."""
        ...

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position."""
        ...


def placed(
    x: Inputs, y: Tensor, weight: Tensor | None, network: nn.Module
) -> tuple[Inputs, Tensor, Tensor | None]:
    """Check a batch, and move it to the network's device and floating tensors to its dtype."""
    dtype, device = dtype_and_device(network)
    x = check_inputs(x, network)
    y = check_targets(y, num_rows(x), network)
    y = y.to(dtype) if y.is_floating_point() else y
    if weight is not None:
        weight = check_range("sample_weight", _checked_weight(weight, num_rows(x)), dtype).to(device)
    x = tuple(map(for_gradients, x)) if isinstance(x, tuple) else for_gradients(x)
    return x, for_gradients(y), None if weight is None else for_gradients(weight)


def _checked_weight(weight: Tensor, n: int) -> Tensor:
    check_tensor("sample_weight", weight)
    if weight.shape != (n,):
        raise ShapeError("sample_weight", (n,), weight.shape, "It has one number per row.")
    bad = int((~(torch.isfinite(weight) & (weight >= 0))).sum())
    if bad:
        raise DataError(f"`sample_weight` must be finite and 0 or more; received {bad} that are not")
    return weight


def check_num_data(num_data: int, given: int, what: str) -> None:
    """Raise DataError if the whole data set has fewer rows than a part of it."""
    if num_data < given:
        raise DataError(
            f"`num_data` is the number of rows of the whole data set, at least the {given} rows of {what}; "
            f"received {num_data}"
        )


def check_position(state: Mapping[str, int], own: Mapping[str, int]) -> None:
    """Raise DataError if a position was taken in other batches."""
    for name in ("num_data", "batch_rows", "seed"):
        if state.get(name) != own.get(name):
            raise DataError(
                f"the position belongs to batches with {name} {state.get(name)}; these have {own.get(name)}. "
                "Resume with the same data, batch size and seed."
            )
    if state.keys() != own.keys() or not all(type(n) is int and n >= 0 for n in state.values()):
        raise DataError(f"a position must hold the numbers {list(own)}; received {dict(state)}")
