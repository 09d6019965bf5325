"""Fits the article's methods under every seed, and keeps more of the first seed for the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import torch

from _hashing import hash_of
from bayesian_layers import datasets, metrics
from bayesian_layers.baselines import KerasFit, fit_keras
from bayesian_layers.errors import DataError
from bayesian_layers.fitting.fit import fit
from bayesian_layers.fitting.result import FitResult
from bayesian_layers.model import sample
from bayesian_layers.posterior import Posterior
from bayesian_layers.reporting.background import background_queue
from bayesian_layers.reporting.provenance import provenance

from .article_results import (
    HISTOGRAM_AT,
    NUM_DRAWS,
    SEPARATE_AT,
    TEST_ROWS,
    TEST_SEED,
    ArticleRun,
    BayesShown,
    KerasShown,
    MethodRun,
    Sampled,
)
from .methods import BAYESIAN, DEFAULT, KERAS, LABELS, OPTIMAL, build, mesh, near_and_far, optimal_probability
from .posterior_section import NUTS, REFINED
from .sampling import nuts, refined


def run_article(
    seeds: Sequence[int],
    *,
    keras_epochs: int = 2000,
    max_steps: int | None = None,
    refine_iterations: int | None = None,
    nuts_draws: int | None = None,
    progress: bool = True,
    command: str = "",
) -> ArticleRun:
    """Fit Keras, the article's recipe, N(0, 1) and N(0, 2) under each seed, and compute the best possible scores."""
    # All methods are trained on the 200 rows of bl.datasets.parabola() and tested on the 20,000 rows of
    # bl.datasets.parabola(20000, seed=4243). Keras trains in another process at the same time.
    if not seeds or len(set(seeds)) < len(seeds):
        raise DataError(f"`seeds` must be one or more different integers; received {list(seeds)}")
    data, test = datasets.parabola(), datasets.parabola(TEST_ROWS, seed=TEST_SEED)
    runs: list[MethodRun] = []
    shown: dict[str, BayesShown] = {}
    sampled: dict[str, Sampled] = {}
    at = {"train": data.x, "test": test.x, "mesh": mesh()}
    with background_queue() as pool:
        keras = [
            pool.submit(fit_keras, *data, at, task="binary", epochs=keras_epochs, seed=each) for each in seeds
        ]
        _print(progress, f"Keras trains in another process: {keras_epochs} epochs per seed, about a minute")
        for seed in seeds:
            for method in BAYESIAN:
                _print(progress, f"seed {seed}: fitting {LABELS[method]}")
                result = _fit(method, seed, data, max_steps, progress)
                runs.append(_bayes_run(method, seed, result, test))
                if seed == seeds[0]:
                    shown[method] = _bayes_shown(result, data, seed)
                if (seed, method) == (seeds[0], DEFAULT):
                    sampled = _sampled(
                        result.posterior, data, test, seed, (refine_iterations, nuts_draws), progress
                    )
        fits = [_wait(each, seed, progress) for each, seed in zip(keras, seeds, strict=True)]
    runs += [
        MethodRun(KERAS, seed, _scores(test.y, each.predictions["test"]), each.seconds)
        for each, seed in zip(fits, seeds, strict=True)
    ]
    runs += [MethodRun(OPTIMAL, seed, _scores(test.y, optimal_probability(test.x))) for seed in seeds]
    first = fits[0].predictions
    hashes = {"the training rows": hash_of(*data), "the test rows": hash_of(*test)}
    return ArticleRun(
        seeds=tuple(seeds),
        x=data.x.numpy(),
        y=data.y.numpy(),
        runs=tuple(runs),
        keras=KerasShown(fits[0].history["loss"], first["train"], first["mesh"]),
        bayes=shown,
        provenance=provenance(seeds, hashes, command),
        sampled=sampled,
    )


def _wait(future: Future[KerasFit], seed: int, progress: bool) -> KerasFit:
    if not future.done():
        _print(progress, f"seed {seed}: waiting for Keras")
    return future.result()


def _fit(method: str, seed: int, data: datasets.Dataset, max_steps: int | None, progress: bool) -> FitResult:
    model, options = build(method, seed)
    return fit(model, *data, seed=seed, max_steps=max_steps, progress=progress, **options)


def _sampled(
    posterior: Posterior,
    data: datasets.Dataset,
    test: datasets.Dataset,
    seed: int,
    sizes: tuple[int | None, int | None],
    progress: bool,
) -> dict[str, Sampled]:
    _print(progress, f"seed {seed}: refining {LABELS[DEFAULT]}")
    iterations, nuts_draws = sizes
    found = {REFINED: refined(posterior, data, test, seed, iterations)}
    if nuts_draws is not None:
        _print(progress, f"seed {seed}: NUTS, two chains of {nuts_draws} draws (many minutes)")
        found[NUTS] = nuts(posterior.model, data, test, draws=nuts_draws, seed=seed, progress=progress)
    return found


def _scores(y: Any, p: Any) -> dict[str, float]:
    return {name: getattr(metrics, name)(y, p) for name in ("accuracy", "nll", "brier", "ece")}


def _bayes_run(method: str, seed: int, result: FitResult, test: datasets.Dataset) -> MethodRun:
    posterior = result.posterior
    mean = posterior.predict(test.x, NUM_DRAWS, seed).mean
    std = posterior.predict(torch.from_numpy(mesh()), NUM_DRAWS, seed).epistemic_std
    near, far = near_and_far(std.numpy())
    facts = (result.seconds, result.elbo, result.elbo_stderr, near, far)
    return MethodRun(method, seed, _scores(test.y, mean), *facts)


def _bayes_shown(result: FitResult, data: datasets.Dataset, seed: int) -> BayesShown:
    posterior = result.posterior
    on_mesh = posterior.predict(torch.from_numpy(mesh()), NUM_DRAWS, seed)
    table = posterior.summary(NUM_DRAWS, seed)
    at = torch.tensor([SEPARATE_AT])
    return BayesShown(
        history=result.history,
        train=posterior.predict(data.x, NUM_DRAWS, seed).mean.numpy(),
        mesh_mean=on_mesh.mean.numpy(),
        mesh_std=on_mesh.epistemic_std.numpy(),
        separate=tuple(_probabilities(posterior, at, number)[0] for number in range(3)),
        together=tuple(_probabilities(posterior, at.expand(3, 2), 0)),
        point=_point_draws(posterior, seed),
        summary={
            str(name): tuple(map(float, row)) for name, row in zip(table.index, table.to_numpy(), strict=True)
        },
        summary_columns=tuple(map(str, table.columns)),
        kl_weight=result.kl_weight,
    )


def _probabilities(posterior: Posterior, x: torch.Tensor, seed: int) -> list[float]:
    return posterior.function(seed)(x).squeeze(-1).sigmoid().tolist()


def _point_draws(posterior: Posterior, seed: int) -> np.ndarray:
    draws = posterior.sample(NUM_DRAWS, seed)
    f = sample(posterior.model, draws, torch.tensor([HISTOGRAM_AT]), "f")
    return f[:, 0, 0].sigmoid().numpy()


def _print(progress: bool, text: str) -> None:
    if progress:
        print(text, file=sys.stderr, flush=True)
