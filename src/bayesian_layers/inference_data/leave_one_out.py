"""Leave-one-out cross-validation from one set of draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .pareto import smooth

_BLOCK = 2**22  # numbers per block of rows: 32 MiB


@dataclass(frozen=True, eq=False)
class Loo:
    """Leave-one-out cross-validation, estimated without fitting again; ``print`` it.

    Attributes:
        pointwise: Log density of each row's target given all other rows, in nats, ``(N,)``.
        k_hat: Pareto shape of the importance weights of each row, ``(N,)``; above :attr:`threshold` the estimate for
            that row is unreliable.
        p_loo: Effective number of parameters: the gain in log density, in nats, from including each row in the fit.
        num_draws: Number of draws S of the weights.
        posterior_k_hat: Pareto shape of the importance weights from the guide to the posterior; ``None`` if the draws
            were assumed to come from the posterior.
    """

    pointwise: np.ndarray
    k_hat: np.ndarray
    p_loo: float
    num_draws: int
    posterior_k_hat: float | None = None

    def __post_init__(self) -> None:
        if self.pointwise.ndim != 1 or self.pointwise.shape != self.k_hat.shape or not len(self.pointwise):
            raise ValueError(
                "`pointwise` and `k_hat` must have one number per row; "
                f"received shapes {self.pointwise.shape} and {self.k_hat.shape}."
            )

    @property
    def elpd(self) -> float:
        """Expected log predictive density of N new rows, in nats: the sum of :attr:`pointwise`."""
        return float(self.pointwise.sum())

    @property
    def elpd_stderr(self) -> float:
        """Standard error of :attr:`elpd` over data sets, from the variation over rows; NaN for a single row."""
        rows = len(self.pointwise)
        return float(math.sqrt(rows) * self.pointwise.std(ddof=1)) if rows > 1 else math.nan

    @property
    def threshold(self) -> float:
        """Largest k for which estimates are reliable: 0.7, and less for fewer than 2154 draws (0.67 for 1000)."""
        return max(0.0, min(1 - 1 / math.log10(self.num_draws), 0.7))

    @property
    def unreliable(self) -> np.ndarray:
        """Indices of the rows whose k exceeds :attr:`threshold`."""
        return np.flatnonzero(~(self.k_hat <= self.threshold))

    @property
    def warning(self) -> str:
        """Why the estimates are unreliable and what to do; empty if they are reliable."""
        count, rows = len(self.unreliable), len(self.k_hat)
        if not count:
            return ""
        found = (
            f"k is above {self.threshold:.2f} for {count} of {rows} rows (largest {self.k_hat.max():.2f}): "
            "importance sampling fails there, so `elpd` is unreliable."
        )
        if self.posterior_k_hat is None or self.posterior_k_hat <= self.threshold:
            return f"{found} Those rows are influential: fit again without each of them, or use K-fold."
        return (
            f"{found} The guide is too far from the posterior (its k is {self.posterior_k_hat:.2f}): refine the "
            "posterior, use a richer guide or draws by NUTS, or validate on rows that were not in the fit."
        )

    def __str__(self) -> str:
        rows = len(self.pointwise)
        return (
            f"elpd_loo {self.elpd:.2f} +- {self.elpd_stderr:.2f} nats, {self.elpd / rows:.4f} per row; p_loo "
            f"{self.p_loo:.2f}; {self.num_draws} draws, {rows} rows, largest k {self.k_hat.max():.2f}"
        ) + (f"\nwarning: {self.warning}" if self.warning else "")


def psis_loo(log_likelihood: np.ndarray, log_weights: np.ndarray | None = None) -> Loo:
    """Estimate leave-one-out predictive densities by Pareto-smoothed importance sampling; see ``Posterior.loo``."""
    # `log_likelihood` is (S, N); `log_weights`, (S,), is log p(y, w_s) - log q(w_s) up to a constant, or None for draws
    # from the posterior itself. `p_loo` compares the densities without each row with those under the posterior, that is
    # under the smoothed weights p(y, w_s) / q(w_s), which are all equal for draws from the posterior.
    values = np.asarray(log_likelihood)
    if values.ndim != 2 or len(values) < 2 or not values.shape[1]:
        raise ValueError(f"`log_likelihood` must have shape (S >= 2, N >= 1); received {values.shape}.")
    weights = np.zeros(len(values)) if log_weights is None else np.asarray(log_weights, dtype=float)
    if weights.shape != values.shape[:1]:
        raise ValueError(f"`log_weights` must have shape {values.shape[:1]}; received {weights.shape}.")
    for name, array in (("log_likelihood", values), ("log_weights", weights)):
        bad = int((~np.isfinite(array)).sum())
        if bad:
            raise ValueError(
                f"`{name}` must be finite; {bad} of its {array.size} values are NaN or infinite."
            )
    towards_posterior, k_of_guide = smooth(weights[np.newaxis])
    size = max(1, _BLOCK // len(values))
    blocks = [values[:, i : i + size].T.astype(float) for i in range(0, values.shape[1], size)]
    parts = [_rows(block, weights, towards_posterior) for block in blocks]
    with_row, without_row, k_hat = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Loo(
        pointwise=without_row,
        k_hat=k_hat,
        p_loo=float((with_row - without_row).sum()),
        num_draws=len(values),
        posterior_k_hat=None if log_weights is None else float(k_of_guide[0]),
    )


def _rows(
    log_p: np.ndarray, log_weights: np.ndarray, towards_posterior: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # For a block of rows, (rows, S): log densities given all rows, and given all other rows; and k.
    towards_rest, k_hat = smooth(log_weights - log_p)
    both = (np.logaddexp.reduce(log_p + each, axis=-1) for each in (towards_posterior, towards_rest))
    return *both, k_hat
