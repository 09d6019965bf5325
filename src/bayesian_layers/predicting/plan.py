"""How many rows and draws go through the network at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError
from ..network import Inputs, num_rows, take_rows
from ..private_apis import DispatchMode
from .weights import Weights

MAX_MEMORY = 256 * 2**20
_CACHE = (
    2**20
)  # numbers of the widest activation in a chunk: larger ones leave the cache, smaller ones cost calls
_WIDE = 256  # rows a chunk, if there are so many: products want them more than they want draws
_LIVE = 6  # activations, and what becomes of the outputs, that are in memory together
_COPIES = 4  # of a piece of the weights while it is drawn: noise, flat vector, a temporary, values
_BLOCK = 2**16  # rows whose moments are gathered together, where the weights need not be drawn anew for each


@dataclass(frozen=True)
class Plan:
    """Sizes of the pieces that keep a prediction within its memory.

    Attributes:
        rows: Rows of a chunk, which goes through the network at once, at most.
        pairs: Rows times draws of a chunk, at most.
        weights: Draws of the weights that are in memory together.
        block: Rows that are brought to an end, under all draws, before others are begun.
        whole: Rows whose outputs under all draws may be in memory together, and what functions make of them.
    """

    rows: int
    pairs: int
    weights: int
    block: int
    whole: int

    @classmethod
    def of(cls, network: nn.Module, weights: Weights, x: Inputs, max_memory: int) -> Plan:
        """Fit the sizes to a network and a memory."""
        if isinstance(max_memory, bool) or not isinstance(max_memory, int) or max_memory < 1:
            raise DataError(f"`max_memory` must be a whole number of bytes above 0; received {max_memory!r}")
        size = Size.of(network, x)
        numbers = min(_CACHE, max_memory // 4 // (_LIVE * size.number_bytes))
        pairs = max(1, numbers // size.widest)
        held = max(1, max_memory // 2 // (_COPIES * weights.draw_bytes))
        block = max(1, max_memory // 8 // (5 * 8 * size.outputs + 2 * size.input_bytes))
        if held >= weights.num_draws:
            held, block = weights.num_draws, min(block, _BLOCK)
        whole = max(1, max_memory // 4 // (_LIVE * 8 * size.outputs * weights.num_draws))
        return cls(min(pairs, block, max(_WIDE, pairs // weights.num_draws)), pairs, held, block, whole)

    def draws(self, rows: int) -> int:
        """Say how many draws a chunk has."""
        return max(1, min(self.pairs // rows, self.weights))


@dataclass(frozen=True)
class Size:
    """What one row under one draw takes.

    Attributes:
        widest: Numbers of the widest activation.
        outputs: Numbers of the output.
        number_bytes: Bytes of a number.
        input_bytes: Bytes of a row of the inputs.
    """

    widest: int
    outputs: int
    number_bytes: int
    input_bytes: int

    @classmethod
    def of(cls, network: nn.Module, x: Inputs) -> Size:
        """Measure by running the network once, on one or two rows."""
        few = min(2, num_rows(x))
        x = take_rows(x, slice(few))
        inputs = x if isinstance(x, tuple) else (x,)
        widest = _Widest()
        with widest, torch.no_grad():
            f = network(*inputs)
        return cls(
            widest=max(1, -(-max(widest.numbers, f.numel()) // few)),
            outputs=max(1, f.numel() // few),
            number_bytes=f.element_size(),
            input_bytes=sum(part.numel() * part.element_size() for part in inputs) // few,
        )


class _Widest(DispatchMode):
    """Counts the numbers of the largest tensor that an operation makes; views make none."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        taken = {each.untyped_storage().data_ptr() for each in args if isinstance(each, Tensor)}
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor) and each.untyped_storage().data_ptr() not in taken:
                self.numbers = max(self.numbers, each.numel())
        return result
