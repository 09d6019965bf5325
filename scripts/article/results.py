"""What a run of the article gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NUM_DRAWS = 1000
TEST_ROWS, TEST_SEED = 20_000, 4243
SEPARATE_AT, HISTOGRAM_AT = (0.0, 0.1), (0.1, 0.15)  # where the article looks closer


@dataclass(frozen=True)
class MethodRun:
    """One method under one seed.

    Attributes:
        method: Which.
        seed: Of the network's start, the training and the draws.
        scores: ``accuracy``, ``nll`` (nats a row), ``brier``, ``ece`` on the test rows.
        seconds: Of the training; ``None`` for the limit.
        elbo: At KL weight 1, in nats of the whole data set; ``None`` where there is none.
        elbo_stderr: Its Monte Carlo standard error.
        near: Mean deviation of the probability within 0.1 of the parabola.
        far: The same beyond 0.4.
    """

    method: str
    seed: int
    scores: Mapping[str, float]
    seconds: float | None = None
    elbo: float | None = None
    elbo_stderr: float | None = None
    near: float | None = None
    far: float | None = None


@dataclass(frozen=True)
class KerasShown:
    """What is shown of the Keras network of the first seed.

    Attributes:
        history: Mean cross-entropy, nats a row, one value an epoch.
        train: P(label = 1) on the training rows, ``(N,)``.
        mesh: The same on the mesh, ``(2500,)``.
    """

    history: np.ndarray
    train: np.ndarray
    mesh: np.ndarray


@dataclass(frozen=True)
class BayesShown:
    """What is shown of a Bayesian network of the first seed.

    Attributes:
        history: The objective, nats of the whole data set, one value a step.
        train: Mean probability on the training rows, ``(N,)``.
        mesh_mean: Mean probability on the mesh, ``(2500,)``.
        mesh_std: Its deviation over the draws.
        separate: P(label = 1) at one point by three functions drawn with three seeds.
        together: The same point three times in one call of one function.
        point: 1000 predictions at one point.
        summary: ArviZ's table of the weights: name and its columns' values.
        summary_columns: Names of the columns.
        kl_weight: The weight of the KL that was minimised, one number or one a site.
    """

    history: np.ndarray
    train: np.ndarray
    mesh_mean: np.ndarray
    mesh_std: np.ndarray
    separate: tuple[float, ...]
    together: tuple[float, ...]
    point: np.ndarray
    summary: Mapping[str, tuple[float, ...]]
    summary_columns: tuple[str, ...]
    kl_weight: float | Mapping[str, float]

    @property
    def tempered(self) -> bool:
        """Whether something else than the ELBO was maximised."""
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
    """What draws of the posterior of the default model say.

    Attributes:
        mean: Mean probability on the mesh, ``(2500,)``.
        std: Its deviation over the draws.
        scores: As ``MethodRun.scores``.
        seconds: That the draws took, beyond the fit.
        draws: How many.
        said: One line about the chains.
        warnings: What the chains say is to be minded.
    """

    mean: np.ndarray
    std: np.ndarray
    scores: Mapping[str, float]
    seconds: float
    draws: int
    said: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArticleRun:
    """The article under one or more seeds.

    Attributes:
        seeds: The seeds; the first is the one that is shown.
        x: Training inputs, ``(N, 2)``.
        y: Training labels, ``(N,)``.
        runs: Each method under each seed.
        keras: What is shown of Keras.
        bayes: What is shown of the Bayesian methods, by method.
        provenance: Where the numbers come from.
        sampled: What draws of the default's posterior say, seed 0 of ``seeds``: ``refined``, perhaps ``nuts``; empty
            where there are none.
    """

    seeds: tuple[int, ...]
    x: np.ndarray
    y: np.ndarray
    runs: tuple[MethodRun, ...]
    keras: KerasShown
    bayes: Mapping[str, BayesShown]
    provenance: Mapping[str, Any]
    sampled: Mapping[str, Sampled] = field(default_factory=dict)

    def of(self, method: str) -> tuple[MethodRun, ...]:
        """Select the runs of a method."""
        return tuple(each for each in self.runs if each.method == method)
