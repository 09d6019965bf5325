"""The table that summarizes draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .checks import Arrays, check_draws, check_posterior
from .versions import is_before_1, load_arviz

if TYPE_CHECKING:
    import pandas


def summarize(posterior: Arrays, *, interval_prob: float = 0.94) -> pandas.DataFrame:
    """Tabulate mean, standard deviation and highest-density interval of every parameter."""
    # R-hat and effective sample size are omitted: the draws are independent, so neither measures how well the guide
    # fits.
    if not 0.0 < interval_prob < 1.0:
        raise ValueError(f"`interval_prob` must lie between 0 and 1; received {interval_prob!r}.")
    sites = check_posterior(posterior)
    check_draws({f"posterior[{name!r}]": value for name, value in sites.items()})

    # All parameters are one variable, so that names of sites cannot clash with ArviZ's and one call computes the table.
    # They are floats, because a table of integers would have another dtype.
    flat = np.concatenate([value.reshape(len(value), -1).astype(float) for value in sites.values()], axis=1)
    tail = 50.0 * (1.0 - interval_prob)
    columns = ["mean", "sd", f"hdi_{tail:g}%", f"hdi_{100.0 - tail:g}%"]
    arviz = load_arviz()
    groups = {"posterior": {"w": flat[np.newaxis]}}
    if is_before_1(arviz):
        container, interval = arviz.from_dict(**groups), {"hdi_prob": interval_prob}
    else:
        container, interval = arviz.from_dict(groups), {"ci_kind": "hdi", "ci_prob": interval_prob}
    table = arviz.summary(container, kind="stats", round_to="none", **interval)
    table = table.set_axis(columns, axis="columns").astype(float)
    # ArviZ sorts NaN like large numbers and would report an interval.
    table.loc[~np.isfinite(flat).all(axis=0), columns[2:]] = np.nan
    return table.set_axis(list(entry_names(sites)), axis="index")


def entry_names(sites: Arrays) -> Iterator[str]:
    """Name every entry of a site of draws ``(S, *shape)`` by its index."""
    for name, value in sites.items():
        shape = value.shape[1:]
        for index in np.ndindex(shape):
            yield f"{name}[{', '.join(map(str, index))}]" if shape else name
