"""One sentence on inputs that a network does not accept, found by calling it on other inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import BayesianLayersError, NetworkError, ShapeError
from ..noise import seeded
from .inputs import Inputs, dtype_and_device, evaluating, named_parts, take_rows, two_dtypes

# A whole input is tried as one row only if it is small: a network may need memory for the square of its first axis.
_LONGEST, _LARGEST = 2**12, 2**20


@contextmanager
def explain_errors(network: nn.Module, x: Inputs) -> Iterator[None]:
    """Raise an error that says what to change if a call of the network on ``x``, or on rows of it, fails."""
    try:
        yield
    except BayesianLayersError:
        raise
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        reason = str(error).strip().split("\n", 1)[0].removesuffix(".")
        if _accepts(network, take_rows(x, slice(2))) is not None:  # but not under draws of its parameters
            message = _of_two_dtypes(two_dtypes(network, trainable=True))
        elif (wrong_axes := _other_axes(network, x)) is not None:
            raise wrong_axes from error
        else:
            message = _other_dtype(network, x) or _of_two_dtypes(_to_convert(network, x))
        raise NetworkError(message or _default(x, reason), reason) from error


def _default(x: Inputs, reason: str) -> str:
    parts = named_parts(x)
    shown = ", ".join(f"`{name}` of shape {_rows_shape(part)}, {part.dtype}" for name, part in parts)
    message = f"the network must accept the inputs; with {shown}, it raised: {reason}."
    if not all(part.is_floating_point() for _, part in parts):
        message += " Unless the integers are indices of an embedding, pass x.float()."
    return message


def _rows_shape(part: Tensor) -> str:
    return "(" + ", ".join(["N", *map(str, part.shape[1:])]) + ("," if part.dim() == 1 else "") + ")"


def _other_dtype(network: nn.Module, x: Inputs) -> str:
    """Name an input that the network accepts as floating point, or as integers, if there is one."""
    for index, (name, part) in enumerate(named_parts(x)):
        floating = part.is_floating_point()
        whole = part.dtype != torch.int64 and not (floating and bool((part != part.round()).any()))
        for needed, kind, change in ((not floating, "floating point", "float"), (whole, "integers", "long")):
            if needed and _accepts(network, _replaced(take_rows(x, slice(2)), index, change)) is not None:
                return (
                    f"`{name}` must be {kind}, as the network needs; received {part.dtype}, shape "
                    f"{_rows_shape(part)}. Pass {name}.{change}()."
                )
    return ""


def _replaced(x: Inputs, index: int, change: str) -> Inputs:
    """Return inputs of which one has another dtype."""
    parts = [part for _, part in named_parts(x)]
    parts[index] = getattr(parts[index], change)()
    return tuple(parts) if isinstance(x, tuple) else parts[0]


def _other_axes(network: nn.Module, x: Inputs) -> ShapeError | None:
    """Return an error if the network accepts ``x`` as one row, or each number in it as a row."""
    (name, first), *_ = parts = named_parts(x)
    small = all(len(part) <= _LONGEST and part.numel() <= _LARGEST for _, part in parts)
    f = _accepts(network, _mapped(x, lambda part: part.unsqueeze(0))) if small else None
    if f is not None and f.dim() and len(f) == 1:
        hint = f"The first axis is that of the rows: for one row pass {name}[None]."
        return ShapeError(name, ("N", *first.shape), first.shape, hint)
    numbers = all(part.dim() == 1 for _, part in parts)
    columns = _mapped(take_rows(x, slice(2)), lambda part: part.unsqueeze(-1))
    if numbers and _accepts(network, columns) is not None:
        hint = f"For one number per row pass {name}[:, None]."
        return ShapeError(name, ("N", 1), first.shape, hint)
    return None


def _mapped(x: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    return tuple(map(function, x)) if isinstance(x, tuple) else function(x)


def _of_two_dtypes(tensors: Mapping[str, torch.dtype]) -> str:
    """Return the sentence on two tensors of different dtypes; an empty one if there are none."""
    found = " and ".join(f"`{name}` of {dtype}" for name, dtype in tensors.items())
    return found and (
        f"the parameters of the network must have one dtype, that of inputs and draws; received {found}. "
        "Convert all of them, for instance by network.float()."
    )


def _to_convert(network: nn.Module, x: Inputs) -> dict[str, torch.dtype]:
    """Return two tensors of different dtypes, if the network accepts ``x`` once all have one dtype."""
    found = two_dtypes(network)
    return found if found and _accepts_in_one_dtype(network, take_rows(x, slice(2))) else {}


def _accepts_in_one_dtype(network: nn.Module, x: Inputs) -> bool:
    dtype, _ = dtype_and_device(network)
    try:
        uniform = copy.deepcopy(network)
    except Exception:  # a module may refuse to be copied in any way
        return False
    for value in (*uniform.parameters(), *uniform.buffers()):
        if value.is_floating_point():
            value.data = value.data.to(dtype)
    return _accepts(uniform, x) is not None


def _accepts(network: nn.Module, x: Inputs) -> Tensor | None:
    """Return the network's output for inputs in its dtype; ``None`` if the call fails."""
    dtype, device = dtype_and_device(network)
    placed = _mapped(x, lambda part: part.to(device, dtype if part.is_floating_point() else part.dtype))
    inputs = placed if isinstance(placed, tuple) else (placed,)
    with evaluating(network), torch.no_grad(), torch.autocast(device.type, enabled=False), seeded(0):
        try:
            f = network(*inputs)
        except Exception:  # whatever it is, these are not inputs that the network accepts
            return None
    return f if isinstance(f, Tensor) else None
