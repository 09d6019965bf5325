"""The work of one row, so that evaluations of convolutions and of long sequences stay affordable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...network import Inputs, evaluating, num_rows, take_rows
from ...noise import seeded
from ...private_apis import tree_leaves


@dataclass(frozen=True)
class RowWork:
    """The work of one row in a network."""

    multiplications: int  # each parameter counts once per place where it is used
    numbers: int  # that functions compute, views left out


def row_work(network: nn.Module, x: Inputs) -> RowWork:
    """Estimate the work of one row by a call of the network on two."""
    # A dense layer on (N, D) uses its weight at one place, on (N, T, D) at T places; a convolution uses it at each
    # pixel of its output, a recurrent layer at each step.
    few = take_rows(x, slice(2))
    counting = _Counting(network, num_rows(few))
    with evaluating(network), seeded(0), torch.no_grad(), counting:
        network(*(few if isinstance(few, tuple) else (few,)))
    return RowWork(counting.total, counting.numbers // num_rows(few))


class _Counting(TorchFunctionMode):
    def __init__(self, network: nn.Module, rows: int) -> None:
        super().__init__()
        self.total = self.numbers = 0
        self._rows = rows
        self._parameters = {id(parameter) for parameter in network.parameters()}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        taken = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        used = [each for each in taken if id(each) in self._parameters]
        out = result[0] if isinstance(result, tuple) and result else result
        if isinstance(out, Tensor) and not _is_view(out, taken):
            self.numbers += out.numel()
        if used and isinstance(out, Tensor) and out.dim() > 1 and out.numel() and not _is_view(out, used):
            spatial = any(each.dim() > 2 for each in used)
            places = out.numel() // (self._rows * out.shape[1 if spatial else -1])
            self.total += max(places, 1) * sum(math.prod(each.shape) for each in used)
        return result


def _is_view(out: Tensor, others: list[Tensor]) -> bool:
    """Return whether the result is a view of one of these tensors, such as its transpose."""
    return any(out.untyped_storage().data_ptr() == each.untyped_storage().data_ptr() for each in others)
