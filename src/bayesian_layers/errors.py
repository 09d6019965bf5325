"""Every exception and warning that a user of the library can meet."""

from __future__ import annotations

from collections.abc import Sequence


class BayesianLayersError(Exception):
    """Base class of all errors that the library raises on purpose."""


class ShapeError(BayesianLayersError, ValueError):
    """An array has the wrong shape.

    Attributes:
        name: What was passed, as the caller knows it; its whole message if it was made from a message alone.
        expected: The shape that was needed; an axis may be a letter.
        received: The shape that was received.
    """

    def __init__(
        self,
        name: str,
        expected: Sequence[int | str] | None = None,
        received: Sequence[int] = (),
        hint: str = "",
    ) -> None:
        self.name = name
        self.expected = tuple(expected or ())
        self.received = tuple(received)
        if expected is None:
            # Pyro's trace, which adds the sites' shapes, and pickle make an error from a message alone.
            super().__init__(name)
            return
        shown = "(" + ", ".join(map(str, self.expected)) + ("," if len(self.expected) == 1 else "") + ")"
        message = f"`{name}` must have shape {shown}; received {self.received}."
        super().__init__(f"{message} {hint}".rstrip())


class DataError(BayesianLayersError, ValueError):
    """Values that the model cannot take: NaN, infinities, labels out of range."""


class NetworkError(DataError, RuntimeError):
    """The network failed on the inputs, as a rule because of their shape or dtype; the message says how.

    Attributes:
        reason: The first line of the network's own error.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        self.reason = reason
        super().__init__(message)


class SiteError(BayesianLayersError, ValueError):
    """Names of sites, parameters or modules that do not fit the model."""


class DivergenceError(BayesianLayersError, ArithmeticError):
    """The objective of a fit became NaN or infinite.

    Attributes:
        step: The step at which it happened, counted from 0.
        neg_elbo: The value of the objective there, in nats.
    """

    def __init__(self, step: int, neg_elbo: float) -> None:
        self.step = step
        self.neg_elbo = neg_elbo
        super().__init__(
            f"the objective became {neg_elbo} at step {step}. Standardize inputs and targets, or pass a "
            "smaller `learning_rate`; the guide keeps the values it had before that step."
        )


class StorageError(BayesianLayersError, ValueError):
    """A folder or file that is not, or not safely, one of the library's own."""


class TableError(BayesianLayersError, ValueError):
    """A table that cannot be turned into inputs and targets."""


class BaselineError(BayesianLayersError, RuntimeError):
    """The baseline's process failed; the message carries what it printed."""


class MissingExtraError(BayesianLayersError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        package: The package that could not be imported.
        extra: The extra of ``bayesian-layers`` that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"this needs {package}, which is not installed: pip install 'bayesian-layers[{extra}]'"
        )


class FitWarning(UserWarning):
    """A fit went through, but its result deserves a second look."""


class ConvergenceWarning(FitWarning):
    """A fit ended before its test of convergence was passed."""
