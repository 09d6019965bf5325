"""Names of the axes of sites and inputs in ArviZ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DataError
from ..network import Inputs, evaluating
from ..noise import seeded
from ..private_apis import CONVOLUTION, RUNNING_NORM, TRANSPOSED_CONVOLUTION, own_tensors

ROW = "row"
TARGET = "target"
INPUT = "input"
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, RUNNING_NORM)


def site_dims(network: nn.Module, sites: Iterable[str]) -> dict[str, list[str]]:
    """Return names for the axes of the weights and biases of torch's layers."""
    # Weight and bias of layer `0` share the axis `0_output`. The weight also has `0_input`, and in convolutions
    # `0_kernel_0` and so on. Embeddings have `0_entry` and `0_output`, normalization layers `0_feature`. If the network
    # is a single layer, the names have no prefix.
    wanted = set(sites)
    found = {}
    for path, module in network.named_modules():
        for name, axes in _axes(module).items():
            site = f"{path}.{name}".lstrip(".")
            parameter = module.get_parameter(name)
            if site in wanted and parameter.dim() == len(axes):
                found[site] = [_dim(path, axis) for axis in axes]
    return found


def _dim(path: str, axis: str) -> str:
    return f"{path}_{axis}" if path else axis


def _axes(module: nn.Module) -> dict[str, list[str]]:
    """Return the meaning of the axes of a layer's own parameters."""
    if isinstance(module, nn.Linear):
        axes = {"weight": ["output", INPUT], "bias": ["output"]}
    elif isinstance(module, CONVOLUTION):
        kernel = [f"kernel_{i}" for i in range(len(module.kernel_size))]
        grouped = "" if module.groups == 1 else "_of_group"
        first = ["output", f"{INPUT}{grouped}"]
        if isinstance(module, TRANSPOSED_CONVOLUTION):
            first = [INPUT, f"output{grouped}"]
        axes = {"weight": [*first, *kernel], "bias": ["output"]}
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        axes = {"weight": ["entry", "output"]}
    elif isinstance(module, _NORMS):
        axes = {"weight": ["feature"], "bias": ["feature"]}
    else:
        axes = {}
    return {name: axes[name] for name in axes if own_tensors(module)[0].get(name) is not None}


def input_dims(x: Inputs, axis: int | None) -> dict[str, list[str]]:
    """Return names for the axes of the inputs."""
    result = {}
    for name, part in named_inputs(x).items():
        result[name] = [ROW, *(f"{name}_dim_{i}" for i in range(part.dim() - 1))]
        if axis is not None:
            result[name][axis] = INPUT
    return result


def named_inputs(x: Inputs) -> dict[str, Tensor]:
    """Return the inputs with their names as variables."""
    return {f"x_{i}": part for i, part in enumerate(x)} if isinstance(x, tuple) else {"x": x}


def first_layers(network: nn.Module, x: Inputs) -> dict[str, int]:
    """Return the input axis of each layer that receives the inputs themselves, by a call on one row."""
    if isinstance(x, tuple):
        return {}
    row, found = x[:1], {}

    def watch(path: str, axis: int) -> Any:
        def hook(_: nn.Module, received: tuple[Any, ...]) -> None:
            if received and _is_same(received[0], row):
                found[_dim(path, INPUT)] = axis

        return hook

    layers = [
        (path, module) for path, module in network.named_modules() if INPUT in _axes(module).get("weight", ())
    ]
    handles = [
        module.register_forward_pre_hook(watch(path, x.dim() - 1 if isinstance(module, nn.Linear) else 1))
        for path, module in layers
    ]
    try:
        with evaluating(network), torch.no_grad(), seeded(0):
            network(row)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _is_same(received: object, row: Tensor) -> bool:
    """Check whether a tensor has the memory of the row, perhaps after a reshape to the same shape."""
    if not isinstance(received, Tensor) or received.shape != row.shape:
        return False
    return received.data_ptr() == row.data_ptr() and received.stride() == row.stride()


def check_names(input_names: Sequence[str], x: Inputs, axis: int | None) -> list[str]:
    """Return the names as a list; raise DataError if they do not fit the inputs."""
    names = [input_names] if isinstance(input_names, str) else list(input_names)
    if isinstance(x, tuple) or axis is None:
        raise DataError(
            "`input_names` can only name the columns of one tensor of inputs; omit them for this `x`"
        )
    if (
        len(names) != x.shape[axis]
        or len(set(names)) != len(names)
        or not all(isinstance(n, str) for n in names)
    ):
        raise DataError(
            f"`input_names` must be {x.shape[axis]} different names, one per column; received {names}"
        )
    return names
