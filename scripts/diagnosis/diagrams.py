"""Diagrams of the tables of ``bl.metrics``, ``bl.Posterior`` and ``bl.calibrate``.

Colour-blind readers can tell the colours apart, and no information is in the colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesian_layers.calibration import CalibrationResult
from bayesian_layers.lazy_imports import require
from bayesian_layers.metrics import CoverageCurve, PitHistogram, PredictiveCheck, Reliability, pit_histogram
from bayesian_layers.posterior import Posterior
from bayesian_layers.posterior.marginals import marginals
from bayesian_layers.reporting.figures import METHOD_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN = METHOD_COLOURS[:3]
_BAND = "0.85"
_WIDTH = 3.4  # inches of one panel of several
_DOTS = 2000  # entries of a site that are drawn at most; more would overlap


def reliability_diagram(table: Reliability, title: str, event: str = "the predicted class") -> Figure:
    """Draw how often an event happened against its probability, and the number of rows in each bin."""
    figure = _figure(5.0, 5.8)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    full = table.count > 0
    x, y = table.confidence[full], table.frequency[full]
    axes.plot([0, 1], [0, 1], color="0.4", ls="--", lw=1.0, label="calibrated")
    bars = np.abs(np.stack([y - table.lower[full], table.upper[full] - y]))
    name = f"observed, with {100 * table.level:.0f} % intervals"
    axes.errorbar(x, y, bars, fmt="o", color=_BLUE, ms=5, lw=1.2, capsize=3, label=name)
    axes.set(
        title=f"{title}\n{table.verdict()} (p = {table.p_value:.2g})", ylabel=f"share of rows with {event}"
    )
    axes.set(ylim=(-0.03, 1.03))
    axes.legend(frameon=False, loc="lower right")
    below.bar(
        table.edges[:-1], table.count, np.diff(table.edges), align="edge", color=_BLUE, edgecolor="white"
    )
    left = max(0.0, table.edges[:-1][full].min() - 0.02)
    below.set(xlabel=f"probability of {event}", ylabel="rows", xlim=(left, 1.02))
    return _grid(figure)


def coverage_diagram(curves: Mapping[str, CoverageCurve], title: str, level: float = 0.95) -> Figure:
    """Draw the share of targets inside central intervals against their level, with the band of calibrated ones."""
    figure = _figure(5.0, 5.4)
    axes = figure.subplots()
    fewest = min(curves.values(), key=lambda each: each.count)
    half, ends = fewest.band(level), np.array([0.0, 1.0])
    name = f"{100 * level:.0f} % band, {fewest.count} rows"
    axes.fill_between(ends, ends - half, ends + half, color=_BAND, lw=0, label=name)
    axes.plot(ends, ends, color="0.4", ls="--", lw=1.0, label="calibrated")
    for (name, curve), colour, marker in zip(curves.items(), METHOD_COLOURS, "osD^", strict=False):
        text = f"{name}: {curve.verdict()}"
        axes.errorbar(
            curve.levels, curve.shares, curve.stderr, color=colour, marker=marker, ms=4, lw=1.3, label=text
        )
    axes.set(
        title=title,
        xlabel="level of the interval",
        ylabel="share of targets inside",
        xlim=(0, 1),
        ylim=(-0.02, 1.02),
    )
    figure.legend(loc="outside lower center", frameon=False, fontsize=9)
    return _grid(figure)


def pit_diagram(tables: Mapping[str, PitHistogram], title: str) -> Figure:
    """Draw histograms of probability integral transforms, with the band of calibrated predictions."""
    figure, panels = _panels(len(tables), title)
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        _pit_panel(axes, table, name)
        axes.set(xlabel="P(Y ≤ y)", ylabel="rows in the bin")
    _pit_legend(figure, next(iter(tables.values())).level)
    return _grid(figure)


def check_diagram(check: PredictiveCheck, title: str, unit: str = "") -> Figure:
    """Draw the statistics of data drawn from the model, and those of the real data."""
    figure, panels = _panels(len(check.names), title)
    parts = zip(panels, check.names, check.observed, check.replicated.T, check.tail_probability, strict=True)
    for axes, name, observed, drawn, tail in parts:
        axes.hist(drawn, bins=40, color=_BLUE, alpha=0.75, label="drawn from the model")
        axes.axvline(observed, color=_ORANGE, lw=2.0, ls="--", label="the data")
        axes.set(
            title=f"P(drawn > observed) = {tail:.3f}", xlabel=f"{name} {unit}".strip(), ylabel="data sets"
        )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return _grid(figure)


def weight_diagram(posterior: Posterior, title: str, num_draws: int = 1000, seed: int = 0) -> Figure:
    """Draw the mean and standard deviation of each weight, in prior standard deviations."""
    found = marginals(posterior.model, posterior.source, num_draws, seed)
    figure, panels = _panels(len(found), title)
    for axes, (name, each) in zip(panels, found.items(), strict=True):
        parts = (each.mean / each.prior_std, each.std / each.prior_std, each.signal_to_noise, each.kl)
        mean, std, ratio, kl = (part.cpu().numpy().reshape(-1) for part in parts)
        chosen = np.unique(np.linspace(0, len(mean) - 1, min(_DOTS, len(mean))).astype(int))
        reach = 1.1 * max(1.0, float(np.abs(mean).max()))
        high = 1.15 * max(1.0, float(std.max()))
        axes.fill([-high, 0, high], [high, 0, high], color=_BAND, lw=0)
        axes.scatter(mean[chosen], std[chosen], s=22, color=_BLUE, alpha=0.6, linewidths=0)
        axes.plot(0, 1, marker="x", ms=10, mew=2.5, color=_ORANGE, ls="none")
        axes.set(xlim=(-reach, reach), ylim=(0.0, high))
        share = 100 * float(np.mean(ratio > 1))
        axes.set_title(
            f"{name}: {len(mean)} entries\nSNR > 1: {share:.0f} %, KL {kl.sum():.1f} nats", fontsize=9
        )
        axes.set(xlabel="mean / prior std", ylabel="std / prior std")
    dots, cross, shade = _weight_legend()
    figure.legend(
        handles=[dots, cross, shade], loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    return _grid(figure)


def signal_diagram(posterior: Posterior, title: str, num_draws: int = 1000, seed: int = 0) -> Figure:
    """Draw the histogram of signal-to-noise ratios of each site, in decibels."""
    found = posterior.signal_to_noise(num_draws, seed)
    figure, panels = _panels(len(found), title)
    decibels = {name: 20 * np.log10(each.cpu().numpy().reshape(-1) + 1e-6) for name, each in found.items()}
    low = max(-60.0, min(float(each.min()) for each in decibels.values()))
    high = max(20.0, max(float(each.max()) for each in decibels.values()))
    locator = require("matplotlib.ticker", "matplotlib", "report").MaxNLocator
    for axes, (name, values) in zip(panels, decibels.items(), strict=True):
        axes.hist(np.clip(values, low, high), bins=25, range=(low, high), color=_BLUE)
        axes.axvline(0.0, color=_ORANGE, lw=2.0, ls="--")
        axes.set_title(f"{name}: {100 * np.mean(values > 0):.0f} % above 1", fontsize=9)
        axes.set(xlabel="signal-to-noise (dB; 0 dB is 1)", ylabel="weights")
        axes.yaxis.set_major_locator(locator(5, integer=True))
    return _grid(figure)


def calibration_diagram(result: CalibrationResult, title: str, bins: int = 10) -> Figure:
    """Draw where the true values fell in their posteriors, for each quantity."""
    figure, panels = _panels(len(result.names), title)
    tables = [pit_histogram(values, bins) for values in result.probabilities.T]
    for axes, name, table, verdict in zip(panels, result.names, tables, result.verdicts(), strict=True):
        _pit_panel(axes, table, name, verdict)
        axes.set(xlabel="P(drawn < truth)", ylabel="simulations")
    _pit_legend(figure, tables[0].level)
    return _grid(figure)


def _pit_panel(axes: Any, table: PitHistogram, name: str, verdict: str | None = None) -> None:
    axes.fill_between([0, 1], table.lower, table.upper, color=_BAND, lw=0)
    heights, widths = table.counts, np.diff(table.edges)
    drawn = axes.bar(table.edges[:-1], heights, widths, align="edge", color=_BLUE, edgecolor="white")
    for index in table.outside:
        drawn[index].set(hatch="///", facecolor=_ORANGE)
    empty = table.outside[heights[table.outside] == 0]
    if len(empty):  # bars without height would be invisible
        axes.plot(table.edges[empty] + widths[empty] / 2, 0 * empty, "x", color=_ORANGE, mew=2, clip_on=False)
    for height, style in ((table.lower, ":"), (table.expected, "--"), (table.upper, ":")):
        axes.axhline(height, color="0.25", ls=style, lw=1.0)
    text = table.verdict() if verdict is None else verdict
    axes.set_title(f"{name}\n{_two_lines(text)}", fontsize=9)
    axes.set(xlim=(0, 1), ylim=(0, 1.15 * max(table.upper, heights.max())))


def _pit_legend(figure: Any, level: float) -> None:
    patch = require("matplotlib.patches", "matplotlib", "report").Patch
    band = patch(color=_BAND, label=f"{100 * level:.0f} % band of calibrated ones, all bins together")
    outside = patch(facecolor=_ORANGE, hatch="///", edgecolor="white", label="outside the band")
    figure.legend(handles=[band, outside], loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def _two_lines(text: str) -> str:
    return text.replace(", ", ",\n") if len(text) > 30 else text


def _weight_legend() -> tuple[Any, Any, Any]:
    lines, patches = (require(f"matplotlib.{name}", "matplotlib", "report") for name in ("lines", "patches"))
    return (
        lines.Line2D([], [], marker="o", ls="none", color=_BLUE, ms=4, label="a weight"),
        lines.Line2D([], [], marker="x", ls="none", color=_ORANGE, ms=8, mew=2.5, label="the prior"),
        patches.Patch(color=_BAND, label="signal-to-noise below 1"),
    )


def _figure(width: float, height: float) -> Any:
    return require("matplotlib.figure", "matplotlib", "report").Figure(
        figsize=(width, height), layout="constrained"
    )


def _panels(count: int, title: str) -> tuple[Any, list[Any]]:
    columns = min(count, 4) if count != 5 else 3
    lines = math.ceil(count / columns)
    figure = _figure(max(5.0, _WIDTH * columns), 0.7 + 3.1 * lines)
    grid = figure.subplots(lines, columns, squeeze=False).reshape(-1)
    for unused in grid[count:]:
        unused.set_axis_off()
    figure.suptitle(title, fontsize=11)
    return figure, list(grid[:count])


def _grid(figure: Any) -> Any:
    for axes in figure.axes:
        axes.set_axisbelow(True)
        axes.grid(alpha=0.3)
    return figure
