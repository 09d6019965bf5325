"""Whether a fit has converged, by how much it may have missed, and by which test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What a test of convergence says.

    Attributes:
        gap: Estimated nats below the optimum that the fit was heading for, 0 or more; NaN where nothing is known.
        stderr: Monte Carlo standard error of the gap.
        tolerance: Nats that count as none.
        test: What was looked at, in words.
        converged: Whether the gap is surely below the tolerance.
    """

    gap: float
    stderr: float
    tolerance: float
    test: str
    converged: bool

    def __str__(self) -> str:
        state = "converged" if self.converged else "NOT CONVERGED"
        found = f"{self.gap:.2g} +- {self.stderr:.2g} nats to gain, tolerance {self.tolerance:.2g}"
        return f"{state}: {found} ({self.test})"

    def warnings(self) -> list[str]:
        """Say what to do where the test was not passed."""
        if self.converged:
            return []
        return [
            f"the fit did not converge: {self.gap:.2g} +- {self.stderr:.2g} nats to gain, where {self.tolerance:.2g} "
            f"count as none ({self.test}); call `fit` again with the same guide to go on, or give more `max_steps`"
        ]
