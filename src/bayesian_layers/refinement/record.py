"""What a refinement says about itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError, StorageError
from ..saving.schema import Integer, ListOf, Number, Record, String, optional, show
from .chains import superchain_size

WITHIN_A_MODE = (
    "this corrects the draws within the modes in which they began: a mode that the draws before did not know is "
    "not found, and how much each mode counts stays as it was"
)
_RHAT = 1.1
_ACCEPTANCE = (0.6, 0.95)
_FEW, _HARDLY_MOVED = 100, 1.25  # effective draws; effective draws a chain
_DIVERGENT = 0.01


@dataclass(frozen=True)
class Refinement:
    """How draws were moved to the posterior, and how far to trust them.

    Attributes:
        iterations: Transitions that each chain made, those of the adaptation included.
        seconds: Wall-clock seconds that they took, preparations included.
        num_chains: Chains, and so draws.
        leapfrog_steps: Gradients a transition.
        step_size: After its adaptation, in deviations of the guide.
        acceptance: Mean probability with which proposals were accepted, after the adaptation.
        rhat: Largest nested R-hat over the network's outputs at up to 16 rows of the data; ``None`` with too few
            chains to tell.
        weights_rhat: The same over up to 4096 entries of the weights.
        effective_sample_size: Independent draws that all states after the adaptation are worth, for the
            slowest of those outputs and the log density; a chain that does not move counts for one.
        divergent: Share of those transitions that left what numbers can hold, or the energy's level.
        warnings: Sentences on what to mind; the first is always that this corrects within a mode only.

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
        for name, kind, least, most in _RANGES:
            value = getattr(self, name)
            if value is None and name in _MAY_BE_MISSING:
                continue
            if (
                isinstance(value, bool)
                or not isinstance(value, int if kind is int else int | float)
                or not least <= value <= most
            ):
                raise DataError(
                    f"`{name}` of a refinement must be a number from {least} to {most:g}; received {show(value)}"
                )
        if not isinstance(self.warnings, tuple) or not all(isinstance(each, str) for each in self.warnings):
            raise DataError(f"`warnings` must be sentences; received {self.warnings!r}")

    @classmethod
    def judged(cls, notes: Sequence[str] = (), **facts: Any) -> Refinement:
        """Make a record, and find what is to be said about it.

        Args:
            notes: Further sentences.
            **facts: All attributes but ``warnings``.

        Returns:
            The record with its warnings.
        """
        return cls(**facts, warnings=(WITHIN_A_MODE, *notes, *cls(**facts).problems()))

    def problems(self) -> list[str]:
        """Say what is wrong with the chains.

        Returns:
            Sentences; none where nothing is.
        """
        more = "give it more iterations or seconds"
        said = []
        limit = max(_RHAT, math.sqrt(1 + 3 / max(superchain_size(self.num_chains), 1)))
        if self.rhat is None:
            said.append(
                f"{self.num_chains} chains are too few to tell whether they have forgotten where they began; "
                "take 16 or more"
            )
        elif self.rhat > limit:
            said.append(
                f"the network's outputs still depend on where the chains began (nested R-hat {self.rhat:.2f}, above "
                f"{limit:.2f}): {more}"
            )
        elif self.weights_rhat is not None and self.weights_rhat > limit:
            said.append(
                f"single weights still depend on where the chains began (nested R-hat {self.weights_rhat:.2f}, above "
                f"{limit:.2f}), the network's outputs do not: predictions are sound, for the weights {more}"
            )
        if not _ACCEPTANCE[0] <= self.acceptance <= _ACCEPTANCE[1]:
            said.append(f"the acceptance is {self.acceptance:.2f}, and should be near 0.8: {more}")
        if self.effective_sample_size < _FEW:
            said.append(
                f"the effective sample size is {self.effective_sample_size:.0f}: {more}, or more chains"
            )
        elif self.effective_sample_size < _HARDLY_MOVED * self.num_chains:
            said.append(
                f"the chains have hardly moved since the step size was found (effective sample size "
                f"{self.effective_sample_size:.0f} of {self.num_chains} chains): {more}"
            )
        if self.divergent > _DIVERGENT:
            said.append(
                f"{100 * self.divergent:.0f} % of the transitions diverged and were rejected: the posterior has "
                "places that these steps cannot enter; standardize the data, or take tighter priors"
            )
        return said

    def describe(self) -> str:
        """Say in one line what was done and what came out.

        Returns:
            For instance ``refined by 60 iterations of 1000 chains: acceptance 0.79, nested R-hat 1.02, ESS 9100``.
        """
        rhat = "unknown" if self.rhat is None else f"{self.rhat:.2f}"
        problems = len(self.problems())
        return (
            f"refined by {self.iterations} iterations of {self.num_chains} chains: acceptance {self.acceptance:.2f}, "
            f"nested R-hat {rhat}, ESS {self.effective_sample_size:.0f}"
            + (f", {problems} PROBLEM{'S' * (problems > 1)}" if problems else "")
        )

    def __str__(self) -> str:
        return "\n".join([self.describe(), *(f"note: {each}" for each in self.warnings)])

    def spec(self) -> dict[str, Any]:
        """Give the record in JSON's types.

        Returns:
            Attribute to value.
        """
        return dataclasses.asdict(self) | {"warnings": list(self.warnings)}

    @classmethod
    def from_spec(cls, spec: Any) -> Refinement:
        """Build what :meth:`spec` described; nothing in it is trusted."""
        known: dict[str, Any] = dict(_SCHEMA.check(spec, "refinement"))
        known["warnings"] = tuple(known["warnings"])
        try:
            return cls(**known)
        except DataError as error:
            raise StorageError(f"the stored record of a refinement is not valid: {error}") from error


_SCHEMA = Record(
    {
        **dict.fromkeys(("iterations", "num_chains", "leapfrog_steps"), Integer(1)),
        **dict.fromkeys(
            ("seconds", "step_size", "acceptance", "effective_sample_size", "divergent"), Number(0)
        ),
        **dict.fromkeys(("rhat", "weights_rhat"), optional(Number(0))),
        "warnings": ListOf(String()),
    }
)
_MAX = 1.7976931348623157e308
_RANGES = (
    ("iterations", int, 1, _MAX),
    ("seconds", float, 0, _MAX),
    ("num_chains", int, 2, _MAX),
    ("leapfrog_steps", int, 1, _MAX),
    ("step_size", float, 0, _MAX),
    ("acceptance", float, 0, 1),
    ("rhat", float, 0, _MAX),
    ("weights_rhat", float, 0, _MAX),
    ("effective_sample_size", float, 0, _MAX),
    ("divergent", float, 0, 1),
)
_MAY_BE_MISSING = {"rhat", "weights_rhat"}
