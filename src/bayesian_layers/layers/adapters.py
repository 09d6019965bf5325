"""Small layers without parameters, by which layers with several inputs or results stand in a ``Sequential``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..saving.architecture import A_MODULE
from ..saving.schema import Bool, Integer, optional

ARGUMENTS = {
    "entry": Integer(-64, 63),
    "step": optional(Integer(-(2**31), 2**31 - 1)),
    "batch_first": Bool(),
    "attention": A_MODULE,
}


class Take(nn.Module):
    """Takes one entry of a tuple, such as an LSTM returns, and of it one time step.

    Args:
        entry: Number of the entry.
        step: Number of the time step, -1 for the last; ``None`` for all.
        batch_first: Whether the entry is ``(N, T, ...)`` rather than ``(T, N, ...)``.

    Shape:
        Input a tuple; output its entry, or with ``step`` the entry without the axis of time, ``(N, ...)``.

    Raises:
        DataError: If ``entry`` or ``step`` is no whole number.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.LSTM(2, 3, batch_first=True), Take(0, step=-1))
        >>> network(torch.ones(5, 7, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(self, entry: int, step: int | None = None, batch_first: bool = True) -> None:
        super().__init__()
        for name, value in (("entry", entry), ("step", step)):
            if (
                isinstance(value, bool)
                or not isinstance(value, int | None)
                or (name, value) == ("entry", None)
            ):
                raise DataError(f"`{name}` must be a whole number; received {value!r}")
        self.entry = entry
        self.step = step
        self.batch_first = batch_first

    def forward(self, results: Sequence[Any]) -> Any:
        """Take the entry.

        Args:
            results: What the layer before returned.

        Returns:
            The entry, or one time step of it.

        Raises:
            DataError: If ``results`` is no tuple, or has no such entry.
            ShapeError: If the entry has no axis of time, or too few steps.
        """
        if not isinstance(results, tuple | list) or not -len(results) <= self.entry < len(results):
            kind = f"{len(results)} entries" if isinstance(results, tuple | list) else type(results).__name__
            raise DataError(f"Take needs a tuple with an entry {self.entry}; received {kind}")
        taken = results[self.entry]
        if self.step is None:
            return taken
        axis = 1 if self.batch_first else 0
        if not isinstance(taken, Tensor):
            raise DataError(f"Take needs a tensor to take a step of; received {type(taken).__name__}")
        if taken.dim() < 2 or not -taken.shape[axis] <= self.step < taken.shape[axis]:
            expected = ("N", "T", "...") if self.batch_first else ("T", "N", "...")
            raise ShapeError("results[entry]", expected, taken.shape, f"T must reach step {self.step}.")
        return taken.select(axis, self.step)

    def extra_repr(self) -> str:
        """Show what is taken.

        Returns:
            The inside of the layer's ``repr``.
        """
        return f"{self.entry}, step={self.step}, batch_first={self.batch_first}"


class SelfAttention(nn.Module):
    """An attention whose queries, keys and values are one input, and whose output is one tensor.

    Args:
        attention: ``bl.MultiheadAttention`` or torch's, with ``batch_first``.

    Shape:
        Input and output ``(N, T, E)``; a mask of keys ``(N, T)``, true where there is nothing to attend to.

    Raises:
        DataError: If ``attention`` has not the rows in front.
        TypeError: If it is no ``MultiheadAttention``.

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
            raise DataError(
                "`attention` must have the rows in front: MultiheadAttention(..., batch_first=True)"
            )
        self.attention = attention

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Attend to one's own positions.

        Args:
            x: Input, ``(N, T, E)``.
            key_padding_mask: True at positions that nobody attends to, ``(N, T)``; or ``None``.

        Returns:
            Output, ``(N, T, E)``.
        """
        return self.attention(x, x, x, key_padding_mask=key_padding_mask, need_weights=False)[0]
