"""What simulation-based calibration found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import DataError, ShapeError
from ..metrics import Uniformity, uniformity

_FEW = 30  # simulations that show only gross errors


@dataclass(frozen=True, eq=False)
class CalibrationResult:
    r"""Where the truth fell in posteriors fitted to data simulated from it; ``print`` it.

    Attributes:
        probabilities: :math:`P_q(\theta_j < \theta_j^{true})` in each of M simulations, ranks among draws made
            continuous, ``(M, J)``: uniform if the posteriors are right.
        names: What the J quantities are.
        converged: Whether each fit passed its test of convergence; true where there was none, ``(M,)``.
        num_draws: Draws of each posterior S.
        seed: Seed of the simulations.

    Raises:
        ShapeError: If the shapes do not fit each other.
        DataError: If there are fewer than 2 simulations, or a number is not strictly between 0 and 1.
    """

    probabilities: np.ndarray
    names: tuple[str, ...]
    converged: np.ndarray
    num_draws: int
    seed: int

    def __post_init__(self) -> None:
        shape = self.probabilities.shape
        if len(shape) != 2 or shape[1] != len(self.names) or not self.names:
            raise ShapeError("probabilities", ("M >= 2", len(self.names) or "J >= 1"), shape)
        if self.converged.shape != shape[:1]:
            raise ShapeError("converged", shape[:1], self.converged.shape, "One answer a simulation.")
        if shape[0] < 2 or not ((self.probabilities > 0) & (self.probabilities < 1)).all():
            raise DataError(
                "calibration needs 2 simulations or more, and probabilities strictly between 0 and 1"
            )

    @cached_property
    def tests(self) -> tuple[Uniformity, ...]:
        """Tests of each quantity, ``(J,)``."""
        return tuple(uniformity(column) for column in self.probabilities.T)

    @property
    def symmetry_p_values(self) -> np.ndarray:
        """Of the VSBC test that p and 1 - p are distributed alike, ``(J,)``: small says biased."""
        return np.array([each.symmetry_p_value for each in self.tests])

    @property
    def uniformity_p_values(self) -> np.ndarray:
        """Of the Kolmogorov-Smirnov test of uniformity, ``(J,)``: small says not the posterior, in whatever way."""
        return np.array([each.p_value for each in self.tests])

    @property
    def spread(self) -> np.ndarray:
        """Deviation of the truth in posterior deviations, ``(J,)``: above 1 too narrow, below 1 too wide."""
        return np.array([each.spread for each in self.tests])

    @property
    def shift(self) -> np.ndarray:
        """Mean of the truth in posterior deviations, ``(J,)``: above 0 the posteriors are too low."""
        return np.array([each.shift for each in self.tests])

    def verdicts(self, level: float = 0.05) -> tuple[str, ...]:
        """Say in words what is wrong with each quantity.

        Args:
            level: Probability of any false alarm at all if every posterior is right (Bonferroni's correction).

        Returns:
            A few words for each quantity.
        """
        return tuple(each.verdict(level / len(self.names)) for each in self.tests)

    def summary(self, level: float = 0.05) -> str:
        """Say it in words.

        Args:
            level: As for :meth:`verdicts`.

        Returns:
            A line about the simulations, one for each quantity, and what to mind.
        """
        runs, size = len(self.probabilities), max(map(len, self.names))
        lines = [f"{runs} simulations, {self.num_draws} draws of each posterior, seed {self.seed}"]
        lines += [
            f"{name:{size}}  {verdict}; spread {test.spread:.2f}, shift {test.shift:+.2f}; p-values: symmetry "
            f"{test.symmetry_p_value:.3f}, spread {test.spread_p_value:.3f}, uniformity {test.p_value:.3f}"
            for name, verdict, test in zip(self.names, self.verdicts(level), self.tests, strict=True)
        ]
        if runs < _FEW:
            lines.append(f"warning: {runs} simulations show only gross errors; take 100 or more")
        missed = int((~self.converged).sum())
        if missed:
            lines.append(f"warning: {missed} of {runs} fits did not converge; what is shown is theirs, too")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()
