"""Buffers that a forward pass writes: during a fit they keep the values that predictions use."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..errors import DataError
from ..network import Inputs, evaluating
from ..noise import seeded

_SHOWN = 3  # names of modules in a warning


def keep_buffers(network: nn.Module, x: Inputs) -> list[str]:
    """Put modules that write to buffers in training mode into evaluation mode, in place; return a warning if any do."""
    # First the modules whose buffers they are, then those around them, whose `forward` may write. Other modules, such
    # as dropout, keep their mode.
    stopped: dict[str, None] = {}
    for around in (False, True):
        for name in _written(network, x):
            path = name.split(".")[:-1]
            starts = range(len(path) + 1) if around else [len(path)]
            for owner in (".".join(path[:start]) for start in starts):
                network.get_submodule(owner).training = False
                stopped[owner] = None
    left = _written(network, x) if stopped else []
    if left:
        raise DataError(
            "the network's forward pass must not change tensors on which its predictions depend; it changes "
            f"{left[:_SHOWN]}, also in evaluation mode. Write to buffers only while `self.training` is true."
        )
    return [_warning(list(stopped))] if stopped else []


def _warning(stopped: list[str]) -> str:
    names = [name or "the network itself" for name in stopped]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"{names[:_SHOWN]}{more} write to buffers in training mode, so predictions would use other values than the "
        "fit; the fit runs them in evaluation mode, as predictions do, with the buffers as they are. If the buffers "
        "should have seen data, pass it through the network in training mode first"
    )


def _written(network: nn.Module, x: Inputs) -> list[str]:
    """Return the buffers that a forward pass in the present modes changes, if predictions change with them."""
    before = _state(network)
    if not before:
        return []
    trial = _copy(network)
    _run(trial, x)
    after = _state(trial)
    changed = [name for name, value in before.items() if not _same(value, after[name])]
    if not changed:
        return []
    start = _copy(network)
    with evaluating(start), evaluating(trial):
        return [] if _same(_run(start, x), _run(trial, x)) else changed


def _state(network: nn.Module) -> dict[str, Tensor]:
    """Return all tensors of a network that a fit does not learn: its buffers and frozen parameters."""
    frozen = {name: value for name, value in network.named_parameters() if not value.requires_grad}
    return {**dict(network.named_buffers()), **frozen}


def _copy(network: nn.Module) -> nn.Module:
    """Return a copy that shares the trained parameters, which may be large."""
    return copy.deepcopy(network, {id(value): value for value in network.parameters() if value.requires_grad})


def _run(network: nn.Module, x: Inputs) -> Tensor:
    with seeded(0), torch.no_grad():
        return network(*(x if isinstance(x, tuple) else (x,)))


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())
