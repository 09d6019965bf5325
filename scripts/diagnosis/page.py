"""The page of diagnostics: a pure function of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from bayesian_layers.calibration import CalibrationResult
from bayesian_layers.metrics import coverage_curve, pit_histogram
from bayesian_layers.reporting import diagnostics, figures
from bayesian_layers.reporting.page import (
    Gallery,
    Page,
    Picture,
    Points,
    Printed,
    Report,
    Section,
    Table,
    render,
)
from bayesian_layers.reporting.provenance import as_points
from bayesian_layers.reporting.scores import number

from .run import Diagnosis, DiagnosisRun


def diagnosis_page(run: DiagnosisRun) -> Report:
    """Lay diagnostics out as a report."""
    lead = (
        "What posteriors of this library say about themselves: how far their weights left the prior, whether "
        "importance weights could correct them, whether data look like data drawn from the model, whether "
        "predictions for unseen rows keep what they promise, and whether fits recover what was simulated."
    )
    version = run.provenance["versions"].get("bayesian-layers", "")
    footer = (
        f"Made by bayesian-layers {version} on {run.provenance['date']}. All numbers are in metrics.json."
    )
    sections = (
        Section("In short", (Points(tuple(_in_short(run))),)),
        *(section for i, each in enumerate(run.diagnoses) for section in _sections(i, each)),
        *_calibration_sections(run),
        Section("How this was made", (Points(as_points(run.provenance)),)),
    )
    page = Page("Diagnostics", lead, sections, footer)
    return Report(render(page), page.pictures(), _metrics(run) | {"captions": page.captions()})


def _in_short(run: DiagnosisRun) -> Iterator[tuple[str, str]]:
    for each in run.diagnoses:
        yield f"{each.name}.", f"k-hat {number(each.k_hat, 2)}: {_about_k(each.k_hat)}. {_about_rows(each)}"
    for name, result in run.calibrations.items():
        said = "; ".join(
            f"{quantity} {verdict}" for quantity, verdict in zip(result.names, result.verdicts(), strict=True)
        )
        yield f"{name}, simulated {len(result.probabilities)} times.", f"{said}."


def _about_k(k: float) -> str:
    if k < 0.5:
        return "importance weights of its draws would give the posterior's own moments"
    if k < 0.7:
        return "importance weights could still correct its draws"
    return (
        "the guide lacks some of the posterior, and importance weights could not correct it, which is usual for mean "
        "field over a network; refine where weights or deviations matter"
    )


def _about_rows(each: Diagnosis) -> str:
    if each.reliability is not None and each.ece is not None:
        return (
            f"P(y = 1) on {each.test_rows} unseen rows is {each.reliability.verdict()}; ECE "
            f"{number(each.ece.ece, 4)} ({100 * each.ece.level:.0f} % interval {number(each.ece.lower, 4)} to "
            f"{number(each.ece.upper, 4)}; {number(each.ece.expected, 4)} would come of noise alone)."
        )
    curve = coverage_curve(each.pit)
    return f"Central intervals for {each.test_rows} unseen rows: {curve.verdict()}."


def _sections(index: int, each: Diagnosis) -> tuple[Section, ...]:
    table = "Deviations and distances are on the axis of the guide; KL is of Normals with these moments."
    drawn = Gallery((
        _picture(f"weights_{index}", diagnostics.weight_diagram(each.posterior, each.name),
                 "Mean and deviation of each weight in units of its prior's",
                 "At the cross a weight is as the prior left it; outside the shade the data have told its sign."),
        _picture(f"signal_{index}", diagnostics.signal_diagram(each.posterior, each.name),
                 "Histogram of signal-to-noise ratios, a panel a site",
                 "Weights far below 0 dB could be pruned without a trace (Blundell et al. 2015)."),
    ))  # fmt: skip
    checks = Gallery((
        _picture(f"prior_check_{index}", diagnostics.check_diagram(each.prior_check, f"{each.name}: prior"),
                 "Statistics of targets drawn from the prior beside those of the data",
                 "Under the prior: the data should be among what seemed possible before the fit."),
        _picture(f"posterior_check_{index}",
                 diagnostics.check_diagram(each.posterior_check, f"{each.name}: posterior"),
                 "Statistics of targets drawn from the posterior beside those of the data",
                 "Under the posterior: the data should look like what the model makes of their inputs."),
    ))  # fmt: skip
    return (
        Section(
            each.name,
            (
                Printed(tuple(each.fit.splitlines()), "What the fit said."),
                Printed(tuple(str(each.weights).splitlines()), table),
                drawn,
            ),
        ),
        Section(f"{each.name}: unseen rows", (Gallery(_unseen(index, each)),)),
        Section(f"{each.name}: data beside data drawn from the model", (checks,)),
    )


def _unseen(index: int, each: Diagnosis) -> tuple[Picture, ...]:
    if each.reliability is not None:
        figure = diagnostics.reliability_diagram(each.reliability, each.name, "y = 1")
        return (
            _picture(f"reliability_{index}", figure, "Share of rows with y = 1 against its probability",
                     "Bars are Wilson intervals; on the dashed line probabilities come true as often as they say."),
        )  # fmt: skip
    values = np.asarray(each.pit)
    coverage = diagnostics.coverage_diagram({"mean field": coverage_curve(values)}, each.name)
    histogram = diagnostics.pit_diagram({"mean field": pit_histogram(values, 10)}, each.name)
    return (
        _picture(f"coverage_{index}", coverage, "Share of targets inside intervals against their level",
                 "Above the dashed line intervals are too wide, below it too narrow; the band is what chance does."),
        _picture(f"pit_{index}", histogram, "Histogram of probability integral transforms",
                 "Flat where predictions are right; a U says too narrow, a hump too wide, a slope biased."),
    )  # fmt: skip


def _calibration_sections(run: DiagnosisRun) -> Iterator[Section]:
    for i, (name, result) in enumerate(run.calibrations.items()):
        picture = _picture(
            f"calibration_{i}",
            diagnostics.calibration_diagram(result, name),
            "Histograms of where the truth fell in the posteriors, a panel a quantity",
            "Flat is right; a U says that posteriors are too narrow, a hump too wide, a slope biased.",
        )
        yield Section(
            f"Simulation-based calibration: {name}", (_calibration_table(result), Gallery((picture,)))
        )


def _calibration_table(result: CalibrationResult) -> Table:
    caption = (
        f"{len(result.probabilities)} times weights are drawn from the prior and data from the likelihood; each set "
        f"is fitted, {int(result.converged.sum())} of the fits converged, and the truth should fall anywhere in its "
        "posterior with equal probability (Talts et al. 2018; Yao et al. 2018). Spread: deviation of the truth in "
        "posterior deviations, above 1 too narrow, below 1 too wide; shift: its mean. Verdicts allow for the number of "
        "quantities."
    )
    rows = tuple(
        (quantity, verdict, number(test.spread, 2), number(test.shift, 2), number(test.symmetry_p_value, 3),
         number(test.spread_p_value, 3), number(test.p_value, 3))
        for quantity, verdict, test in zip(result.names, result.verdicts(), result.tests, strict=True)
    )  # fmt: skip
    return Table(
        ("quantity", "verdict", "spread", "shift", "p: symmetry", "p: spread", "p: uniform"), rows, caption
    )


def _picture(name: str, figure: Any, alt: str, caption: str) -> Picture:
    return Picture(name, figures.png(figure), alt, caption, whole_row=len(figure.axes) > 2)


def _metrics(run: DiagnosisRun) -> dict[str, Any]:
    return {
        "report": "diagnostics",
        "posteriors": {each.name: _numbers(each) for each in run.diagnoses},
        "calibrations": {name: _calibration(each) for name, each in run.calibrations.items()},
        "in_short": dict(_in_short(run)),
        "provenance": dict(run.provenance),
    }


def _numbers(each: Diagnosis) -> dict[str, Any]:
    tables = {
        "weights": each.weights,
        "prior_check": each.prior_check,
        "posterior_check": each.posterior_check,
    }
    tables |= {"reliability": each.reliability, "ece": each.ece}
    return {
        "fit": each.fit,
        "k_hat": each.k_hat,
        "test_rows": each.test_rows,
        **{name: _fields(table) for name, table in tables.items() if table is not None},
        **({} if each.pit is None else {"pit": each.pit, "coverage": _fields(coverage_curve(each.pit))}),
    }


def _fields(table: Any) -> dict[str, Any]:
    """A table's own numbers, but for the many data sets that a check has drawn."""
    return {
        each.name: getattr(table, each.name)
        for each in dataclasses.fields(table)
        if each.name != "replicated"
    }


def _calibration(result: CalibrationResult) -> dict[str, Any]:
    return {
        "names": result.names,
        "verdicts": result.verdicts(),
        "spread": result.spread,
        "shift": result.shift,
        "symmetry_p_values": result.symmetry_p_values,
        "uniformity_p_values": result.uniformity_p_values,
        "simulations": len(result.probabilities),
        "converged": int(result.converged.sum()),
        "draws": result.num_draws,
        "seed": result.seed,
    }
