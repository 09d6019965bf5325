"""`Refinement`: what a refinement did, and its convergence diagnostics."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..arguments import check_integer, is_number
from ..errors import DataError, StorageError
from ..saving.schema import Integer, ListOf, Number, Record, String, optional
from .chains import superchain_size
from .target import MONITORED_ROWS

WITHIN_MODES = (
    "chains stay in the modes in which they start: modes that the draws before missed are not found, the relative "
    "weights of modes are not re-estimated, and nested R-hat shows neither"
)
_RHAT = 1.1
_ACCEPTANCE = (0.6, 0.95)
_LOW_ESS = 100  # effective draws
_LOW_ESS_PER_CHAIN = 1.25  # 1 for chains that do not move
_DIVERGENT = 0.01  # share of the transitions
_MORE = "use more iterations or seconds"


@dataclass(frozen=True)
class Refinement:
    """How draws were moved to the posterior, and convergence diagnostics of the chains.

    Attributes:
        iterations: Transitions of each chain, those of the adaptation included.
        seconds: Wall-clock seconds, preparations included.
        num_chains: Number of chains, and so of draws.
        leapfrog_steps: Gradients per transition.
        step_size: After its adaptation, in standard deviations of the guide.
        acceptance: Mean probability with which proposals were accepted, after the adaptation.
        rhat: Largest nested R-hat of the network's outputs at up to 16 rows of the data; ``None`` for few chains.
        weights_rhat: The same for up to 4096 entries of the weights.
        effective_sample_size: Effective sample size of all states after the adaptation, for the slowest of those
            outputs and the log density; a chain that does not move counts for one draw.
        divergent: Share of those transitions that met a number that is not finite, or an energy error above 1000 nats.
        warnings: Sentences on what to be aware of; the first is always that chains stay within modes.

    Raises:
        DataError: If a number is out of its range.
    """

    iterations: int
    seconds: float
    num_chains: int
    leapfrog_steps: int
    step_size: float
    acceptance: float
    rhat: float | None
    weights_rhat: float | None
    effective_sample_size: float
    divergent: float
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, least in _COUNTS.items():
            check_integer(name, getattr(self, name), least=least)
        for name, most in _LARGEST.items():
            value = getattr(self, name)
            missing = value is None and name in _OPTIONAL
            if not missing and not (is_number(value) and 0 <= value <= most):
                raise DataError(f"`{name}` must be a number from 0 to {most:g}; received {value!r}")
        if not isinstance(self.warnings, tuple) or not all(isinstance(each, str) for each in self.warnings):
            raise DataError(f"`warnings` must be a tuple of texts; received {self.warnings!r}")

    @classmethod
    def with_warnings(cls, notes: Sequence[str] = (), **facts: Any) -> Refinement:
        """Make a record from its numbers, with notes and the problems they show as its warnings."""
        return cls(**facts, warnings=(WITHIN_MODES, *notes, *cls(**facts).problems()))

    def problems(self) -> list[str]:
        """Return sentences on what the diagnostics show to be wrong."""
        found = [*self._rhat_problems(), *self._sample_size_problems()]
        if not _ACCEPTANCE[0] <= self.acceptance <= _ACCEPTANCE[1]:
            found.append(f"the acceptance is {self.acceptance:.2f} and should be near 0.8: {_MORE}")
        if self.divergent > _DIVERGENT:
            found.append(
                f"{100 * self.divergent:.0f} % of the transitions diverged and were rejected: the posterior has "
                "regions that steps of this size cannot enter. Standardize the data, or use narrower priors"
            )
        return found

    def _rhat_problems(self) -> list[str]:
        limit = max(_RHAT, math.sqrt(1 + 3 / max(superchain_size(self.num_chains), 1)))
        if self.rhat is None:
            return [
                f"{self.num_chains} chains are too few to check whether they depend on their start; use 16 or more"
            ]
        if self.rhat > limit:
            return [
                "the network's outputs still depend on where the chains started (nested R-hat "
                f"{self.rhat:.2f}, above {limit:.2f}): {_MORE}"
            ]
        if self.weights_rhat is not None and self.weights_rhat > limit:
            return [
                f"single weights still depend on where the chains started (nested R-hat {self.weights_rhat:.2f}, above "
                f"{limit:.2f}). The network's outputs at the rows compared, up to {MONITORED_ROWS} of the data, do "
                f"not; at other inputs they may. For these and for the weights, {_MORE}"
            ]
        return []

    def _sample_size_problems(self) -> list[str]:
        size = f"effective sample size is {self.effective_sample_size:.0f}"
        if self.effective_sample_size < _LOW_ESS:
            return [f"the {size}: {_MORE}, or more chains"]
        if self.effective_sample_size < _LOW_ESS_PER_CHAIN * self.num_chains:
            return [
                f"the chains hardly moved after the adaptation: the {size} for {self.num_chains} chains: {_MORE}"
            ]
        return []

    def describe(self) -> str:
        """Summarize the refinement in one line: iterations, chains, diagnostics and the number of problems."""
        rhat = "unknown" if self.rhat is None else f"{self.rhat:.2f}"
        count = len(self.problems())
        problems = f", {count} PROBLEM{'S' * (count > 1)}" if count else ""
        return (
            f"refined by {self.iterations} iterations of {self.num_chains} chains: acceptance {self.acceptance:.2f}, "
            f"nested R-hat {rhat}, ESS {self.effective_sample_size:.0f}{problems}"
        )

    def __str__(self) -> str:
        return "\n".join([self.describe(), *(f"note: {each}" for each in self.warnings)])

    def spec(self) -> dict[str, Any]:
        """Return the record in JSON's types."""
        return dataclasses.asdict(self) | {"warnings": list(self.warnings)}

    @classmethod
    def from_spec(cls, spec: Any) -> Refinement:
        """Build the record that :meth:`spec` described; nothing in it is trusted."""
        known: dict[str, Any] = dict(_SCHEMA.check(spec, "refinement"))
        known["warnings"] = tuple(known["warnings"])
        try:
            return cls(**known)
        except DataError as error:
            raise StorageError(f"the stored record of a refinement is not valid: {error}") from error


_COUNTS = {"iterations": 1, "num_chains": 2, "leapfrog_steps": 1}  # and the least of each
_OPTIONAL = ("rhat", "weights_rhat")
_LARGEST = {
    **dict.fromkeys(("seconds", "step_size", "effective_sample_size", *_OPTIONAL), sys.float_info.max),
    **dict.fromkeys(("acceptance", "divergent"), 1.0),
}
_KINDS = dict.fromkeys(_LARGEST, Number(0)) | dict.fromkeys(_OPTIONAL, optional(Number(0)))
_SCHEMA = Record({**dict.fromkeys(_COUNTS, Integer(1)), **_KINDS, "warnings": ListOf(String())})
