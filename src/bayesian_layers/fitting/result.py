"""`FitResult`: what a fit returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .. import inference_data
from ..posterior import Posterior
from .convergence import Convergence


@dataclass(frozen=True)
class FitResult:
    """A fitted posterior, and how the fit went; ``print`` it.

    Attributes:
        posterior: The posterior; it holds copies of the guide and the model.
        history: The objective at each step, in nats of the whole data set, noisy; shape ``(steps,)``.
        elbo: The ELBO at KL weight 1, in nats of the whole data set, on draws that no step has used. It compares fits
            of one model to the same data; compare networks or priors by a held-out score or ``posterior.loo``.
        elbo_stderr: Standard error of ``elbo``: Monte Carlo, and if not all rows were seen, due to which were.
        objective: The minimised objective on the same draws: the negative ELBO, tempered if ``kl_weight`` is not 1.
        kl_weight: The weight of the KL in the objective: a number, or one per site.
        convergence: The result of the convergence test.
        steps: Steps taken.
        seconds: Wall-clock time of the whole call.
        step_mode: How steps were run: ``"eager"``, ``"captured"`` or ``"compiled"``; ``"none"`` if no step was needed.
        estimator: How gradients were estimated.
        log_weights: Logarithms of the importance weights :math:`p(y, w_s) / q(w_s)` of the draws behind ``elbo``,
            ``(S,)``; empty if ``elbo`` was estimated from a part of the rows to save time.
        validation: Steps, and the mean log likelihood per row of the validation data, ``(evaluations, 2)``.
        warnings: The warnings of the fit; each says what to do.
        rows_seen: Rows from which the ELBO was estimated; fewer than all with ``drop_last``, for instance, or if
            all would take more than a fifth of the time of the fit.
        total_weight: Sum of the sample weights of the whole data set; ``None`` if rows have no weights.
    """

    posterior: Posterior
    history: np.ndarray
    elbo: float
    elbo_stderr: float
    objective: float
    kl_weight: float | Mapping[str, float]
    convergence: Convergence
    steps: int
    seconds: float
    step_mode: str
    estimator: str
    log_weights: np.ndarray
    validation: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    warnings: tuple[str, ...] = ()
    rows_seen: int | None = None
    total_weight: float | None = None

    @property
    def converged(self) -> bool:
        """Whether the fit passed its convergence test."""
        return self.convergence.converged

    @property
    def gap(self) -> float:
        """Estimated nats below the optimum that this fit was approaching; NaN if convergence was not tested."""
        return self.convergence.gap

    @property
    def gap_stderr(self) -> float:
        """Monte Carlo standard error of :attr:`gap`."""
        return self.convergence.stderr

    @property
    def tolerance(self) -> float:
        """The largest gap, in nats, that counts as converged."""
        return self.convergence.tolerance

    @property
    def k_hat(self) -> float:
        """Shape of the tail of the importance weights (PSIS): below 0.7, importance sampling could correct the guide.

        Not a sign of convergence: at the optimum of a mean-field guide of a network it is often above 1. NaN without
        ``log_weights``; ``posterior.k_hat`` computes it from all rows.

        References:
            Vehtari et al. (2024), arXiv 1507.02646; Yao et al. (2018), arXiv 1802.02538.
        """
        return inference_data.pareto_k_hat(self.log_weights) if len(self.log_weights) else math.nan

    def __str__(self) -> str:
        lines = [
            f"ELBO {self.elbo:.2f} +- {self.elbo_stderr:.2f} nats (KL weight 1), {self.steps} steps "
            f"in {self.seconds:.1f} s ({self.step_mode}, {self.estimator})",
            str(self.convergence),
        ]
        if self.kl_weight != 1.0:
            lines.append(
                f"TEMPERED: fitted with KL weight {self.kl_weight}, objective {self.objective:.2f} nats"
            )
        rows = self.posterior.data_schema.rows if self.posterior.data_schema else None
        if rows is not None and self.rows_seen is not None and self.rows_seen < rows:
            lines.append(f"ELBO estimated from {self.rows_seen} of {rows} rows")
        if self.total_weight is not None:
            lines.append(f"rows weighted: the sample weights sum to {self.total_weight:.6g}")
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])
