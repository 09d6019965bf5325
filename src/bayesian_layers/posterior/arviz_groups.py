"""The groups of a posterior in ArviZ's container."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .. import inference_data
from ..arguments import check_draws
from ..data_schema import DataSchema
from ..draw_sources import DrawSource
from ..errors import DataError
from ..guides.layout import Layout
from ..model import BayesianModel
from ..network import Inputs
from ..saving.versions import versions
from . import axes
from .arrays import as_array
from .densities import Densities, check_data, densities
from .importance import tail_index
from .simulated_data import draw_targets, prior_draws

Arrays = dict[str, np.ndarray]


def to_arviz(
    model: BayesianModel,
    source: DrawSource,
    x: Inputs,
    y: Tensor,
    num_draws: int,
    seed: int,
    *,
    input_names: Sequence[str] | None,
    target_name: str,
    data_schema: DataSchema | None,
    elbo: float | None,
    fit: str,  # a description of the fit
) -> Any:
    """Gather all groups; see ``Posterior.to_arviz``."""
    num_draws, seed = check_draws(num_draws, seed, least=2)
    x, y = check_data(model, source, x, y)
    draws = source.draw(num_draws, seed)
    found = densities(model, source, draws, x, y)
    groups = {
        "posterior": _shown(model, draws),
        **_prior_groups(model, source, x, num_draws, seed, target_name),
        "posterior_predictive": {target_name: draw_targets(model, draws, x, seed)},
        "log_likelihood": {target_name: as_array(found.log_likelihood)},
        "sample_stats": _sample_stats(found),
        "observed_data": {target_name: as_array(y)},
        "constant_data": {name: as_array(part) for name, part in axes.named_inputs(x).items()},
    }
    dims, coords = _dims_and_coords(model, data_schema, x, y, input_names, target_name)
    facts = _facts(elbo, found)
    attrs = {**_provenance(model, source, fit), "seed": seed, "num_draws": num_draws, **facts}
    try:
        return inference_data.from_arrays(
            **groups, dims=dims, coords=coords, attrs=attrs, group_attrs={"sample_stats": facts}
        )
    except ValueError as error:
        raise DataError(f"ArviZ cannot hold this posterior: {error}") from error


def _shown(model: BayesianModel, draws: dict[str, Tensor]) -> Arrays:
    """Return the draws of all sites but those that every draw takes from their prior."""
    hidden = Layout.of(model.sites()).drawn
    return {name: as_array(value) for name, value in draws.items() if name not in hidden}


def _prior_groups(
    model: BayesianModel, source: DrawSource, x: Inputs, num_draws: int, seed: int, target_name: str
) -> dict[str, Arrays]:
    if any(site.prior is not None and not site.prior.proper for site in model.sites().values()):
        return {}
    draws = prior_draws(model, source, num_draws, seed)
    return {
        "prior": {name: as_array(draws[name]) for name in Layout.of(model.sites()).random},
        "prior_predictive": {target_name: draw_targets(model, draws, x, seed, prior=True)},
    }


def _sample_stats(found: Densities) -> Arrays:
    stats = {"lp": found.log_joint, "log_q": found.log_q, "log_weight": found.log_weights}
    return {name: as_array(value) for name, value in stats.items() if value is not None}


def _dims_and_coords(
    model: BayesianModel,
    data_schema: DataSchema | None,
    x: Inputs,
    y: Tensor,
    input_names: Sequence[str] | None,
    target: str,
) -> tuple[dict[str, dict[str, list[str]]], dict[str, list[str]]]:
    sites = axes.site_dims(model.network, model.sites())
    layers = axes.first_layers(model.network, x)
    axis = next(iter(layers.values()), None if isinstance(x, tuple) or x.dim() < 2 else x.dim() - 1)
    if input_names is None and data_schema is not None and axis == len(data_schema.inputs[0].shape):
        input_names = data_schema.inputs[0].names
    coords = {}
    if input_names is not None:
        coords = dict.fromkeys([axes.INPUT, *layers], axes.check_names(input_names, x, axis))
    inner = [f"{target}_dim_{i}" for i in range(y.dim() - 2)]  # time and space
    targets = {target: [axes.ROW, *inner, *([axes.TARGET] if y.dim() > 1 else [])]}
    return {
        "posterior": sites,
        "prior": sites,
        "posterior_predictive": targets,
        "prior_predictive": targets,
        "log_likelihood": {target: [axes.ROW]},
        "observed_data": targets,
        "constant_data": axes.input_dims(x, axis),
    }, coords


def _facts(elbo: float | None, found: Densities) -> dict[str, float]:
    """Return ELBO and k-hat, which netCDF keeps as attributes."""
    facts = {} if elbo is None else {"elbo": elbo}
    return facts if found.log_weights is None else {**facts, "k_hat": tail_index(found.log_weights)}


def _provenance(model: BayesianModel, source: DrawSource, fit: str) -> dict[str, str]:
    found = versions()
    likelihood = model.likelihood
    # The repr of a class that is not a dataclass has an address in memory.
    shown = repr(likelihood) if hasattr(likelihood, "__dataclass_fields__") else type(likelihood).__name__
    return {
        "inference_library": "bayesian-layers",
        "inference_library_version": found.get("bayesian-layers", "unknown"),
        "versions": ", ".join(f"{name} {version}" for name, version in found.items()),
        "network": repr(model.network),
        "likelihood": shown,
        "source": type(source).__name__,
        "fit": fit,
    }
