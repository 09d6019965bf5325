"""The numbers of a report of diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from bayesian_layers import metrics
from bayesian_layers.calibration import CalibrationResult
from bayesian_layers.errors import DataError
from bayesian_layers.fitting import FitResult
from bayesian_layers.likelihoods import Bernoulli, Categorical
from bayesian_layers.metrics import EceInterval, PredictiveCheck, Reliability
from bayesian_layers.posterior import Posterior
from bayesian_layers.posterior.diagnostics import WeightTable


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What one posterior says about itself, and unseen rows about it.

    Attributes:
        name: What was fitted, in a few words.
        fit: What the fit said when it was printed.
        posterior: The posterior.
        k_hat: Shape of the tail of its importance weights.
        weights: How far each site went from its prior.
        prior_check: The targets beside targets drawn from the prior.
        posterior_check: The same from the posterior.
        test_rows: Unseen rows N.
        reliability: Of P(y = 1) on unseen rows; ``None`` for other targets than labels.
        ece: Its error; ``None`` for other targets than labels.
        pit: Probability integral transforms of unseen rows, ``(N,)``; ``None`` for classes.
    """

    name: str
    fit: str
    posterior: Posterior
    k_hat: float
    weights: WeightTable
    prior_check: PredictiveCheck
    posterior_check: PredictiveCheck
    test_rows: int
    reliability: Reliability | None = None
    ece: EceInterval | None = None
    pit: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class DiagnosisRun:
    """What a page of diagnostics shows.

    Attributes:
        diagnoses: A posterior each.
        calibrations: What was simulated and fitted, to what came of it.
        provenance: As :func:`bayesian_layers.reporting.provenance.provenance` gives it.
    """

    diagnoses: tuple[Diagnosis, ...]
    calibrations: Mapping[str, CalibrationResult]
    provenance: Mapping[str, Any]


def diagnose(
    name: str, result: FitResult, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int = 0
) -> Diagnosis:
    """Ask a fit everything that it can say about itself."""
    posterior = result.posterior
    likelihood = posterior.model.likelihood
    if isinstance(likelihood, Categorical):
        raise DataError(
            "the report is of targets that have an order, which the classes of Categorical have not: call "
            "`bl.metrics.reliability` on their probabilities yourself"
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
