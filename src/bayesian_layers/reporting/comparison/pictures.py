"""Pictures of a comparison, from its first split, each with a sentence that says what to see."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from .. import figures
from ..page import Gallery, Picture
from ..scores import number
from .results import KERAS, LABELS, LEVEL, OURS, Answer, ComparisonRun, SplitRun

_LEVELS = np.linspace(0.05, 0.95, 19)


def losses(run: ComparisonRun) -> Gallery:
    """Draw the objective of the fit and the loss of Keras."""
    first = run.splits[0]
    names = {"loss": "training rows", "val_loss": "validation rows"}
    curves = {names[key]: each for key, each in first.keras_history.items()}
    kind = "mean squared error" if run.task == "regression" else "mean cross-entropy"
    unit = "standardized" if run.task == "regression" else "nats a row"
    epochs, steps = len(first.keras_history["loss"]), len(first.history)
    best = int(np.argmin(first.keras_history.get("val_loss", first.keras_history["loss"]))) + 1
    ours = figures.curves(
        {"objective": first.history},
        f"{LABELS[OURS]}: objective",
        "step",
        f"nats, all {run.train_rows} training rows",
    )
    theirs = figures.curves(curves, "Keras: loss", "epoch", f"{kind} ({unit})")
    return Gallery((
        _picture("objective", ours, "Curve of the objective of the fit over the steps",
                 f"The negative ELBO, noisy, over {steps} steps: from {number(first.history[0], 1)} to "
                 f"{number(float(np.mean(first.history[-50:])), 1)} nats (mean of the last 50)."),
        _picture("keras_loss", theirs, "Curves of the loss of the Keras network over the epochs",
                 f"Keras ran {epochs} of at most {run.keras_epochs} epochs; the weights are those of epoch {best}, "
                 "where the loss on the validation rows was lowest."),
    ))  # fmt: skip


def answers(run: ComparisonRun) -> Gallery:
    """Draw how good the answers are."""
    first = run.splits[0]
    if run.task == "regression":
        both = tuple(_predicted(run, first, method) for method in (OURS, KERAS))
        return Gallery((*both, _coverage(first), _deviations(run, first)))
    return Gallery((_reliability(first), _deviations(run, first)))


def likeliest(answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """Find the predicted class and its probability."""
    p = answer.mean if answer.mean.ndim == 2 else np.stack([1 - answer.mean, answer.mean], axis=1)
    return p.argmax(axis=1), p.max(axis=1)


def _reliability(first: SplitRun) -> Picture:
    drawn, said = {}, []
    for method in (OURS, KERAS):
        label, confidence = likeliest(first.answers[method])
        right = label == first.y
        drawn[LABELS[method]] = (confidence, right.astype(float))
        said.append(
            f"{LABELS[method]}: {number(float(confidence.mean()), 3)} and {number(float(right.mean()), 3)}"
        )
    return _picture(
        "reliability",
        figures.reliability(drawn, "Confidence and share of right answers"),
        "Share of right answers against the confidence, for both methods",
        f"Below the dashed line a method claims more than it keeps. Mean confidence and share of right answers "
        f"on the {len(first.y)} test rows: {'; '.join(said)}. Large marks stand for many rows, small ones for few.",
    )


def _predicted(run: ComparisonRun, first: SplitRun, method: str) -> Picture:
    answer = first.answers[method]
    half = NormalDist().inv_cdf(0.5 + LEVEL / 2) * np.asarray(answer.std)
    ends = [first.y, *(each.mean for each in first.answers.values())]
    low, high = (float(f([f(each) for each in ends])) for f in (np.min, np.max))
    margin = 0.05 * (high - low)
    inside = float(np.mean(np.abs(first.y - answer.mean) <= half))
    figure = figures.predicted_against_actual(
        first.y,
        answer.mean,
        half,
        f"{LABELS[method]}: predicted and actual",
        run.target,
        (low - margin, high + margin),
    )
    widths = "one width for all rows" if np.ptp(half) == 0 else (
        f"half-widths from {number(float(half.min()), 2)} to {number(float(half.max()), 2)}"
    )  # fmt: skip
    return _picture(
        f"predicted_{method}",
        figure,
        f"Predictions with their intervals against what came, {LABELS[method]}",
        f"{100 * LEVEL:.0f} % intervals ({widths}) cover {100 * inside:.0f} % of the test rows.",
    )


def _coverage(first: SplitRun) -> Picture:
    drawn = {
        LABELS[method]: np.array([_covered(first.y, first.answers[method], level) for level in _LEVELS])
        for method in (OURS, KERAS)
    }
    off = "; ".join(
        f"{name}: {number(float(np.abs(each - _LEVELS).mean()), 3)}" for name, each in drawn.items()
    )
    return _picture(
        "coverage",
        figures.coverage_curves(_LEVELS, drawn, "Coverage of the intervals"),
        "Share of the test rows inside the intervals against the level of the intervals, for both methods",
        f"On the dashed line intervals are as wide as they should be; below it too narrow, above it too wide. Mean "
        f"distance from the line: {off}.",
    )


def _covered(y: np.ndarray, answer: Answer, level: float) -> float:
    half = NormalDist().inv_cdf(0.5 + level / 2) * np.asarray(answer.std)
    return float(np.mean(np.abs(y - answer.mean) <= half))


def _deviations(run: ComparisonRun, first: SplitRun) -> Picture:
    answer = first.answers[OURS]
    deviation = np.asarray(answer.epistemic_std)
    if run.task == "regression":
        groups, xlabel = {"test rows": deviation}, f"deviation of the mean of {run.target}"
        said = f"Its median is {number(float(np.median(deviation)), 3)}, the total deviation's {_median(answer.std)}."
    else:
        label, _ = likeliest(answer)
        if deviation.ndim == 2:
            deviation = deviation[np.arange(len(label)), label]
        right = label == first.y
        groups = {"right answers": deviation[right], "wrong answers": deviation[~right]}
        xlabel = "deviation of the probability of the predicted class"
        means = "; ".join(f"{name}: {_mean(each)} ({len(each)} rows)" for name, each in groups.items())
        said = f"Means: {means}."
    span = (0.0, 1.02 * max(float(deviation.max()), 1e-6))
    return _picture(
        "deviations",
        figures.histogram(groups, f"{LABELS[OURS]}: what it does not know", xlabel, span, "test rows"),
        "Histogram of the deviation of the predictions over the draws of the weights",
        f"The deviation over 1000 draws of the weights, which more data would make smaller. {said}",
    )


def _mean(values: np.ndarray) -> str:
    return number(float(values.mean()), 3) if len(values) else "none"


def _median(values: np.ndarray | None) -> str:
    return number(float(np.median(np.asarray(values))), 3)


def _picture(name: str, figure: figures.Figure, alt: str, caption: str) -> Picture:
    return Picture(name, figures.png(figure), alt, caption)
