"""Which parameters of a network are latent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor, nn

from .. import priors
from ..errors import SiteError
from ..priors import Prior, Site


def parameter_sites(network: nn.Module) -> dict[str, Site]:
    """List the latent sites of a network: its trainable parameters, under their names."""
    # Tied parameters are one site, under the name that ``named_parameters`` gives first. Frozen parameters
    # (``requires_grad`` false) are constants, not sites.
    sites = {}
    for name, parameter in network.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise SiteError(f"`{name}` has no shape yet: call the network once on a batch of inputs first")
        if parameter.requires_grad:
            sites[name] = parameter
    found = priors_by_id(network)
    return {name: _site(name, value.detach(), found.get(id(value))) for name, value in sites.items()}


def _site(name: str, value: Tensor, prior: Prior | None) -> Site:
    if prior is None:
        return Site(value, None)
    scales = {f"{name}.{suffix}": site.initial.dim() for suffix, site in prior.hypers(value).items()}
    return Site(value, prior, prior.positive, scales)


def hyper_sites(sites: Mapping[str, Site]) -> dict[str, Site]:
    """List the sites that the scales of priors are: learned ones, and ones with a prior of their own."""
    found = {}
    for name, site in sites.items():
        hypers = {} if site.prior is None else site.prior.hypers(site.initial)
        for scale, hyper in zip(site.scale_sites, hypers.values(), strict=True):
            if scale in sites:
                raise SiteError(
                    f"`{scale}` is a parameter of the network and the prior scale of `{name}`; rename it"
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
