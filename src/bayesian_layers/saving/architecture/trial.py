"""One trial run of a described network: it must take the inputs that its file records, in bounded memory."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import StorageError
from ...private_apis import DispatchMode
from ..arrays import ArraySpec
from ..schema import show

MOST_BYTES = 2**28  # of all activations for one row

# Outputs of these are as large as their inputs or their parameters; all others are tried.
_BOUNDED = ("Linear", "Bilinear", "Identity", "Flatten", "Dropout", "LayerNorm", "GroupNorm", "BatchNorm1d")


class _CountBytes(DispatchMode):
    """Adds up the sizes of all results, whose values are never computed."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for each in results if isinstance(results, tuple | list) else [results]:
            self.total += each.numel() * each.element_size() if isinstance(each, Tensor) else 0
        _check_bytes(self.total)
        return results


def check_runs(network: nn.Module, inputs: Sequence[ArraySpec]) -> None:
    """Raise StorageError unless the network takes one row of these inputs, within 256 MiB."""
    for each in inputs:
        _check_bytes(each.nbytes)
    try:
        with torch.no_grad():
            if not all(_is_bounded(module) for module in network.modules()):
                _try_without_values(network, inputs)
            network(*[torch.zeros((1, *each.shape), dtype=each.dtype) for each in inputs])
    except StorageError:
        raise
    except Exception as error:  # torch raises whatever comes up where sizes do not fit
        raise StorageError(
            f"the described network does not take one row of the inputs that its file records: {show(str(error), 300)}"
        ) from error


def _try_without_values(network: nn.Module, inputs: Sequence[ArraySpec]) -> None:
    with warnings.catch_warnings():  # the `meta` device imports modules that add a filter
        empty = copy.deepcopy(network).to("meta")
        with _CountBytes():
            empty(*[torch.empty((1, *each.shape), dtype=each.dtype, device="meta") for each in inputs])


def _is_bounded(module: nn.Module) -> bool:
    name = type(module).__name__
    return name in _BOUNDED or isinstance(module, nn.Sequential) or _is_activation(module)


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation"


def _check_bytes(count: int) -> None:
    if count > MOST_BYTES or not math.isfinite(count):
        raise StorageError(
            f"one row must take at most {MOST_BYTES} bytes in the described network; it takes {count} or more. "
            "If you trust the folder, pass the network: bl.load(folder, network=...)"
        )
