"""From a description, of which nothing is trusted, to the network."""

from __future__ import annotations

from typing import Any

from torch import nn

from ...errors import StorageError
from ...layers import A_MODULE
from ..schema import show
from .known import CLASSES, arguments_of, modules_in, signature

_MOST_MODULES, _DEEPEST = 10_000, 50
_BYTES_A_MODULE = (
    2**14
)  # with its parameters, their priors and their sites, but for arrays; measured 8 to 12 KB


def build(document: Any) -> nn.Module:
    """Build the network that was described, on the ``meta`` device: it takes no memory."""
    return _build(document, 0, [0])


def most_memory(document: Any) -> int:
    """Bound the memory that a described network takes, but for its arrays."""
    return _BYTES_A_MODULE * _count(document, 0)


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
    inside = [value for name, value in arguments.items() if schemas[name] is A_MODULE]
    return modules_in(kind, arguments) + sum(_count(child, depth + 1) for child in inside)


def _build(document: Any, depth: int, count: list[int]) -> nn.Module:
    count[0] += 1
    if depth > _DEEPEST or count[0] > _MOST_MODULES:
        raise StorageError(f"a network may nest {_DEEPEST} deep and have {_MOST_MODULES} modules")
    if isinstance(document, dict) and document.get("class") == "torch.nn.Sequential":
        return _build_sequential(document, depth, count)
    kind, arguments = _kind_and_arguments(document)
    schemas = arguments_of(kind)
    return _construct(
        kind,
        {
            name: _build(value, depth + 1, count) if schemas[name] is A_MODULE else value
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
