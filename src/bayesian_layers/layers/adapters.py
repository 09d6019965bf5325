"""Adapters without parameters, with which layers of several inputs or results fit into a ``Sequential``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..arguments import is_integer
from ..errors import DataError, ShapeError
from ..saving.architecture import MODULE_ARGUMENT
from ..saving.schema import Bool, Integer, optional

ARGUMENTS = {
    "entry": Integer(-64, 63),
    "step": optional(Integer(-(2**31), 2**31 - 1)),
    "batch_first": Bool(),
    "attention": MODULE_ARGUMENT,
}


class Take(nn.Module):
    """Takes one entry of a tuple, such as an LSTM returns, and optionally one time step of this entry.

    Args:
        entry: Index of the entry.
        step: Index of the time step, -1 for the last; ``None`` for all steps.
        batch_first: Whether the entry is ``(N, T, ...)`` rather than ``(T, N, ...)``.

    Shape:
        The output is the entry, or with ``step`` the entry without the time axis, ``(N, ...)``.

    Raises:
        DataError: If ``entry`` or ``step`` is not an integer.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.LSTM(2, 3, batch_first=True), Take(0, step=-1))
        >>> network(torch.ones(5, 7, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(self, entry: int, step: int | None = None, batch_first: bool = True) -> None:
        super().__init__()
        if not is_integer(entry):
            raise DataError(f"`entry` must be an integer; received {entry!r}")
        if step is not None and not is_integer(step):
            raise DataError(f"`step` must be an integer or None; received {step!r}")
        self.entry = entry
        self.step = step
        self.batch_first = batch_first

    def forward(self, results: Sequence[Any]) -> Any:
        """Take the entry of a tuple."""
        if not isinstance(results, tuple | list):
            raise DataError(f"Take needs a tuple; received {type(results).__name__}")
        n = len(results)
        if not -n <= self.entry < n:
            raise DataError(f"Take({self.entry}) needs a tuple with that entry; received {n} entries")
        taken = results[self.entry]
        if self.step is None:
            return taken
        if not isinstance(taken, Tensor):
            raise DataError(f"Take needs a tensor to take a step of; received {type(taken).__name__}")
        axis = 1 if self.batch_first else 0
        if taken.dim() < 2 or not -taken.shape[axis] <= self.step < taken.shape[axis]:
            expected = ("N", "T", "...") if self.batch_first else ("T", "N", "...")
            raise ShapeError("results[entry]", expected, taken.shape, f"There must be a step {self.step}.")
        return taken.select(axis, self.step)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"{self.entry}, step={self.step}, batch_first={self.batch_first}"


class SelfAttention(nn.Module):
    """Attention of one input to itself: queries, keys and values are the same, and the output is one tensor.

    Args:
        attention: ``bl.MultiheadAttention`` or torch's, with ``batch_first=True``.

    Shape:
        Input and output ``(N, T, E)``. A mask of keys is ``(N, T)``, with True at positions to ignore.

    Raises:
        DataError: If ``attention`` has not ``batch_first=True``.
        TypeError: If ``attention`` is not a ``MultiheadAttention``.

    Example:
        >>> import torch
        >>> from bayesian_layers import MultiheadAttention
        >>> SelfAttention(MultiheadAttention(4, num_heads=2, batch_first=True))(torch.ones(5, 7, 4)).shape
        torch.Size([5, 7, 4])
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        if not isinstance(attention, nn.MultiheadAttention):
            raise TypeError(f"`attention` must be a MultiheadAttention; received {type(attention).__name__}")
        if not attention.batch_first:
            raise DataError("`attention` must have batch_first=True; received one with batch_first=False")
        self.attention = attention

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Attend to the positions of the input itself."""
        return self.attention(x, x, x, key_padding_mask=key_padding_mask, need_weights=False)[0]
