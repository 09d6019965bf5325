"""Arrays to figures, and figures to PNG files.

Only matplotlib's object API is used: no window, no backend, no setting of the process changes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The article fixes blue and red for the labels; these two are told apart by the colour-blind as well.
LABEL_COLOURS = ("#2166ac", "#b2182b")
METHOD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito's
_PROBABILITY, _DEVIATION = "RdBu_r", "viridis"
_DPI = 130
_COLOURS = 256  # a palette makes a file a third as large, and no eye sees it
_T = np.linspace(-1.0, 1.0, 201)


def png(figure: Figure) -> bytes:
    """Draw a figure as a small PNG file."""
    image = require("PIL.Image", "matplotlib")
    raw, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=_DPI, facecolor="white")
    with image.open(raw) as drawn:
        # By coverage: the rare colours of a colour bar stay what they are.
        method, dither = image.Quantize.MAXCOVERAGE, image.Dither.NONE
        small = drawn.convert("RGB").quantize(_COLOURS, method=method, dither=dither)
    small.save(packed, format="png", optimize=True)
    return packed.getvalue()


def scatter(x: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Draw points of the square, coloured by label, with the parabola."""
    figure, axes = _square(title)
    for label, marker in ((0, "o"), (1, "s")):
        chosen = x[np.asarray(labels) == label]
        colour, name = LABEL_COLOURS[label], f"{label} ({len(chosen)} rows)"
        axes.scatter(*chosen.T, s=20, c=colour, marker=marker, label=name, linewidths=0)
    axes.plot(_T, _T**2, color="black", lw=1.3, label="x1 = x0²", zorder=0)
    _plane(axes, 1.03)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def heat_map(values: np.ndarray, title: str, label: str, largest: float | None = None) -> Figure:
    """Draw values on the article's mesh of the square as colours, with the parabola."""
    figure, axes = _square(title)
    size = round(np.size(values) ** 0.5)
    half = 1 / (size - 1)  # each value is the middle of its cell
    shown = axes.imshow(
        np.reshape(values, (size, size)),
        cmap=_PROBABILITY if largest is None else _DEVIATION,
        vmin=0.0,
        vmax=1.0 if largest is None else largest,
        extent=(-1 - half, 1 + half, -1 - half, 1 + half),
        origin="upper",
        interpolation="nearest",
    )
    effects = require("matplotlib.patheffects", "matplotlib")
    halo = [effects.withStroke(linewidth=3.0, foreground="white")]  # so that it shows on every colour
    axes.plot(_T, _T**2, color="black", lw=1.3, path_effects=halo)
    _plane(axes, 1 + half)
    figure.colorbar(shown, ax=axes, location="bottom", fraction=0.05, aspect=35, pad=0.02, label=label)
    return figure


def curves(values: Mapping[str, np.ndarray], title: str, xlabel: str, ylabel: str) -> Figure:
    """Draw one or more curves over steps or epochs."""
    figure, axes = _square(title)
    for (name, each), colour in zip(values.items(), METHOD_COLOURS, strict=False):
        axes.plot(np.arange(1, len(each) + 1), each, color=colour, lw=1.0, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    if len(values) > 1:
        axes.legend(frameon=False)
    return figure


def histogram(
    values: Mapping[str, np.ndarray], title: str, xlabel: str, span: tuple[float, float], counted: str
) -> Figure:
    """Draw how often values occur, one group on top of the other."""
    figure, axes = _square(title)
    groups = [np.asarray(each) for each in values.values()]
    colours = METHOD_COLOURS[: len(groups)]
    axes.hist(groups, bins=40, range=span, stacked=True, color=colours, label=list(values))
    axes.set(xlabel=xlabel, ylabel=f"number of {counted}", xlim=span)
    axes.grid(axis="y", alpha=0.3)
    if len(values) > 1:
        axes.legend(frameon=False)
    return figure


def reliability(answers: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, bins: int = 10) -> Figure:
    """Draw the share of right answers against the confidence."""
    figure, axes = _square(title)
    edges = np.linspace(0.0, 1.0, bins + 1)
    axes.plot([0, 1], [0, 1], color="0.4", ls="--", lw=1.0, label="calibrated")
    for (name, (confidence, right)), colour in zip(answers.items(), METHOD_COLOURS, strict=False):
        index = np.searchsorted(edges[1:-1], confidence, side="left")
        count = np.bincount(index, minlength=bins)
        full = count > 0
        center, share = (
            np.bincount(index, weights=each, minlength=bins)[full] / count[full]
            for each in (confidence, right)
        )
        axes.plot(center, share, color=colour, lw=1.5)
        # The area of a mark grows with the share of the rows that it stands for.
        axes.scatter(
            center, share, s=20 + 200 * count[full] / count.sum(), color=colour, alpha=0.7, label=name
        )
    lowest = min(float(np.min(confidence)) for confidence, _ in answers.values())
    axes.set(xlabel="confidence (probability of the predicted class)", ylabel="share of right answers")
    axes.set(xlim=(max(0.0, lowest - 0.05), 1.03), ylim=(-0.03, 1.05))
    axes.grid(alpha=0.3)
    _legend_below(figure, axes)
    return figure


def predicted_against_actual(
    y: np.ndarray, mean: np.ndarray, half_width: np.ndarray, title: str, unit: str, span: tuple[float, float]
) -> Figure:
    """Draw predictions with their intervals against what came."""
    figure, axes = _square(title)
    inside = np.abs(y - mean) <= half_width
    for chosen, colour, name in zip((inside, ~inside), METHOD_COLOURS, ("covered", "missed"), strict=False):
        axes.errorbar(
            y[chosen],
            mean[chosen],
            half_width[chosen],
            fmt="o",
            ms=3,
            lw=0.7,
            alpha=0.8,
            color=colour,
            label=f"{name} ({int(chosen.sum())} rows)",
        )
    axes.plot(span, span, color="0.4", ls="--", lw=1.0, label="equal")
    axes.set(xlabel=f"actual {unit}", ylabel=f"predicted {unit}", xlim=span, ylim=span)
    axes.grid(alpha=0.3)
    _legend_below(figure, axes)
    return figure


def coverage_curves(levels: np.ndarray, covered: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draw the share of targets inside intervals against the level of the intervals."""
    figure, axes = _square(title)
    axes.plot([0, 1], [0, 1], color="0.4", ls="--", lw=1.0, label="calibrated")
    for (name, share), colour, marker in zip(covered.items(), METHOD_COLOURS, "osD^", strict=False):
        axes.plot(levels, share, color=colour, lw=1.5, marker=marker, ms=4, label=name)
    axes.set(xlabel="level of the interval", ylabel="share of test rows inside it", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    _legend_below(figure, axes)
    return figure


def _square(title: str) -> tuple[Figure, Any]:
    figure = require("matplotlib.figure", "matplotlib").Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    axes.set_axisbelow(True)
    return figure, axes


def _plane(axes: Any, end: float) -> None:
    axes.set(xlabel="x0 (no unit)", ylabel="x1 (no unit)", xlim=(-end, end), ylim=(-end, end))
    axes.set(xticks=[-1, -0.5, 0, 0.5, 1], yticks=[-1, -0.5, 0, 0.5, 1], aspect="equal")


def _legend_below(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([40.0])  # not the size of some mark in the picture
