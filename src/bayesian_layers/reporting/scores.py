"""Scores of two methods over seeds or splits, and in words who wins. All words follow from the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
    """A score and how to read it.

    Attributes:
        key: Its name in ``metrics.json``.
        label: Its name on a page.
        better: Which values are good; ``"near"`` means near ``goal``.
        digits: Digits after the point.
        goal: The best value, where ``better`` is ``"near"``.
    """

    key: str
    label: str
    better: Literal["higher", "lower", "near"]
    digits: int = 4
    goal: float = 0.0

    def gain(self, ours: Sequence[float], theirs: Sequence[float]) -> np.ndarray:
        """Tell how much better one method is than another, run by run."""
        one, other = (np.asarray(each, dtype=float) for each in (ours, theirs))
        if one.shape != other.shape:
            raise ShapeError("theirs", one.shape, other.shape)
        with np.errstate(invalid="ignore"):  # infinite minus infinite: no one is better
            if self.better == "near":
                return np.abs(other - self.goal) - np.abs(one - self.goal)
            return one - other if self.better == "higher" else other - one


@dataclass(frozen=True)
class Estimate:
    """A mean over runs.

    Attributes:
        mean: The mean.
        error: Its standard error; ``None`` for one run, which has none.
        runs: Number of runs.
    """

    mean: float
    error: float | None
    runs: int

    def text(self, digits: int = 4, sign: bool = False) -> str:
        """Write it down."""
        mean = number(self.mean, digits, sign)
        return mean if self.error is None else f"{mean} ± {number(self.error, digits)}"


def number(value: float, digits: int = 4, sign: bool = False) -> str:
    """Write a number down."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def estimate(values: Sequence[float] | np.ndarray, test_to_train: float = 0.0) -> Estimate:
    r"""Estimate a mean over runs and its standard error.

    .. math:: \text{error} = s \sqrt{1/J + n_\text{test}/n_\text{train}}

    Args:
        values: One value a run, J of them.
        test_to_train: 0 for independent runs. For J random splits of one table, whose training parts
            overlap, the rows of a test part over those of a training part; without that term the error
            would come out far too small.

    Returns:
        Mean and standard error.

    References:
        Nadeau & Bengio (2003), "Inference for the generalization error", Machine Learning 52.
    """
    array = np.asarray(values, dtype=float)
    with np.errstate(invalid="ignore"):
        mean = float(array.mean())
        if len(array) < 2:
            return Estimate(mean, None, len(array))
        spread = float(array.std(ddof=1))
    return Estimate(mean, spread * math.sqrt(1 / len(array) + test_to_train), len(array))


def outcome(gain: Estimate) -> Outcome:
    """Judge a gain."""
    if math.isnan(gain.mean) or gain.mean == 0:
        return "unclear"
    if gain.error is None:
        return "ahead" if gain.mean > 0 else "behind"
    if math.isfinite(gain.mean) and abs(gain.mean) <= _CLEAR * gain.error:
        return "unclear"
    return "better" if gain.mean > 0 else "worse"


@dataclass(frozen=True)
class Duel:
    """One metric of two methods over the same runs.

    Attributes:
        metric: The metric.
        ours: Score of the one.
        theirs: Score of the other.
        gain: How much better the one is, run by run.
    """

    metric: Metric
    ours: Estimate
    theirs: Estimate
    gain: Estimate

    @property
    def outcome(self) -> Outcome:
        """Who wins, from the side of ``ours``."""
        return outcome(self.gain)


def duel(metric: Metric, ours: Sequence[float], theirs: Sequence[float], test_to_train: float = 0.0) -> Duel:
    """Compare two methods by one metric."""
    one, other, gain = (estimate(each, test_to_train) for each in (ours, theirs, metric.gain(ours, theirs)))
    return Duel(metric, one, other, gain)


def verdict(duels: Sequence[Duel], ours: str, theirs: str) -> str:
    """Say who wins on what, by how much."""
    won, lost, open_ = (
        [each for each in duels if each.outcome in outcomes]
        for outcomes in (("better", "ahead"), ("worse", "behind"), ("unclear",))
    )
    said = [
        f"{name} {'wins' if _is_clear(each) else 'is ahead'} on {_listed(each, 'by')}."
        for name, each in ((theirs, lost), (ours, won))
        if each
    ]
    if open_:
        said.append(f"No clear difference on {_listed(open_, 'difference')}.")
    return " ".join(said)


def caveat(runs: int) -> str:
    """Say what the number of runs does not allow to say."""
    return (
        "There was one run, which cannot tell merit from luck; more runs give standard errors."
        if runs < 2
        else ""
    )


def _is_clear(duels: Sequence[Duel]) -> bool:
    return all(each.outcome in ("better", "worse") for each in duels)


def _listed(duels: Sequence[Duel], word: str) -> str:
    parts = [f"{each.metric.label} ({word} {_size(each)})" for each in duels]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _size(each: Duel) -> str:
    gain = Estimate(abs(each.gain.mean), each.gain.error, each.gain.runs)
    return gain.text(each.metric.digits)
