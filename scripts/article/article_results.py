"""The results of a run of the article."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NUM_DRAWS = 1000
TEST_ROWS, TEST_SEED = 20_000, 4243
SEPARATE_AT, HISTOGRAM_AT = (0.0, 0.1), (0.1, 0.15)  # the points that the article looks at


@dataclass(frozen=True)
class MethodRun:
    """The scores of one method under one seed; None where the method has no such number."""

    method: str
    seed: int
    scores: Mapping[str, float]  # accuracy, nll (nats per row), brier and ece on the test rows
    seconds: float | None = None  # of training
    elbo: float | None = None  # at KL weight 1, in nats of the whole data set
    elbo_stderr: float | None = None
    near: float | None = None  # mean standard deviation of the probability within 0.1 of the parabola
    far: float | None = None  # the same beyond 0.4


@dataclass(frozen=True)
class KerasShown:
    """The Keras network of the first seed, for the page."""

    history: np.ndarray  # mean cross-entropy at each epoch, in nats per row
    train: np.ndarray  # P(label = 1) on the training rows, (N,)
    mesh: np.ndarray  # P(label = 1) on the mesh, (2500,)


@dataclass(frozen=True)
class BayesShown:
    """A Bayesian network of the first seed, for the page."""

    history: np.ndarray  # the objective at each step, in nats of the whole data set
    train: np.ndarray  # mean probability on the training rows, (N,)
    mesh_mean: np.ndarray  # mean probability on the mesh, (2500,)
    mesh_std: np.ndarray  # its standard deviation over the draws
    separate: tuple[float, ...]  # P(label = 1) at one point, by functions drawn with three seeds
    together: tuple[float, ...]  # at the same point three times, in one call of one function
    point: np.ndarray  # 1000 predictions at one point
    summary: Mapping[str, tuple[float, ...]]  # ArviZ's table of the weights: name to the row's values
    summary_columns: tuple[str, ...]
    kl_weight: float | Mapping[str, float]

    @property
    def tempered(self) -> bool:
        """Whether the fit maximised something other than the ELBO."""
        return self.kl_weight != 1.0

    @property
    def tempering(self) -> str:
        """The weight of the KL, in words."""
        if not self.tempered:
            return "KL weight 1"
        if not isinstance(self.kl_weight, Mapping):
            return f"TEMPERED: KL weight {self.kl_weight:g}"
        return "TEMPERED: KL weight " + ", ".join(f"{w:g} for {site}" for site, w in self.kl_weight.items())


@dataclass(frozen=True)
class Sampled:
    """Predictions by draws from the posterior of the default model."""

    mean: np.ndarray  # mean probability on the mesh, (2500,)
    std: np.ndarray  # its standard deviation over the draws
    scores: Mapping[str, float]  # as `MethodRun.scores`
    seconds: float  # of drawing, without the fit
    draws: int
    chains: str  # one line about the chains
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArticleRun:
    """The article under one or more seeds; the page shows details of the first seed."""

    seeds: tuple[int, ...]
    x: np.ndarray  # training inputs, (N, 2)
    y: np.ndarray  # training labels, (N,)
    runs: tuple[MethodRun, ...]  # each method under each seed
    keras: KerasShown
    bayes: Mapping[str, BayesShown]  # by method
    provenance: Mapping[str, Any]
    # draws from the default's posterior for the first seed: "refined" and perhaps "nuts"; empty where there are none
    sampled: Mapping[str, Sampled] = field(default_factory=dict)

    def of(self, method: str) -> tuple[MethodRun, ...]:
        """Select the runs of a method."""
        return tuple(each for each in self.runs if each.method == method)
