"""The article's pictures and printed values, each with a caption."""

from __future__ import annotations

import numpy as np

from bayesian_layers.reporting import figures
from bayesian_layers.reporting.page import Gallery, Picture, Preformatted
from bayesian_layers.reporting.scores import number

from . import square_figures
from .article_results import HISTOGRAM_AT, SEPARATE_AT, ArticleRun
from .methods import DEFAULT, LABELS, RECIPE, TITLES, near_and_far
from .text import ratio

SIDE_BY_SIDE = (RECIPE, DEFAULT)


def data(run: ArticleRun) -> Gallery:
    """Draw the data, and the Keras network trained on them."""
    shown = run.keras
    sure = float(np.mean(np.abs(shown.mesh - 0.5) > 0.49))
    other_side = int(np.sum((run.x[:, 0] ** 2 < run.x[:, 1]) != (run.y == 1)))
    loss = figures.curves(
        {"loss": shown.history}, "Keras: loss", "epoch", "mean cross-entropy (nats per row)"
    )
    return Gallery((
        _picture("data", square_figures.scatter(run.x, run.y, "The data, coloured by label"),
                 "Scatter of the training rows, coloured by label, with the parabola",
                 f"The {len(run.y)} training rows, {int(run.y.sum())} with label 1. Because of the noise, "
                 f"{other_side} of them are on the wrong side of the parabola for their label."),
        _picture("keras_loss", loss, "Curve of the Keras network's loss over the epochs",
                 f"The loss falls from {number(shown.history[0], 3)} to {number(shown.history[-1], 3)} nats per row in "
                 f"{len(shown.history)} epochs."),
        _coloured(run, "keras", "Keras", shown.train),
        _picture("keras_map", square_figures.heat_map(shown.mesh, "Keras: probability of label 1", "P(label = 1)"),
                 "Heat map of the Keras network's probability over the square, with the parabola",
                 f"Keras predicts one probability per point. On {100 * sure:.0f} % of the square it is below 0.01 or "
                 "above 0.99, and nothing shows how sure the network is of that number."),
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
            f"the first of {len(shown.history)} steps to {number(end, 1)}, the mean of the last 50. It is noisy, "
            "because each value is an average over a few draws of the weights.",
        ))  # fmt: skip
    return Gallery(tuple(pictures))


def coloured(run: ArticleRun) -> Gallery:
    """Draw the data coloured by the mean prediction of both fits."""
    return Gallery(tuple(_coloured(run, each, TITLES[each], run.bayes[each].train) for each in SIDE_BY_SIDE))


def printed(run: ArticleRun) -> tuple[Preformatted, ...]:
    """Return the three separate predictions, and those of one call with three equal rows."""
    separate, together = [], []
    for method in SIDE_BY_SIDE:
        shown = run.bayes[method]
        separate.append(f"{LABELS[method] + ':':25}{'  '.join(f'{p:.6g}' for p in shown.separate)}")
        together.append(f"{LABELS[method] + ':':25}{'  '.join(f'{p:.17f}' for p in shown.together)}")
    differ = all(len(set(run.bayes[each].separate)) == 3 for each in SIDE_BY_SIDE)
    equal = all(len(set(run.bayes[each].together)) == 1 for each in SIDE_BY_SIDE)
    return (
        Preformatted(
            (
                f"P(label = 1) at {SEPARATE_AT}, three functions drawn from the posterior (seeds 0, 1, 2)",
                *separate,
            ),
            f"The three {'differ' if differ else 'do NOT all differ'}: each draw of the weights is a different "
            "network, and each network has its own prediction.",
        ),
        Preformatted(
            (
                f"P(label = 1) at {SEPARATE_AT}, this point three times in one call of one function (seed 0)",
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
            f"Predictions of {len(p)} draws at {HISTOGRAM_AT}, close to the parabola: mean "
            f"{number(float(np.mean(p)), 3)}, standard deviation {number(float(np.std(p)), 3)}; "
            f"{100 * np.mean(p > 0.5):.0f} % of them are above 0.5.",
        ))  # fmt: skip
    return Gallery(tuple(pictures))


def maps(run: ArticleRun) -> tuple[Gallery, Gallery]:
    """Draw mean and standard deviation over the square, for both fits."""
    largest = max(float(run.bayes[method].mesh_std.max()) for method in SIDE_BY_SIDE)
    means, stds, label = [], [], "standard deviation of P(label = 1)"
    for method in SIDE_BY_SIDE:
        shown = run.bayes[method]
        between = float(np.mean(np.abs(shown.mesh_mean - 0.5) <= 0.4))
        means.append(_picture(
            f"{method}_mean",
            square_figures.heat_map(shown.mesh_mean, f"{TITLES[method]}: mean", "mean of P(label = 1)"),
            f"Heat map of the mean prediction over the square, {LABELS[method]}",
            f"Mean of 1000 predictions. On {100 * between:.0f} % of the square it is between 0.1 and 0.9.",
        ))  # fmt: skip
        near, far = near_and_far(shown.mesh_std)
        stds.append(_picture(
            f"{method}_deviation",
            square_figures.heat_map(shown.mesh_std, f"{TITLES[method]}: standard deviation", label, largest),
            f"Heat map of the standard deviation of the predictions over the square, {LABELS[method]}",
            f"Standard deviation of 1000 predictions: {number(near, 3)} near the parabola, {number(far, 4)} far "
            f"from it, {ratio(near, far)} times as much near it. Both maps have the same colour scale.",
        ))  # fmt: skip
    return Gallery(tuple(means)), Gallery(tuple(stds))


def _coloured(run: ArticleRun, name: str, title: str, p: np.ndarray) -> Picture:
    predicted = (p > 0.5).astype(int)
    wrong = int(np.sum(predicted != run.y))
    figure = square_figures.scatter(run.x, predicted, f"{title}: the data, coloured by prediction")
    return _picture(
        f"{name}_data", figure, f"Scatter of the training rows, coloured by the prediction of {title}",
        f"The training rows, coloured by the prediction (label 1 above 0.5); {wrong} of {len(p)} are wrong.",
    )  # fmt: skip


def _picture(name: str, figure: figures.Figure, alt: str, caption: str) -> Picture:
    return Picture(name, figures.png(figure), alt, caption)
