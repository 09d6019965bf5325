"""Which classes are described and built, and what their constructors take.

Torch's classes are listed here. The library's own, and torch's classes that they are twins of, are found in
``layers.__all__``; what their constructors take beyond the names known here, the files of their families say.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from ... import layers
from ...errors import StorageError
from ..schema import AnyOf, Bool, ListOf, Null, Number, Schema, Text, Whole, optional

_TORCH = (
    *("Sequential", "Identity", "Flatten", "Unflatten"),
    *("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d"),
    *("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d"),
    *("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"),
    *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish"),
    *("Softplus", "Softsign", "Softmax", "LogSoftmax", "Sigmoid", "LogSigmoid"),
    *("Tanh", "Tanhshrink", "Hardsigmoid", "Hardswish"),
)
_SETTINGS = ("device", "dtype")  # carried by the arrays

# From 1 on: torch warns where a layer has no entries.
_COUNT, _AXIS, _NUMBER, _BOOL = Whole(1, 2**31 - 1), Whole(-64, 63), Number(), Bool()
_EACH_AXIS = AnyOf((_COUNT, ListOf(_COUNT, most=8)), "a whole number above 0 or a list of them")
_EDGES = AnyOf((Whole(0, 2**31 - 1), ListOf(Whole(0, 2**31 - 1), most=8)), "a whole number or a list of them")
_PARTS = AnyOf(
    (Whole(-1, 2**31 - 1), ListOf(Whole(-1, 2**31 - 1), most=8)), "a whole number or a list of them"
)
# What a constructor would take in silence, and its module then fail of, is refused here.
_ARGUMENTS: dict[str, Schema] = {
    **dict.fromkeys(("in_features", "out_features", "num_features", "num_parameters"), _COUNT),
    **dict.fromkeys(("in_channels", "out_channels", "num_channels", "num_groups", "groups"), _COUNT),
    **dict.fromkeys(("kernel_size", "dilation"), _EACH_AXIS),
    **dict.fromkeys(("start_dim", "end_dim"), _AXIS),
    **dict.fromkeys(("normalized_shape", "unflattened_size"), _PARTS),
    **dict.fromkeys(("negative_slope", "init", "alpha", "beta", "threshold"), _NUMBER),
    **dict.fromkeys(("bias", "affine", "track_running_stats", "elementwise_affine", "inplace"), _BOOL),
    **dict.fromkeys(("return_indices", "ceil_mode", "count_include_pad"), _BOOL),
    "dim": optional(_AXIS),
    "eps": Number(least=0),
    "momentum": optional(_NUMBER),
    "p": Number(least=0),
    "approximate": Text(("none", "tanh")),
    "stride": optional(_EACH_AXIS),
    "padding": AnyOf((Text(("same", "valid")), _EDGES)),
    "padding_mode": Text(("zeros", "reflect", "replicate", "circular")),
    "output_size": AnyOf((Null(), _COUNT, ListOf(optional(_COUNT), most=8)), "sizes"),
    "divisor_override": optional(Whole(1, 2**31 - 1)),
}


def _classes() -> Iterator[tuple[str, type[nn.Module]]]:
    for name in _TORCH:
        yield f"torch.nn.{name}", getattr(nn, name)
    for name in layers.__all__:
        kind = getattr(layers, name)
        yield f"bayesian_layers.{name}", kind
        if base := _torch_base(kind):
            yield f"torch.nn.{base.__name__}", base


def _torch_base(kind: type[nn.Module]) -> type[nn.Module] | None:
    """The class of torch that a layer is the twin of: it has the same name."""
    base = getattr(nn, kind.__name__, None)
    return base if base in kind.__mro__[1:] else None


CLASSES: dict[str, type[nn.Module]] = dict(_classes())
NAMES = {kind: name for name, kind in CLASSES.items()}
_TWINS = {base: kind for kind in NAMES if (base := _torch_base(kind))}


@functools.cache
def signature(kind: type[nn.Module]) -> Mapping[str, inspect.Parameter]:
    """List what a constructor takes; where torch's signature is stars, its twin's says it."""
    return inspect.signature(_TWINS.get(kind, kind)).parameters


@functools.cache
def arguments_of(kind: type[nn.Module]) -> dict[str, Schema]:
    """List the constructor's arguments that a description carries; priors go with the parameters."""
    own = _said_by_family(kind, "ARGUMENTS")
    found = {}
    for name, it in signature(kind).items():
        is_prior = it.kind is it.KEYWORD_ONLY and name.endswith("prior")
        if name in _SETTINGS or is_prior or it.kind in (it.VAR_POSITIONAL, it.VAR_KEYWORD):
            continue
        schema = own.get(name, _ARGUMENTS.get(name))
        if schema is None:
            raise StorageError(f"`{name}` is no argument that a description of {kind.__name__} can carry")
        found[name] = schema
    return found


def argument(module: nn.Module, name: str) -> Any:
    """Read off a module with which argument it was built."""
    read: Callable[[Any], Any] = _said_by_family(type(module), "READ").get(name, operator.attrgetter(name))
    try:
        value = read(module)
    except AttributeError as error:  # a part of it was exchanged for another
        raise StorageError(f"{type(module).__name__} does not keep its argument `{name}`") from error
    if name == "bias" and not isinstance(value, bool):
        return value is not None
    return list(value) if isinstance(value, tuple) else value


def modules_in(kind: type[nn.Module], arguments: Mapping[str, Any]) -> int:
    """Count the modules that one with these arguments is made of, itself included."""
    # Or what takes as much memory.
    counts: dict[str, Callable[[Mapping[str, Any]], int]] = _said_by_family(kind, "MODULES")
    count = counts.get(kind.__name__)
    return 1 if count is None else max(1, count(arguments))


@functools.cache
def _said_by_family(kind: type[nn.Module], what: str) -> dict[str, Any]:
    """A table of the file that a layer, or torch's layer's twin, is written in, and of packages around it."""
    path = _TWINS.get(kind, kind).__module__
    found: dict[str, Any] = {}
    while path.startswith(f"{layers.__name__}."):
        found = {**getattr(sys.modules[path], what, {}), **found}
        path = path.rpartition(".")[0]
    return found
