"""Sites of a network: its parameters with their priors, and the hyperparameters of these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor, nn

from .. import priors
from ..errors import SiteError
from ..priors import Prior, Site


def parameter_sites(network: nn.Module) -> dict[str, Site]:
    """Return the latent sites of a network: its trainable parameters, by name."""
    # Tied parameters are one site, under their first name in `named_parameters`. Frozen parameters are constants.
    check_not_lazy(network)
    found = priors_by_id(network)
    return {
        name: _site(name, parameter.detach(), found.get(id(parameter)))
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }


def check_not_lazy(network: nn.Module) -> None:
    """Raise SiteError if a parameter of a network is lazy, and so has no shape yet."""
    for name, parameter in network.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise SiteError(f"`{name}` has no shape yet: call the network once on a batch of inputs first")


def _site(name: str, value: Tensor, prior: Prior | None) -> Site:
    if prior is None:
        return Site(value, None)
    scales = {f"{name}.{suffix}": site.initial.dim() for suffix, site in prior.hypers(value).items()}
    return Site(value, prior, prior.positive, scales)


def hyperparameter_sites(sites: Mapping[str, Site]) -> dict[str, Site]:
    """Return the sites of the priors' scales: learned scales, and scales that have a prior."""
    found = {}
    for name, site in sites.items():
        hypers = {} if site.prior is None else site.prior.hypers(site.initial)
        for scale, hyper in zip(site.scale_sites, hypers.values(), strict=True):
            if scale in sites:
                raise SiteError(
                    f"`{scale}` is a parameter of the network and also the prior scale of `{name}`; "
                    "rename the parameter"
                )
            found[scale] = hyper
    return found


def priors_by_id(network: nn.Module) -> dict[int, Prior | None]:
    """Return the prior of each parameter of a network by the parameter's ``id``; owners of a tied one must agree."""
    found: dict[int, dict[str, Prior | None]] = defaultdict(dict)
    for module_name, module in network.named_modules(remove_duplicate=False):
        own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
        for name, prior in priors.get_priors(module).items():
            if name in own:
                found[id(own[name])][f"{module_name}.{name}".lstrip(".")] = prior
    for owners in found.values():
        if len(set(owners.values())) > 1:
            raise SiteError(f"a tied parameter has different priors under its names: {owners}")
    return {key: next(iter(owners.values())) for key, owners in found.items()}
