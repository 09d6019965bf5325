"""Draws of the weights, all at once or a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..arguments import check_integer
from ..network import is_shared

Draws = dict[str, Tensor]


@dataclass(frozen=True)
class WeightDraws:
    """S draws of all latent sites, which can be made in pieces."""

    num_draws: int
    # draw(count, start) returns the draws start to start + count, each site (count, *shape). The numbers do not depend
    # on the pieces, to the last bit.
    draw: Callable[[int, int], Draws]

    def __post_init__(self) -> None:
        check_integer("num_draws", self.num_draws, least=1)

    @classmethod
    def of(cls, draws: Mapping[str, Tensor]) -> WeightDraws:
        """Wrap draws that are in memory."""

        def piece(count: int, start: int) -> Draws:
            return {name: value[start : start + count] for name, value in draws.items()}

        return cls(len(next(iter(draws.values()))), piece)

    def drawn(self) -> Draws:
        """Return one draw of the sites in which draws differ: all but point estimates."""
        few = self.draw(min(2, self.num_draws), 0)
        return {name: value[0] for name, value in few.items() if not is_shared(value)}

    def pieces(self, size: int) -> Iterator[tuple[int, Draws]]:
        """Yield all draws in pieces, each with the number of its first draw."""
        for start in range(0, self.num_draws, size):
            yield start, self.draw(min(size, self.num_draws - start), start)
