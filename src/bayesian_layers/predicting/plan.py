"""How many rows and draws go through the network at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ..arguments import check_integer
from ..network import Inputs, is_shared, num_rows, parameter_sites
from ..noise import seeded
from .size import Size
from .weight_draws import WeightDraws

MAX_MEMORY = 256 * 2**20
# Numbers of the widest activation in a chunk: more do not fit into a processor's cache, fewer cost calls.
_CACHE = 2**20
_CHUNK = 2**21  # the same where all draws go together: 8 MiB in float32
_WIDE = 256  # rows per chunk if there are so many: matrix products gain more from rows than from draws
_ROWS = 64  # rows in a slice, rather than more draws
_READ = 8  # multiplications that take as long as reading a number from memory
_LIVE = 6  # activations, and intermediate results of the outputs, that are in memory together
_COPIES = 4  # of a piece of the weights while it is drawn: noise, flat vector, a temporary, values
_BLOCK = 2**16  # rows whose moments are computed together if all draws of the weights are in memory


@dataclass(frozen=True)
class Plan:
    """Sizes of the pieces that keep a prediction within its memory."""

    rows: int  # most rows of a chunk, which goes through the network at once
    pairs: int  # most rows times draws of a chunk
    weights: int  # draws of the weights that are in memory together
    block: int  # rows that are finished under all draws before the next ones start
    whole: int  # rows whose outputs under all draws may be in memory, with what functions compute from them

    @classmethod
    def of(cls, network: nn.Module, weights: WeightDraws, x: Inputs, max_memory: int) -> Plan:
        """Choose the sizes for a network and a number of bytes."""
        check_integer("max_memory", max_memory, least=1, hint="It is a number of bytes.")
        drawn = weights.drawn()
        size = Size.of(network, x, drawn)
        numbers = min(_CACHE, max_memory // 4 // (_LIVE * size.number_bytes))
        pairs = max(1, numbers // size.drawn)
        draw_bytes = sum(value.numel() * value.element_size() for value in drawn.values())
        held = max(1, max_memory // 2 // (_COPIES * max(1, draw_bytes)))
        block = max(1, max_memory // 8 // (5 * 8 * size.outputs + 2 * size.input_bytes))
        if held >= weights.num_draws:
            held, block = weights.num_draws, min(block, _BLOCK)
        whole = max(1, max_memory // 4 // (_LIVE * 8 * size.outputs * weights.num_draws))
        rows = max(_WIDE, pairs // weights.num_draws)
        if size.shared_work:
            # With B multiplications that all draws share, and W weights, a row under a draw costs B / draws for the
            # former and _READ * W / rows to read the latter. With pairs = rows * draws the sum is least at these rows.
            entries = sum(value.numel() for value in drawn.values())
            rows = min(rows, max(pairs // held, math.isqrt(_READ * entries * pairs // size.shared_work)))
        return cls(max(1, min(rows, pairs, block, numbers // size.shared)), pairs, held, block, whole)

    def draws(self, rows: int) -> int:
        """Return the number of draws of a chunk with so many rows."""
        return max(1, min(self.pairs // rows, self.weights))


@dataclass(frozen=True)
class RowWidth:
    """Numbers of the widest activations of one row, in layers that are the same under all draws, and above."""

    shared: int
    drawn: int

    @classmethod
    def of(cls, network: nn.Module, draws: Mapping[str, Tensor], x: Inputs) -> RowWidth:
        """Measure by a call of the network on two rows."""
        sites = parameter_sites(network)
        with seeded(0):
            size = Size.of(network, x, [name for name, value in draws.items() if not is_shared(value)])
        # The likelihood may have layers, too.
        own = [value.shape[1] for name, value in draws.items() if name not in sites and value.dim() > 1]
        return cls(size.shared, max(size.drawn, *own, 1))

    def slices(self, num_draws: int, rows: int) -> list[slice]:
        """Return slices of rows so small that the widest activation under all draws fits into a cache."""
        step = max(1, _CHUNK // max(self.shared, self.drawn * max(1, num_draws)))
        return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]

    def draws(self, rows: int) -> int:
        """Return how many draws leave room for so many rows in a slice, at most 64; one at least."""
        return max(1, _CHUNK // (self.drawn * min(rows, _ROWS)))


def slices_of_rows(network: nn.Module, draws: Mapping[str, Tensor], x: Inputs) -> list[slice]:
    """Return slices of rows so small that the widest activation under all draws fits into a cache."""
    num_draws = len(next(iter(draws.values()), ()))
    return RowWidth.of(network, draws, x).slices(num_draws, num_rows(x))
