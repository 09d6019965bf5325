"""Inputs of a network: checks, device and dtype, rows; and its evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..arguments import check_finite_tensor, check_tensor
from ..errors import BayesianLayersError, DataError, NetworkError, ShapeError

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
        cast = part.to(dtype) if part.is_floating_point() else part
        if cast.dtype != part.dtype and not bool(torch.isfinite(cast).all()):
            raise DataError(
                f"`{name}` must be within the range of {dtype}, the dtype of the network; received values up to "
                f"{float(part.abs().max()):.3g}. Rescale them, or convert the network with network.double()."
            )
        placed.append(cast.to(device))
    num_rows(x)
    return tuple(placed) if isinstance(x, tuple) else placed[0]


@contextmanager
def explain_errors(x: Inputs) -> Iterator[None]:
    """Raise NetworkError with the shape and dtype of the inputs if a call of the network fails."""
    try:
        yield
    except BayesianLayersError:
        raise
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        parts = named_parts(x)
        shown = ", ".join(f"`{name}` of shape {_rows_shape(part)}, {part.dtype}" for name, part in parts)
        reason = str(error).strip().split("\n", 1)[0].removesuffix(".")
        message = f"the network must accept the inputs; with {shown}, it raised: {reason}."
        if not all(part.is_floating_point() for _, part in parts):
            message += " Unless the integers are indices of an embedding, pass x.float()."
        raise NetworkError(message, reason) from error


def _rows_shape(part: Tensor) -> str:
    return "(" + ", ".join(["N", *map(str, part.shape[1:])]) + ("," if part.dim() == 1 else "") + ")"


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
