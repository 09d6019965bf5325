"""What the layers share: their priors, and how these are shown."""

from __future__ import annotations

from typing import Literal

from torch import nn

from .. import priors
from ..priors import Prior
from ..private_apis import RUNNING_NORM

BiasPrior = Prior | Literal["as weight"] | None

NORMALISATION_LAYERS = (RUNNING_NORM, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class BayesianLayer(nn.Module):
    """Mixin of the library's versions of torch's layers, before torch's class in their bases."""

    def extra_repr(self) -> str:
        """Show sizes and priors."""
        return ", ".join(filter(None, (super().extra_repr(), show_priors(self))))


def set_layer_priors(layer: nn.Module, prior: Prior | None, bias_prior: BiasPrior) -> None:
    """Set the priors of a new layer, and of the layers inside it."""
    # Normalisation layers are point estimates, as in `bayesianize`, unless the layer is one and has been given a prior.
    normalisation = isinstance(layer, NORMALISATION_LAYERS)
    weight = priors.default() if prior is None and not normalisation else prior
    bias = weight if bias_prior == "as weight" else bias_prior
    for each in (weight, bias):
        priors.check_is_prior(each)
    for module in layer.modules():
        names = [name for name, _ in module.named_parameters(recurse=False)]
        if names and module is not layer and isinstance(module, NORMALISATION_LAYERS):
            priors.set_priors(module, dict.fromkeys(names))
        elif names:
            priors.set_priors(module, {name: bias if "bias" in name else weight for name in names})


def show_priors(layer: nn.Module) -> str:
    """Write the priors of a layer for its ``repr``; neighbours with the same prior share one entry."""
    groups: list[tuple[str, list[str]]] = []
    for path, module in layer.named_modules():
        for name, prior in priors.get_priors(module).items():
            shown = ": point" if prior is None else f" ~ {prior}"
            if not groups or groups[-1][0] != shown:
                groups.append((shown, []))
            groups[-1][1].append(f"{path}.{name}".lstrip("."))
    return ", ".join(f"{', '.join(names)}{shown}" for shown, names in groups)
