"""The page of diagnostics."""

import numpy as np
import pytest
import torch

import bayesian_layers as bl
from bayesian_layers.errors import DataError
from bayesian_layers.noise import seeded
from bayesian_layers.reporting.page import to_json_types
from bayesian_layers.reporting.provenance import provenance
from diagnosis import DiagnosisRun, build_diagnosis_report, diagnose

RECORD = provenance([3], {"the rows": "ab" * 32}, "scripts/some_command")


@pytest.fixture(scope="module")
def classes():
    x, y = bl.datasets.parabola(60)
    with seeded(0):
        model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Bernoulli())
    result = bl.fit(model, x, y, progress=False)
    return diagnose("classes", result, (x, y), tuple(bl.datasets.parabola(300, seed=1)))


@pytest.fixture(scope="module")
def regression():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 2, generator=generator)
    y = x[:, 0] + 0.5 * torch.randn(150, generator=generator)
    with seeded(0):
        model = bl.BayesianModel(bl.Linear(2, 1), bl.likelihoods.Normal(0.5))
    return diagnose(
        "regression", bl.fit(model, x[:50], y[:50], progress=False), (x[:50], y[:50]), (x[50:], y[50:])
    )


@pytest.fixture(scope="module")
def calibration():
    probabilities = np.linspace(0.005, 0.995, 100)
    return bl.CalibrationResult(
        np.stack([probabilities, 0.5 + 0.1 * (probabilities - 0.5)], 1),
        ("right", "wide"),
        np.ones(100, bool),
        99,
        0,
    )


@pytest.mark.slow
def test_classes_have_a_reliability_and_regressions_transforms(classes, regression):
    assert classes.reliability is not None
    assert classes.reliability.count.sum() == classes.test_rows == 300
    assert classes.pit is None
    assert regression.reliability is None
    assert regression.pit.shape == (100,)


def test_the_tables_are_those_of_the_posterior(regression):
    posterior = regression.posterior
    assert str(regression.weights) == str(posterior.weight_table())
    assert regression.k_hat < 0.7  # two nearly uncorrelated inputs: mean field is nearly the posterior


@pytest.mark.slow
def test_the_page_says_every_verdict_and_keeps_every_number(classes, regression, calibration):
    report = build_diagnosis_report(DiagnosisRun((classes, regression), {"a fit": calibration}, RECORD))
    assert "right calibrated, as far as this shows; wide" in report.page
    assert f"k-hat {classes.k_hat:.2f}" in report.page
    assert "Simulation-based calibration: a fit" in report.page
    assert {"reliability_0", "pit_1", "coverage_1", "weights_0", "prior_check_1"} <= report.pictures.keys()
    numbers = to_json_types(report.metrics)
    assert numbers["posteriors"]["regression"]["k_hat"] == regression.k_hat
    assert "replicated" not in numbers["posteriors"]["regression"]["prior_check"]
    wide = numbers["calibrations"]["a fit"]["spread"][1]
    assert wide < 0.5 < numbers["calibrations"]["a fit"]["spread"][0]


@pytest.mark.slow
def test_pictures_of_several_panels_have_a_row_of_their_own(classes):
    page = build_diagnosis_report(DiagnosisRun((classes,), {}, RECORD)).page
    assert '<figure class="whole"><img' in page  # the checks have four panels
    assert "<figure><img" in page  # the reliability diagram has two


def test_classes_without_an_order_are_refused():
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 3
    with seeded(0):
        model = bl.BayesianModel(bl.Linear(2, 3), bl.likelihoods.Categorical())
    with pytest.warns(bl.errors.ConvergenceWarning):
        result = bl.fit(model, x, y, max_steps=5, progress=False)
    with pytest.raises(DataError, match="targets that have an order"):
        diagnose("three", result, (x, y), (x, y))
