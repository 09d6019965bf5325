"""What goes into a network, and the mode that it is in."""

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
    """Put a network into ``eval`` mode for a block; every module gets its own mode back."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def dtype_and_device(network: nn.Module) -> tuple[torch.dtype, torch.device]:
    """Tell where a network computes: at its first floating parameter, else buffer, else torch's default."""
    for tensors in (network.parameters(), network.buffers()):
        for tensor in tensors:
            if tensor.is_floating_point():
                return tensor.dtype, tensor.device
    return torch.get_default_dtype(), torch.get_default_device()


def place(x: Inputs, network: nn.Module) -> Inputs:
    """Check inputs, and move them to the network's device, floating ones to its dtype."""
    dtype, device = dtype_and_device(network)
    placed = []
    for name, part in named_parts(x):
        check_finite_tensor(name, check_tensor(name, part))
        placed.append(part.to(device=device, dtype=dtype if part.is_floating_point() else part.dtype))
    rows(x)
    return tuple(placed) if isinstance(x, tuple) else placed[0]


def named_parts(x: Inputs) -> list[tuple[str, Tensor]]:
    """Name the parts of inputs as an error message names them."""
    return [(f"x[{i}]", part) for i, part in enumerate(x)] if isinstance(x, tuple) else [("x", x)]


def rows(x: Inputs) -> int:
    """Count the rows of inputs."""
    parts = x if isinstance(x, tuple) else (x,)
    for name, part in named_parts(x):
        if part.dim() == 0 or len(part) == 0:
            raise ShapeError(name, ("N", "..."), part.shape, "There must be at least one row.")
        if len(part) != len(parts[0]):
            raise ShapeError(name, (len(parts[0]), "..."), part.shape, "All inputs have the same rows.")
    return len(parts[0])


def take(x: Inputs, index: slice | Tensor) -> Inputs:
    """Take rows of inputs."""
    return tuple(part[index] for part in x) if isinstance(x, tuple) else x[index]
