"""Calling a network with one draw of its parameters, or with many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..errors import NetworkError, ShapeError
from ..layers import padding_rows
from .inputs import Inputs
from .vmap_rules import vmap_rules

_VMAP_ERRORS = ("Batching rule not implemented", "vmap:")


def call(network: nn.Module, values: Mapping[str, Tensor], x: Inputs) -> Tensor:
    """Call a network with one draw of its parameters, or with many at once."""
    return outputs(network, values, x).f


def check_output(f: Any) -> Tensor:
    """Return the output of a network if it is a tensor; raise NetworkError otherwise."""
    if isinstance(f, Tensor):
        return f
    received, hint = type(f).__name__, "Wrap it in a module that returns a tensor"
    if isinstance(f, tuple | list):
        received += f" ({', '.join(type(each).__name__ for each in f)})"
        hint = "For its first entry use nn.Sequential(network, bl.Take(0))"
    elif isinstance(f, Mapping):
        received += f" with the keys {list(f)}"
    elif f is None:
        received, hint = "None", "End its `forward` with `return`"
    message = f"the network must return a tensor; received {received}. {hint}."
    raise NetworkError(message, message.removesuffix("."))


def _call_once(network: nn.Module, values: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
    return check_output(functional_call(network, values, inputs, tie_weights=False))


class Outputs(NamedTuple):
    """Outputs of a network for a batch of draws."""

    f: Tensor  # (*batch, N, *axes)
    batch_axes: int  # number of axes of `batch`, which the shape of f does not show

    @property
    def output_axes(self) -> int:
        """Number of axes of one row's outputs; less than 1 if a row has no axis of outputs."""
        return self.f.dim() - self.batch_axes - 1


def outputs(network: nn.Module, values: Mapping[str, Tensor], x: Inputs) -> Outputs:
    """Call a network as :func:`call` does, and count the axes of the draws."""
    inputs = x if isinstance(x, tuple) else (x,)
    values = _by_all_names(network, values)
    shapes = {name: network.get_parameter(name).shape for name in values}
    batches = {name: _batch_shape(name, value, shapes[name]) for name, value in values.items()}
    batch = broadcast_shape(*batches.values())
    varying = [name for name, value in values.items() if not _is_same(value, len(shapes[name]))]
    flat = {
        name: value.reshape(*batches[name], *shapes[name])
        .expand(*batch, *shapes[name])
        .flatten(0, len(batch) - 1)
        if batch and name in varying
        else value[(0,) * (value.dim() - len(shapes[name]))]
        for name, value in values.items()
    }
    if not batch:
        return Outputs(_call_once(network, flat, inputs), 0)
    axes = {name: 0 if name in varying else None for name in flat}
    f = call_many(network, flat, axes, inputs, math.prod(batch))
    return Outputs(f.unflatten(0, batch), len(batch))


def _batch_shape(name: str, value: Tensor, shape: torch.Size) -> torch.Size:
    axes = value.dim() - len(shape)
    if axes < 0 or value.shape[axes:] != shape:
        raise ShapeError(name, ("...", *shape), value.shape)
    batch = value.shape[:axes]
    return batch[:-1] if batch and batch[-1] == 1 else batch


def _is_same(value: Tensor, event_dim: int) -> bool:
    """Check whether a value is the same under all draws, so that operations on it alone run once, not per draw."""
    return all(value.shape[axis] == 1 or value.stride(axis) == 0 for axis in range(value.dim() - event_dim))


def is_shared(draws: Tensor) -> bool:
    """Check whether two or more draws ``(S, *shape)`` are one value in memory, as those of point estimates are."""
    return len(draws) > 1 and draws.stride(0) == 0


def call_many(
    network: nn.Module,
    values: dict[str, Tensor],
    axes: dict[str, int | None],
    inputs: tuple[Tensor, ...],
    size: int,
) -> Tensor:
    """Call a network with many draws at once, or in a loop where vmap fails (control flow that depends on data)."""

    def one_call(_: Tensor, values: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
        return _call_once(network, values, inputs)

    try:
        with vmap_rules(network):
            # Its number of draws is known to vmap even if no value differs between them.
            number = inputs[0].new_empty(size, 0)
            return vmap(one_call, in_dims=(0, axes, None), randomness="different")(number, values, inputs)
    except RuntimeError as error:
        if not any(part in str(error) for part in _VMAP_ERRORS):
            raise
    draws = (
        {name: value if axes[name] is None else value[i] for name, value in values.items()}
        for i in range(size)
    )
    return torch.stack([_call_once(network, draw, inputs) for draw in draws])


def _by_all_names(network: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Values under all names of tied parameters. `functional_call(tie_weights=True)` would find the names too, but it
    # replaces the parameter for good if one module is at two places of the network. So each module appears once.
    first = {id(network.get_parameter(name)): value for name, value in values.items()}
    first |= with_padding(network, first)
    return {
        f"{path}.{name}".lstrip("."): first[id(parameter)]
        for path, module in network.named_modules()
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if id(parameter) in first
    }


def with_padding(network: nn.Module, values: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Return the values of embeddings that have a padding row, with zeros in that row."""
    return {
        key: values[key].select_scatter(torch.zeros_like(values[key].select(-2, row)), -2, row)
        for key, row in padding_rows(network).items()
        if key in values
    }
