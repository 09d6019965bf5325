"""What all layers share: how they take, keep and show their priors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from .. import priors
from ..priors import Prior
from ..private_apis import RUNNING_NORM

BiasPrior = Prior | Literal["as weight"] | None

NORMALISATION = (RUNNING_NORM, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Twin(nn.Module):
    """Stands before torch's layer in the bases of its twin, and shows the priors in its ``repr``."""

    def extra_repr(self) -> str:
        """Show sizes and priors."""
        return ", ".join(filter(None, (super().extra_repr(), show_priors(self))))


def remember_weight_and_bias(module: nn.Module, prior: Prior | None, bias_prior: BiasPrior) -> None:
    """Give the parameters of a fresh layer, and of the layers inside it, their priors."""
    # Normalisation layers inside it stay point estimates, as in ``bayesianize``.
    weight = priors.default() if prior is None else prior
    bias = weight if bias_prior == "as weight" else bias_prior
    for kind in (weight, bias):
        priors.check_is_prior(kind)
    _remember(
        module, lambda owner, name: None if _inside(owner, module) else bias if "bias" in name else weight
    )


def remember_affine(module: nn.Module, prior: Prior | None, bias_prior: BiasPrior) -> None:
    """Give scale and shift of a fresh normalisation layer their priors: none, unless one is named."""
    bias = prior if bias_prior == "as weight" else bias_prior
    for kind in (prior, bias):
        priors.check_is_prior(kind)
    _remember(module, lambda _, name: bias if "bias" in name else prior)


def _remember(module: nn.Module, choose: Callable[[nn.Module, str], Prior | None]) -> None:
    for owner in module.modules():
        names = [name for name, _ in owner.named_parameters(recurse=False)]
        if names:
            priors.set_priors(owner, {name: choose(owner, name) for name in names})


def _inside(owner: nn.Module, module: nn.Module) -> bool:
    return owner is not module and isinstance(owner, NORMALISATION)


def show_priors(module: nn.Module) -> str:
    """Write the priors of a layer for its ``repr``; neighbours with the same one stand together."""
    groups: list[tuple[str, list[str]]] = []
    for path, owner in module.named_modules():
        for name, prior in priors.get_priors(owner).items():
            words = ": point" if prior is None else f" ~ {prior}"
            if not groups or groups[-1][0] != words:
                groups.append((words, []))
            groups[-1][1].append(f"{path}.{name}".lstrip("."))
    return ", ".join(f"{', '.join(names)}{words}" for words, names in groups)
