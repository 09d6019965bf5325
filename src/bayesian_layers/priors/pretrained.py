"""Priors around the weights of a network that was trained before."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..arguments import check_positive
from ..errors import SiteError
from ._numbers import STD
from .base import Prior
from .elementwise import ElementwiseNormal
from .parameter_priors import get_priors, set_priors_by_id


def around(network: nn.Module, scale: float = 1.0) -> nn.Module:
    r"""Centre priors at a network's present weights: :math:`w_j \sim N(\hat w_j, \text{scale}^2)`.

    With ``bl.guides.MeanFieldNormal.from_pretrained`` as the guide this is MOPED. Parameters that are point estimates
    or frozen stay so.

    Args:
        network: A network with priors, such as ``bl.bayesianize(pretrained)``; it is copied.
        scale: Standard deviation of the priors, above 0.

    Returns:
        A copy whose parameters with priors have these.

    Raises:
        DataError: If ``scale`` is not finite and above 0, or a weight is not finite.
        SiteError: If no parameter of the network has a prior.

    References:
        Krishnan, Subedar & Tickoo (2020), "Specifying weight priors in Bayesian deep neural networks with empirical
        Bayes", arXiv 1906.05323.

    Example:
        >>> import bayesian_layers as bl
        >>> pretrained = nn.Linear(2, 1)
        >>> network = around(bl.bayesianize(pretrained), scale=0.5)
        >>> mean, std = network.parameter_priors["weight"].unconstrained(network.weight)
        >>> torch.equal(mean, pretrained.weight), std
        (True, tensor([[0.5000, 0.5000]]))
    """
    check_positive("scale", scale, hint=STD)
    network = copy.deepcopy(network)
    found: dict[int, Prior | None] = {}
    for module in network.modules():
        own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
        for name, prior in get_priors(module).items():
            if name in own and prior is not None and not (prior.positive or prior.drawn or prior.joint):
                value = own[name].detach()
                found[id(own[name])] = ElementwiseNormal(value, torch.full_like(value, float(scale)))
    if not found:
        raise SiteError("no parameter of the network has a prior to replace: bl.bayesianize(network) first")
    set_priors_by_id(network, found)
    return network
