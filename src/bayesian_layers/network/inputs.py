"""Inputs of a network: checks, device and dtype, rows; and its evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn

from ..arguments import check_range, check_tensor
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


def two_dtypes(network: nn.Module, *, trainable: bool = False) -> dict[str, torch.dtype]:
    """Return the first parameter or buffer, and the first of another dtype, by name; integers do not count."""
    parameters = {
        name: each for name, each in network.named_parameters() if each.requires_grad or not trainable
    }
    tensors = parameters if trainable else {**parameters, **dict(network.named_buffers())}
    dtypes = {n: v.dtype for n, v in tensors.items() if v.is_floating_point() or v.is_complex()}
    first_of = {dtype: name for name, dtype in reversed(dtypes.items())}
    found = {name: dtype for name, dtype in dtypes.items() if first_of[dtype] == name}
    return dict(islice(found.items(), 2)) if len(found) > 1 else {}


def check_inputs(x: Inputs, network: nn.Module) -> Inputs:
    """Check inputs and move them to the network's device; floating ones are cast to its dtype."""
    dtype, device = dtype_and_device(network)
    placed = []
    for name, part in named_parts(x):
        check_tensor(name, part, hint=_hint(part))
        placed.append((check_range(name, part, dtype) if part.is_floating_point() else part).to(device))
    num_rows(x)
    return tuple(placed) if isinstance(x, tuple) else placed[0]


def _hint(part: object) -> str:
    if isinstance(part, list) and part and all(isinstance(each, Tensor) for each in part):
        return "Use torch.stack for rows, or a tuple for several inputs."
    return "Use torch.as_tensor."


def for_gradients(values: Tensor) -> Tensor:
    """Return the tensor, or a copy if it was made under ``torch.inference_mode``, where autograd cannot keep it."""
    return values.clone() if values.is_inference() else values


def check_targets(y: Tensor | None, rows: int, network: nn.Module) -> Tensor:
    """Return targets on the network's device; raise if they have another number of rows, or values out of range."""
    dtype, device = dtype_and_device(network)
    y = check_tensor("y", y)
    if y.dim() == 0 or len(y) != rows:
        hint = f"`x` has {rows} rows; pass one target per row."
        if y.dim() == 0:
            hint = f"`x` has {rows} rows, its first axis; for one row pass x[None] and y[None]."
        raise ShapeError("y", (rows, "..."), y.shape, hint)
    check_range("y", y, dtype)
    return y.to(device)


def named_parts(x: Inputs) -> list[tuple[str, Tensor]]:
    """Return the inputs with their names in error messages."""
    return [(f"x[{i}]", part) for i, part in enumerate(x)] if isinstance(x, tuple) else [("x", x)]


def num_rows(x: Inputs) -> int:
    """Return the number of rows of inputs; raise ShapeError if there is none, or inputs differ."""
    parts = x if isinstance(x, tuple) else (x,)
    for name, part in named_parts(x):
        if part.dim() == 0:
            hint = f"The first axis is that of the rows: for one row of one number pass {name}.reshape(1, 1)."
            raise ShapeError(name, ("N", "..."), part.shape, hint)
        if len(part) == 0:
            raise ShapeError(name, ("N", "..."), part.shape, "There must be at least one row.")
        if len(part) != len(parts[0]):
            raise ShapeError(
                name, (len(parts[0]), "..."), part.shape, "All inputs must have the same number of rows."
            )
    return len(parts[0])


def check_output_rows(x: Inputs, shape: Sequence[int], rows: int) -> None:
    """Raise ShapeError if outputs of this shape, for ``rows`` rows of ``x``, have another number of rows."""
    if shape and shape[0] == rows:
        return
    parts = named_parts(x)
    if all(part.dim() == 1 for _, part in parts):  # the network took the first axis for that of the inputs
        name, part = parts[0]
        hint = f"The first axis is that of the rows: for one row pass {name}[None]."
        raise ShapeError(name, ("N", "inputs"), part.shape, hint)
    raise ShapeError("network(x)", (rows, "..."), shape, "Return one output or several per row.")


def take_rows(x: Inputs, index: slice | Tensor) -> Inputs:
    """Return some rows of all inputs."""
    return tuple(part[index] for part in x) if isinstance(x, tuple) else x[index]
