"""How many rows and draws go through the network at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import check_integer
from ..network import Inputs, num_rows, take_rows
from ..private_apis import DispatchMode
from .weight_draws import WeightDraws

MAX_MEMORY = 256 * 2**20
# Numbers of the widest activation in a chunk: more do not fit into a processor's cache, fewer cost calls.
_CACHE = 2**20
_WIDE = 256  # rows per chunk if there are so many: matrix products gain more from rows than from draws
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
        """Return the number of draws of a chunk with so many rows."""
        return max(1, min(self.pairs // rows, self.weights))


@dataclass(frozen=True)
class Size:
    """Sizes of one row under one draw."""

    widest: int  # numbers of the widest activation
    outputs: int  # numbers of the output
    number_bytes: int
    input_bytes: int

    @classmethod
    def of(cls, network: nn.Module, x: Inputs) -> Size:
        """Measure by one call of the network, on one or two rows."""
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
    """Counts the numbers of the largest tensor that an operation allocates; views allocate none."""

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
