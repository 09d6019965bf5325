"""A module remembers the priors of its own parameters, in a plain dict."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .base import Prior

_ATTRIBUTE = "parameter_priors"


def remember(module: nn.Module, priors: Mapping[str, Prior | None]) -> None:
    """Write down the priors of a module's own parameters, on the module."""
    setattr(module, _ATTRIBUTE, {**recall(module), **priors})


def recall(module: nn.Module) -> dict[str, Prior | None]:
    """Read what :func:`remember` wrote."""
    return dict(getattr(module, _ATTRIBUTE, {}))


def remember_all(network: nn.Module, priors: Mapping[int, Prior | None]) -> None:
    """Write down priors on every module that owns the parameters, so that owners of a tied one agree."""
    for module in network.modules():
        own = module.named_parameters(recurse=False, remove_duplicate=False)
        found = {name: priors[id(parameter)] for name, parameter in own if id(parameter) in priors}
        if found:
            remember(module, found)
