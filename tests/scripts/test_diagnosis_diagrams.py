"""Pictures of diagnostics: they show the table's numbers, are labelled, and write."""

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers import metrics
from bayesian_layers.reporting.figures import png
from diagnosis import diagrams


def drawn(figure):
    """Every axis is labelled, the title is there, and it writes."""
    assert png(figure).startswith(b"\x89PNG")
    for axes in figure.axes:
        if axes.axison:
            assert axes.get_ylabel()
    text = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    return "\n".join(text)


def legend(owner):
    return [text.get_text() for found in owner for text in found.get_texts()]


@pytest.fixture
def posterior(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 4), nn.Tanh(), bl.Linear(4, 1)))
    model = bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.5)))
    return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))


@pytest.mark.slow
@pytest.mark.parametrize("event", [None, 1])
def test_reliability(event):
    rng = np.random.default_rng(0)
    p = rng.uniform(size=500)
    table = metrics.reliability(rng.uniform(size=500) < p, p, 10, event=event)
    figure = diagrams.reliability_diagram(table, "A title", "label 1")
    assert "A title" in drawn(figure)
    assert table.verdict() in drawn(figure)
    full = table.count > 0
    bars = figure.axes[0].containers[0]
    np.testing.assert_allclose(bars.lines[0].get_ydata(), table.frequency[full])
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    np.testing.assert_allclose(ends, np.stack([table.lower[full], table.upper[full]], 1), atol=1e-12)
    assert [bar.get_height() for bar in figure.axes[1].patches] == table.count.tolist()


def test_coverage():
    y = np.random.default_rng(0).normal(size=300)
    curves = {
        name: metrics.coverage_curve(metrics.pit_normal(y, np.zeros(300), scale))
        for name, scale in (("right", 1.0), ("half", 0.5), ("double", 2.0))
    }
    figure = diagrams.coverage_diagram(curves, "Coverage")
    assert drawn(figure) == "\nCoverage"
    said = legend(figure.legends)
    assert "95 % band, 300 rows" in said
    assert {f"{name}: {curve.verdict()}" for name, curve in curves.items()} <= set(said)
    for bars, curve in zip(figure.axes[0].containers, curves.values(), strict=True):
        np.testing.assert_array_equal(bars.lines[0].get_ydata(), curve.shares)


def test_pit_marks_bins_outside_the_band_those_without_height_too():
    table = metrics.pit_histogram(0.25 + 0.5 * np.random.default_rng(0).uniform(size=400), 10)
    figure = diagrams.pit_diagram({"method": table}, "PIT")
    assert "too wide (under-confident)" in drawn(figure)
    bars = figure.axes[0].containers[0]
    assert [bar.get_height() for bar in bars] == table.counts.tolist()
    assert [k for k, bar in enumerate(bars) if bar.get_hatch()] == table.outside.tolist()
    marks = figure.axes[0].lines[0].get_xdata()
    np.testing.assert_allclose(marks, (np.flatnonzero(table.counts == 0) + 0.5) / 10)
    assert "outside the band" in legend(figure.legends)


def test_check():
    rng = np.random.default_rng(0)
    check = metrics.predictive_check(rng.normal(size=20), rng.normal(size=(200, 20)))
    figure = diagrams.check_diagram(check, "Check", "m")
    assert f"{check.tail_probability[0]:.3f}" in drawn(figure)
    assert [axes.get_xlabel() for axes in figure.axes] == ["mean m", "sd m", "min m", "max m"]
    assert [axes.lines[0].get_xdata()[0] for axes in figure.axes] == check.observed.tolist()
    assert legend(figure.legends) == ["drawn from the model", "the data"]


@pytest.mark.slow
def test_weights(posterior):
    figure = diagrams.weight_diagram(posterior, "Weights")
    table = posterior.weight_table()
    text = drawn(figure)
    for name, entries, kl in zip(table.names, table.entries, table.kl, strict=True):
        assert f"{name}: {entries} entries" in text
        assert f"KL {kl:.1f} nats" in text
    dots = figure.axes[0].collections[-1].get_offsets()
    np.testing.assert_allclose(dots[:, 0], posterior.source.loc[:8].detach().numpy(), rtol=1e-6)
    assert legend(figure.legends) == ["a weight", "the prior", "signal-to-noise below 1"]


def test_of_a_large_site_some_entries_are_drawn(build):
    model = bl.BayesianModel(build(lambda: bl.Linear(3000, 1, bias=False)), bl.likelihoods.Normal(1.0))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    figure = diagrams.weight_diagram(posterior, "Large")
    assert len(figure.axes[0].collections[-1].get_offsets()) == 2000
    assert "3000 entries" in drawn(figure)


def test_signal(posterior):
    figure = diagrams.signal_diagram(posterior, "Signal")
    ratios = posterior.signal_to_noise()
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == list(ratios)
    assert f"{100 * float((ratios['0.weight'] > 1).double().mean()):.0f} % above 1" in drawn(figure)
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == ratios["0.weight"].numel()


def test_calibration():
    rng = np.random.default_rng(0)
    p = np.stack([rng.uniform(size=200), 0.3 + 0.4 * rng.uniform(size=200)], 1)
    result = bl.CalibrationResult(p, ("f[0]", "f[1]"), np.ones(200, bool), 100, 0)
    figure = diagrams.calibration_diagram(result, "Calibration")
    titles = [axes.get_title() for axes in figure.axes]
    drawn(figure)
    for title, name, verdict in zip(titles, result.names, result.verdicts(), strict=True):
        assert title.replace("\n", " ") == f"{name} {verdict}"
    assert [bar.get_height() for bar in figure.axes[1].patches] == np.histogram(p[:, 1], 10, (0, 1))[
        0
    ].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_panels_hold_any_number(count):
    result = bl.CalibrationResult(
        np.random.default_rng(0).uniform(size=(50, count)),
        tuple(f"f[{k}]" for k in range(count)),
        np.ones(50, bool),
        100,
        0,
    )
    figure = diagrams.calibration_diagram(result, "Many")
    assert sum(axes.axison for axes in figure.axes) == count
    drawn(figure)
    assert torch.get_num_threads() == 1  # drawing starts nothing
