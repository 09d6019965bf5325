"""The groups that a posterior hands to ArviZ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import inference_data
from ..errors import DataError
from ..guides.layout import Layout
from ..model import BayesianModel, sample
from ..network import Inputs
from ..noise import standard_normal
from ..saving.versions import versions
from . import axes
from .densities import Densities, check_numbers, checked, densities

if TYPE_CHECKING:
    from .posterior import Posterior

_BLOCK = 64  # draws whose predictions are drawn together
_SEEDS = 2**32  # for the noise of each seed's blocks
_PRIOR = 2**48  # added to the seed of draws from the prior

Arrays = dict[str, np.ndarray]


def to_arviz(
    posterior: Posterior,
    x: Inputs,
    y: Tensor,
    num_draws: int,
    seed: int,
    *,
    input_names: Sequence[str] | None,
    target_name: str,
) -> Any:
    """Gather all groups; see ``Posterior.to_arviz``."""
    check_numbers(num_draws, seed)
    model = posterior.model
    _, x, y = checked(model, x, y)
    draws = posterior.sample(num_draws, seed)
    proper = all(site.prior is None or site.prior.proper for site in model.sites().values())
    before = prior_draws(posterior, num_draws, seed) if proper else None
    found = densities(model, posterior.source, draws, x, y)
    stats, facts = _sample_stats(found), _facts(posterior, found)
    dims, coords = _dims_and_coords(posterior, x, y, input_names, target_name)
    layout = Layout.of(model.sites())
    shown = {name: _array(value) for name, value in draws.items() if name not in layout.drawn}
    try:
        return inference_data.from_arrays(
            shown,
            prior=None if before is None else {name: _array(before[name]) for name in layout.random},
            posterior_predictive={target_name: drawn_targets(model, draws, x, seed * _SEEDS)},
            prior_predictive=None
            if before is None
            else {target_name: drawn_targets(model, before, x, seed * _SEEDS + _SEEDS // 2)},
            log_likelihood={target_name: _array(found.log_likelihood)},
            sample_stats=stats,
            observed_data={target_name: _array(y)},
            constant_data={name: _array(part) for name, part in axes.named_inputs(x).items()},
            dims=dims,
            coords=coords,
            attrs={**_provenance(posterior), "seed": seed, "num_draws": num_draws, **facts},
            group_attrs={"sample_stats": facts},
        )
    except ValueError as error:
        raise DataError(f"ArviZ cannot hold this posterior: {error}") from error


def _array(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()  # which numpy does not know


def prior_draws(posterior: Posterior, num_draws: int, seed: int) -> dict[str, Tensor]:
    """Draw from the priors, under the point estimates that the fit has found (a learned prior scale."""
    # Noise scale).
    sites, points = posterior.model.sites(), posterior.source.mean()
    layout = Layout.of(sites)
    like = next(iter(sites.values())).initial
    names = (*layout.random, *layout.drawn)
    size = sum(layout.sizes(names))
    # Not the numbers that the guide's draws are made of: the two would move together.
    noise = standard_normal(seed + _PRIOR, num_draws, size, dtype=like.dtype, device=like.device)
    parts = layout.split(noise, names)
    draws: dict[str, Tensor] = {}
    for name, site in sites.items():  # the scale of a prior comes before what depends on it
        if site.prior is None:
            draws[name] = points[name].expand(num_draws, *site.initial.shape)
            continue
        u = site.prior.from_normal(parts[name], site.initial, site.scale(draws))
        draws[name] = layout.constrain(name, u)
    return draws


def drawn_targets(
    model: BayesianModel, draws: Mapping[str, Tensor], x: Inputs, first_seed: int
) -> np.ndarray:
    """Draw targets, a few draws of the weights at a time: the widest activations of all would not fit."""
    size = len(next(iter(draws.values())))
    blocks = [
        sample(model, {n: v[start : start + _BLOCK] for n, v in draws.items()}, x, "y", first_seed + start)
        for start in range(0, size, _BLOCK)
    ]
    return _array(torch.cat(blocks))


def _sample_stats(found: Densities) -> Arrays:
    stats = {"lp": found.log_joint, "log_q": found.log_q, "log_weight": found.log_weights}
    return {name: _array(value) for name, value in stats.items() if value is not None}


def _dims_and_coords(
    posterior: Posterior, x: Inputs, y: Tensor, input_names: Sequence[str] | None, target: str
) -> tuple[dict[str, dict[str, list[str]]], dict[str, list[str]]]:
    network = posterior.model.network
    sites = axes.site_dims(network, posterior.model.sites())
    layers = axes.first_layers(network, x)
    axis = next(iter(layers.values()), None if isinstance(x, tuple) or x.dim() < 2 else x.dim() - 1)
    coords = {}
    schema = posterior.data_schema
    if (
        input_names is None
        and schema is not None
        and axis is not None
        and axis == len(schema.inputs[0].shape)
    ):
        input_names = schema.inputs[0].names
    if input_names is not None:
        names = axes.check_names(input_names, x, axis)
        coords = dict.fromkeys([axes.INPUT, *layers], names)
    rows = [axes.ROW]
    inner = [f"{target}_dim_{i}" for i in range(y.dim() - 2)]  # time and space
    targets = {target: [*rows, *inner, *([axes.TARGET] if y.dim() > 1 else [])]}
    return {
        "posterior": sites,
        "prior": sites,
        "posterior_predictive": targets,
        "prior_predictive": targets,
        "log_likelihood": {target: rows},
        "observed_data": targets,
        "constant_data": axes.input_dims(x, axis),
    }, coords


def _facts(posterior: Posterior, found: Densities) -> dict[str, float]:
    """The numbers that judge the fit: netCDF keeps them as attributes."""
    facts = {} if posterior.elbo is None else {"elbo": posterior.elbo}
    if found.log_weights is not None:
        weights = found.log_weights.cpu().numpy()
        facts["k_hat"] = inference_data.pareto_k_hat(weights) if np.isfinite(weights).all() else float("inf")
    return facts


def _provenance(posterior: Posterior) -> dict[str, str]:
    found = versions()
    likelihood = posterior.model.likelihood
    # Only a dataclass says more of itself than its address.
    shown = repr(likelihood) if hasattr(likelihood, "__dataclass_fields__") else type(likelihood).__name__
    return {
        "inference_library": "bayesian-layers",
        "inference_library_version": found.get("bayesian-layers", "unknown"),
        "versions": ", ".join(f"{name} {version}" for name, version in found.items()),
        "network": repr(posterior.model.network),
        "likelihood": shown,
        "source": type(posterior.source).__name__,
        "fit": posterior.describe_fit(),
    }
