"""Which classes are described and built, and what their constructors take.

Torch's layers without a Bayesian version are listed here. The package ``layers`` registers its own and the layers of
torch that these derive from; the file of a layer holds schemas for arguments whose names are not known here.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ...errors import StorageError
from ..schema import SCALE, AnyOf, Bool, Integer, ListOf, MapOf, Null, Number, Schema, String, optional

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
_LAYERS = f"{__name__.partition('.')[0]}.layers."

MODULE_ARGUMENT: Schema = MapOf()
"""In the ``ARGUMENTS`` of a layer: the argument is a module, which is described like any other."""

# From 1 on: torch warns where a layer has no entries.
_COUNT, _AXIS, _NUMBER, _BOOL = Integer(1, 2**31 - 1), Integer(-64, 63), Number(), Bool()
_EACH_AXIS = AnyOf((_COUNT, ListOf(_COUNT, most=8)), "an integer above 0 or a list of them")
# Padding and output sizes make data larger without any parameter that a file would have to hold.
_GROWTH = 2**16
_EDGES = AnyOf(
    (Integer(0, _GROWTH), ListOf(Integer(0, _GROWTH), most=8)), f"an integer up to {_GROWTH}, or a list"
)
_SIZE = Integer(1, _GROWTH)
_PARTS = AnyOf(
    (Integer(-1, 2**31 - 1), ListOf(Integer(-1, 2**31 - 1), most=8)), "an integer or a list of them"
)
# What a constructor would take in silence, and its module then fail of, is refused here.
_ARGUMENTS: dict[str, Schema] = {
    **dict.fromkeys(("in_features", "out_features", "num_features", "num_parameters"), _COUNT),
    **dict.fromkeys(("in_channels", "out_channels", "num_channels", "num_groups", "groups"), _COUNT),
    **dict.fromkeys(("kernel_size", "dilation"), _EACH_AXIS),
    **dict.fromkeys(("start_dim", "end_dim"), _AXIS),
    **dict.fromkeys(("normalized_shape", "unflattened_size"), _PARTS),
    **dict.fromkeys(("negative_slope", "init", "alpha", "threshold"), _NUMBER),
    **dict.fromkeys(("bias", "affine", "track_running_stats", "elementwise_affine", "inplace"), _BOOL),
    **dict.fromkeys(("return_indices", "ceil_mode", "count_include_pad"), _BOOL),
    "beta": SCALE,
    "dim": optional(_AXIS),
    "eps": Number(0),
    "momentum": optional(_NUMBER),
    "p": Number(0),
    "approximate": String(("none", "tanh")),
    "stride": optional(_EACH_AXIS),
    "padding": AnyOf((String(("same", "valid")), _EDGES)),
    "padding_mode": String(("zeros", "reflect", "replicate", "circular")),
    "output_size": AnyOf((Null(), _SIZE, ListOf(optional(_SIZE), most=8)), f"sizes up to {_GROWTH}"),
    "divisor_override": optional(Integer(1, 2**31 - 1)),
}


CLASSES: dict[str, type[nn.Module]] = {f"torch.nn.{name}": getattr(nn, name) for name in _TORCH}
NAMES = {kind: name for name, kind in CLASSES.items()}
_OURS: dict[type[nn.Module], type[nn.Module]] = {}  # torch's class to the library's of the same name


def register(kind: type[nn.Module]) -> None:
    """Let files describe a layer of the library, and the layer of torch that it derives from."""
    CLASSES[f"bayesian_layers.{kind.__name__}"] = kind
    NAMES[kind] = f"bayesian_layers.{kind.__name__}"
    base = getattr(nn, kind.__name__, None)
    if base in kind.__mro__[1:]:
        CLASSES[f"torch.nn.{kind.__name__}"] = base
        NAMES[base] = f"torch.nn.{kind.__name__}"
        _OURS[base] = kind


@functools.cache
def signature(kind: type[nn.Module]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a constructor; where torch has only *args, those of the library's layer."""
    return inspect.signature(_OURS.get(kind, kind)).parameters


@functools.cache
def arguments_of(kind: type[nn.Module]) -> dict[str, Schema]:
    """List the constructor's arguments that a description carries; priors go with the parameters."""
    own = _from_file_of(kind, "ARGUMENTS")
    found = {}
    for name, it in signature(kind).items():
        is_prior = it.kind is it.KEYWORD_ONLY and name.endswith("prior")
        if name in _SETTINGS or is_prior or it.kind in (it.VAR_POSITIONAL, it.VAR_KEYWORD):
            continue
        schema = own.get(name, _ARGUMENTS.get(name))
        if schema is None:
            raise StorageError(f"`{name}` is not an argument that a description of {kind.__name__} can hold")
        found[name] = schema
    return found


def argument(module: nn.Module, name: str) -> Any:
    """Read off a module with which argument it was built."""
    read: Callable[[Any], Any] = _from_file_of(type(module), "READ").get(name, operator.attrgetter(name))
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
    counts: dict[str, Callable[[Mapping[str, Any]], int]] = _from_file_of(kind, "MODULES")
    count = counts.get(kind.__name__)
    return 1 if count is None else max(1, count(arguments))


@functools.cache
def _from_file_of(kind: type[nn.Module], what: str) -> dict[str, Any]:
    """A table of the file that a layer, or torch's layer's twin, is written in, and of packages around it."""
    path = _OURS.get(kind, kind).__module__
    found: dict[str, Any] = {}
    while path.startswith(_LAYERS):
        found = {**getattr(sys.modules[path], what, {}), **found}
        path = path.rpartition(".")[0]
    return found
