"""The report of diagnostics: a pure function of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from bayesian_layers.calibration import CalibrationResult
from bayesian_layers.metrics import coverage_curve, pit_histogram
from bayesian_layers.reporting import figures
from bayesian_layers.reporting.page import (
    Gallery,
    Page,
    Picture,
    Points,
    Preformatted,
    Report,
    Section,
    Table,
)
from bayesian_layers.reporting.provenance import footer, provenance_points
from bayesian_layers.reporting.scores import number

from . import diagrams
from .diagnose_fit import Diagnosis, DiagnosisRun


def build_diagnosis_report(run: DiagnosisRun) -> Report:
    """Build the report of diagnostics."""
    lead = (
        "How far posteriors of this library can be trusted: how far the weights moved away from the prior, whether "
        "importance weights could correct the posterior, whether the data look like data drawn from the model, whether "
        "predictions for test rows are calibrated, and whether fits recover parameters from simulated data."
    )
    sections = (
        Section("Summary", (Points(tuple(_summary(run))),)),
        *(section for i, each in enumerate(run.diagnoses) for section in _sections(i, each)),
        *_calibration_sections(run),
        Section("How this report was made", (Points(provenance_points(run.provenance)),)),
    )
    return Page("Diagnostics", lead, sections, footer(run.provenance)).report(_metrics(run))


def _summary(run: DiagnosisRun) -> Iterator[tuple[str, str]]:
    for each in run.diagnoses:
        yield f"{each.name}.", f"k-hat {number(each.k_hat, 2)}: {_about_k(each.k_hat)}. {_about_rows(each)}"
    for name, result in run.calibrations.items():
        verdicts = "; ".join(
            f"{quantity} {verdict}" for quantity, verdict in zip(result.names, result.verdicts(), strict=True)
        )
        yield f"{name}, simulated {len(result.probabilities)} times.", f"{verdicts}."


def _about_k(k: float) -> str:
    if k < 0.5:
        return "importance weights would correct its draws to the moments of the exact posterior"
    if k < 0.7:
        return "importance weights could still correct its draws"
    return (
        "the guide misses parts of the posterior and importance weights could not correct it, as is usual for mean "
        "field over a network; refine it where the weights or their standard deviations matter"
    )


def _about_rows(each: Diagnosis) -> str:
    if each.reliability is not None and each.ece is not None:
        return (
            f"P(y = 1) on {each.test_rows} test rows is {each.reliability.verdict()}; ECE "
            f"{number(each.ece.ece, 4)} ({100 * each.ece.level:.0f} % interval {number(each.ece.lower, 4)} to "
            f"{number(each.ece.upper, 4)}; noise alone would give {number(each.ece.expected, 4)})."
        )
    curve = coverage_curve(each.pit)
    return f"Central intervals for {each.test_rows} test rows: {curve.verdict()}."


def _sections(index: int, each: Diagnosis) -> tuple[Section, ...]:
    table = (
        "Standard deviations and distances are on the unconstrained scale of the guide; the KL is that of Normal "
        "distributions with these moments."
    )
    drawn = Gallery((
        _picture(f"weights_{index}", diagrams.weight_diagram(each.posterior, each.name),
                 "Mean and standard deviation of each weight in prior standard deviations",
                 "A weight at the cross is distributed as in the prior; outside the shaded area the data determine "
                 "its sign."),
        _picture(f"signal_{index}", diagrams.signal_diagram(each.posterior, each.name),
                 "Histogram of signal-to-noise ratios, one panel per site",
                 "Weights far below 0 dB could be pruned with little effect (Blundell et al. 2015)."),
    ))  # fmt: skip
    checks = Gallery((
        _picture(f"prior_check_{index}", diagrams.check_diagram(each.prior_check, f"{each.name}: prior"),
                 "Statistics of targets drawn from the prior, and those of the data",
                 "Prior: the statistics of the data should be among those that the prior considers possible."),
        _picture(f"posterior_check_{index}",
                 diagrams.check_diagram(each.posterior_check, f"{each.name}: posterior"),
                 "Statistics of targets drawn from the posterior, and those of the data",
                 "Posterior: the data should look like targets that the fitted model draws for the same inputs."),
    ))  # fmt: skip
    return (
        Section(
            each.name,
            (
                Preformatted(tuple(each.fit.splitlines()), "The result of the fit."),
                Preformatted(tuple(str(each.weights).splitlines()), table),
                drawn,
            ),
        ),
        Section(f"{each.name}: test rows", (Gallery(_test_rows(index, each)),)),
        Section(f"{each.name}: the data, and data drawn from the model", (checks,)),
    )


def _test_rows(index: int, each: Diagnosis) -> tuple[Picture, ...]:
    if each.reliability is not None:
        figure = diagrams.reliability_diagram(each.reliability, each.name, "y = 1")
        return (
            _picture(f"reliability_{index}", figure, "Share of rows with y = 1 against its probability",
                     "The bars are Wilson intervals; on the dashed line events happen as often as predicted."),
        )  # fmt: skip
    values = np.asarray(each.pit)
    coverage = diagrams.coverage_diagram({"mean field": coverage_curve(values)}, each.name)
    histogram = diagrams.pit_diagram({"mean field": pit_histogram(values, 10)}, each.name)
    return (
        _picture(f"coverage_{index}", coverage, "Share of targets inside intervals against their level",
                 "Above the dashed line intervals are too wide, below it too narrow; chance alone stays in the band."),
        _picture(f"pit_{index}", histogram, "Histogram of probability integral transforms",
                 "A flat histogram is right. A U shape means too narrow, a hump too wide, a slope biased."),
    )  # fmt: skip


def _calibration_sections(run: DiagnosisRun) -> Iterator[Section]:
    for i, (name, result) in enumerate(run.calibrations.items()):
        picture = _picture(
            f"calibration_{i}",
            diagrams.calibration_diagram(result, name),
            "Histograms of where the true values fell in the posteriors, one panel per quantity",
            "A flat histogram is right. A U shape means too narrow posteriors, a hump too wide, a slope biased.",
        )
        yield Section(
            f"Simulation-based calibration: {name}", (_calibration_table(result), Gallery((picture,)))
        )


def _calibration_table(result: CalibrationResult) -> Table:
    caption = (
        f"{len(result.probabilities)} times, weights are drawn from the prior and data from the likelihood, and each "
        f"data set is fitted; {int(result.converged.sum())} of the fits converged. Each true value should be equally "
        "likely to fall anywhere in its posterior (Talts et al. 2018; Yao et al. 2018). Spread is the standard "
        "deviation of its distance from the posterior's centre, in posterior standard deviations: above 1 the "
        "posterior is too narrow, below 1 too wide. Shift is the mean of that distance. The verdicts allow for the "
        "number of quantities."
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
        "in_short": dict(_summary(run)),
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
    """Return the fields of a table, without the many data sets that a check has drawn."""
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
