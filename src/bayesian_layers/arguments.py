"""Checks of arguments: one message for one kind of mistake, wherever it is made."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from typing import Any, TypeGuard

import torch
from torch import Tensor

from .errors import DataError


def is_integer(value: object) -> TypeGuard[int]:
    """Check whether a value is an integer; booleans are not, NumPy's integers are."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Check whether a value is a real number; booleans are not, NumPy's numbers are."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_integer(name: str, value: Any, *, least: int, most: int | None = None, hint: str = "") -> int:
    """Return ``value`` if it is an integer from ``least`` to ``most``; raise DataError otherwise."""
    if not is_integer(value) or value < least or (most is not None and value > most):
        allowed = f", {least} or more" if most is None else f" from {least} to {most}"
        raise DataError(_message(name, f"an integer{allowed}", value, hint))
    return int(value)


def check_draws(num_draws: Any, seed: Any, *, least: int) -> tuple[int, int]:
    """Return a number of draws, ``least`` or more, and a seed of 64 bits; raise DataError otherwise."""
    return check_integer("num_draws", num_draws, least=least), check_seed(seed)


def check_seed(seed: Any) -> int:
    """Return ``seed`` if it is an integer of 64 bits, 0 or more; raise DataError otherwise."""
    return check_integer("seed", seed, least=0, most=2**64 - 1)


def check_gradients(function: str) -> None:
    """Raise DataError inside of ``torch.inference_mode``, for a function that needs gradients."""
    if torch.is_inference_mode_enabled():
        raise DataError(f"`{function}` needs gradients: call it outside of torch.inference_mode()")


def check_positive(name: str, value: Any, *, hint: str = "") -> float:
    """Return ``value`` if it is a finite number above 0; raise DataError otherwise."""
    if not is_number(value) or not 0 < value < math.inf:
        raise DataError(_message(name, "a finite number above 0", value, hint))
    return value


def check_finite(name: str, value: Any, *, hint: str = "") -> float:
    """Return ``value`` if it is a finite number; raise DataError otherwise."""
    if not is_number(value) or not math.isfinite(value):
        raise DataError(_message(name, "a finite number", value, hint))
    return value


def check_fraction(name: str, value: Any, *, hint: str = "") -> float:
    """Return ``value`` if it is a number strictly between 0 and 1; raise DataError otherwise."""
    if not is_number(value) or not 0 < value < 1:
        raise DataError(_message(name, "a number between 0 and 1", value, hint))
    return float(value)


def check_choice(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return ``value`` if it is one of the allowed texts; raise DataError otherwise."""
    if not isinstance(value, str) or value not in allowed:
        listed = ", ".join(map(repr, allowed))
        raise DataError(_message(name, f"one of {listed}", value, ""))
    return value


def check_tensor(name: str, value: Any, *, hint: str = "Use torch.as_tensor.") -> Tensor:
    """Return ``value`` if it is a dense tensor of real numbers; raise TypeError or DataError otherwise."""
    if not isinstance(value, Tensor):
        raise TypeError(_message(name, "a torch tensor", type(value).__name__, hint, shown=False))
    if value.is_complex():
        raise DataError(
            _message(name, "a tensor of real numbers", value.dtype, "Use .real or torch.view_as_real.")
        )
    if value.is_nested:
        hint = "Use torch.nested.to_padded_tensor."
        raise DataError(_message(name, "a dense tensor", "a nested tensor", hint, shown=False))
    if value.is_quantized:
        raise DataError(_message(name, "a tensor of real numbers", value.dtype, "Use .dequantize()."))
    if value.is_floating_point() and value.dtype.itemsize < 2:  # torch has no arithmetic for them
        raise DataError(
            _message(name, "a tensor of 16 bits or more per number", value.dtype, "Use .float().")
        )
    if value.layout != torch.strided:
        raise DataError(_message(name, "a dense tensor", value.layout, "Use .to_dense()."))
    if value.is_meta:
        raise DataError(_message(name, "a tensor with values", "one on the device 'meta'", "", shown=False))
    return value


def check_finite_tensor(name: str, value: Tensor) -> Tensor:
    """Return ``value`` if all its entries are finite; raise DataError otherwise."""
    if value.is_floating_point() and not (finite := torch.isfinite(value)).all():
        count = int((~finite).sum())
        raise DataError(f"`{name}` has {count} values that are NaN or infinite; remove or impute these rows")
    return value


def check_range(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``value`` in the dtype of a network; raise DataError if an entry is not finite, or too large for it."""
    cast = check_finite_tensor(name, value).to(dtype)
    if cast.dtype != value.dtype and not bool(torch.isfinite(cast).all()):
        raise DataError(
            f"`{name}` must be within the range of {dtype}, the dtype of the network; received values up to "
            f"{float(value.abs().max()):.3g}. Rescale them, or convert the network with network.double()."
        )
    return cast


def check_no_nan(name: str, value: Tensor, *, hint: str = "") -> Tensor:
    """Return ``value`` if no entry is NaN; raise DataError otherwise."""
    missing = int(torch.isnan(value).sum())
    if missing:
        raise DataError(
            _message(name, "free of NaN", f"{missing} NaN of {value.numel()} values", hint, shown=False)
        )
    return value


def _message(name: str, needed: str, received: Any, hint: str, *, shown: bool = True) -> str:
    text = f"{received!r}" if shown else received
    return f"`{name}` must be {needed}; received {text}" + (f". {hint}" if hint else "")
