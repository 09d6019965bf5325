"""From a description, of which nothing is trusted, to the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import StorageError
from ...private_apis import own_tensors
from ..arrays import ArraySpec
from ..schema import show
from .known import CLASSES, MODULE_ARGUMENT, arguments_of, modules_in, signature

MOST_MODULES, _DEEPEST = 10_000, 50
# Of one module with its parameters, their priors and sites, without arrays; measured 8 to 12 KB.
_BYTES_PER_MODULE = 2**14


def build(document: Any) -> nn.Module:
    """Build the network that was described, on the ``meta`` device: it takes no memory."""
    return _build(document, 0, [0])


def most_memory(document: Any) -> int:
    """Bound the memory that a described network takes, but for its arrays."""
    return _BYTES_PER_MODULE * _count(document, 0)


def _count(document: Any, depth: int) -> int:
    """Modules of a description, those included that its layers make themselves."""
    if depth > _DEEPEST:
        raise StorageError(f"a network may nest {_DEEPEST} deep")
    if not isinstance(document, dict):
        return 0
    children = document.get("children")
    if isinstance(children, dict):
        return 1 + sum(_count(child, depth + 1) for child in children.values())
    kind, arguments = _kind_and_arguments(document)
    schemas = arguments_of(kind)
    inside = [value for name, value in arguments.items() if schemas[name] is MODULE_ARGUMENT]
    return modules_in(kind, arguments) + sum(_count(child, depth + 1) for child in inside)


def _build(document: Any, depth: int, count: list[int]) -> nn.Module:
    count[0] += 1
    if depth > _DEEPEST or count[0] > MOST_MODULES:
        raise StorageError(f"a network may nest {_DEEPEST} deep and have {MOST_MODULES} modules")
    if isinstance(document, dict) and document.get("class") == "torch.nn.Sequential":
        return _build_sequential(document, depth, count)
    kind, arguments = _kind_and_arguments(document)
    schemas = arguments_of(kind)
    return _construct(
        kind,
        {
            name: _build(value, depth + 1, count) if schemas[name] is MODULE_ARGUMENT else value
            for name, value in arguments.items()
        },
    )


def _kind_and_arguments(document: Any) -> tuple[type[nn.Module], dict[str, Any]]:
    """Class and checked arguments of a module that is not a Sequential."""
    name = document.get("class") if isinstance(document, dict) else None
    if not isinstance(name, str) or name not in CLASSES:
        raise StorageError(f"a module must be one of the known classes; received {show(document)}")
    kind, arguments = CLASSES[name], document.get("arguments")
    if document.keys() != {"class", "arguments"} or not isinstance(arguments, dict):
        raise StorageError(f"{name} must be described by its arguments alone")
    schemas = arguments_of(kind)
    if not arguments.keys() <= schemas.keys():
        raise StorageError(f"{name} takes {list(schemas)}; received {show(sorted(arguments))}")
    return kind, {each: schemas[each].check(value, each) for each, value in arguments.items()}


def _construct(kind: type[nn.Module], arguments: dict[str, Any]) -> nn.Module:
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
    # By the argument rather than as a context, which would pass through Python at every call of torch.
    meta = {"device": "meta"} if "device" in signature(kind) else {}
    try:
        return kind(**plain, **meta)
    except Exception as error:  # torch raises whatever comes up where arguments do not go together
        raise StorageError(
            f"{kind.__name__} cannot be built with {show(arguments, 200)}: {show(str(error), 200)}"
        ) from error


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


def allocate(network: nn.Module, header: Mapping[str, ArraySpec], prefix: str) -> None:
    """Replace the tensors of a described network by stand-ins of the stored types, if the shapes agree."""
    # By hand: torch's own functions for tensors on the `meta` device import its compiler.
    for path, module in network.named_modules():
        for tensors in own_tensors(module):
            for name, value in tensors.items():
                if value is not None:
                    tensors[name] = _stand_in(prefix + f"{path}.{name}".lstrip("."), value, header)


def _stand_in(name: str, like: Tensor, header: Mapping[str, ArraySpec]) -> Any:
    stored = header.get(name)
    if (
        stored is None
        or stored.shape != like.shape
        or stored.dtype.is_floating_point != like.is_floating_point()
    ):
        raise StorageError(
            f"the described network has {show(name)} of shape {tuple(like.shape)}; stored is {stored}"
        )
    # One number, seen everywhere: memory comes with the values. Priors on positive numbers need a positive one.
    value = torch.ones((), dtype=stored.dtype).expand(stored.shape)
    return nn.Parameter(value, like.requires_grad) if isinstance(like, nn.Parameter) else value
