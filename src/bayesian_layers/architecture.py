"""The description of a network in JSON's types, and the network built anew from it.

Only classes on a list are described and built: a file never decides what code runs.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from torch import nn

from . import layers, priors
from .document_schema import PARAMETERS
from .errors import StorageError
from .storage.schema import AnyOf, Bool, ListOf, Null, Number, Schema, Text, Whole, optional, show

_TORCH = (
    *("Sequential", "Linear", "Identity", "Flatten", "Unflatten"),
    *("Conv1d", "Conv2d", "Conv3d", "MaxPool1d", "MaxPool2d", "MaxPool3d"),
    *("AvgPool1d", "AvgPool2d", "AvgPool3d"),
    *("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d"),
    *("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"),
    *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "GroupNorm"),
    *("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish"),
    *("Softplus", "Softsign", "Softmax", "LogSoftmax", "Sigmoid", "LogSigmoid"),
    *("Tanh", "Tanhshrink", "Hardsigmoid", "Hardswish"),
)
_CLASSES: dict[str, type[nn.Module]] = {
    **{f"torch.nn.{name}": getattr(nn, name) for name in _TORCH},
    **{f"bayesian_layers.{name}": getattr(layers, name) for name in layers.__all__},
}
_NAMES = {kind: name for name, kind in _CLASSES.items()}
_SETTINGS = ("device", "dtype")  # carried by the arrays
_MOST_MODULES, _DEEPEST = 10_000, 50
_BYTES_A_MODULE = (
    2**14
)  # with its parameters, their priors and their sites, but for arrays; measured 8 to 12 KB

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


def describe(network: nn.Module) -> dict[str, Any] | None:
    """Describe a network that is made of listed modules alone.

    Args:
        network: Any module.

    Returns:
        Class, constructor arguments and children, or ``None`` where a module is not on the list, or
        carries what its constructor does not say (hooks, parametrizations, tied or added parameters).
    """
    try:
        document = _describe(network)
        twin = build(document)
    except StorageError:
        return None
    return document if _layout(twin) == _layout(network) else None


def _layout(network: nn.Module) -> tuple[list[Any], list[Any]]:
    """What must agree between a network and its twin: state, and which names share a parameter."""
    state = [(name, tuple(value.shape)) for name, value in network.state_dict(keep_vars=True).items()]
    return state, [name for name, _ in network.named_parameters()]


def _describe(module: nn.Module) -> dict[str, Any]:
    kind = type(module)
    hooked = module._forward_hooks or module._forward_pre_hooks
    if kind not in _NAMES or hooked or "forward" in vars(module):
        raise StorageError(f"{kind.__name__} is not on the list of modules that can be described")
    document: dict[str, Any] = {"class": _NAMES[kind]}
    if kind is nn.Sequential:
        return document | {"children": {name: _describe(child) for name, child in module.named_children()}}
    return document | {"arguments": {name: _argument(module, name) for name in _parameters(kind)}}


@functools.cache
def _parameters(kind: type[nn.Module]) -> list[str]:
    """Names of the constructor's arguments that a description carries."""
    known = inspect.signature(kind).parameters
    twin_only = ("prior", "bias_prior") if kind.__module__.startswith(layers.__name__) else ()
    star = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name for name, it in known.items() if it.kind not in star and name not in (*_SETTINGS, *twin_only)
    ]


def _argument(module: nn.Module, name: str) -> Any:
    if not hasattr(module, name):
        raise StorageError(f"{type(module).__name__} does not keep its argument `{name}`")
    value = module.bias is not None if name == "bias" else getattr(module, name)
    if isinstance(value, tuple):
        value = list(value)
    return _check_argument(name, value)


def _check_argument(name: str, value: Any) -> Any:
    if name not in _ARGUMENTS:
        raise StorageError(f"`{name}` is no argument that a description can carry")
    return _ARGUMENTS[name].check(value, name)


def build(document: Any) -> nn.Module:
    """Build the network that :func:`describe` described, on the ``meta`` device: it takes no memory.

    Args:
        document: What was read from a file; nothing in it is trusted.

    Returns:
        A network whose parameters have shapes and no values.

    Raises:
        StorageError: If a class is not on the list or its arguments do not fit.
    """
    return _build(document, 0, [0])


