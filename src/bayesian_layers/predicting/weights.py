"""Draws of the weights, whole or a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import DataError

Draws = dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """S draws of all latent sites, that can be had in pieces.

    Attributes:
        num_draws: Number of draws S, at least 1.
        draw: Gives ``count`` draws from draw ``start`` on, each site ``(count, *shape)``: for the same draws the same
            numbers, to the last bit, whatever the pieces.

    Raises:
        DataError: If ``num_draws`` is not a whole number above 0.
    """

    num_draws: int
    draw: Callable[[int, int], Draws]

    def __post_init__(self) -> None:
        if isinstance(self.num_draws, bool) or not isinstance(self.num_draws, int) or self.num_draws < 1:
            raise DataError(f"`num_draws` must be a whole number, 1 or more; received {self.num_draws!r}")

    @classmethod
    def of(cls, draws: Mapping[str, Tensor]) -> Weights:
        """Take draws that are in memory."""

        def piece(count: int, start: int) -> Draws:
            return {name: value[start : start + count] for name, value in draws.items()}

        return cls(len(next(iter(draws.values()))), piece)

    @property
    def draw_bytes(self) -> int:
        """Memory of one draw."""
        return max(1, sum(value.numel() * value.element_size() for value in self.draw(1, 0).values()))

    def pieces(self, size: int) -> Iterator[tuple[int, Draws]]:
        """Go through all draws."""
        for start in range(0, self.num_draws, size):
            yield start, self.draw(min(size, self.num_draws - start), start)
