"""The description of a network in JSON's types, and the network built anew from it.

Only classes on a list are described and built: a file never decides what code runs.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from . import layers, priors
from .errors import StorageError

_TORCH = (
    *("Sequential", "Linear", "Identity", "Flatten", "Unflatten"),
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
    plain = value if isinstance(value, list) else [value]
    if not all(isinstance(item, bool | int | float | str | None) for item in plain):
        raise StorageError(f"the argument `{name}` of {type(module).__name__} is not plain")
    return value


def build(document: Any) -> nn.Module:
    """Build the network that :func:`describe` described, on the ``meta`` device: it takes no memory.

    Args:
        document: What was read from a file; nothing in it is trusted.

    Returns:
        A network whose parameters have shapes and no values.

    Raises:
        StorageError: If a class is not on the list or its arguments do not fit.
    """
    with torch.device("meta"):
        return _build(document, 0, [0])


def _build(document: Any, depth: int, count: list[int]) -> nn.Module:
    count[0] += 1
    if depth > _DEEPEST or count[0] > _MOST_MODULES:
        raise StorageError(f"a network may nest {_DEEPEST} deep and have {_MOST_MODULES} modules")
    if not isinstance(document, dict) or document.get("class") not in _CLASSES:
        raise StorageError(f"a module must be one of the known classes; received {str(document)[:80]}")
    kind = _CLASSES[document["class"]]
    if kind is nn.Sequential:
        return _build_sequential(document, depth, count)
    arguments = document.get("arguments")
    if document.keys() != {"class", "arguments"} or not isinstance(arguments, dict):
        raise StorageError(f"{document['class']} must be described by its arguments alone")
    if not arguments.keys() <= set(_parameters(kind)):
        raise StorageError(f"{document['class']} takes {_parameters(kind)}; received {sorted(arguments)}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
    try:
        return kind(**plain)
    except (TypeError, ValueError, RuntimeError, OverflowError, AssertionError) as error:
        raise StorageError(f"{document['class']} cannot be built with {arguments}: {error}") from error


def _build_sequential(document: dict[str, Any], depth: int, count: list[int]) -> nn.Module:
    children = document.get("children")
    if document.keys() != {"class", "children"} or not isinstance(children, dict):
        raise StorageError("Sequential must be described by its children alone")
    network = nn.Sequential()
    for name, child in children.items():
        try:
            network.add_module(name, _build(child, depth + 1, count))
        except (KeyError, TypeError) as error:
            raise StorageError(f"{name!r} cannot be the name of a module") from error
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
    if not isinstance(document, dict) or sorted(document) != sorted(names):
        stored = sorted(document) if isinstance(document, dict) else document
        raise StorageError(f"the file is of a network with the parameters {stored}; this one has {names}")
    found = {}
    for name, parameter in network.named_parameters():
        entry = document[name]
        if (
            not isinstance(entry, dict)
            or entry.keys() != {"prior", "frozen"}
            or not isinstance(entry["frozen"], bool)
        ):
            raise StorageError(f"`{name}` must say its prior and whether it is frozen; received {entry}")
        found[id(parameter)] = priors.from_document(entry["prior"], parameter)
        parameter.requires_grad_(not entry["frozen"])
    priors.remember_all(network, found)
