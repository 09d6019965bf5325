"""bayesian-layers, called in the same way as its peers."""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

from protocol import clock, serve, since

import bayesian_layers as bl

imported = clock()

import numpy as np
import torch
from torch import nn

LONG_RATE = 0.01  # a learning rate with which the first stage has at least LONG steps
WARM, LONG = 600, 2900  # the steps that are timed


def build(seed: int) -> bl.BayesianModel:
    """Build the article's network, N(0, 1) on all its weights and biases."""
    torch.manual_seed(seed)
    prior = bl.priors.Normal(scale=1.0)
    network = nn.Sequential(bl.Linear(2, 10, prior=prior), nn.Tanh(), bl.Linear(10, 1, prior=prior))
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


def load(request: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the data."""
    torch.set_num_threads(request["threads"])
    with np.load(request["data"]) as arrays:
        return torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])


def article(request: dict[str, Any]) -> dict[str, Any]:
    """Fit with default settings; the time is from the end of the import to the end of `fit`."""
    x, y = load(request)
    model = build(request["seed"])
    result = bl.fit(model, x, y, seed=request["seed"], max_steps=request.get("max_steps"), progress=False)
    seconds = since(imported)
    q: Any = result.posterior.source
    q = q.distributions()
    return {
        **seconds,
        "steps": result.steps,
        "loc": {name: each.base_dist.loc.tolist() for name, each in q.items()},
        "scale": {name: each.base_dist.scale.tolist() for name, each in q.items()},
        "own_elbo": result.elbo,
        "own_elbo_stderr": result.elbo_stderr,
        "warnings": list(result.warnings),
        **{name: getattr(result, name, None) for name in ("converged", "step_mode", "gap", "k_hat")},
    }


def step(request: dict[str, Any]) -> dict[str, Any]:
    """Time a step of a fit, in milliseconds."""
    x, y = load(request)
    options = {"particles": request["particles"], **mode_option(request.get("mode"))}
    times = Clock()
    result = bl.fit(
        build(request["seed"]), x, y, learning_rate=LONG_RATE, progress=False, callbacks=[times], **options
    )
    return {"ms": times.step_ms(WARM, LONG), "step_mode": result.step_mode}


def mode_option(mode: str | None) -> dict[str, Any]:
    """Return the option of `fit` for a step mode."""
    return {} if mode is None else {"compile": mode}


class Clock:
    """A callback of `fit` that records when each call of the step ended."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.seconds: list[float] = []

    def __call__(self, progress: Any) -> None:
        """Record the time."""
        self.steps.append(progress.step)
        self.seconds.append(time.perf_counter())

    def step_ms(self, first: int, last: int, blocks: int = 10) -> float:
        """Return milliseconds per step, the median over blocks of steps."""
        if self.steps[-1] < last:
            raise ValueError(f"the fit must take {last} steps, but ended after {self.steps[-1]}")
        edges = np.searchsorted(self.steps, np.linspace(first, last, blocks + 1))
        steps, seconds = np.array(self.steps)[edges], np.array(self.seconds)[edges]
        return float(np.median(1000 * np.diff(seconds) / np.diff(steps)))


def mnist_step(request: dict[str, Any]) -> dict[str, Any]:
    """Time a minibatch step of `fit` with one particle, and one of deterministic Adam, in milliseconds."""
    import mnist

    warnings.simplefilter("ignore", bl.errors.ConvergenceWarning)  # only a few steps are needed
    torch.set_num_threads(request["threads"])
    torch.manual_seed(request["seed"])
    x, y = mnist.random_data(request["seed"])
    model = bl.BayesianModel(mnist.build(bl.Linear), bl.likelihoods.Categorical())
    options = {"particles": 1, "batch_size": mnist.BATCH, **mode_option(request.get("mode"))}

    def fit_ms(few: int, many: int) -> tuple[float, Any]:
        times = Clock()
        result = bl.fit(model, x, y, max_steps=2 * many, progress=False, callbacks=[times], **options)
        return times.step_ms(few, many, blocks=3), result

    few, many = request["steps"], 4 * request["steps"]
    fit_ms(few, many)
    plain = mnist.deterministic(request["seed"])
    plain(few)
    ours, theirs = [], []
    for _ in range(5):
        milliseconds, last = fit_ms(few, many)
        ours.append(milliseconds)
        start = clock()
        plain(many - few)
        theirs.append(1000 * since(start)["seconds"] / (many - few))
    ms, plain_ms = statistics.median(ours), statistics.median(theirs)
    return {"ms": ms, "deterministic_ms": plain_ms, "ratio": ms / plain_ms, "step_mode": last.step_mode}


if __name__ == "__main__":
    serve({"article": article, "step": step, "mnist_step": mnist_step})
