"""A network in a folder: modules, priors and frozen parameters as JSON; its state and its priors' arrays as arrays."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import StorageError
from ..priors import Prior, set_priors_by_id
from ..saving import StoredFolder, architecture
from ..saving.schema import Bool, MapOf, Record, optional, show
from ..saving.storable import MemberOf
from .sites import priors_by_id

_SHOWN = 4  # differences that an error names
_PARAMETERS = MapOf(Record({"prior": optional(MemberOf(Prior)), "frozen": Bool()}))
SPEC = Record({"modules": optional(MapOf()), "parameters": _PARAMETERS})


def spec(network: nn.Module) -> dict[str, Any]:
    """Describe a network in JSON's types; its modules are ``None`` where they are not all known to the library."""
    known = priors_by_id(network)
    parameters = {}
    for name, value in network.named_parameters():
        prior = known.get(id(value))
        parameters[name] = {
            "prior": None if prior is None else prior.spec(),
            "frozen": not value.requires_grad,
        }
    return {"modules": architecture.describe(network), "parameters": parameters}


def build(described: Any, stored: StoredFolder, prefix: str, network: nn.Module | None = None) -> nn.Module:
    """Build the network that :func:`spec` described, or copy the caller's network and set the stored priors on it."""
    # Without `network` the parameters have the shapes and types stored under `prefix`, and no values yet.
    SPEC.check(described, "network")
    if network is None and described["modules"] is None:
        raise StorageError(
            "the file does not describe the network, as it has modules that the library does not know, or one module "
            "at two places: pass a network of the same architecture, bl.load(folder, network=...)"
        )
    if network is None:
        stored.reserve(architecture.most_memory(described["modules"]), f"the network of {stored.path}")
        built = architecture.build(described["modules"])
        architecture.allocate(built, stored.header, prefix)
    else:
        _check_same(network, described["parameters"], stored, prefix)
        built = copy.deepcopy(network)
    _apply(built, described["parameters"])
    return built


def _check_same(network: nn.Module, described: Mapping[str, Any], stored: StoredFolder, prefix: str) -> None:
    """Raise StorageError with names and shapes of what differs between the caller's network and the stored one."""
    shapes = {name: tuple(value.shape) for name, value in stored.header.items()}
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    names, found = [name for name, _ in network.named_parameters()], []
    for name in [*names, *(each for each in described if each not in names)]:
        here, there = own.get(name), shapes.get(prefix + name)
        if name not in names and here is not None:
            found.append(f"{show(name)} shares its values with another parameter, and is stored as its own")
        elif name not in names:
            found.append(f"{show(name)} {there or ''} is missing")
        elif name not in described and there is not None:
            found.append(
                f"{show(name)} is its own, and is stored as sharing its values with another parameter"
            )
        elif name not in described:
            found.append(f"{show(name)} {here} is not stored")
        elif here != there and there is not None:
            found.append(f"{show(name)} has shape {here}, and {there} is stored")
    if found:
        more = f"; {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise StorageError(
            f"`network` must have the parameters of the stored network; received others: {'; '.join(found[:_SHOWN])}"
            f"{more}. Pass a network of the same architecture."
        )


def _apply(network: nn.Module, described: Mapping[str, Any]) -> None:
    names = [name for name, _ in network.named_parameters()]
    if described.keys() != set(names):
        raise StorageError(
            f"the stored network has the parameters {show(sorted(described), 300)}; "
            f"this one has {show(sorted(names), 300)}"
        )
    found: dict[int, Prior | None] = {}
    for name, parameter in network.named_parameters():
        prior = described[name]["prior"]
        found[id(parameter)] = None if prior is None else Prior.from_spec(prior, like=parameter)
        parameter.requires_grad_(not described[name]["frozen"])
    set_priors_by_id(network, found)


def arrays(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Return what a folder holds of a network: its state under ``prefix``, arrays of its priors under ``prior.``."""
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    known = priors_by_id(network)
    for name, parameter in network.named_parameters():
        prior = known.get(id(parameter))
        own = {} if prior is None else prior.arrays(parameter)
        state |= {f"prior.{prefix}{name}.{field}": value for field, value in own.items()}
    return state


def fill(network: nn.Module, loaded: Mapping[str, Tensor], prefix: str, *, keep_tensors: bool) -> None:
    """Put loaded arrays into a network and its priors; names, shapes and dtypes were checked."""
    fill_state(network, loaded, prefix, keep_tensors=keep_tensors)
    known = priors_by_id(network)
    found: dict[int, Prior | None] = {}
    for name, parameter in network.named_parameters():
        prior = known.get(id(parameter))
        own = {} if prior is None else prior.arrays(parameter)
        if prior is not None and own:
            values = {field: loaded[f"prior.{prefix}{name}.{field}"].to(parameter.device) for field in own}
            try:
                found[id(parameter)] = prior.with_arrays(values)
            except ValueError as error:
                raise StorageError(f"the stored prior of {show(name)} is not valid: {error}") from error
    set_priors_by_id(network, found)


def fill_state(module: nn.Module, loaded: Mapping[str, Tensor], prefix: str, *, keep_tensors: bool) -> None:
    """Put loaded arrays into a module's own tensors (and their ties), or in their place."""
    state = module.state_dict(keep_vars=True)
    own = {name: loaded[f"{prefix}{name}"].to(like.device) for name, like in state.items()}
    frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
    module.load_state_dict(own, assign=not keep_tensors)
    for name in frozen:
        module.get_parameter(name).requires_grad_(False)
