"""What a comparison on a table gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """List the metrics of a task."""
    return _REGRESSION if task == "regression" else _CLASSES


@dataclass(frozen=True)
class Answer:
    """What one method says about the test rows of a split.

    Attributes:
        mean: P(second class), ``(N,)``; probabilities of the classes, ``(N, K)``; or means in the units of the
            target, ``(N,)``.
        std: Regression: the predictive deviation, ``(N,)``; else ``None``.
        epistemic_std: Deviation of ``mean`` over the draws, of its shape; ``None`` for Keras.
    """

    mean: np.ndarray
    std: np.ndarray | None = None
    epistemic_std: np.ndarray | None = None


@dataclass(frozen=True)
class SplitRun:
    """Both methods on one split.

    Attributes:
        seed: Of the split.
        y: What came: labels 0..K-1, or numbers in the units of the target, ``(N,)``.
        answers: By method.
        scores: By method and metric.
        seconds: Of the training, by method.
        history: The objective of the fit, nats of all training rows, one value a step.
        keras_history: ``"loss"`` and ``"val_loss"``, one value an epoch.
        elbo: In nats of all training rows.
        elbo_stderr: Its Monte Carlo standard error.
        warnings: What the fit warned of.
    """

    seed: int
    y: np.ndarray
    answers: Mapping[str, Answer]
    scores: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, float]
    history: np.ndarray
    keras_history: Mapping[str, np.ndarray]
    elbo: float
    elbo_stderr: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """A small table of text, made from a data frame.

    Attributes:
        header: Names of the columns.
        rows: Cells.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ComparisonRun:
    """Both methods on all splits of a table.

    Attributes:
        name: Of the table.
        target: Name of the target column.
        task: What the target is.
        task_line: The same with the reason.
        classes: Names of the classes; none for regression.
        train_rows: Rows of a training part.
        test_rows: Rows of a test part.
        inputs: Number of inputs of the networks.
        hidden: Units of each hidden layer.
        prior_scale: Standard deviation of the prior.
        keras_epochs: The most epochs of Keras.
        splits: The runs; the pictures are those of the first.
        first_rows: Predictions for the first test rows of the first split.
        weights: The first rows of ArviZ's table of the weights, first split.
        num_weights: Rows that it has in all.
        provenance: Where the numbers come from.
    """

    name: str
    target: str
    task: str
    task_line: str
    classes: tuple[str, ...]
    train_rows: int
    test_rows: int
    inputs: int
    hidden: tuple[int, ...]
    prior_scale: float
    keras_epochs: int
    splits: tuple[SplitRun, ...]
    first_rows: Rows
    weights: Rows
    num_weights: int
    provenance: Mapping[str, Any]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the task."""
        return metrics_of(self.task)

    @property
    def overlap(self) -> float:
        """Rows of a test part over those of a training part; see ``scores.estimate``."""
        return self.test_rows / self.train_rows

    def scores(self, method: str, key: str) -> list[float]:
        """Gather a score."""
        return [each.scores[method][key] for each in self.splits]