def most_memory(document: Any) -> int:
    """Bound the memory that a described network takes, but for its arrays.

    Args:
        document: What was read from a file; nothing in it is trusted.

    Returns:
        Bytes.
    """
    if not isinstance(document, dict):
        return 0
    children = document.get("children")
    inside = children.values() if isinstance(children, dict) else ()
    return _BYTES_A_MODULE + sum(map(most_memory, inside))


def _build(document: Any, depth: int, count: list[int]) -> nn.Module:
    count[0] += 1
    if depth > _DEEPEST or count[0] > _MOST_MODULES:
        raise StorageError(f"a network may nest {_DEEPEST} deep and have {_MOST_MODULES} modules")
    name = document.get("class") if isinstance(document, dict) else None
    if not isinstance(name, str) or name not in _CLASSES:
        raise StorageError(f"a module must be one of the known classes; received {show(document)}")
    kind = _CLASSES[name]
    if kind is nn.Sequential:
        return _build_sequential(document, depth, count)
    arguments = document.get("arguments")
    if document.keys() != {"class", "arguments"} or not isinstance(arguments, dict):
        raise StorageError(f"{name} must be described by its arguments alone")
    if not arguments.keys() <= set(_parameters(kind)):
        raise StorageError(f"{name} takes {_parameters(kind)}; received {show(sorted(arguments))}")
    return _construct(kind, {each: _check_argument(each, value) for each, value in arguments.items()})


def _construct(kind: type[nn.Module], arguments: dict[str, Any]) -> nn.Module:
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
    # By the argument rather than as a context, which would pass through Python at every call of torch.
    meta = {"device": "meta"} if _takes_device(kind) else {}
    try:
        return kind(**plain, **meta)
    except Exception as error:  # torch raises whatever comes up where arguments do not go together
        raise StorageError(
            f"{kind.__name__} cannot be built with {show(arguments, 200)}: {show(str(error), 200)}"
        ) from error


@functools.cache
def _takes_device(kind: type[nn.Module]) -> bool:
    return "device" in inspect.signature(kind).parameters


def _build_sequential(document: dict[str, Any], depth: int, count: list[int]) -> nn.Module:
    children = document.get("children")
    if document.keys() != {"class", "children"} or not isinstance(children, dict):
        raise StorageError("Sequential must be described by its children alone")
    network = nn.Sequential()
    for name, child in children.items():
        try:
            network.add_module(name, _build(child, depth + 1, count))
        except (KeyError, TypeError) as error:
            raise StorageError(f"{show(name)} cannot be the name of a module") from error
    return network


def describe_parameters(network: nn.Module, remembered: dict[int, Any]) -> dict[str, Any]:
    """Say of each parameter which prior it has and whether it is frozen.

    Args:
        network: Any module.
        remembered: As ``network.remembered_priors`` gives it.

    Returns:
        Parameter name to ``{"prior": ..., "frozen": ...}``.
    """
    return {
        name: {"prior": priors.to_document(remembered.get(id(value))), "frozen": not value.requires_grad}
        for name, value in network.named_parameters()
    }


def apply_parameters(network: nn.Module, document: Any) -> None:
    """Give a network the priors and frozen parameters that :func:`describe_parameters` described.

    Args:
        network: Written to.
        document: What was read from a file; nothing in it is trusted.

    Raises:
        StorageError: If names differ from the network's, or an entry is malformed.
    """
    names = [name for name, _ in network.named_parameters()]
    PARAMETERS.check(document, "model.parameters")
    if document.keys() != set(names):
        raise StorageError(
            f"the file is of a network with the parameters {show(sorted(document), 300)}; "
            f"this one has {show(sorted(names), 300)}"
        )
    found = {}
    for name, parameter in network.named_parameters():
        found[id(parameter)] = priors.from_document(document[name]["prior"], parameter)
        parameter.requires_grad_(not document[name]["frozen"])
    priors.remember_all(network, found)
