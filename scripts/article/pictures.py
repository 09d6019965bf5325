"""The article's eleven pictures and printed values, each with a sentence that says what to see."""

from __future__ import annotations

import numpy as np

from bayesian_layers.reporting import figures
from bayesian_layers.reporting.page import Gallery, Picture, Printed
from bayesian_layers.reporting.scores import number

from .methods import DEFAULT, LABELS, RECIPE, TITLES, near_and_far
from .results import HISTOGRAM_AT, SEPARATE_AT, ArticleRun
from .words import ratio

SIDE_BY_SIDE = (RECIPE, DEFAULT)


def data(run: ArticleRun) -> Gallery:
    """Draw the data, and what Keras makes of them."""
    shown = run.keras
    sure = float(np.mean(np.abs(shown.mesh - 0.5) > 0.49))
    other_side = int(np.sum((run.x[:, 0] ** 2 < run.x[:, 1]) != (run.y == 1)))
    loss = figures.curves({"loss": shown.history}, "Keras: loss", "epoch", "mean cross-entropy (nats a row)")
    return Gallery((
        _picture("data", figures.scatter(run.x, run.y, "The data, coloured by label"),
                 "Scatter of the training rows, coloured by label, with the parabola",
                 f"The {len(run.y)} training rows, {int(run.y.sum())} with label 1. Noise has put {other_side} of "
                 "them on the other side of the parabola than their label says."),
        _picture("keras_loss", loss, "Curve of the Keras network's loss over the epochs",
                 f"The loss falls from {number(shown.history[0], 3)} to {number(shown.history[-1], 3)} nats a row in "
                 f"{len(shown.history)} epochs."),
        _coloured(run, "keras", "Keras", shown.train),
        _picture("keras_map", figures.heat_map(shown.mesh, "Keras: probability of label 1", "P(label = 1)"),
                 "Heat map of the Keras network's probability over the square, with the parabola",
                 f"One probability a point. On {100 * sure:.0f} % of the square it is below 0.01 or above 0.99, and "
                 "nothing says how sure the network is of that number."),
    ))  # fmt: skip


def losses(run: ArticleRun) -> Gallery:
    """Draw the objective of both fits."""
    pictures = []
    for method in SIDE_BY_SIDE:
        shown = run.bayes[method]
        kind = "tempered objective" if shown.tempered else "objective (negative ELBO)"
        figure = figures.curves(
            {kind: shown.history}, f"{TITLES[method]}: {kind}", "step", "nats, all 200 rows"
        )
        end = float(np.mean(shown.history[-50:]))
        pictures.append(_picture(
            f"{method}_loss", figure, f"Curve of the objective over the steps, {LABELS[method]}",
            f"The objective in nats of the whole data set ({shown.tempering}): from {number(shown.history[0], 1)} at "
            f"the first of {len(shown.history)} steps to {number(end, 1)}, the mean of the last 50. It is noisy, being "
            "an average over a few draws of the weights.",
        ))  # fmt: skip
    return Gallery(tuple(pictures))


def coloured(run: ArticleRun) -> Gallery:
    """Draw the data coloured by the mean prediction of both fits."""
    return Gallery(tuple(_coloured(run, each, TITLES[each], run.bayes[each].train) for each in SIDE_BY_SIDE))


def printed(run: ArticleRun) -> tuple[Printed, ...]:
    """Print the three separate predictions and the one call with three rows."""
    separate, together = [], []
    for method in SIDE_BY_SIDE:
        shown = run.bayes[method]
        separate.append(f"{LABELS[method] + ':':25}{'  '.join(f'{p:.6g}' for p in shown.separate)}")
        together.append(f"{LABELS[method] + ':':25}{'  '.join(f'{p:.17f}' for p in shown.together)}")
    differ = all(len(set(run.bayes[each].separate)) == 3 for each in SIDE_BY_SIDE)
    equal = all(len(set(run.bayes[each].together)) == 1 for each in SIDE_BY_SIDE)
    return (
        Printed(
            (
                f"P(label = 1) at {SEPARATE_AT}, three functions drawn from the posterior (seeds 0, 1, 2)",
                *separate,
            ),
            f"The three {'differ' if differ else 'do NOT all differ'}: each draw of the weights is another network, "
            "and each network has its own answer.",
        ),
        Printed(
            (
                f"P(label = 1) at {SEPARATE_AT}, that row three times in one call of one function (seed 0)",
                *together,
            ),
            f"The three are {'equal to the last digit' if equal else 'NOT equal'}: one draw is one function, and all "
            "rows of a call see the same weights.",
        ),
    )


def histograms(run: ArticleRun) -> Gallery:
    """Draw a thousand predictions at one point, for both fits."""
    pictures = []
    for method in SIDE_BY_SIDE:
        p = run.bayes[method].point
        figure = figures.histogram(
            {"draws": p},
            f"{TITLES[method]}: {len(p)} predictions at {HISTOGRAM_AT}",
            "P(label = 1)",
            (0, 1),
            "draws",
        )
        pictures.append(_picture(
            f"{method}_histogram", figure, f"Histogram of {len(p)} predictions at one point, {LABELS[method]}",
            f"{len(p)} draws answer at {HISTOGRAM_AT}, which is close to the boundary: mean "
            f"{number(float(np.mean(p)), 3)}, deviation {number(float(np.std(p)), 3)}; "
            f"{100 * np.mean(p > 0.5):.0f} % of them say label 1.",
        ))  # fmt: skip
    return Gallery(tuple(pictures))


def maps(run: ArticleRun) -> tuple[Gallery, Gallery]:
    """Draw mean and deviation over the square, for both fits."""
    largest = max(float(run.bayes[method].mesh_std.max()) for method in SIDE_BY_SIDE)
    means, deviations = [], []
    for method in SIDE_BY_SIDE:
        shown = run.bayes[method]
        between = float(np.mean(np.abs(shown.mesh_mean - 0.5) <= 0.4))
        means.append(_picture(
            f"{method}_mean",
            figures.heat_map(shown.mesh_mean, f"{TITLES[method]}: mean", "mean of P(label = 1)"),
            f"Heat map of the mean prediction over the square, {LABELS[method]}",
            f"Mean of 1000 predictions. {100 * between:.0f} % of the square lies between 0.1 and 0.9.",
        ))  # fmt: skip
        near, far = near_and_far(shown.mesh_std)
        deviations.append(_picture(
            f"{method}_deviation",
            figures.heat_map(shown.mesh_std, f"{TITLES[method]}: deviation", "deviation of P(label = 1)", largest),
            f"Heat map of the deviation of the predictions over the square, {LABELS[method]}",
            f"Standard deviation of 1000 predictions: {number(near, 3)} near the parabola, {number(far, 4)} far "
            f"from it, {ratio(near, far)} times as much. Both maps have the same colour scale.",
        ))  # fmt: skip
    return Gallery(tuple(means)), Gallery(tuple(deviations))


def _coloured(run: ArticleRun, name: str, title: str, p: np.ndarray) -> Picture:
    predicted = (p > 0.5).astype(int)
    wrong = int(np.sum(predicted != run.y))
    figure = figures.scatter(run.x, predicted, f"{title}: the data, coloured by prediction")
    return _picture(
        f"{name}_data", figure, f"Scatter of the training rows, coloured by the prediction of {title}",
        f"The training rows, coloured by the prediction cut at 0.5: {wrong} of {len(p)} have another colour than "
        "their label.",
    )  # fmt: skip


def _picture(name: str, figure: figures.Figure, alt: str, caption: str) -> Picture:
    return Picture(name, figures.png(figure), alt, caption)
