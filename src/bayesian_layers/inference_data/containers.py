"""Groups of arrays in ArviZ's container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .checks import Arrays, check_draws, check_posterior, numeric
from .versions import is_before_1, load_arviz

Dims = Mapping[str, Mapping[str, Sequence[str]]]
Coords = Mapping[str, Sequence[Any] | np.ndarray]

_SAMPLE_DIMS = ("chain", "draw")
_PRIOR = ("prior", "prior_predictive")
_DATA = ("observed_data", "constant_data")
_OF_TARGETS = ("posterior_predictive", "prior_predictive", "log_likelihood")


def from_arrays(
    posterior: Arrays,
    *,
    posterior_predictive: Arrays | None = None,
    prior: Arrays | None = None,
    prior_predictive: Arrays | None = None,
    log_likelihood: Arrays | None = None,
    sample_stats: Arrays | None = None,
    observed_data: Arrays | None = None,
    constant_data: Arrays | None = None,
    dims: Dims | None = None,
    coords: Coords | None = None,
    attrs: Mapping[str, Any] | None = None,
    group_attrs: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """Collect draws and data in ArviZ's container."""
    # Draws from a guide are independent, so they are stored as one chain: (S, ...) becomes (chain=1, draw=S, ...).
    # Dimensions without a name in `dims` get ArviZ's default names, <variable>_dim_0 and so on. A dimension with the
    # name of a variable gets a trailing underscore, because xarray would silently drop one of the two.
    groups = {
        "posterior": check_posterior(posterior),
        "posterior_predictive": numeric(posterior_predictive),
        "prior": numeric(prior),
        "prior_predictive": numeric(prior_predictive),
        "log_likelihood": numeric(log_likelihood),
        "sample_stats": numeric(sample_stats),
        "observed_data": numeric(observed_data),
        "constant_data": {name: np.atleast_1d(value) for name, value in numeric(constant_data).items()},
    }
    for held in (("posterior", "posterior_predictive", "log_likelihood", "sample_stats"), _PRIOR):
        check_draws({f"{g}[{n!r}]": value for g, n, value in _variables(groups) if g in held})
    _check_rows(groups)
    names, labels = _named(groups, dims or {}, coords or {})
    arviz = load_arviz()
    datasets = {
        group: _dataset(arviz, group, held, names[group], labels) for group, held in groups.items() if held
    }
    for group, facts in (group_attrs or {}).items():
        datasets[group].attrs.update(facts)
    old = is_before_1(arviz)
    container = arviz.InferenceData(**datasets) if old else type(arviz.from_dict({})).from_dict(datasets)
    container.attrs.update(attrs or {})
    return container


def _dataset(arviz: Any, group: str, held: Arrays, dims: Mapping[str, list[str]], coords: Coords) -> Any:
    # Group by group, because one call for all assumes that a variable has the same dimensions in every group.
    sample_dims = [] if group in _DATA else list(_SAMPLE_DIMS)
    arrays = {name: value[np.newaxis] if sample_dims else value for name, value in held.items()}
    keyword = "default_dims" if is_before_1(arviz) else "sample_dims"
    return arviz.dict_to_dataset(arrays, dims=dims, coords=coords, **{keyword: sample_dims})


def _variables(groups: Mapping[str, Arrays]) -> Iterator[tuple[str, str, np.ndarray]]:
    for group, held in groups.items():
        for name, value in held.items():
            yield group, name, value


def _check_rows(groups: Mapping[str, Arrays]) -> None:
    # Draws for the rows of a target must have as many rows as the target.
    observed = groups["observed_data"]
    for group, name, value in _variables({key: groups[key] for key in _OF_TARGETS}):
        if value.ndim < 2:
            raise ValueError(f"{group}[{name!r}] must have shape (S, N, ...); received {value.shape}.")
        rows = observed[name].shape[:1] if name in observed else value.shape[1:2]
        if value.shape[1:2] != rows:
            raise ValueError(
                f"{group}[{name!r}] has shape {value.shape}, that is {value.shape[1]} rows, "
                f"but observed_data[{name!r}] has shape {observed[name].shape}."
            )


def _named(
    groups: Mapping[str, Arrays], dims: Dims, coords: Coords
) -> tuple[dict[str, dict[str, list[str]]], dict[str, np.ndarray]]:
    # Return the names of all dimensions, and the coordinates under these names.
    taken = {name for _, name, _ in _variables(groups)}
    result: dict[str, dict[str, list[str]]] = {group: {} for group in groups}
    sizes: dict[tuple[str, str], int] = {}
    labels = {_free(dim, taken): np.asarray(values) for dim, values in coords.items()}
    for group, name, value in _variables(groups):
        if name in _SAMPLE_DIMS or "/" in name:
            raise ValueError(
                f"ArviZ cannot store a variable named {name!r}: 'chain' and 'draw' are names of dimensions, and "
                "'/' separates groups. Pass the array under another name."
            )
        shape = value.shape if group in _DATA else value.shape[1:]
        given = dims.get(group, {}).get(name)
        chosen = [f"{name}_dim_{axis}" for axis in range(len(shape))] if given is None else list(given)
        if len(chosen) != len(shape) or len(set(chosen)) != len(chosen) or set(chosen) & set(_SAMPLE_DIMS):
            raise ValueError(
                f"{group}[{name!r}] needs a different name for each dimension of {shape}; received {chosen}."
            )
        chosen = [_free(dim, taken) for dim in chosen]
        for dim, size in zip(chosen, shape, strict=True):
            if sizes.setdefault((group, dim), size) != size or len(labels.get(dim, range(size))) != size:
                raise ValueError(
                    f"Dimension {dim!r} of {group}[{name!r}] has {size} entries; another array, or its "
                    "coordinates, have a different number."
                )
        result[group][name] = chosen
    return result, labels


def _free(name: str, taken: set[str]) -> str:
    # xarray treats a variable with the name of a dimension as the coordinate of that dimension, and its values are
    # lost. So a dimension with the name of a variable is renamed.
    while name in taken:
        name += "_"
    return name
