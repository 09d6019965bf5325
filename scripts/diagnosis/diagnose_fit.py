"""Computes the diagnostics of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from bayesian_layers import metrics
from bayesian_layers.calibration import CalibrationResult
from bayesian_layers.errors import DataError
from bayesian_layers.fitting.result import FitResult
from bayesian_layers.likelihoods import Bernoulli, Categorical
from bayesian_layers.metrics import EceInterval, PredictiveCheck, Reliability
from bayesian_layers.posterior import Posterior
from bayesian_layers.posterior.weight_table import WeightTable


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The diagnostics of one posterior; ``None`` where they do not apply to its targets."""

    name: str  # of what was fitted
    fit: str  # the printed result of the fit
    posterior: Posterior
    k_hat: float
    weights: WeightTable
    prior_check: PredictiveCheck
    posterior_check: PredictiveCheck
    test_rows: int
    reliability: Reliability | None = None  # of P(y = 1) on test rows; labels only
    ece: EceInterval | None = None  # labels only
    pit: np.ndarray | None = None  # probability integral transforms of the test rows, (N,); not for labels


@dataclass(frozen=True, eq=False)
class DiagnosisRun:
    """Everything that the report of diagnostics shows."""

    diagnoses: tuple[Diagnosis, ...]
    calibrations: Mapping[str, CalibrationResult]  # by the name of what was fitted
    provenance: Mapping[str, Any]


def diagnose(
    name: str, result: FitResult, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int = 0
) -> Diagnosis:
    """Compute all diagnostics of a fit."""
    posterior = result.posterior
    likelihood = posterior.model.likelihood
    if isinstance(likelihood, Categorical):
        raise DataError(
            "the report needs targets that have an order; the classes of Categorical have none. Call "
            "`bl.metrics.reliability` on their probabilities instead."
        )
    unseen: dict[str, Any] = {"pit": posterior.pit(*test, seed=seed)}
    if isinstance(likelihood, Bernoulli):
        y, p = test[1].cpu(), posterior.predict(test[0], seed=seed).mean.cpu()
        unseen = {
            "reliability": metrics.reliability(y, p, event=1, bins=10),
            "ece": metrics.ece_interval(y, p),
        }
    return Diagnosis(
        name=name,
        fit=str(result),
        posterior=posterior,
        k_hat=posterior.k_hat(*train, seed=seed),
        weights=posterior.weight_table(seed=seed),
        prior_check=posterior.prior_check(*train, seed=seed),
        posterior_check=posterior.predictive_check(*train, seed=seed),
        test_rows=len(test[1]),
        **unseen,
    )
