"""What a fit returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..posterior import Posterior


@dataclass(frozen=True)
class FitResult:
    """A fitted posterior and how it was reached; ``print`` it.

    Attributes:
        posterior: The posterior, with a copy of guide and model of its own.
        history: The objective at each step, in nats of the whole data set, noisy; shape ``(steps,)``.
        elbo: The ELBO at KL weight 1, in nats of the whole data set, on fresh draws.
        elbo_stderr: Monte Carlo standard error of ``elbo``.
        objective: What was minimised on the same draws: the negative ELBO, tempered if ``kl_weight`` is
            not 1.
        kl_weight: The weight of the KL that was minimised: a number, or one a site.
        steps: Steps taken.
        seconds: Wall-clock time of the whole call.
        warnings: What deserves a second look, in words.
    """

    posterior: Posterior
    history: np.ndarray
    elbo: float
    elbo_stderr: float
    objective: float
    kl_weight: float | Mapping[str, float]
    steps: int
    seconds: float
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"ELBO {self.elbo:.2f} +- {self.elbo_stderr:.2f} nats (KL weight 1), {self.steps} steps "
            f"in {self.seconds:.1f} s",
            "convergence: not tested; all steps of the schedule were taken, the learning rate ended at 0",
        ]
        if self.kl_weight != 1.0:
            lines.append(
                f"TEMPERED: fitted with KL weight {self.kl_weight}, objective {self.objective:.2f} nats"
            )
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])
