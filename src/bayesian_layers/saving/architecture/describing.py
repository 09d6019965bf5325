"""From a network to its description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ...errors import StorageError
from ...private_apis import replaces_forward
from .building import build
from .known import NAMES, argument, arguments_of


def describe(network: nn.Module) -> dict[str, Any] | None:
    """Describe a network that is made of listed modules alone."""
    try:
        document = _describe(network)
        twin = build(document)
        same = _layout(twin) == _layout(network) and list(_modules(twin)) == list(_modules(network))
    except StorageError:
        return None
    return document if same else None


def _layout(network: nn.Module) -> tuple[list[Any], list[Any]]:
    """What must agree between a network and its twin: state, and which names share a parameter."""
    state = [(name, tuple(value.shape)) for name, value in network.state_dict(keep_vars=True).items()]
    return state, [name for name, _ in network.named_parameters()]


def _modules(network: nn.Module) -> Iterator[Any]:
    """All modules of a network, those inside its layers too, with what they were built with."""
    for path, module in network.named_modules(remove_duplicate=False):
        if replaces_forward(module):
            raise StorageError(f"{path} has hooks or another forward than its class")
        kind = type(module)
        yield path, kind, _arguments(module) if kind in NAMES else None


def _describe(module: nn.Module) -> dict[str, Any]:
    kind = type(module)
    if kind not in NAMES:
        raise StorageError(f"{kind.__name__} is not on the list of modules that can be described")
    document: dict[str, Any] = {"class": NAMES[kind]}
    if kind is nn.Sequential:
        return document | {"children": {name: _describe(child) for name, child in module.named_children()}}
    return document | {"arguments": _arguments(module)}


def _arguments(module: nn.Module) -> dict[str, Any]:
    found = {}
    for name, schema in arguments_of(type(module)).items():
        value = argument(module, name)
        found[name] = schema.check(_describe(value) if isinstance(value, nn.Module) else value, name)
    return found
