"""Draws figures from arrays, and PNG files from figures.

Only matplotlib's object API is used: no window opens, and no backend or setting of the process changes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..lazy_imports import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
METHOD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_DPI = 130
_COLOURS = 256  # a palette makes the file a third as large, without a visible difference


def png(figure: Figure) -> bytes:
    """Return a figure as a small PNG file."""
    image = require("PIL.Image", "matplotlib", "report")
    raw, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=_DPI, facecolor="white")
    with image.open(raw) as drawn:
        # Maximum coverage keeps the rare colours of a colour bar.
        method, dither = image.Quantize.MAXCOVERAGE, image.Dither.NONE
        small = drawn.convert("RGB").quantize(_COLOURS, method=method, dither=dither)
    small.save(packed, format="png", optimize=True)
    return packed.getvalue()


def curves(values: Mapping[str, np.ndarray], title: str, xlabel: str, ylabel: str) -> Figure:
    """Draw one or more curves over steps or epochs."""
    figure, axes = _figure(title, xlabel=xlabel, ylabel=ylabel)
    for (name, each), colour in zip(values.items(), METHOD_COLOURS, strict=False):
        axes.plot(np.arange(1, len(each) + 1), each, color=colour, lw=1.0, label=name)
    if len(values) > 1:
        axes.legend(frameon=False)
    return figure


def histogram(
    values: Mapping[str, np.ndarray], title: str, xlabel: str, span: tuple[float, float], counted: str
) -> Figure:
    """Draw a histogram of one or more groups, stacked."""
    figure, axes = _figure(title, "y", xlabel=xlabel, ylabel=f"number of {counted}", xlim=span)
    groups = [np.asarray(each) for each in values.values()]
    colours = METHOD_COLOURS[: len(groups)]
    axes.hist(groups, bins=40, range=span, stacked=True, color=colours, label=list(values))
    if len(values) > 1:
        axes.legend(frameon=False)
    return figure


def reliability(
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, bins: int = 10
) -> Figure:
    """Draw the share of correct predictions against the confidence."""
    labels = ("confidence (probability of the predicted class)", "share of correct predictions")
    lowest = min(float(np.min(confidence)) for confidence, _ in predictions.values())
    limits: dict[str, Any] = {"xlim": (max(0.0, lowest - 0.05), 1.03), "ylim": (-0.03, 1.05)}
    figure, axes = _figure(title, xlabel=labels[0], ylabel=labels[1], **limits)
    edges = np.linspace(0.0, 1.0, bins + 1)
    _diagonal(axes, (0, 1), "calibrated")
    for (name, (confidence, right)), colour in zip(predictions.items(), METHOD_COLOURS, strict=False):
        index = np.searchsorted(edges[1:-1], confidence, side="left")
        count = np.bincount(index, minlength=bins)
        full = count > 0
        sums = [np.bincount(index, weights=each, minlength=bins) for each in (confidence, right)]
        center, share = (each[full] / count[full] for each in sums)
        axes.plot(center, share, color=colour, lw=1.5)
        area = (
            20 + 200 * count[full] / count.sum()
        )  # grows with the share of the rows that a marker represents
        axes.scatter(center, share, s=area, color=colour, alpha=0.7, label=name)
    _legend_below(figure, axes)
    return figure


def predicted_against_actual(
    y: np.ndarray, mean: np.ndarray, half_width: np.ndarray, title: str, unit: str, span: tuple[float, float]
) -> Figure:
    """Draw predictions with their intervals against the actual values."""
    figure, axes = _figure(title, xlabel=f"actual {unit}", ylabel=f"predicted {unit}", xlim=span, ylim=span)
    look = {"fmt": "o", "ms": 3, "lw": 0.7, "alpha": 0.8}
    inside = np.abs(y - mean) <= half_width
    for chosen, colour, name in zip((inside, ~inside), METHOD_COLOURS, ("inside", "outside"), strict=False):
        label = f"{name} ({int(chosen.sum())} rows)"
        axes.errorbar(y[chosen], mean[chosen], half_width[chosen], color=colour, label=label, **look)
    _diagonal(axes, span, "predicted = actual")
    _legend_below(figure, axes)
    return figure


def coverage_curves(levels: np.ndarray, covered: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draw the share of targets inside intervals against the level of the intervals."""
    labels = ("level of the interval", "share of test rows inside it")
    figure, axes = _figure(title, xlabel=labels[0], ylabel=labels[1], xlim=(0, 1), ylim=(0, 1))
    _diagonal(axes, (0, 1), "calibrated")
    for (name, share), colour, marker in zip(covered.items(), METHOD_COLOURS, "osD^", strict=False):
        axes.plot(levels, share, color=colour, lw=1.5, marker=marker, ms=4, label=name)
    _legend_below(figure, axes)
    return figure


def square_figure(title: str) -> tuple[Figure, Any]:
    """Make a figure of the pages' usual size, with its axes."""
    figure = require("matplotlib.figure", "matplotlib", "report").Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_axisbelow(True)
    return figure, axes


def _figure(title: str, grid: str = "both", **settings: Any) -> tuple[Figure, Any]:
    figure, axes = square_figure(title)
    axes.set(**settings)
    axes.grid(axis=grid, alpha=0.3)
    return figure, axes


def _diagonal(axes: Any, span: tuple[float, float], label: str) -> None:
    axes.plot(span, span, color="0.4", ls="--", lw=1.0, label=label)


def _legend_below(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([40.0])  # independent of the markers in the figure
