"""What a fit returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .. import inference_data
from ..posterior import Posterior
from .convergence import Verdict


@dataclass(frozen=True)
class FitResult:
    """A fitted posterior, how it was reached, and how good it is; ``print`` it.

    Attributes:
        posterior: The posterior, with a copy of guide and model of its own.
        history: The objective at each step, in nats of the whole data set, noisy; shape ``(steps,)``.
        elbo: The ELBO at KL weight 1, in nats of the whole data set, on draws that no step has seen.
        elbo_stderr: Monte Carlo standard error of ``elbo``.
        objective: What was minimised, on the same draws: the negative ELBO, tempered if ``kl_weight`` is
            not 1.
        kl_weight: The weight of the KL that was minimised: a number, or one a site.
        verdict: Whether the fit has converged, by which test, and by how much it may have missed.
        steps: Steps taken.
        seconds: Wall-clock time of the whole call.
        step_mode: How steps were run: ``"eager"``, ``"captured"`` or ``"compiled"``; ``"none"`` where
            none was needed.
        estimator: How gradients were estimated.
        log_weights: Logarithms of the importance weights :math:`p(y, w_s) / q(w_s)` of the draws behind ``elbo``,
            ``(S,)``.
        validation: Steps and mean log likelihood a row of the validation data, ``(evaluations, 2)``.
        warnings: What deserves a second look, in words that say what to do.
    """

    posterior: Posterior
    history: np.ndarray
    elbo: float
    elbo_stderr: float
    objective: float
    kl_weight: float | Mapping[str, float]
    verdict: Verdict
    steps: int
    seconds: float
    step_mode: str
    estimator: str
    log_weights: np.ndarray
    validation: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    warnings: tuple[str, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether :attr:`gap` is below the tolerance, with twice its standard error."""
        return self.verdict.converged

    @property
    def gap(self) -> float:
        """Estimated nats below the optimum that this run was heading for."""
        return self.verdict.gap

    @property
    def gap_stderr(self) -> float:
        """Monte Carlo standard error of :attr:`gap`."""
        return self.verdict.stderr

    @property
    def tolerance(self) -> float:
        """Nats below which the gap counts as none."""
        return self.verdict.tolerance

    @property
    def k_hat(self) -> float:
        """Shape of the tail of the importance weights (PSIS): below 0.7, importance sampling could correct the guide.

        Not a sign of convergence: at the optimum of a mean-field guide of a network it is often above 1.

        References:
            Vehtari et al. (2024), arXiv 1507.02646; Yao et al. (2018), arXiv 1802.02538.
        """
        return inference_data.pareto_k_hat(self.log_weights)

    def __str__(self) -> str:
        lines = [
            f"ELBO {self.elbo:.2f} +- {self.elbo_stderr:.2f} nats (KL weight 1), {self.steps} steps "
            f"in {self.seconds:.1f} s ({self.step_mode}, {self.estimator})",
            str(self.verdict),
        ]
        if self.kl_weight != 1.0:
            lines.append(
                f"TEMPERED: fitted with KL weight {self.kl_weight}, objective {self.objective:.2f} nats"
            )
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])
