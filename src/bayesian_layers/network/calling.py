"""Calling a network with one draw of its parameters, or with many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from pyro.distributions.util import broadcast_shape
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..errors import ShapeError
from ..layers import padding_rows
from .inputs import Inputs
from .vmap_rules import vmap_rules

_NO_VMAP = ("Batching rule not implemented", "vmap:")


def call(network: nn.Module, values: Mapping[str, Tensor], x: Inputs) -> Tensor:
    """Call a network with given parameters: one draw of them, or many at once."""
    return outputs(network, values, x).f


class Outputs(NamedTuple):
    """What a network says under many draws.

    Attributes:
        f: The outputs, ``(*batch, N, *axes)``.
        batch_axes: How many axes ``batch`` has; ``f`` alone does not tell them from the others.
    """

    f: Tensor
    batch_axes: int

    @property
    def output_axes(self) -> int:
        """How many axes belong to one row; less than 1 where a row has no axis of outputs."""
        return self.f.dim() - self.batch_axes - 1


def outputs(network: nn.Module, values: Mapping[str, Tensor], x: Inputs) -> Outputs:
    """Call a network as :func:`call` does, and count the axes of the draws."""
    inputs = x if isinstance(x, tuple) else (x,)
    values = _everywhere(network, values)
    shapes = {name: network.get_parameter(name).shape for name in values}
    batches = {name: _batch_shape(name, value, shapes[name]) for name, value in values.items()}
    batch = broadcast_shape(*batches.values())
    varying = [name for name, value in values.items() if not _is_shared(value, len(shapes[name]))]
    varying = varying or list(values)[:1]  # something must say how many draws there are
    flat = {
        name: value.reshape(*batches[name], *shapes[name])
        .expand(*batch, *shapes[name])
        .flatten(0, len(batch) - 1)
        if batch and name in varying
        else value[(0,) * (value.dim() - len(shapes[name]))]
        for name, value in values.items()
    }
    if not batch:
        return Outputs(_functional_call(network, flat, inputs), 0)
    axes = {name: 0 if name in varying else None for name in flat}
    f = call_many(network, flat, axes, inputs, math.prod(batch))
    return Outputs(f.unflatten(0, batch), len(batch))


def _batch_shape(name: str, value: Tensor, shape: torch.Size) -> torch.Size:
    axes = value.dim() - len(shape)
    if axes < 0 or value.shape[axes:] != shape:
        raise ShapeError(name, ("...", *shape), value.shape)
    batch = value.shape[:axes]
    return batch[:-1] if batch and batch[-1] == 1 else batch


def _is_shared(value: Tensor, event_dim: int) -> bool:
    """Whether all draws have the same memory, as point estimates have: what depends on them alone is computed once."""
    axes = range(value.dim() - event_dim)
    return all(value.shape[axis] == 1 or value.stride(axis) == 0 for axis in axes)


def call_many(
    network: nn.Module,
    values: dict[str, Tensor],
    axes: dict[str, int | None],
    inputs: tuple[Tensor, ...],
    size: int,
) -> Tensor:
    """Call a network with many draws at once; in a loop where vmap has no rule (control flow on data)."""
    try:
        with vmap_rules(network):
            return vmap(
                lambda draw: _functional_call(network, draw, inputs), in_dims=(axes,), randomness="different"
            )(values)
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _NO_VMAP):
            raise
    draws = (
        {name: value if axes[name] is None else value[i] for name, value in values.items()}
        for i in range(size)
    )
    return torch.stack([_functional_call(network, draw, inputs) for draw in draws])


def _everywhere(network: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Torch ties names itself, but puts a draw in place of the parameter for good where one module stands at
    # two places of the network: so each module once, under each of its parameters that has a value.
    first = {id(network.get_parameter(name)): value for name, value in values.items()}
    first |= with_padding(network, first)
    return {
        f"{path}.{name}".lstrip("."): first[id(parameter)]
        for path, module in network.named_modules()
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if id(parameter) in first
    }


def with_padding(network: nn.Module, values: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Put zeros into the rows of embeddings that stand for padding."""
    return {
        key: values[key].select_scatter(
            values[key].new_zeros(()).expand_as(values[key].select(-2, row)), -2, row
        )
        for key, row in padding_rows(network).items()
        if key in values
    }


def _functional_call(network: nn.Module, values: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
    return functional_call(network, values, inputs, tie_weights=False)
