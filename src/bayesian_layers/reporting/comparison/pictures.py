"""Pictures of a comparison, from its first split, each with a caption."""

from __future__ import annotations

import numpy as np

from .. import figures
from ..page import Gallery, Picture
from ..scores import number
from .comparison_results import KERAS, LABELS, LEVEL, OURS, ComparisonRun, MethodPrediction, SplitRun

_LEVELS = np.linspace(0.05, 0.95, 19)


def losses(run: ComparisonRun) -> Gallery:
    """Draw the objective of the fit and the loss of Keras."""
    first = run.splits[0]
    names = {"loss": "training rows", "val_loss": "validation rows"}
    curves = {names[key]: each for key, each in first.keras_history.items()}
    kind = "mean squared error" if run.task == "regression" else "mean cross-entropy"
    unit = "standardized" if run.task == "regression" else "nats per row"
    epochs, steps = len(first.keras_history["loss"]), len(first.history)
    best = int(np.argmin(first.keras_history.get("val_loss", first.keras_history["loss"]))) + 1
    objective, nats = {"objective": first.history}, f"nats, all {run.train_rows} training rows"
    ours = figures.curves(objective, f"{LABELS[OURS]}: objective", "step", nats)
    theirs = figures.curves(curves, "Keras: loss", "epoch", f"{kind} ({unit})")
    return Gallery((
        _picture("objective", ours, "Curve of the objective of the fit over the steps",
                 f"The objective (a noisy estimate of the negative ELBO) falls from {number(first.history[0], 1)} to "
                 f"{number(float(np.mean(first.history[-50:])), 1)} nats (mean of the last 50) in {steps} steps."),
        _picture("keras_loss", theirs, "Curves of the loss of the Keras network over the epochs",
                 f"Keras trained for {epochs} of at most {run.keras_epochs} epochs; the weights are those of epoch "
                 f"{best}, where the loss on the validation rows was lowest."),
    ))  # fmt: skip


def predictions(run: ComparisonRun) -> Gallery:
    """Draw how good the predictions are."""
    first = run.splits[0]
    if run.task == "regression":
        both = tuple(_predicted(run, first, method) for method in (OURS, KERAS))
        return Gallery((*both, _coverage(first), _epistemic(run, first)))
    return Gallery((_reliability(first), _epistemic(run, first)))


def most_probable(prediction: MethodPrediction) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted class and its probability for each row."""
    p = prediction.mean
    if p.ndim == 1:
        p = np.stack([1 - p, p], axis=1)
    return p.argmax(axis=1), p.max(axis=1)


def _reliability(first: SplitRun) -> Picture:
    drawn, means = {}, []
    for method, name in LABELS.items():
        label, confidence = most_probable(first.predictions[method])
        right = label == first.y
        drawn[name] = (confidence, right.astype(float))
        means.append(f"{name} {_mean(confidence)} and {_mean(right)}")
    return _picture(
        "reliability",
        figures.reliability(drawn, "Confidence and share of correct predictions"),
        "Share of correct predictions against the confidence, for both methods",
        "Below the dashed line a method is overconfident. Mean confidence and share of correct predictions on the "
        f"{len(first.y)} test rows: {'; '.join(means)}. The larger a marker, the more rows it represents.",
    )


def _predicted(run: ComparisonRun, first: SplitRun, method: str) -> Picture:
    prediction = first.predictions[method]
    half = prediction.half_width(LEVEL)
    ends = [first.y, *(each.mean for each in first.predictions.values())]
    low, high = (float(f([f(each) for each in ends])) for f in (np.min, np.max))
    margin = 0.05 * (high - low)
    title, span = f"{LABELS[method]}: predicted and actual", (low - margin, high + margin)
    figure = figures.predicted_against_actual(first.y, prediction.mean, half, title, run.target, span)
    widths = "the same width for all rows"
    if np.ptp(half) > 0:
        widths = f"half-widths from {number(float(half.min()), 2)} to {number(float(half.max()), 2)}"
    return _picture(
        f"predicted_{method}",
        figure,
        f"Predictions of {LABELS[method]} with their intervals against the actual values",
        f"{100 * LEVEL:.0f} % intervals ({widths}) contain {100 * _covered(first, method, LEVEL):.0f} % of the actual "
        "values of the test rows.",
    )


def _coverage(first: SplitRun) -> Picture:
    drawn = {
        name: np.array([_covered(first, method, level) for level in _LEVELS])
        for method, name in LABELS.items()
    }
    distances = "; ".join(f"{name} {_mean(np.abs(each - _LEVELS))}" for name, each in drawn.items())
    return _picture(
        "coverage",
        figures.coverage_curves(_LEVELS, drawn, "Coverage of the intervals"),
        "Share of the test rows inside the intervals against the level of the intervals, for both methods",
        "On the dashed line the intervals have the right width; below it they are too narrow, above it too wide. Mean "
        f"distance from the line: {distances}.",
    )


def _covered(first: SplitRun, method: str, level: float) -> float:
    prediction = first.predictions[method]
    return float(np.mean(np.abs(first.y - prediction.mean) <= prediction.half_width(level)))


def _epistemic(run: ComparisonRun, first: SplitRun) -> Picture:
    prediction = first.predictions[OURS]
    std = np.asarray(prediction.epistemic_std)
    if run.task == "regression":
        groups, xlabel = {"test rows": std}, f"standard deviation of the mean of {run.target}"
        median, total = (number(float(np.median(each)), 3) for each in (std, np.asarray(prediction.std)))
        sizes = f"Its median is {median}; the median of the total standard deviation is {total}."
    else:
        label, _ = most_probable(prediction)
        if std.ndim == 2:
            std = std[np.arange(len(label)), label]
        right = label == first.y
        groups = {"correct predictions": std[right], "wrong predictions": std[~right]}
        xlabel = "standard deviation of the probability of the predicted class"
        means = "; ".join(f"{name} {_mean(each)} ({len(each)} rows)" for name, each in groups.items())
        sizes = f"Means: {means}."
    span = (0.0, 1.02 * max(float(std.max()), 1e-6))
    return _picture(
        "deviations",
        figures.histogram(groups, f"{LABELS[OURS]}: epistemic uncertainty", xlabel, span, "test rows"),
        "Histogram of the standard deviation of the predictions over the draws of the weights",
        f"Standard deviation over 1000 draws of the weights; more data would make it smaller. {sizes}",
    )


def _mean(values: np.ndarray) -> str:
    return number(float(values.mean()), 3) if len(values) else "none"


def _picture(name: str, figure: figures.Figure, alt: str, caption: str) -> Picture:
    return Picture(name, figures.png(figure), alt, caption)
