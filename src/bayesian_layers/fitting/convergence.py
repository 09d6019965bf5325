"""The stopping rule of a fit: its tolerance, what it compares, and its result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .evaluation import Evaluation

TOLERANCE, TOLERANCE_PER_ROW = 0.05, 3e-4  # nats


@dataclass(frozen=True)
class Convergence:
    """The result of a convergence test; print it.

    Attributes:
        gap: Estimated nats below the optimum that the fit was approaching, 0 or more; NaN if there is no estimate.
        stderr: Monte Carlo standard error of the gap.
        tolerance: The largest gap, in nats, that counts as converged.
        test: What was compared, in words.
        converged: Whether the gap is below the tolerance, with twice its standard error.
    """

    gap: float
    stderr: float
    tolerance: float
    test: str
    converged: bool

    def __str__(self) -> str:
        state = "converged" if self.converged else "NOT CONVERGED"
        return f"{state}: {self._estimate()}, tolerance {self.tolerance:.2g} ({self.test})"

    def warnings(self) -> list[str]:
        """Return one sentence that says what to do if the test was not passed."""
        if self.converged:
            return []
        return [
            f"the fit did not converge: {self._estimate()}, the tolerance is {self.tolerance:.2g} ({self.test}); call "
            "`fit` again with the same guide to continue, or pass more `max_steps`"
        ]

    def _estimate(self) -> str:
        return f"{self.gap:.2g} +- {self.stderr:.2g} nats left to gain"


def tolerance(num_data: int) -> float:
    """Return the largest gain of a stage, in nats, that counts as none."""
    return TOLERANCE + TOLERANCE_PER_ROW * num_data


def check_convergence(evaluations: Sequence[Evaluation], tolerance: float) -> Convergence:
    """Test whether the last stage changed the objective by no more than the tolerance."""
    if len(evaluations) < 2:
        return Convergence(math.nan, math.nan, tolerance, "one stage cannot be compared", False)
    earlier, last = evaluations[-2:]
    gain, stderr = last.gain_over(earlier)
    converged = stderr <= tolerance and abs(gain + 2 * stderr) <= tolerance
    lost = max(0.0, -gain - 2 * stderr)  # a loss beyond the error: it can be gained again
    return Convergence(max(gain, lost), stderr, tolerance, "gain of the last stage of steps", converged)
