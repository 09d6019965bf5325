"""Functions of torch that are linear in a weight, as modules call them.

A new one needs an entry in ``OPS`` here, and a rule in each estimator that supports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from ..layers.inducing import sparse_process

Op = Callable[[tuple[Tensor, ...], Tensor, Tensor | None], Tensor]  # inputs, weight, bias


@dataclass(frozen=True)
class Bound:
    """The arguments of one call."""

    inputs: tuple[Tensor, ...]
    weight: Tensor
    bias: Tensor | None
    op: Op  # the function of these three; stride and the like are bound


def _one_input(
    func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any
) -> Bound:
    return Bound((input,), weight, bias, lambda inputs, w, b: func(*inputs, w, b, *rest, **named))


def _two_inputs(
    func: Any, input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Bound:
    return Bound((input1, input2), weight, bias, lambda inputs, w, b: func(*inputs, w, b))


def _without_bias(func: Any, input: Tensor, weight: Tensor) -> Bound:
    return Bound((input,), weight, None, lambda inputs, w, _: func(*inputs, w))


def _process(_func: Any, features: Tensor, values: Tensor, *_: Any) -> Bound:
    # Without the variance that the features leave open, which needs a rule of its own.
    return Bound(
        (features,), values, None, lambda inputs, w, _: functional.linear(inputs[0], w.to(inputs[0].dtype))
    )


OPS: Mapping[Any, tuple[str, Callable[..., Bound]]] = {
    functional.linear: ("linear", _one_input),
    functional.bilinear: ("bilinear", _two_inputs),
    functional.conv1d: ("conv1d", _one_input),
    functional.conv2d: ("conv2d", _one_input),
    functional.conv3d: ("conv3d", _one_input),
    functional.conv_transpose1d: ("conv_transpose1d", _one_input),
    functional.conv_transpose2d: ("conv_transpose2d", _one_input),
    functional.conv_transpose3d: ("conv_transpose3d", _one_input),
    functional.prelu: ("prelu", _without_bias),
    sparse_process: ("process", _process),
}


def bind(func: Any, args: Any, kwargs: Any) -> tuple[str, Bound]:
    """Bind the arguments of a call."""
    name, binder = OPS[func]
    return name, binder(func, *args, **kwargs)
