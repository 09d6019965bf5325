"""Which layers an estimator can treat per row: found by tracing a run of the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..handlers import LogLikelihood
from ..model import BayesianModel
from ..network import (
    Inputs,
    call,
    evaluating,
    num_rows,
    parameter_sites,
    reordered,
    take_rows,
    treats_rows_alone,
)
from ..noise import seeded
from .operations import OPS, bind

# Functions that return properties of a tensor, not its values.
_METADATA = {
    "dim", "ndimension", "size", "stride", "numel", "nelement", "element_size", "storage_offset", "data_ptr",
    "is_contiguous", "is_floating_point", "is_complex", "get_device", "type", "__len__", "__hash__",
}  # fmt: skip

_FEATURES_LAST = ("linear", "bilinear")


@dataclass(frozen=True)
class Call:
    """One call of a function of ``OPS``."""

    op: str
    weight: str | None  # the site whose value was the weight, unchanged
    bias: str | None  # the site whose value was the bias, unchanged
    weight_shape: torch.Size
    input_shapes: tuple[torch.Size, ...]
    output_shape: torch.Size

    def channels(self) -> tuple[int, int]:
        """Return the number of features (linear, bilinear) or channels (convolution), in and out."""
        axis = -1 if self.op in _FEATURES_LAST else 1
        return self.input_shapes[0][axis], self.output_shape[axis]

    def along_rows(self, channels: Tensor) -> Tensor:
        """Reshape numbers ``(rows, channels)`` so that they multiply an input or output."""
        inner = [1] * (len(self.input_shapes[0]) - 2)
        shape = (*inner, channels.shape[1]) if self.op in _FEATURES_LAST else (channels.shape[1], *inner)
        return channels.view(len(channels), *shape)


@dataclass(frozen=True)
class Trace:
    """Result of a run of the network on N rows and one on N + 1 rows."""

    calls: tuple[Call, ...]  # of the functions of `OPS` whose rows are the data's rows
    uses: Mapping[str, int]  # site to how often a function took its value
    coupled: bool  # whether the output on a row depends on the other rows, or on chance


def trace(model: BayesianModel, values: Mapping[str, Tensor], x: Inputs, y: Tensor) -> Trace:
    """Trace the model's program on N rows, and on these in another order and one of them again."""
    again = reordered(torch.arange(num_rows(x))).to(y.device)
    batches = ((x, y), (take_rows(x, again), y[again]))
    values = {name: value.detach().clone().requires_grad_() for name, value in values.items()}
    first, second = (_traced(model, values, *batch) for batch in batches)
    weights = {name: values[name].detach() for name in parameter_sites(model.network)}
    with evaluating(model.network):
        alone = treats_rows_alone(partial(call, model.network, weights), x)
    return Trace(
        calls=_row_by_row(first.calls, second.calls, num_rows(x)),
        uses={name: max(first.uses[name], second.uses[name]) for name in values},
        coupled=not alone,
    )


def address(tensor: Tensor) -> int:
    """Identify a tensor by its storage, so that views of one tensor compare equal."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


def _traced(model: BayesianModel, values: Mapping[str, Tensor], x: Inputs, y: Tensor) -> _Tracer:
    """Trace one run of the program; random layers draw from a stream of their own."""
    with seeded(0), LogLikelihood(values), _Tracer(values) as tracer:
        model(x, y)
    return tracer


def _row_by_row(first: list[Call], second: list[Call], n: int) -> tuple[Call, ...]:
    """Select the calls whose rows are the data's: N of them, and one more if the data have one more."""
    if [(call.op, call.weight, call.bias) for call in first] != [
        (call.op, call.weight, call.bias) for call in second
    ]:
        return ()
    return tuple(
        call
        for call, more in zip(first, second, strict=True)
        if all(
            (one[:1], other[:1]) == ((n,), (n + 1,)) and one[1:] == other[1:]
            for one, other in zip(call.input_shapes, more.input_shapes, strict=True)
        )
    )


class _Tracer(TorchFunctionMode):
    """Records which functions take the values of which sites, or views of them."""

    # Each value has a storage of its own, by which it is identified. A function whose results are views of the value
    # (`reshape`, `.T`) is not a use; a later use of the view is.
    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values
        self.uses: Counter[str] = Counter()
        self.calls: list[Call] = []
        self._sites = {address(value): name for name, value in values.items() if value.numel()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        taken = [tensor for tensor in _tensors((args, kwargs)) if address(tensor) in self._sites]
        if not taken or _returns_metadata(func, result) or self._is_view(func, result):
            return result
        self.uses.update(self._sites[address(tensor)] for tensor in taken)
        # Without gradients this call is inside a function with a backward pass of its own, or a recomputation.
        if func in OPS and torch.is_grad_enabled():
            op, bound = bind(func, args, kwargs)
            shapes = tuple(part.shape for part in bound.inputs)
            sites = self._site(bound.weight), self._site(bound.bias)
            self.calls.append(Call(op, *sites, bound.weight.shape, shapes, result.shape))
        return result

    def _site(self, tensor: Tensor | None) -> str | None:
        """Return the site whose value this tensor is: all of it, with the same strides, with a gradient."""
        name = None if tensor is None else self._sites.get(address(tensor))
        if tensor is None or name is None:
            return None
        value = self.values[name]
        same = (tensor.shape, tensor.stride(), tensor.requires_grad) == (value.shape, value.stride(), True)
        return name if same else None

    def _is_view(self, func: Any, result: Any) -> bool:
        results = list(_tensors(result))
        in_place = func.__name__.endswith("_") and not func.__name__.endswith("__")
        return bool(results) and not in_place and all(address(part) in self._sites for part in results)


def _returns_metadata(func: Any, result: Any) -> bool:
    """Check whether a function returns shape, dtype or the like: then its result is not a tensor."""
    getter = func.__name__ in _METADATA or func.__name__ == "__get__"
    return getter and not any(True for _ in _tensors(result))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
