"""Arrays to ArviZ: a container of draws, and the table that summarizes them.

ArviZ 0.23 (Python 3.11) and 1.x (Python 3.12 and later) differ in how a container is made, in the
default interval and in the names of the table's columns. This file is the one place that knows; what
it returns holds the same variables, and the same table, under both. It imports only numpy and, on
first use, ArviZ, so that it can be tested where torch is not installed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

Arrays = Mapping[str, np.ndarray]

_SAMPLE_DIMS = ("chain", "draw")

_EQUAL = 1e-6  # spread of log weights below which they are equal


def from_arrays(
    posterior: Arrays,
    *,
    posterior_predictive: Arrays | None = None,
    log_likelihood: Arrays | None = None,
    observed_data: Arrays | None = None,
    constant_data: Arrays | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Any:
    """Gather draws and data in ArviZ's container.

    Draws from a guide are independent, so they are stored as one chain: ``(S, ...)`` becomes
    ``(chain=1, draw=S, ...)``. The remaining dimensions are named as ArviZ names them,
    ``<variable>_dim_0`` and so on; where a variable of that very name exists, the dimension gets a
    trailing underscore (ArviZ 1.x would drop one of the two without a word).

    Args:
        posterior: Draws by site, each of shape ``(S, *shape)``, ``S >= 2``.
        posterior_predictive: Draws of the targets by name, each ``(S, N, ...)``.
        log_likelihood: Log density of each row under each draw, in nats, each ``(S, N, ...)``.
        observed_data: The targets by name, each ``(N, ...)``.
        constant_data: Inputs and whatever else was given, by name, each of any shape.
        attrs: Facts about the whole container. To be written to netCDF they must be strings or numbers.

    Returns:
        An ``arviz.InferenceData`` under ArviZ 0.23, an ``xarray.DataTree`` under 1.x; either way
        ``result["posterior"]["0.weight"]`` is an ``xarray.DataArray``.

    Raises:
        ValueError: If ``posterior`` is empty, if there are fewer than two draws, if arrays disagree on
            the number of draws or of rows, or if ArviZ cannot store a variable under its name.
    """
    drawn = {
        "posterior": _checked_posterior(posterior),
        "posterior_predictive": _numeric(posterior_predictive),
        "log_likelihood": _numeric(log_likelihood),
    }
    given = {"observed_data": _numeric(observed_data), "constant_data": _numeric(constant_data)}
    _check_draws({f"{group}[{name!r}]": value for group, name, value in _variables(drawn)})
    _check_rows(drawn, given["observed_data"])

    groups = {
        group: {name: value[np.newaxis] for name, value in held.items()} for group, held in drawn.items()
    }
    groups = {group: held for group, held in (groups | given).items() if held}
    dims = _dims_that_avoid_variables(groups)

    arviz = _arviz()
    if _is_before_1(arviz):
        container = arviz.from_dict(**groups, dims=dims)
    else:
        container = arviz.from_dict(groups, dims=dims)
    # Not through `from_dict(attrs=)`: 0.23 copies them to every group, 1.x reads them as group names.
    container.attrs.update(attrs or {})
    return container


def summarize(posterior: Arrays, *, interval_prob: float = 0.94) -> pandas.DataFrame:
    """Tabulate mean, standard deviation and highest-density interval of every parameter.

    R-hat and effective sample size are left out: the draws are independent, so neither says anything
    about how well the guide fits.

    Args:
        posterior: Draws by site, each of shape ``(S, *shape)``, ``S >= 2``.
        interval_prob: Probability that the interval holds, between 0 and 1.

    Returns:
        One row a scalar parameter (``0.weight[3, 1]``, or the bare name of a scalar site), and the
        float columns ``mean``, ``sd`` (with ``S - 1`` in its denominator), and the interval's bounds,
        ``hdi_3%`` and ``hdi_97%`` for the default probability. A parameter with a draw that is not
        finite has an interval of NaN.

    Raises:
        ValueError: If ``posterior`` is empty, if there are fewer than two draws, if arrays disagree on
            the number of draws, or if ``interval_prob`` is not between 0 and 1.
    """
    if not 0.0 < interval_prob < 1.0:
        raise ValueError(f"`interval_prob` must lie between 0 and 1; received {interval_prob!r}.")
    sites = _checked_posterior(posterior)
    _check_draws({f"posterior[{name!r}]": value for name, value in sites.items()})

    # All parameters go in as one variable: no site's name can then clash with ArviZ's own, and the
    # table is made in one sweep. Floats, since a table of whole numbers would be of another type.
    flat = np.concatenate([value.reshape(len(value), -1).astype(float) for value in sites.values()], axis=1)
    columns = ["mean", "sd", *_interval_names(interval_prob)]
    arviz = _arviz()
    if _is_before_1(arviz):
        container = arviz.from_dict(posterior={"w": flat[np.newaxis]})
        table = arviz.summary(container, kind="stats", round_to="none", hdi_prob=interval_prob)
    else:
        container = arviz.from_dict({"posterior": {"w": flat[np.newaxis]}})
        interval = {"ci_kind": "hdi", "ci_prob": interval_prob}
        table = arviz.summary(container, kind="stats", round_to="none", **interval)
    table = table.set_axis(columns, axis="columns").astype(float)
    # ArviZ sorts NaN among the draws and would report an interval as if they were large numbers.
    table.loc[~np.isfinite(flat).all(axis=0), columns[2:]] = np.nan
    return table.set_axis(list(_row_names(sites)), axis="index")


def pareto_k_hat(log_weights: np.ndarray) -> float:
    """Estimate the shape of the tail of importance weights, by Pareto-smoothed importance sampling.

    Args:
        log_weights: Logarithms of the weights, up to a constant, shape ``(S,)``.

    Returns:
        The shape k; below 0.7 importance sampling works. 0 for weights that are all but equal, where ArviZ
        itself answers infinity although nothing could be better.

    References:
        Vehtari, Simpson, Gelman, Yao & Gabry (2024), arXiv 1507.02646.
    """
    if np.ptp(log_weights) < _EQUAL:
        return 0.0
    arviz = _arviz()
    if _is_before_1(arviz):
        return float(arviz.psislw(log_weights)[1])
    from arviz_stats.base import array_stats  # pyright: ignore[reportMissingImports]

    return float(array_stats.psislw(-log_weights, axis=-1)[1])  # 1.x takes the logarithms' negative


def _arviz() -> Any:
    # The caller's filters are as they were afterwards.
    if "arviz" not in sys.modules:
        with warnings.catch_warnings():
            # 0.23 announces its refactoring once a day, by a stamp file: with `-W error` the import
            # would fail on the first run of each day.
            warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing a major refactor", FutureWarning)
            import arviz
    import arviz

    return arviz


def _is_before_1(arviz: Any) -> bool:
    # By its version: 1.x keeps the name `InferenceData` for its DataTree.
    return int(arviz.__version__.split(".")[0]) < 1


def _numeric(arrays: Arrays | None) -> dict[str, np.ndarray]:
    result = {name: np.asarray(value) for name, value in (arrays or {}).items()}
    for name, value in result.items():
        if value.dtype.kind not in "fiub":
            raise ValueError(f"`{name}` must be an array of numbers; received dtype {value.dtype}.")
    return result


def _checked_posterior(posterior: Arrays) -> dict[str, np.ndarray]:
    if not posterior:
        raise ValueError("`posterior` must hold the draws of at least one site; received an empty mapping.")
    return _numeric(posterior)


def _variables(groups: Mapping[str, Arrays]) -> Iterator[tuple[str, str, np.ndarray]]:
    for group, held in groups.items():
        for name, value in held.items():
            yield group, name, value


def _check_draws(drawn: Arrays) -> None:
    # The same number of draws on each array's first axis, and at least two.
    first, num_draws = None, 0
    for label, value in drawn.items():
        if value.ndim == 0:
            raise ValueError(f"{label} must have a first axis of draws; received a single number.")
        if first is None:
            first, num_draws = label, len(value)
        if len(value) != num_draws:
            raise ValueError(
                f"All arrays must hold the same number of draws: {first} holds {num_draws}, "
                f"but {label} has shape {value.shape}."
            )
    if num_draws < 2:
        raise ValueError(f"A standard deviation needs at least 2 draws; {first} holds {num_draws}.")


def _check_rows(drawn: Mapping[str, Arrays], observed: Arrays) -> None:
    # What is drawn for the rows of a target must have as many rows as the target.
    for group, name, value in _variables(
        {key: drawn[key] for key in ("posterior_predictive", "log_likelihood")}
    ):
        if value.ndim < 2:
            raise ValueError(f"{group}[{name!r}] must have shape (S, N, ...); received {value.shape}.")
        rows = observed[name].shape[:1] if name in observed else value.shape[1:2]
        if value.shape[1:2] != rows:
            raise ValueError(
                f"{group}[{name!r}] has shape {value.shape}, so {value.shape[1]} rows, "
                f"but observed_data[{name!r}] has shape {observed[name].shape}."
            )


def _dims_that_avoid_variables(groups: Mapping[str, Arrays]) -> dict[str, list[str]]:
    # xarray takes a variable that is named like a dimension for that dimension's coordinate, and what
    # it was before is lost. So a dimension whose default name is that of a variable gets another.
    names = {name for _, name, _ in _variables(groups)}
    dims: dict[str, list[str]] = {}
    for group, name, value in _variables(groups):
        if name in _SAMPLE_DIMS or "/" in name:
            raise ValueError(
                f"ArviZ cannot store a variable named {name!r}: 'chain' and 'draw' name its dimensions, and "
                "'/' separates its groups. Pass the array under another name."
            )
        event_ndim = value.ndim - (2 if group not in ("observed_data", "constant_data") else 0)
        chosen = [_free(f"{name}_dim_{axis}", names) for axis in range(event_ndim)]
        if any(dim != f"{name}_dim_{axis}" for axis, dim in enumerate(chosen)):
            if name in dims and dims[name] != chosen:
                # ArviZ takes one list of dimensions a name, for all groups.
                raise ValueError(f"{name!r} has different numbers of axes in two groups; rename one of them.")
            dims[name] = chosen
    return dims


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _interval_names(prob: float) -> tuple[str, str]:
    tail = 50.0 * (1.0 - prob)
    return f"hdi_{tail:g}%", f"hdi_{100.0 - tail:g}%"


def _row_names(sites: Arrays) -> Iterator[str]:
    for name, value in sites.items():
        shape = value.shape[1:]
        for index in np.ndindex(shape):
            yield f"{name}[{', '.join(map(str, index))}]" if shape else name
