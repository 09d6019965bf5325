"""Inputs of a network: checks, device and dtype, rows; and its evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..arguments import check_finite_tensor, check_tensor
from ..errors import ShapeError

Inputs = Tensor | tuple[Tensor, ...]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode for a block, and restore the mode of each module after it."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def dtype_and_device(network: nn.Module) -> tuple[torch.dtype, torch.device]:
    """Return dtype and device of a network's first floating parameter, else buffer, else torch's defaults."""
    for tensors in (network.parameters(), network.buffers()):
        for tensor in tensors:
            if tensor.is_floating_point():
                return tensor.dtype, tensor.device
    return torch.get_default_dtype(), torch.get_default_device()


def check_inputs(x: Inputs, network: nn.Module) -> Inputs:
    """Check inputs and move them to the network's device; floating ones are cast to its dtype."""
    dtype, device = dtype_and_device(network)
    placed = []
    for name, part in named_parts(x):
        check_finite_tensor(name, check_tensor(name, part))
        placed.append(part.to(device=device, dtype=dtype if part.is_floating_point() else part.dtype))
    num_rows(x)
    return tuple(placed) if isinstance(x, tuple) else placed[0]


def named_parts(x: Inputs) -> list[tuple[str, Tensor]]:
    """Return the inputs with their names in error messages."""
    return [(f"x[{i}]", part) for i, part in enumerate(x)] if isinstance(x, tuple) else [("x", x)]


def num_rows(x: Inputs) -> int:
    """Return the number of rows of inputs; raise ShapeError if there is none, or inputs differ."""
    parts = x if isinstance(x, tuple) else (x,)
    for name, part in named_parts(x):
        if part.dim() == 0 or len(part) == 0:
            raise ShapeError(name, ("N", "..."), part.shape, "There must be at least one row.")
        if len(part) != len(parts[0]):
            raise ShapeError(
                name, (len(parts[0]), "..."), part.shape, "All inputs must have the same number of rows."
            )
    return len(parts[0])


def take_rows(x: Inputs, index: slice | Tensor) -> Inputs:
    """Return some rows of all inputs."""
    return tuple(part[index] for part in x) if isinstance(x, tuple) else x[index]
