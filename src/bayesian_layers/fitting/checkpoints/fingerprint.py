"""What a fit is of, as hashes: so that a checkpoint goes on with the same fit, and with no other."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...guides import Guide
from ...model import BayesianModel
from ...network import priors_by_id
from ...saving.versions import versions
from ..data.batches import Batches

_DECIDE_NUMBERS = ("bayesian-layers", "torch", "numpy", "pyro-ppl")


def fingerprint(
    model: BayesianModel,
    guide: Guide,
    data: Mapping[str, Any],
    batches: Batches,
    settings: Mapping[str, Any],
) -> dict[str, dict[str, str]]:
    """Describe a fit before its first step."""
    site_hashes = {
        name: digest(tuple(site.initial.shape), site.prior, dict(site.scale_sites))
        for name, site in model.sites().items()
    }
    order = {name: batches.state().get(name) for name in ("num_data", "batch_rows", "seed")}
    return {
        "versions": {name: text for name, text in versions().items() if name in _DECIDE_NUMBERS},
        "settings": {name: _shown(value) for name, value in settings.items()},
        "model": {
            "network": digest(model.network, {"priors": _priors(model.network)}),
            "priors": digest(site_hashes),
            "likelihood": digest(model.likelihood),
        },
        "guide": {
            "guide": digest(_qualified(type(guide)), _shapes(guide)),
            "start of the guide": digest(guide),
        },
        "data": {
            **{name: digest(value) for name, value in data.items()},
            "first batch": digest(_first_batch(batches)),
            "order": digest(order),
            "device": str(guide.loc.device.type),
        },
    }


def differences(
    stored: Mapping[str, Mapping[str, str]], own: Mapping[str, Mapping[str, str]]
) -> tuple[str, list[str]]:
    """Tell in what two fits differ, in words."""
    for group, expected in own.items():
        found = stored.get(group, {})
        names = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        if names:
            plain = group in ("versions", "settings")
            return group, [
                _difference(name, found, expected) if plain else f"another {name}" for name in names
            ]
    return "", []


def _difference(name: str, stored: Mapping[str, str], own: Mapping[str, str]) -> str:
    return f"{name} {stored.get(name, 'none')} there, {own.get(name, 'none')} here"


def digest(*values: Any) -> str:
    """Compute a SHA-256 that is the same for equal values in every process.

    Args:
        *values: Numbers, text, tensors, modules, containers of these, and objects that are no more than their
            attributes. Of anything else only the type counts.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> digest(1.0, torch.zeros(2)) == digest(1.0, torch.zeros(2))
        True
        >>> digest(torch.zeros(2)) == digest(torch.zeros(2, 1))
        False
    """
    sha = hashlib.sha256()
    _feed(sha.update, values, ())
    return sha.hexdigest()


def _feed(write: Callable[[Any], object], value: Any, above: tuple[int, ...]) -> None:
    """Write a value so that no two different ones give the same bytes."""
    feed = functools.partial(_feed, write, above=(*above, id(value)))
    write(f"<{_qualified(type(value))}:".encode())
    if id(value) in above:  # an object that refers to one that holds it
        pass
    elif value is None or isinstance(value, bool | int | float | str | bytes | torch.dtype | torch.device):
        write(f"{len(repr(value))}:{value!r}".encode())
    elif isinstance(value, Tensor):
        write(f"{value.dtype}{tuple(value.shape)}{value.requires_grad}".encode())
        if value.numel():
            write(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, nn.Module):
        feed(_module(value))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            feed(key)
            feed(part)
    elif isinstance(value, tuple | list):
        for part in value:
            feed(part)
    elif callable(value) and hasattr(value, "__qualname__"):  # a function or class
        feed(value.__qualname__)
    elif hasattr(value, "__dict__"):
        feed(dict(sorted(vars(value).items())))
    write(b">")


def _module(module: nn.Module) -> dict[str, Any]:
    """Tensors, classes, modes and settings of a module; what torch keeps beside these has underscores."""
    settings = {
        path: {
            "class": _qualified(type(part)),
            **{name: value for name, value in vars(part).items() if not name.startswith("_")},
        }
        for path, part in module.named_modules(remove_duplicate=False)
    }
    return {
        "modules": settings,
        "parameters": dict(module.named_parameters(remove_duplicate=False)),
        "buffers": dict(module.named_buffers(remove_duplicate=False)),
    }


def _priors(network: nn.Module) -> dict[str, Any]:
    remembered = priors_by_id(network)
    return {name: remembered.get(id(value)) for name, value in network.named_parameters()}


def _shapes(guide: Guide) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in guide.named_parameters()}


def _first_batch(batches: Batches) -> tuple[Any, ...]:
    first = next(iter(batches.once()))
    return first.x, first.y, first.weight


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _shown(value: Any) -> str:
    return repr(dict(sorted(value.items()))) if isinstance(value, Mapping) else repr(value)
