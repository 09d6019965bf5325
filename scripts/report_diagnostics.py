#!/usr/bin/env python3
"""Write the report of diagnostics: a classification, a regression, and simulation-based calibration of three fits.

A network for the parabola and a network for scikit-learn's diabetes table are fitted by `bl.fit` at its defaults. The
report shows the diagnostics of their posteriors, and how well they predict test rows. Writes index.html, pictures and
metrics.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from _environment import ROOT, ensure

ensure("report")

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

import bayesian_layers as bl
from _hashing import hash_of
from bayesian_layers.errors import BayesianLayersError
from bayesian_layers.noise import seeded
from bayesian_layers.reporting import check_report_folder, write_report
from bayesian_layers.reporting.provenance import provenance
from diagnosis import Diagnosis, DiagnosisRun, build_diagnosis_report, diagnose

Rows = tuple[Tensor, Tensor]
TEST_SEED, TEST_ROWS = 1000, 2000


def network(inputs: int, hidden: int) -> nn.Module:
    """Build a network of one hidden layer."""
    with seeded(0):
        return nn.Sequential(bl.Linear(inputs, hidden), nn.Tanh(), bl.Linear(hidden, 1))


def diabetes() -> tuple[Rows, Rows]:
    """Read scikit-learn's diabetes table, standardized: four fifths of it for training, the rest for testing."""
    x, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = np.split(order, [4 * len(y) // 5])
    columns = np.column_stack([x, y])
    scaled = (columns - columns[train].mean(0)) / columns[train].std(0)
    both = torch.tensor(scaled, dtype=torch.float32)
    return (both[train, :-1], both[train, -1]), (both[test, :-1], both[test, -1])


def diagnoses() -> tuple[Diagnosis, ...]:
    """Fit a classification and a regression, and compute their diagnostics."""
    x, y = bl.datasets.parabola()
    model = bl.BayesianModel(network(2, 10), bl.likelihoods.Bernoulli())
    test = tuple(bl.datasets.parabola(TEST_ROWS, seed=TEST_SEED))
    train, unseen = diabetes()
    noisy = bl.BayesianModel(network(10, 10), bl.likelihoods.Normal("learned"))
    return (
        diagnose("Parabola, 2-10-1", bl.fit(model, x, y, progress=False), (x, y), test),
        diagnose("Diabetes, 10-10-1", bl.fit(noisy, *train, progress=False), train, unseen),
    )


def calibrations(simulations: int) -> dict[str, bl.CalibrationResult]:
    """Run simulation-based calibration of mean field, of full rank, and of a network."""
    with seeded(0):
        base = torch.randn(20, 1)
        x = base + 0.3 * torch.randn(20, 2)  # two columns that are almost equal
    with seeded(0):
        linear = bl.BayesianModel(bl.Linear(2, 1, bias=False), bl.likelihoods.Normal(0.5))
    at = torch.tensor([[1.0, 1.0], [1.0, -1.0]])  # along the direction that the columns share, and across it
    options: dict[str, Any] = {"num_simulations": simulations, "progress": True}

    def full_rank(model: bl.BayesianModel, x: Any, y: Tensor, seed: int) -> bl.Posterior:
        return bl.fit(model, x, y, guide=bl.guides.FullRankNormal(model), seed=seed, progress=False).posterior

    model = bl.BayesianModel(network(2, 10), bl.likelihoods.Bernoulli())
    few = bl.datasets.parabola(100).x
    return {
        "Linear regression, mean field": bl.calibrate(linear, x, at=at, weights=True, **options),
        "Linear regression, full rank": bl.calibrate(linear, x, full_rank, at=at, weights=True, **options),
        "Parabola's network, mean field": bl.calibrate(model, few, **options),
    }


def main(arguments: list[str] | None = None) -> int:
    """Fit, diagnose, write the report, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--simulations", type=int, default=100, help="simulations per way of fitting (%(default)s)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "diagnostics")
    options = parser.parse_args(arguments)
    command = " ".join(["scripts/report_diagnostics.py", *(sys.argv[1:] if arguments is None else arguments)])
    torch.set_num_threads(1)
    try:
        check_report_folder(options.out)
        diagnosed, calibrated = diagnoses(), calibrations(options.simulations)
        hashes = {"parabola": hash_of(*bl.datasets.parabola()), "diabetes": hash_of(*diabetes()[0])}
        run = DiagnosisRun(diagnosed, calibrated, provenance([0, 999, TEST_SEED], hashes, command))
        print(write_report(options.out, *build_diagnosis_report(run)))
    except (BayesianLayersError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
