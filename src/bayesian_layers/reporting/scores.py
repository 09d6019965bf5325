"""Scores of two methods over seeds or splits, and sentences about which is better that follow from the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..errors import ShapeError

Outcome = Literal["better", "worse", "unclear", "ahead", "behind"]
_CLEAR = 2.0  # standard errors beyond which a difference is called clear
RULE = (
    "A difference is called clear, and has a winner, when its mean over the runs is more than "
    f"{_CLEAR:g} standard errors from 0."
)


@dataclass(frozen=True)
class Metric:
    """A score and how to read it."""

    key: str  # its name in metrics.json
    label: str  # its name on a page
    better: Literal["higher", "lower", "near"]
    digits: int = 4  # after the decimal point
    goal: float = 0.0  # the best value where `better` is "near"

    def gain(self, ours: Sequence[float], theirs: Sequence[float]) -> np.ndarray:
        """Compute how much better one method is than another in each run."""
        one, other = (np.asarray(each, dtype=float) for each in (ours, theirs))
        if one.shape != other.shape:
            raise ShapeError("theirs", one.shape, other.shape)
        with np.errstate(invalid="ignore"):  # infinite minus infinite: neither is better
            if self.better == "near":
                return np.abs(other - self.goal) - np.abs(one - self.goal)
            return one - other if self.better == "higher" else other - one


@dataclass(frozen=True)
class Estimate:
    """A mean over runs with its standard error, which is ``None`` for one run."""

    mean: float
    error: float | None
    runs: int

    def text(self, digits: int = 4, sign: bool = False) -> str:
        """Format the mean and its standard error."""
        mean = number(self.mean, digits, sign)
        return mean if self.error is None else f"{mean} ± {number(self.error, digits)}"

    def to_document(self) -> dict[str, Any]:
        """Return the estimate as ``metrics.json`` keeps it."""
        return {"mean": self.mean, "standard_error": self.error, "runs": self.runs}


def number(value: float, digits: int = 4, sign: bool = False) -> str:
    """Format a number."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def estimate(values: Sequence[float] | np.ndarray, test_to_train: float = 0.0) -> Estimate:
    """Estimate a mean over runs and its standard error."""
    # `test_to_train` is 0 for independent runs. For J random splits of one table, whose training parts overlap, it
    # is the ratio of test rows to training rows; without it the error would be far too small. The error is
    # s sqrt(1 / J + test_to_train): Nadeau & Bengio (2003), "Inference for the generalization error".
    array = np.asarray(values, dtype=float)
    with np.errstate(invalid="ignore"):
        mean = float(array.mean())
        if len(array) < 2:
            return Estimate(mean, None, len(array))
        spread = float(array.std(ddof=1))
    return Estimate(mean, spread * math.sqrt(1 / len(array) + test_to_train), len(array))


def outcome(gain: Estimate) -> Outcome:
    """Classify a gain."""
    if math.isnan(gain.mean) or gain.mean == 0:
        return "unclear"
    if gain.error is None:
        return "ahead" if gain.mean > 0 else "behind"
    if math.isfinite(gain.mean) and abs(gain.mean) <= _CLEAR * gain.error:
        return "unclear"
    return "better" if gain.mean > 0 else "worse"


@dataclass(frozen=True)
class Comparison:
    """One metric of two methods over the same runs; ``gain`` is how much better ours is, run by run."""

    metric: Metric
    ours: Estimate
    theirs: Estimate
    gain: Estimate

    @property
    def outcome(self) -> Outcome:
        """Whether ours is better."""
        return outcome(self.gain)

    def to_document(self) -> dict[str, Any]:
        """Return the gain and its outcome as ``metrics.json`` keeps them."""
        return self.gain.to_document() | {"outcome": self.outcome}


def compare(
    metric: Metric, ours: Sequence[float], theirs: Sequence[float], test_to_train: float = 0.0
) -> Comparison:
    """Compare two methods by one metric."""
    one, other, gain = (estimate(each, test_to_train) for each in (ours, theirs, metric.gain(ours, theirs)))
    return Comparison(metric, one, other, gain)


def describe_winners(comparisons: Sequence[Comparison], ours: str, theirs: str) -> str:
    """Write which method is better by which metrics, and by how much."""
    won, lost, unclear = (
        [each for each in comparisons if each.outcome in outcomes]
        for outcomes in (("better", "ahead"), ("worse", "behind"), ("unclear",))
    )
    sentences = [
        f"{name} {'wins' if _is_clear(each) else 'is ahead'} on {_listed(each, 'by')}."
        for name, each in ((theirs, lost), (ours, won))
        if each
    ]
    if unclear:
        sentences.append(f"There is no clear difference on {_listed(unclear, 'difference')}.")
    return " ".join(sentences)


def caveat(runs: int) -> str:
    """Return a warning if there was one run only."""
    text = "There was only one run, so a difference may be due to chance; more runs give standard errors."
    return text if runs == 1 else ""


def _is_clear(comparisons: Sequence[Comparison]) -> bool:
    return all(each.outcome in ("better", "worse") for each in comparisons)


def _listed(comparisons: Sequence[Comparison], word: str) -> str:
    sizes = [replace(each.gain, mean=abs(each.gain.mean)).text(each.metric.digits) for each in comparisons]
    *most, last = (
        f"{each.metric.label} ({word} {size})" for each, size in zip(comparisons, sizes, strict=True)
    )
    return f"{', '.join(most)} and {last}" if most else last
