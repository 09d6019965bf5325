"""What all twins of torch layers share: how they take, keep and show their priors."""

from __future__ import annotations

from typing import Literal

from torch import nn

from .. import priors
from ..priors import Prior

BiasPrior = Prior | Literal["as weight"] | None


def remember_weight_and_bias(module: nn.Module, prior: Prior | None, bias_prior: BiasPrior) -> None:
    """Give the parameters of a fresh layer their priors.

    Args:
        module: The layer; parameters whose name begins with ``bias`` are its biases.
        prior: Prior of all others; ``None`` is the library's default prior.
        bias_prior: Prior of the biases, ``"as weight"`` for the weight's, ``None`` for point estimates.

    Raises:
        TypeError: If a prior is not one of ``bl.priors``.
    """
    weight = priors.default() if prior is None else prior
    bias = weight if bias_prior == "as weight" else bias_prior
    for kind in (weight, bias):
        priors.check_is_prior(kind)
    names = [name for name, _ in module.named_parameters(recurse=False)]
    priors.remember(module, {name: bias if name.startswith("bias") else weight for name in names})


def show_priors(module: nn.Module) -> str:
    """Write the priors of a layer for its ``repr``.

    Args:
        module: The layer.

    Returns:
        For instance ``weight ~ Normal(loc=0.0, scale=1.0), bias: point``.
    """
    return ", ".join(
        f"{name}: point" if prior is None else f"{name} ~ {prior}"
        for name, prior in priors.recall(module).items()
    )
