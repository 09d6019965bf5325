"""What the axes of sites and inputs are called in ArviZ."""

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
    """Name the axes of the weights and biases of torch's layers, the same axis of one layer by one name."""
    # ``0.weight`` and ``0.bias`` of a dense or convolutional layer have the axis ``0_output``; the weight
    # also has ``0_input`` and for convolutions ``0_kernel_0`` and so on; of an embedding the axes are
    # ``0_entry`` and ``0_output``, of a normalisation ``0_feature``. A network that is one layer has
    # ``output`` and ``input``.
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
    """Meaning of the axes of a layer's own parameters."""
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
    """Name the axes of the inputs."""
    result = {}
    for name, part in named_inputs(x).items():
        result[name] = [ROW, *(f"{name}_dim_{i}" for i in range(part.dim() - 1))]
        if axis is not None:
            result[name][axis] = INPUT
    return result


def named_inputs(x: Inputs) -> dict[str, Tensor]:
    """Name inputs as variables."""
    return {f"x_{i}": part for i, part in enumerate(x)} if isinstance(x, tuple) else {"x": x}


def first_layers(network: nn.Module, x: Inputs) -> dict[str, int]:
    """Find the layers that see the inputs themselves, by calling the network on one row."""
    if isinstance(x, tuple):
        return {}
    row, found = x[:1], {}

    def look(path: str, axis: int) -> Any:
        def hook(_: nn.Module, received: tuple[Any, ...]) -> None:
            if received and _is_same(received[0], row):
                found[_dim(path, INPUT)] = axis

        return hook

    layers = [
        (path, module) for path, module in network.named_modules() if INPUT in _axes(module).get("weight", ())
    ]
    handles = [
        module.register_forward_pre_hook(look(path, x.dim() - 1 if isinstance(module, nn.Linear) else 1))
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
    """The very numbers, perhaps after a reshape that changed nothing."""
    if not isinstance(received, Tensor) or received.shape != row.shape:
        return False
    return received.data_ptr() == row.data_ptr() and received.stride() == row.stride()


def check_names(input_names: Sequence[str], x: Inputs, axis: int | None) -> list[str]:
    """Refuse names that do not fit the inputs."""
    names = [input_names] if isinstance(input_names, str) else list(input_names)
    if isinstance(x, tuple) or axis is None:
        raise DataError(
            "`input_names` need one tensor of inputs with an axis that they name; omit them for this `x`"
        )
    if (
        len(names) != x.shape[axis]
        or len(set(names)) != len(names)
        or not all(isinstance(n, str) for n in names)
    ):
        raise DataError(
            f"`input_names` must be {x.shape[axis]} different names, one for each input; received {names}"
        )
    return names
