"""Draws from the posterior of the default model: by refinement, and by Pyro's NUTS."""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from bayesian_layers import datasets, metrics
from bayesian_layers.model import BayesianModel
from bayesian_layers.noise import seeded
from bayesian_layers.posterior import Posterior

from .article_results import NUM_DRAWS, Sampled
from .methods import mesh

NUTS_CHAINS = 2


def refined(
    posterior: Posterior,
    data: datasets.Dataset,
    test: datasets.Dataset,
    seed: int,
    iterations: int | None = None,
) -> Sampled:
    """Refine the posterior of a fit, with one chain for each of 1000 draws."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the record contains them, and the page shows them
        found = posterior.refine(
            *data, iterations=iterations, num_chains=NUM_DRAWS, seed=seed, progress=False
        )
    record: Any = found.refinement
    return _sampled(found, test, seed, record.seconds, record.describe(), record.warnings)


def nuts(
    model: BayesianModel,
    data: datasets.Dataset,
    test: datasets.Dataset,
    *,
    draws: int,
    seed: int,
    progress: bool = False,
) -> Sampled:
    """Draw from the posterior by Pyro's NUTS: two chains, one after the other."""
    start = time.perf_counter()
    chains = [_chain(model, data, draws, (seed, number), progress) for number in range(NUTS_CHAINS)]
    seconds = time.perf_counter() - start
    samples = {name: torch.cat([each[name] for each in chains]) for name in chains[0]}
    posterior = Posterior.from_samples(model, samples)
    chains_line = f"{NUTS_CHAINS} chains of {draws}, after {_warmup(draws)} of warm-up each"
    return _sampled(posterior, test, seed, seconds, chains_line)


def _warmup(draws: int) -> int:
    return max(draws // 2, 1)


def _chain(
    model: BayesianModel, data: datasets.Dataset, draws: int, key: tuple[int, int], progress: bool
) -> dict[str, Tensor]:
    with seeded(*key), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mcmc = MCMC(NUTS(model), num_samples=draws, warmup_steps=_warmup(draws), disable_progbar=not progress)
        mcmc.run(*data)
    samples: Any = mcmc.get_samples()
    return {name: value.detach() for name, value in samples.items()}


def _sampled(
    posterior: Posterior,
    test: datasets.Dataset,
    seed: int,
    seconds: float,
    chains: str,
    warned: tuple[str, ...] = (),
) -> Sampled:
    stored = len(next(iter(posterior.source.state_dict().values())))
    on_mesh = posterior.predict(torch.from_numpy(mesh()), stored, seed)
    p = posterior.predict(test.x, stored, seed).mean
    scores = {name: getattr(metrics, name)(test.y, p) for name in ("accuracy", "nll", "brier", "ece")}
    return Sampled(
        on_mesh.mean.numpy(), on_mesh.epistemic_std.numpy(), scores, seconds, stored, chains, warned
    )
