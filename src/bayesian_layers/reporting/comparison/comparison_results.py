"""The results of a comparison on a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from ..page import Table
from ..scores import Metric

OURS, KERAS = "ours", "keras"
LABELS = {OURS: "Bayesian network", KERAS: "Keras"}
LEVEL = 0.9  # of the intervals whose coverage is counted
_CLASSES = (
    Metric("accuracy", "accuracy", "higher"),
    Metric("nll", "NLL", "lower"),
    Metric("brier", "Brier score", "lower"),
    Metric("ece", "ECE", "lower"),
)
_REGRESSION = (
    Metric("rmse", "RMSE", "lower", digits=3),
    Metric("nll", "NLL", "lower", digits=3),
    Metric("crps", "CRPS", "lower", digits=3),
    Metric("coverage", f"coverage of the {100 * LEVEL:.0f} % interval", "near", digits=3, goal=LEVEL),
)


def metrics_of(task: str) -> tuple[Metric, ...]:
    """Return the metrics of a task."""
    return _REGRESSION if task == "regression" else _CLASSES


@dataclass(frozen=True)
class MethodPrediction:
    """The predictions of one method for the N test rows of a split."""

    # P(second class), (N,); probabilities of K classes, (N, K); or means in the units of the target, (N,)
    mean: np.ndarray
    std: np.ndarray | None = None  # regression only: predictive standard deviation, (N,)
    epistemic_std: np.ndarray | None = None  # of `mean` over the draws, in its shape; None for Keras

    def half_width(self, level: float) -> np.ndarray:
        """Return half the width of the central Normal interval of each row; regression only."""
        return NormalDist().inv_cdf(0.5 + level / 2) * np.asarray(self.std)


@dataclass(frozen=True)
class SplitRun:
    """Both methods on one split; mappings are by method."""

    seed: int
    y: np.ndarray  # the test targets: labels 0..K-1, or numbers in the units of the target, (N,)
    predictions: Mapping[str, MethodPrediction]
    scores: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, float]  # of training
    history: np.ndarray  # the objective of the fit at each step, in nats of all training rows
    keras_history: Mapping[str, np.ndarray]  # "loss" and "val_loss" at each epoch
    elbo: float  # in nats of all training rows
    elbo_stderr: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparisonRun:
    """Both methods on all splits of a table; pictures and tables are of the first split."""

    name: str  # of the table
    target: str  # name of the target column
    task: str
    task_line: str  # the task and why it was chosen
    classes: tuple[str, ...]  # empty for regression
    train_rows: int
    test_rows: int
    inputs: int  # of the networks
    hidden: tuple[int, ...]
    prior_scale: float
    keras_epochs: int  # at most
    splits: tuple[SplitRun, ...]
    first_rows: Table  # predictions for the first test rows
    weights: Table  # the first rows of ArviZ's table of the weights
    num_weights: int  # rows of the whole table of the weights
    provenance: Mapping[str, Any]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the task."""
        return metrics_of(self.task)

    @property
    def test_to_train(self) -> float:
        """Test rows divided by training rows; see ``scores.estimate``."""
        return self.test_rows / self.train_rows

    def scores(self, method: str, key: str) -> list[float]:
        """Return one score of a method in each split."""
        return [each.scores[method][key] for each in self.splits]
