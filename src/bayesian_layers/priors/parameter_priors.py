"""The priors of a module's parameters: a plain dict on the module, written and read here."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .base import Prior

# Attributes of a `Parameter` do not survive `deepcopy`; attributes of its module do.
_ATTRIBUTE = "parameter_priors"


def set_priors(module: nn.Module, priors: Mapping[str, Prior | None]) -> None:
    """Set the priors of a module's own parameters, by name; ``None`` means a point estimate."""
    setattr(module, _ATTRIBUTE, {**get_priors(module), **priors})


def get_priors(module: nn.Module) -> dict[str, Prior | None]:
    """Return the priors of a module's own parameters, by name."""
    return dict(getattr(module, _ATTRIBUTE, {}))


def set_priors_by_id(network: nn.Module, priors: Mapping[int, Prior | None]) -> None:
    """Set priors by the ``id`` of their parameter, on every module that owns it, so that a tied one has one prior."""
    for module in network.modules():
        own = module.named_parameters(recurse=False, remove_duplicate=False)
        found = {name: priors[id(parameter)] for name, parameter in own if id(parameter) in priors}
        if found:
            set_priors(module, found)
