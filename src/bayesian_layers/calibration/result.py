"""Result of simulation-based calibration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..arguments import check_fraction
from ..errors import DataError, ShapeError
from ..metrics import Uniformity, uniformity

_FEW = 30  # with fewer simulations only gross errors are detected


@dataclass(frozen=True, eq=False)
class CalibrationResult:
    r"""Ranks of true values in posteriors fitted to data simulated from them, with tests; ``print`` it.

    Attributes:
        probabilities: :math:`P_q(\theta_j < \theta_j^{true})` in each of M simulations, from randomized ranks among
            draws, ``(M, J)``; uniform if the posteriors are right.
        names: Names of the J quantities.
        converged: Whether each fit passed its convergence check, or had none, ``(M,)``.
        num_draws: Number of draws S of each posterior.
        seed: Seed of the simulations.
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
            raise ShapeError("converged", shape[:1], self.converged.shape, "Pass one value per simulation.")
        if shape[0] < 2 or not ((self.probabilities > 0) & (self.probabilities < 1)).all():
            raise DataError("`probabilities` must hold at least 2 simulations, strictly between 0 and 1")

    @cached_property
    def tests(self) -> tuple[Uniformity, ...]:
        """Tests of each quantity, ``(J,)``."""
        return tuple(uniformity(column) for column in self.probabilities.T)

    @property
    def symmetry_p_values(self) -> np.ndarray:
        """P-values of the VSBC test that p and 1 - p have the same distribution, ``(J,)``; small if biased."""
        return np.array([each.symmetry_p_value for each in self.tests])

    @property
    def uniformity_p_values(self) -> np.ndarray:
        """P-values of the Kolmogorov-Smirnov test of uniformity, ``(J,)``; small if not the posterior."""
        return np.array([each.p_value for each in self.tests])

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of the z-scores of true values, ``(J,)``: above 1 too narrow, below 1 too wide."""
        return np.array([each.spread for each in self.tests])

    @property
    def shift(self) -> np.ndarray:
        """Mean of the z-scores of true values, ``(J,)``: positive if the posteriors are too low."""
        return np.array([each.shift for each in self.tests])

    def verdicts(self, level: float = 0.05) -> tuple[str, ...]:
        """Describe the tests of each quantity in words.

        Args:
            level: Probability of any false alarm if all posteriors are right (with Bonferroni's correction).

        Returns:
            A few words per quantity; see :meth:`bayesian_layers.metrics.Uniformity.verdict`.
        """
        each = check_fraction("level", level) / len(self.names)
        return tuple(test.verdict(each) for test in self.tests)

    def summary(self, level: float = 0.05) -> str:
        """Return a line about the simulations, a line per quantity, and warnings; ``level`` as in :meth:`verdicts`."""
        runs, size = len(self.probabilities), max(map(len, self.names))
        lines = [f"{runs} simulations, {self.num_draws} draws of each posterior, seed {self.seed}"]
        lines += [
            f"{name:{size}}  {verdict}; spread {test.spread:.2f}, shift {test.shift:+.2f}; p-values: symmetry "
            f"{test.symmetry_p_value:.3f}, spread {test.spread_p_value:.3f}, uniformity {test.p_value:.3f}"
            for name, verdict, test in zip(self.names, self.verdicts(level), self.tests, strict=True)
        ]
        if runs < _FEW:
            lines.append(f"warning: {runs} simulations show only gross errors; use 100 or more")
        missed = int((~self.converged).sum())
        if missed:
            lines.append(f"warning: {missed} of {runs} fits did not converge; the tests include them")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()
