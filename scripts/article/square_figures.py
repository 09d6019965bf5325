"""Figures of the square [-1, 1]² with the parabola: points coloured by label, and heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesian_layers.lazy_imports import require
from bayesian_layers.reporting.figures import square_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The article uses blue and red for the labels; colour-blind readers can tell these two apart.
LABEL_COLOURS = ("#2166ac", "#b2182b")
_PROBABILITY_COLOURS, _STD_COLOURS = "RdBu_r", "viridis"
_T = np.linspace(-1.0, 1.0, 201)


def scatter(x: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Draw points of the square, coloured by label, with the parabola."""
    figure, axes = square_figure(title)
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
    figure, axes = square_figure(title)
    size = round(np.size(values) ** 0.5)
    half = 1 / (size - 1)  # each value is at the centre of its cell
    shown = axes.imshow(
        np.reshape(values, (size, size)),
        cmap=_PROBABILITY_COLOURS if largest is None else _STD_COLOURS,
        vmin=0.0,
        vmax=1.0 if largest is None else largest,
        extent=(-1 - half, 1 + half, -1 - half, 1 + half),
        origin="upper",
        interpolation="nearest",
    )
    effects = require("matplotlib.patheffects", "matplotlib", "report")
    halo = [effects.withStroke(linewidth=3.0, foreground="white")]  # visible on every colour
    axes.plot(_T, _T**2, color="black", lw=1.3, path_effects=halo)
    _plane(axes, 1 + half)
    figure.colorbar(shown, ax=axes, location="bottom", fraction=0.05, aspect=35, pad=0.02, label=label)
    return figure


def _plane(axes: Any, end: float) -> None:
    axes.set(xlabel="x0 (no unit)", ylabel="x1 (no unit)", xlim=(-end, end), ylim=(-end, end))
    axes.set(xticks=[-1, -0.5, 0, 0.5, 1], yticks=[-1, -0.5, 0, 0.5, 1], aspect="equal")
