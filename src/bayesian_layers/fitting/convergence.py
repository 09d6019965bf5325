"""The stopping rule of a fit: its tolerance, what it compares, and its result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .evaluation import Evaluation

TOLERANCE, TOLERANCE_PER_ROW, MAX_TOLERANCE = 0.05, 3e-4, 10.0  # nats
# Of a stage's movement, root mean square over the entries: of means in standard deviations, and of standard deviations
# relative to themselves. If two stages end at random about an optimum, as with minibatches, each is off by 0.7 times
# the movement; means that are off by 0.2 standard deviations are as good as means with a variance 4 % larger.
MAX_MEAN, MAX_STD = 0.3, 0.1
ONE_STAGE = "one stage cannot be compared"
TOO_SHORT = "in a fit of so few steps a second evaluation would take more than a fifth of its time"


@dataclass(frozen=True)
class Movement:
    """How far the guide's entries moved in the last stage of steps; unconstrained: logarithms of positive sites.

    Attributes:
        mean: Root mean square change of a mean, in standard deviations.
        max_mean: The largest.
        std: Root mean square change of a standard deviation, relative to itself.
        max_std: The largest.
    """

    mean: float
    max_mean: float
    std: float
    max_std: float

    @classmethod
    def between(cls, earlier: Evaluation, last: Evaluation) -> Movement | None:
        """Compare two evaluations; None if the guide's means and standard deviations are not known."""
        (loc, std), (loc_before, std_before) = last.marginals.double(), earlier.marginals.double()
        if not len(loc):
            return None
        means, stds = (loc - loc_before).abs() / std, (std / std_before - 1).abs()
        found = (value for each in (means, stds) for value in (each.square().mean().sqrt(), each.max()))
        return cls(*map(float, found))

    @property
    def is_small(self) -> bool:
        """Whether means and standard deviations stayed where they were."""
        return self.mean <= MAX_MEAN and self.std <= MAX_STD

    def __str__(self) -> str:
        return (
            f"means moved by {self.mean:.2g} standard deviations (rms; largest {self.max_mean:.2g}), standard "
            f"deviations by {100 * self.std:.2g} % (largest {100 * self.max_std:.2g} %)"
        )


@dataclass(frozen=True)
class Convergence:
    """The result of a convergence test; print it.

    Attributes:
        gap: Estimated nats below the optimum that the fit was approaching, 0 or more; NaN if it was not tested.
        stderr: Standard error of the gap; NaN if it was not tested.
        tolerance: The largest gap, in nats, that counts as converged.
        test: What was compared, in words; or why nothing was.
        converged: Whether the gap is below the tolerance, with twice its standard error, and the movement is small.
        movement: How far means and standard deviations moved in the last stage; ``None`` if that is not known.
    """

    gap: float
    stderr: float
    tolerance: float
    test: str
    converged: bool
    movement: Movement | None = None

    @property
    def tested(self) -> bool:
        """Whether there was anything to compare."""
        return not math.isnan(self.gap)

    def __str__(self) -> str:
        if not self.tested:
            return f"NOT TESTED: {self.test}"
        state = "converged" if self.converged else "NOT CONVERGED"
        return f"{state}: {self._estimate()}, tolerance {self.tolerance:.2g} ({self.test}){self._moved()}"

    def warnings(self) -> list[str]:
        """Return one sentence that says what to do if the test was not passed."""
        if self.converged:
            return []
        advice = "call `fit` again with the same guide to continue, or pass more `max_steps`"
        if not self.tested:
            return [
                f"convergence was not tested ({self.test}), so the fit may be far from its optimum; {advice}"
            ]
        return [
            f"the fit did not converge: {self._estimate()}, the tolerance is {self.tolerance:.2g} ({self.test})"
            f"{self._moved()}; {advice}"
        ]

    def _estimate(self) -> str:
        return f"{self.gap:.2g} +- {self.stderr:.2g} nats left to gain"

    def _moved(self) -> str:
        if self.movement is None:
            return ""
        limit = "" if self.movement.is_small else f", more than {MAX_MEAN:.2g} or {100 * MAX_STD:.0f} %"
        return f"; {self.movement}{limit}"


def tolerance(num_data: int) -> float:
    """Return the largest gain of a stage, in nats, that counts as none."""
    return min(TOLERANCE + TOLERANCE_PER_ROW * num_data, MAX_TOLERANCE)


def check_convergence(
    evaluations: Sequence[Evaluation], tolerance: float, untested: str = ONE_STAGE
) -> Convergence:
    """Test whether the last stage changed the objective by no more than the tolerance, and hardly moved the guide."""
    if len(evaluations) < 2:
        return Convergence(math.nan, math.nan, tolerance, untested, False)
    earlier, last = evaluations[-2:]
    (gain, stderr), movement = last.gain_over(earlier), Movement.between(earlier, last)
    if not math.isfinite(gain) or not math.isfinite(stderr):
        text = "the estimates of the objective are not finite"
        return Convergence(math.nan, math.nan, tolerance, text, False, movement)
    converged = stderr <= tolerance and abs(gain + 2 * stderr) <= tolerance
    converged = converged and (movement is None or movement.is_small)
    lost = max(0.0, -gain - 2 * stderr)  # a loss beyond the error: it can be gained again
    test = "gain of the last stage of steps"
    return Convergence(max(gain, lost), stderr, tolerance, test, converged, movement)
