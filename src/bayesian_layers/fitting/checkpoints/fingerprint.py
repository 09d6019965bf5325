"""The fingerprint of a fit, so that a checkpoint is resumed by the same fit and by no other."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...guides import Guide
from ...model import BayesianModel, log_likelihood
from ...network import evaluating, priors_by_id, take_rows
from ...noise import seeded
from ...saving.versions import versions
from ..data.batches import Batches

_VERSIONS = ("bayesian-layers", "torch", "numpy", "pyro-ppl")
_ROWS = 16  # on which the network is run
_TOLERANCE = 1e-3  # relative: other processors and numbers of threads round differently


@dataclass(frozen=True)
class Fingerprint:
    """Hashes of the settings, model, guide and data of a fit, and values that the model computes on some rows."""

    hashes: dict[str, dict[str, str]]
    values: list[float]

    # Hashes do not cover code. The values change if, for instance, a `forward` or a class attribute is edited.

    @classmethod
    def of(
        cls,
        model: BayesianModel,
        guide: Guide,
        data: Mapping[str, Any],
        batches: Batches,
        settings: Mapping[str, Any],
    ) -> Fingerprint:
        """Describe a fit before its first step."""
        return cls(_hashes(model, guide, data, batches, settings), _values(model, guide, batches))

    def difference(self, hashes: Mapping[str, Mapping[str, str]], values: list[float]) -> tuple[str, str]:
        """Return in what a stored fingerprint differs and what to do, or two empty texts."""
        remedy = "repeat the call it was written by"
        for group, own in self.hashes.items():
            found = hashes.get(group, {})
            names = [name for name in {**own, **found} if own.get(name) != found.get(name)]
            if names and group in ("versions", "settings"):
                texts = [
                    f"{name} {found.get(name, 'none')} there, {own.get(name, 'none')} here" for name in names
                ]
                return "; ".join(texts), "install these versions" if group == "versions" else remedy
            if names:
                return "; ".join(f"another {name}" for name in names), remedy
        if len(values) != len(self.values) or not all(map(_close, values, self.values)):
            return "network, likelihood or KL compute other values on the same data", remedy
        return "", ""


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=0.1 * _TOLERANCE)


def _hashes(
    model: BayesianModel,
    guide: Guide,
    data: Mapping[str, Any],
    batches: Batches,
    settings: Mapping[str, Any],
) -> dict[str, dict[str, str]]:
    sites = {
        name: digest(tuple(site.initial.shape), site.prior, dict(site.scale_sites))
        for name, site in model.sites().items()
    }
    first = next(iter(batches.once()))
    order = {name: batches.state().get(name) for name in ("num_data", "batch_rows", "seed")}
    shapes = {name: tuple(parameter.shape) for name, parameter in guide.named_parameters()}
    return {
        "versions": {name: text for name, text in versions().items() if name in _VERSIONS},
        "settings": {name: _shown(value) for name, value in settings.items()},
        "model": {
            "network": digest(model.network, {"priors": _priors(model.network)}),
            "priors": digest(sites),
            "likelihood": digest(model.likelihood),
        },
        "guide": {
            "guide": digest(_qualified(type(guide)), shapes),
            "start of the guide": digest(guide),
        },
        "data": {
            **{name: digest(value) for name, value in data.items()},
            "first batch": digest((first.x, first.y, first.weight)),
            "order": digest(order),
            "device": str(guide.loc.device.type),
        },
    }


def _values(model: BayesianModel, guide: Guide, batches: Batches) -> list[float]:
    """Return the KL, and per row a weighted sum of the outputs and the log likelihood, at the start parameters."""
    first = next(iter(batches.once()))
    index = torch.linspace(0, len(first.y) - 1, min(_ROWS, len(first.y)), device=first.y.device).long()
    x, y = take_rows(first.x, index), first.y[index]
    program = copy.deepcopy(model)  # a forward pass may write to the network
    start = {name: site.initial.unsqueeze(0) for name, site in program.sites().items()}
    with seeded(0), torch.no_grad(), evaluating(program.network):
        f = program.network(*(x if isinstance(x, tuple) else (x,)))
        log_p = log_likelihood(program, start, x, y)[0]
        kl = guide.weighted_kl(program)
    f = f.double().flatten(1)
    weights = torch.arange(f.shape[1], dtype=f.dtype, device=f.device).cos()
    values = torch.cat([part.double().cpu() for part in (kl.reshape(1), f @ weights, log_p)])
    return values.nan_to_num(0.0, 1e300, -1e300).tolist()


def digest(*values: Any) -> str:
    """Return a SHA-256 that is the same for equal values in every process, in hexadecimal digits."""
    # It covers numbers, text, tensors, modules, containers of these, and objects by their attributes. Of anything else
    # only the type counts.
    sha = hashlib.sha256()
    _feed(sha.update, values, ())
    return sha.hexdigest()


def _feed(write: Callable[[Any], object], value: Any, above: tuple[int, ...]) -> None:
    """Write a value so that different values give different bytes."""
    feed = functools.partial(_feed, write, above=(*above, id(value)))
    write(f"<{_qualified(type(value))}:".encode())
    if id(value) in above:  # the object is inside itself
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
    """Return the tensors, classes, modes and settings of a module; torch's own attributes start with _."""
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


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _shown(value: Any) -> str:
    return repr(dict(sorted(value.items()))) if isinstance(value, Mapping) else repr(value)
